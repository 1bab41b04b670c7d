//! Produce: what is refused and with which code, acks, the order of answers.

use bytes::Bytes;
use streamhouse_broker::network::CloseReason;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::messages::{ListGroupsRequest, MetadataRequest, ProduceRequest};
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent};

use crate::bench::Bench;
use crate::records::{
    NOW_MS, PRODUCE, append, base_offsets, batch, batch_of, bent, fetched, filled, forged,
    produced, producing, sequenced, timed_batch,
};
use crate::topics::{create, create_with};

#[tokio::test]
async fn a_batch_is_answered_with_its_place_in_every_version() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let mut next = 0;
    for version in 3..=PRODUCE {
        for acks in [-1, 1] {
            let request = producing("a", acks, &[(0, batch(&["1", "2"]))]);
            let response = client.call(version, &request).await;
            assert_eq!(&*response.responses[0].name.0, "a");
            let answer = &response.responses[0].partition_responses[0];
            assert_eq!((answer.error_code, answer.base_offset), (0, next));
            assert_eq!(answer.log_append_time_ms, -1);
            let log_start = if version >= 5 { 0 } else { -1 };
            assert_eq!(answer.log_start_offset, log_start, "version {version}");
            next += 2;
        }
    }
}

/// Batches that are refused whatever the topic, each with its code.
fn impossible() -> Vec<(&'static str, Bytes, i16)> {
    let good = batch(&["1", "2"]);
    let mut two = good.to_vec();
    two.extend_from_slice(&good);
    let transactional = RecordBatchBuilder::new(Compression::None)
        .producer(
            streamhouse_protocol::ids::ProducerId(5),
            streamhouse_protocol::ids::ProducerEpoch(0),
            0,
        )
        .transactional();
    vec![
        ("no batch", Bytes::new(), 87),
        ("two batches", two.into(), 87),
        ("cut short", good.slice(..good.len() - 1), 87),
        ("magic 1", bent(&good, 16, &[1]), 87),
        ("a base offset", bent(&good, 0, &7_i64.to_be_bytes()), 87),
        ("a wrong crc", bent(&good, good.len() - 1, &[9]), 2),
        (
            "a count that lies",
            forged(&good, 57, &3_i32.to_be_bytes()),
            87,
        ),
        ("no records", forged(&good, 57, &0_i32.to_be_bytes()), 87),
        (
            "an end that lies",
            forged(&good, 23, &5_i32.to_be_bytes()),
            87,
        ),
        ("control", forged(&good, 21, &0x20_i16.to_be_bytes()), 87),
        (
            "append time",
            forged(&good, 21, &0x08_i16.to_be_bytes()),
            32,
        ),
        (
            "a producer without sequence",
            forged(&good, 43, &5_i64.to_be_bytes()),
            87,
        ),
        ("a transaction", filled(transactional, &[(NOW_MS, "1")]), 53),
        (
            "the far future",
            timed_batch(&[(NOW_MS + 3_600_001, "1")], Compression::None),
            32,
        ),
        ("too large", batch_of(1_100_000), 10),
    ]
}

#[tokio::test]
async fn a_batch_that_breaks_a_rule_gets_kafkas_code_and_changes_nothing() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for (what, records, code) in impossible() {
        let answer = produced(&mut client, "a", 0, &records).await;
        assert_eq!(
            answer.error_code, code,
            "{what}: {:?}",
            answer.error_message
        );
        let corners = (answer.base_offset, answer.log_start_offset);
        assert_eq!(
            (corners, answer.log_append_time_ms),
            ((-1, -1), -1),
            "{what}"
        );
        assert!(answer.error_message.is_some(), "{what}");
    }
    assert_eq!(append(&mut client, "a", 0, &batch(&["1"])).await, 0);
}

#[tokio::test]
async fn what_does_not_exist_and_acks_that_are_none_are_refused() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for (topic, index, code) in [("b", 0, 3), ("a", 1, 3), ("a", -1, 3), ("no topic", 0, 3)] {
        let answer = produced(&mut client, topic, index, &batch(&["1"])).await;
        assert_eq!(answer.error_code, code, "{topic}-{index}");
    }
    for acks in [2, -2, 100] {
        let request = producing("a", acks, &[(0, batch(&["1"]))]);
        let response = client.call(PRODUCE, &request).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (21, -1), "{acks}");
    }
}

#[tokio::test]
async fn a_refused_batch_does_not_take_the_others_with_it() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 3).await;
    let good = batch(&["1"]);
    let parts = [(2, good.clone()), (0, bent(&good, 16, &[1])), (1, good)];
    let response = client.call(PRODUCE, &producing("a", -1, &parts)).await;
    let answers = response.responses[0].partition_responses.iter();
    let answers: Vec<_> = answers.map(|it| (it.index, it.error_code)).collect();
    assert_eq!(answers, [(2, 0), (0, 87), (1, 0)]);
}

