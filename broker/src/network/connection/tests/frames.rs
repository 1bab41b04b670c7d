//! Frames arrive whole or close their connection, and what they reserve is let go.

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::CloseReason;
use super::bench::{
    Bench, Client, ECHO, ORDERED, OTHER, PIPELINED, PRODUCE, WAIT, prefixed, request,
};
use crate::network::{Limits, RequestMemory};

#[tokio::test]
async fn sizes_that_are_none_close_the_connection_before_anything_is_reserved() {
    for size in [i32::MIN, -1, 0, 7, 2001, i32::MAX] {
        let limits = Limits {
            frame_bytes_max: 2000,
            ..Limits::default()
        };
        let bench = Bench::new(limits);
        let mut client = bench.connect();
        client.send(&size.to_be_bytes()).await;
        bench.settle().await;
        assert!(client.is_closed(), "{size}");
        assert!(
            matches!(client.closed().await, CloseReason::FrameLength(_)),
            "{size}"
        );
        assert_eq!(bench.connections.memory.used_bytes(), 0);
    }
}

#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    let mut bytes = Vec::new();
    for (id, padding) in [
        (1, 0),
        (2, 1),
        (3, 40_000),
        (4, 32 * 1024 - 10),
        (5, 300_000),
        (6, 3),
    ] {
        bytes.extend(request(OTHER, ORDERED, ECHO, id, padding));
    }
    let mut received = Vec::new();
    for (index, cut) in bytes.chunks(7919).enumerate() {
        for part in cut.chunks(if index % 2 == 0 { 7919 } else { 1500 }) {
            client.send(part).await;
            bench.settle().await;
            while let Some(Ok(read)) = {
                let mut buffer = [0; 4096];
                let read = client.stream.read(&mut buffer).now_or_never();
                if let Some(Ok(read)) = read {
                    received.extend_from_slice(&buffer[..read]);
                }
                read
            } {
                assert!(read > 0);
                bench.settle().await;
            }
        }
    }
    let expected: Vec<u8> = [
        (1, 0),
        (2, 1),
        (3, 40_000),
        (4, 32 * 1024 - 10),
        (5, 300_000),
        (6, 3),
    ]
    .iter()
    .flat_map(|&(id, padding)| {
        prefixed(&request(OTHER, ORDERED, ECHO, id, padding)[12..]).into_bytes()
    })
    .collect();
    assert!(received == expected);
    assert_eq!(bench.connections.memory.used_bytes(), 0);
}

#[tokio::test]
async fn half_read_frames_that_fill_the_pool_all_complete() {
    let memory = RequestMemory::new(100_000, 1 << 20, 1 << 20);
    let bench = Bench::with_memory(Limits::default(), memory);
    let frame = request(PRODUCE, PIPELINED, ECHO, 1, 120_000);
    let mut clients: Vec<Client> = (0..8).map(|_| bench.connect()).collect();
    for client in &mut clients {
        client.send(&frame[..33_000]).await;
    }
    bench.settle().await;
    let mut sent = vec![33_000; clients.len()];
    let mut answered = 0;
    while answered < clients.len() {
        answered = 0;
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            if let Some(Ok(more)) = client.stream.write(&frame[*sent..]).now_or_never() {
                *sent += more;
            }
            bench.settle().await;
            assert!(bench.connections.memory.used_bytes() <= 100_000 + frame.len());
            let mut buffer = vec![0; 32 * 1024];
            while let Some(Ok(read)) = client.stream.read(&mut buffer).now_or_never() {
                assert!(read > 0, "{:?}", client.ended.lock());
                bench.settle().await;
            }
            answered += usize::from(*sent == frame.len());
        }
    }
    bench.settle().await;
    assert_eq!(bench.script.started().len(), 8);
    assert_eq!(bench.connections.memory.used_bytes(), 0);
}

#[tokio::test]
async fn a_produce_request_is_announced_from_its_first_bytes_until_it_has_started() {
    let bench = Bench::new(Limits::default());
    let (mut client, mut other) = (bench.connect(), bench.connect());
    let frame = request(PRODUCE, PIPELINED, WAIT, 1, 1000);
    client.send(&frame[..20]).await;
    other.send(&request(OTHER, ORDERED, ECHO, 2, 0)[..12]).await;
    bench.settle().await;
    assert_eq!(bench.script.arriving(), 1);
    client.send(&frame[20..]).await;
    bench.settle().await;
    assert_eq!(
        (bench.script.started(), bench.script.arriving()),
        (vec![1], 0)
    );
    client.send(&frame[..20]).await;
    bench.settle().await;
    assert_eq!(bench.script.arriving(), 1);
    drop(client);
    bench.script.complete(1);
    bench.settle().await;
    assert_eq!(bench.script.arriving(), 0);
}
