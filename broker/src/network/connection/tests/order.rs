//! Requests start and are answered in the order in which they came.

use std::time::Duration;

use futures::FutureExt;
use tokio::io::AsyncReadExt;

use super::bench::{
    Bench, ECHO, MUTE, ORDERED, OTHER, PARKED, PIPELINED, PRODUCE, SILENT, WAIT, request,
};
use crate::network::Limits;

#[tokio::test]
async fn pipelined_requests_start_in_order_and_are_answered_in_order() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    for id in 1..=3 {
        client.send(&request(PRODUCE, PIPELINED, WAIT, id, 0)).await;
    }
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2, 3]);
    bench.script.complete(3);
    bench.script.complete(2);
    bench.settle().await;
    assert!(
        client.stream.read_u8().now_or_never().is_none(),
        "2 and 3 wait for 1"
    );
    bench.script.complete(1);
    assert_eq!(client.answers(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn an_ordered_request_is_answered_before_the_next_one_starts() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, ORDERED, WAIT, 1, 0)).await;
    client.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    bench.settle().await;
    assert_eq!(bench.script.started(), [1]);
    bench.script.complete(1);
    assert_eq!(client.answers(2).await, [1, 2]);
}

#[tokio::test]
async fn a_parked_request_holds_no_memory_and_lets_others_start() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, PARKED, WAIT, 1, 100_000)).await;
    client
        .send(&request(PRODUCE, PIPELINED, WAIT, 2, 1000))
        .await;
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2]);
    assert_eq!(
        bench.connections.memory.used_bytes(),
        1010,
        "the pipelined one still counts"
    );
    bench.script.complete(2);
    bench.settle().await;
    assert_eq!(bench.connections.memory.used_bytes(), 0);
    bench.script.complete(1);
    assert_eq!(client.answers(2).await, [1, 2]);
}

#[tokio::test]
async fn one_request_parks_at_a_time() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, PARKED, WAIT, 1, 0)).await;
    client.send(&request(OTHER, PARKED, WAIT, 2, 0)).await;
    bench.settle().await;
    assert_eq!(bench.script.started(), [1]);
    bench.script.complete(1);
    bench.settle().await;
    bench.script.complete(2);
    assert_eq!(client.answers(2).await, [1, 2]);
}

#[tokio::test]
async fn a_silent_request_gets_no_answer_and_the_next_one_does() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 1, 0))
        .await;
    client.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    assert_eq!(client.answers(1).await, [2]);
}

#[tokio::test]
async fn a_throttled_connection_starts_nothing_until_its_time_is_over() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, ORDERED, MUTE, 1, 0)).await;
    client.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    assert_eq!(
        client.answers(1).await,
        [1],
        "the answer itself is not held back"
    );
    bench.settle().await;
    assert_eq!(bench.script.started(), [1]);
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(client.answers(1).await, [2]);
}
