//! Peers that stall, drip, idle or do not read are closed by limits and hold back only themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::super::CloseReason;
use super::bench::{Bench, ECHO, LARGE, ORDERED, OTHER, PARKED, PIPELINED, PRODUCE, WAIT, request};
use crate::fetch_memory::{FetchMemory, FetchReader, Share};
use crate::network::{Limits, RequestMemory};

#[tokio::test]
async fn an_idle_connection_closes_and_a_busy_one_does_not() {
    let bench = Bench::new(Limits::default());
    let (idle, mut busy) = (bench.connect(), bench.connect());
    busy.send(&request(OTHER, PARKED, WAIT, 1, 0)).await;
    bench.pass(Duration::from_secs(599)).await;
    assert!(!idle.is_closed());
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(idle.closed().await, CloseReason::Idle);
    assert!(!busy.is_closed());
    bench.script.complete(1);
    assert_eq!(busy.answers(1).await, [1]);
    bench.pass(Duration::from_secs(1201)).await;
    bench.pass(Duration::from_secs(601)).await;
    assert_eq!(busy.closed().await, CloseReason::Idle);
}

#[tokio::test]
async fn a_frame_that_stalls_closes_its_connection() {
    let limits = Limits::default();
    for sent in [1, 4, 8, 12, 500] {
        let bench = Bench::new(limits);
        let mut client = bench.connect();
        client
            .send(&request(PRODUCE, PIPELINED, ECHO, 1, 1000)[..sent])
            .await;
        bench.pass(Duration::from_secs(9)).await;
        assert!(!client.is_closed(), "{sent}");
        bench.pass(Duration::from_secs(2)).await;
        // The wait is looked at every two seconds.
        bench.pass(Duration::from_secs(2)).await;
        assert!(client.is_closed(), "{sent}");
        assert_eq!(client.closed().await, CloseReason::SlowSender);
        assert_eq!(bench.connections.memory.used_bytes(), 0);
    }
}

#[tokio::test]
async fn a_dripping_sender_runs_out_of_time() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    let frame = request(PRODUCE, PIPELINED, ECHO, 1, 1000);
    let mut sent = 0;
    while !client.is_closed() {
        assert!(sent < 20, "one byte a second is too slow");
        client.send(&frame[sent..=sent]).await;
        sent += 1;
        bench.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(client.closed().await, CloseReason::SlowSender);
}

#[tokio::test]
async fn sockets_that_announce_frames_and_stall_stop_nobody() {
    let produce_bytes = 256 * 1024;
    let memory = RequestMemory::new(produce_bytes, 1 << 20, 1 << 20);
    let bench = Bench::with_memory(Limits::default(), memory);
    let mut stallers = Vec::new();
    for _ in 0..200 {
        let mut staller = bench.connect();
        staller
            .send(&request(PRODUCE, PIPELINED, ECHO, 1, 1_000_000)[..1000])
            .await;
        stallers.push(staller);
    }
    bench.settle().await;
    let mut honest = bench.connect();
    honest
        .send(&request(PRODUCE, PIPELINED, ECHO, 9, 20_000))
        .await;
    let mut seconds = 0;
    while bench.script.started().is_empty() {
        seconds += 1;
        assert!(seconds < 60, "the honest producer starves");
        bench.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(honest.answers(1).await, [9]);
    // A heartbeat does not wait at all.
    let mut other = bench.connect();
    other.send(&request(OTHER, ORDERED, ECHO, 8, 0)).await;
    assert_eq!(other.answers(1).await, [8]);
}

#[tokio::test]
async fn a_connection_has_a_bound_of_requests_in_flight() {
    let limits = Limits {
        requests_in_flight_max: 4,
        ..Limits::default()
    };
    let bench = Bench::new(limits);
    let mut client = bench.connect();
    for id in 1..=6 {
        client.send(&request(PRODUCE, PIPELINED, WAIT, id, 0)).await;
    }
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2, 3, 4]);
    bench.script.complete(1);
    assert_eq!(client.answers(1).await, [1]);
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_holds_back_only_itself() {
    let limits = Limits {
        answer_bytes_waiting_max: 2 << 20,
        ..Limits::default()
    };
    let bench = Bench::new(limits);
    let (mut slow, mut other) = (bench.connect(), bench.connect());
    for id in 0..20 {
        slow.send(&request(OTHER, ORDERED, LARGE, id, 0)).await;
    }
    bench.settle().await;
    assert_eq!(bench.script.started().len(), 2, "2 MiB of answers wait");
    other.send(&request(OTHER, ORDERED, ECHO, 99, 0)).await;
    assert_eq!(other.answers(1).await, [99]);
    bench.pass(Duration::from_secs(29)).await;
    assert!(!slow.is_closed());
    bench.pass(Duration::from_secs(10)).await;
    bench.pass(Duration::from_secs(10)).await;
    assert_eq!(slow.closed().await, CloseReason::SlowReader);
}

