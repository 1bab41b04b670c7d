//! What each acks promises, seen while the disk holds up its syncs.

use std::time::Duration;

use streamhouse_protocol::messages::{FetchRequest, ListOffsetsRequest, ProduceRequest};

use crate::bench::{Bench, Client};
use crate::fetch::{is_silent, waiting};
use crate::list_offsets::asking;
use crate::records::{
    FETCH, PRODUCE, base_offsets, batch, bytes, fetched, fetching, only, producing, sequenced,
    wanted,
};
use crate::topics::create;

/// What is staged and not durable is not there for consumers, and its offsets are not out of range.
async fn shows_nothing(bench: &Bench, staged: i64) {
    let mut consumer = bench.connect();
    for offset in 0..=staged {
        let data = fetched(&mut consumer, "a", 0, offset).await;
        assert_eq!((data.error_code, bytes(&data)), (0, 0), "from {offset}");
        assert_eq!(data.high_watermark, 0);
    }
    let beyond = fetched(&mut consumer, "a", 0, staged + 1).await;
    assert_eq!(beyond.error_code, 1);
    let response = consumer
        .call::<ListOffsetsRequest>(8, &asking("a", &[(0, -1)]))
        .await;
    assert_eq!(response.topics[0].partitions[0].offset, 0);
}

async fn answered(client: &mut Client, id: i32) -> (i16, i64) {
    let response = client.answer::<ProduceRequest>(PRODUCE, id).await;
    let answer = &response.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

#[tokio::test]
async fn acks_all_is_answered_when_the_records_are_durable_and_consumers_see_them_then() {
    let bench = Bench::new().await;
    let (mut producer, mut consumer) = (bench.connect(), bench.connect());
    create(&mut producer, "a", 1).await;
    let held = bench.disk.hold_syncs();
    let id = producer
        .send(PRODUCE, &producing("a", -1, &[(0, batch(&["x"]))]))
        .await;
    let request = waiting(fetching("a", vec![wanted(0, 0)]), 1, 30_000);
    let fetch = consumer.send(FETCH, &request).await;
    is_silent(&mut producer).await;
    is_silent(&mut consumer).await;
    shows_nothing(&bench, 1).await;
    drop(held);
    assert_eq!(answered(&mut producer, id).await, (0, 0));
    let data = only(consumer.answer::<FetchRequest>(FETCH, fetch).await);
    assert_eq!((base_offsets(&data), data.high_watermark), (vec![0], 1));
}

#[tokio::test]
async fn acks_1_is_answered_when_the_records_are_written() {
    let bench = Bench::new().await;
    let mut producer = bench.connect();
    create(&mut producer, "a", 1).await;
    let held = bench.disk.hold_syncs();
    let id = producer
        .send(PRODUCE, &producing("a", 1, &[(0, batch(&["x"]))]))
        .await;
    assert_eq!(answered(&mut producer, id).await, (0, 0));
    shows_nothing(&bench, 1).await;
    drop(held);
    let request = waiting(fetching("a", vec![wanted(0, 0)]), 1, 30_000);
    let data = only(producer.call(FETCH, &request).await);
    assert_eq!(base_offsets(&data), [0]);
}

#[tokio::test]
async fn records_that_are_not_durable_in_time_may_appear_and_a_retry_finds_them() {
    let bench = Bench::new().await;
    let mut producer = bench.connect();
    create(&mut producer, "a", 1).await;
    let held = bench.disk.hold_syncs();
    let request = producing("a", -1, &[(0, sequenced(7, 0, 0, &["x", "y"]))]);
    let hasty = request.clone().with_timeout_ms(1000);
    let id = producer.send(PRODUCE, &hasty).await;
    is_silent(&mut producer).await;
    bench.clock.advance(Duration::from_millis(1000));
    // REQUEST_TIMED_OUT: nobody knows yet.
    assert_eq!(answered(&mut producer, id).await, (7, -1));
    shows_nothing(&bench, 2).await;
    let retry = producer.send(PRODUCE, &request).await;
    is_silent(&mut producer).await;
    drop(held);
    assert_eq!(answered(&mut producer, retry).await, (0, 0));
    let data = fetched(&mut producer, "a", 0, 0).await;
    assert_eq!((base_offsets(&data), data.high_watermark), (vec![0], 2));
}