#[tokio::test]
async fn zstd_needs_version_7() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let records = timed_batch(&[(NOW_MS, "1")], Compression::Zstd);
    for version in 3..=PRODUCE {
        let request = producing("a", -1, &[(0, records.clone())]);
        let response = client.call(version, &request).await;
        let code = response.responses[0].partition_responses[0].error_code;
        assert_eq!(code, if version < 7 { 76 } else { 0 }, "version {version}");
    }
}

#[tokio::test]
async fn a_compacted_topic_names_the_record_without_a_key() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create_with(&mut client, "a", &[("cleanup.policy", "compact")]).await;
    let mut builder = RecordBatchBuilder::new(Compression::Lz4);
    for key in [Some(&b"k"[..]), None, None] {
        let record = RecordContent {
            timestamp_ms: NOW_MS,
            key,
            ..RecordContent::default()
        };
        builder.push(&record).unwrap();
    }
    let records = builder.build().unwrap().into_bytes();
    let answer = produced(&mut client, "a", 0, &records).await;
    assert_eq!(answer.error_code, 87);
    assert_eq!(answer.record_errors[0].batch_index, 1);
    let text = answer.record_errors[0].batch_index_error_message.as_ref();
    assert!(text.unwrap().contains("key"), "{text:?}");
    assert_eq!(append(&mut client, "a", 0, &batch(&["1"])).await, 0);
}

#[tokio::test]
async fn limits_of_the_topic_hold() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let limits = [
        ("max.message.bytes", "2000000"),
        ("segment.bytes", "1048576"),
    ];
    create_with(&mut client, "segment", &limits).await;
    create_with(&mut client, "small", &[("max.message.bytes", "500")]).await;
    let window = [("message.timestamp.before.max.ms", "1000")];
    create_with(&mut client, "late", &window).await;
    let old = timed_batch(&[(NOW_MS - 1001, "1")], Compression::None);
    for (topic, records, code) in [
        ("segment", batch_of(1_048_576), 18),
        ("segment", batch_of(1_000_000), 0),
        ("small", batch_of(500), 10),
        ("small", batch_of(400), 0),
        ("late", old, 32),
        ("late", batch(&["1"]), 0),
    ] {
        let answer = produced(&mut client, topic, 0, &records).await;
        assert_eq!(answer.error_code, code, "{topic}");
    }
}

#[tokio::test]
async fn topics_that_kafka_keeps_for_itself_are_not_written_by_clients() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "__consumer_offsets", 1).await;
    let answer = produced(&mut client, "__consumer_offsets", 0, &batch(&["1"])).await;
    assert_eq!(answer.error_code, 17);
}

#[tokio::test]
async fn acks_0_is_not_answered_and_what_follows_is() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for round in 0..5 {
        for _ in 0..3 {
            let request = producing("a", 0, &[(0, batch(&["silent"]))]);
            client.send(PRODUCE, &request).await;
        }
        let groups = client.send(4, &ListGroupsRequest::default()).await;
        client.answer::<ListGroupsRequest>(4, groups).await;
        // It was staged behind the silent ones, whose turn it was.
        let offset = append(&mut client, "a", 0, &batch(&["told"])).await;
        assert_eq!(offset, round * 4 + 3);
    }
}

#[tokio::test]
async fn a_refusal_with_acks_0_closes_the_connection_behind_the_answers_before_it() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let told = client
        .send(PRODUCE, &producing("a", -1, &[(0, batch(&["1"]))]))
        .await;
    let parts = [(0, batch(&["2"])), (1, batch(&["nowhere"]))];
    client.send(PRODUCE, &producing("a", 0, &parts)).await;
    client.send(9, &MetadataRequest::default()).await;
    let response = client.answer::<ProduceRequest>(PRODUCE, told).await;
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    assert!(client.frame().await.is_none(), "nothing more is answered");
    assert!(matches!(
        client.closed().await,
        CloseReason::Unanswerable(_)
    ));
    let mut other = bench.connect();
    assert_eq!(append(&mut other, "a", 0, &batch(&["3"])).await, 2);
}

#[tokio::test]
async fn acks_0_without_batches_is_no_error() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let request = ProduceRequest::default().with_acks(0);
    client.send(PRODUCE, &request).await;
    let groups = client.send(4, &ListGroupsRequest::default()).await;
    client.answer::<ListGroupsRequest>(4, groups).await;
}

#[tokio::test]
async fn requests_in_flight_are_appended_and_answered_in_order() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let mut sent = Vec::new();
    for sequence in 0..20 {
        let acks = [-1, 1, -1][usize::try_from(sequence % 3).unwrap()];
        let request = producing("a", acks, &[(0, sequenced(9, 0, sequence, &["x"]))]);
        sent.push(client.send(PRODUCE, &request).await);
    }
    for (id, offset) in sent.into_iter().zip(0..) {
        let response = client.answer::<ProduceRequest>(PRODUCE, id).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let data = fetched(&mut client, "a", 0, 0).await;
    assert_eq!(base_offsets(&data), (0..20).collect::<Vec<_>>());
}