/// Memory that `holder` has used up.
fn used_up(holder: &Arc<FetchReader>) -> (FetchMemory, crate::fetch_memory::Reserved) {
    let memory = FetchMemory::new(1 << 20);
    let all = Share {
        bytes: 1 << 20,
        batch_bytes: 1 << 20,
    };
    let held = memory.try_reserve(holder, all).unwrap();
    (memory, held)
}

/// Somebody waits for memory half a second, in vain.
async fn waits_in_vain(bench: &Bench, memory: &FetchMemory, reader: &Arc<FetchReader>) {
    let until = bench.connections.ambient.clock.monotonic() + Duration::from_millis(500);
    let share = Share {
        bytes: 1000,
        batch_bytes: 0,
    };
    let clock = Arc::clone(&bench.connections.ambient.clock);
    let (waiting, ()) = tokio::join!(
        memory.reserve(reader, share, &*clock, until),
        bench.pass(Duration::from_millis(500))
    );
    assert!(waiting.is_none());
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_soon_if_others_want_its_memory() {
    for is_wanted in [false, true] {
        let bench = Bench::new(Limits::default());
        let (holder, other) = (Arc::default(), Arc::default());
        let (memory, _held) = used_up(&holder);
        let mut slow = bench.connect_as(Arc::clone(&holder));
        let mut bystander = bench.connect();
        for client in [&mut slow, &mut bystander] {
            client.send(&request(OTHER, ORDERED, LARGE, 1, 0)).await;
        }
        bench.settle().await;
        for _ in 0..10 {
            if is_wanted {
                waits_in_vain(&bench, &memory, &other).await;
            } else {
                bench.pass(Duration::from_millis(500)).await;
            }
        }
        assert_eq!(slow.is_closed(), is_wanted);
        assert!(!bystander.is_closed(), "what it does not read nobody wants");
        if is_wanted {
            assert_eq!(slow.closed().await, CloseReason::SlowReader);
        }
    }
}

#[tokio::test]
async fn a_reader_that_reads_slowly_may_go_on_and_one_that_drips_may_not() {
    // What the peer takes every two seconds; the least rate is 16 KiB a second.
    for (taken, may_go_on) in [(40_000, true), (10_000, false)] {
        let bench = Bench::new(Limits::default());
        let (holder, other) = (Arc::default(), Arc::default());
        let (memory, _held) = used_up(&holder);
        let mut slow = bench.connect_as(Arc::clone(&holder));
        slow.send(&request(OTHER, ORDERED, LARGE, 1, 0)).await;
        bench.settle().await;
        let mut read = vec![0; taken];
        for _ in 0..20 {
            // What it was sent before it was closed is still there.
            if slow.stream.read_exact(&mut read).await.is_err() {
                break;
            }
            for _ in 0..4 {
                waits_in_vain(&bench, &memory, &other).await;
            }
        }
        assert_eq!(slow.is_closed(), !may_go_on, "{taken}");
    }
}
