//! How a connection ends: what was accepted is carried out, nothing else is touched.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::super::CloseReason;
use super::bench::{
    Bench, CLOSE, ECHO, MALFORMED, ORDERED, OTHER, PARKED, PIPELINED, PRODUCE, SILENT, WAIT,
    request,
};
use crate::network::Limits;

#[tokio::test]
async fn a_close_comes_after_the_answers_before_it() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(PRODUCE, PIPELINED, WAIT, 1, 0)).await;
    client.send(&request(PRODUCE, PIPELINED, CLOSE, 2, 0)).await;
    client.send(&request(PRODUCE, PIPELINED, ECHO, 3, 0)).await;
    bench.settle().await;
    bench.script.complete(1);
    assert_eq!(client.answers(1).await, [1]);
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(
        bench.script.started(),
        [1, 2],
        "nothing starts after a close"
    );
    assert_eq!(client.closed().await, CloseReason::Unanswerable("told to"));
}

#[tokio::test]
async fn a_malformed_request_closes_only_its_own_connection() {
    let bench = Bench::new(Limits::default());
    let (mut bad, mut good) = (bench.connect(), bench.connect());
    bad.send(&request(OTHER, ORDERED, MALFORMED, 1, 0)).await;
    assert_eq!(
        bad.closed().await,
        CloseReason::Unsupported {
            key: -1,
            version: -1
        }
    );
    good.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    assert_eq!(good.answers(1).await, [2]);
}

#[tokio::test]
async fn what_arrived_before_the_peer_closed_is_carried_out() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 1, 0))
        .await;
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 2, 0))
        .await;
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 3, 100)[..50])
        .await;
    drop(client.stream);
    client.serving.await.unwrap();
    assert_eq!(bench.script.started(), [1, 2]);
    assert_eq!(client.ended.lock().take(), Some(CloseReason::PeerClosed));
    assert_eq!(bench.connections.memory.used_bytes(), 0);
}

#[tokio::test]
async fn shutdown_answers_what_was_accepted_and_reads_nothing_more() {
    let bench = Bench::new(Limits::default());
    let (mut client, idle) = (bench.connect(), bench.connect());
    client.send(&request(PRODUCE, PIPELINED, WAIT, 1, 0)).await;
    bench.settle().await;
    bench.tasks.shut_down();
    bench.settle().await;
    assert_eq!(idle.closed().await, CloseReason::ShuttingDown);
    client.send(&request(PRODUCE, PIPELINED, ECHO, 2, 0)).await;
    bench.script.complete(1);
    assert_eq!(client.answers(1).await, [1]);
    assert_eq!(client.closed().await, CloseReason::ShuttingDown);
    assert_eq!(bench.script.started(), [1]);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, PARKED, WAIT, 1, 0)).await;
    bench.settle().await;
    bench.tasks.shut_down();
    bench.pass(Duration::from_secs(9)).await;
    assert!(!client.is_closed());
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(client.closed().await, CloseReason::ShuttingDown);
}
