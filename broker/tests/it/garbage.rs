//! Any bytes on the port: Kafka's answer or a closed connection, and nobody else notices.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use streamhouse_broker::handlers::APIS;
use streamhouse_broker::network::CloseReason;
use streamhouse_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use streamhouse_protocol::request::encode_request;
use tokio::io::AsyncWriteExt;

use crate::bench::{Bench, settle};

const FRAMES: u32 = 2000;

/// How many cases a generator makes.
fn cases(count: u32) -> u32 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    count * scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Frames whose preamble is right and whose rest is not.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let rows: Vec<(i16, i16, i16)> = APIS
        .iter()
        .map(|api| (api.key as i16, *api.versions.start(), *api.versions.end()))
        .collect();
    let preamble = proptest::sample::select(rows)
        .prop_flat_map(|(key, min, max)| (Just(key), (min - 1)..=(max + 1)));
    let bytes = prop_oneof![Just(0_u8), Just(1), Just(0xff), Just(0x7f), any::<u8>()];
    (preamble, vec(bytes, 0..120)).prop_map(|((key, version), rest)| {
        let mut frame = Vec::new();
        frame.extend(u32::try_from(8 + rest.len()).unwrap().to_be_bytes());
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(1_i32.to_be_bytes());
        frame.extend(rest);
        frame
    })
}

/// Sends `bytes` and hangs up; the connection has to end, at the latest when its time to drain is over.
async fn throw(bench: &Bench, bytes: &[u8]) {
    let mut client = bench.connect();
    // The broker may have closed already.
    let _ = client.stream.write_all(bytes).await;
    drop(client.stream);
    for _ in 0..30 {
        tokio::task::yield_now().await;
        if client.serving.is_finished() {
            break;
        }
        settle().await;
        bench.clock.advance(Duration::from_secs(1));
    }
    client.serving.await.unwrap();
}

#[test]
fn bent_requests_are_answered_or_close_their_own_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let bench = runtime.block_on(Bench::new());
    let mut runner = TestRunner::new(ProptestConfig {
        cases: cases(FRAMES),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&frames(), |frame| {
            runtime.block_on(throw(&bench, &frame));
            prop_assert!(!bench.tasks.has_failed());
            prop_assert_eq!(bench.connections.memory.used_bytes(), 0);
            Ok(())
        })
        .unwrap();
    let mut client = runtime.block_on(async { bench.connect() });
    runtime.block_on(client.call(3, &MetadataRequest::default()));
}

#[test]
fn noise_closes_its_own_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let bench = runtime.block_on(Bench::new());
    let mut runner = TestRunner::new(ProptestConfig {
        cases: cases(FRAMES),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&vec(any::<u8>(), 0..200), |noise| {
            runtime.block_on(throw(&bench, &noise));
            prop_assert!(!bench.tasks.has_failed());
            prop_assert_eq!(bench.connections.memory.used_bytes(), 0);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_frame_in_the_middle_of_noise_is_still_answered() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let frame = encode_request(9, "it", 0, &ApiVersionsRequest::default()).unwrap();
    let mut bytes = frame.to_vec();
    bytes.extend(b"\xff\xff\xff\xffGET / HTTP/1.1\r\n");
    client.stream.write_all(&bytes).await.unwrap();
    client.answer::<ApiVersionsRequest>(0, 9).await;
    assert_eq!(client.frame().await, None);
    assert!(matches!(client.closed().await, CloseReason::FrameLength(_)));
}
