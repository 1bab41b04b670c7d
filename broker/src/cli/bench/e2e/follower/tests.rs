//! Which records count, and with what latency.

use std::time::Duration;

use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::record_batch::{RecordBatch, RecordBatchBuilder, RecordContent};
use streamhouse_runtime::Monotonic;

use super::super::super::measured::{Measured, Window};
use super::{Progress, Stamp, arrivals};

fn second(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn batch(values: &[&[u8]]) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new(Compression::None);
    for value in values {
        let content = RecordContent {
            value: Some(value),
            ..RecordContent::default()
        };
        builder.push(&content).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn records_of_this_run_in_the_window_count_once() {
    let stamped = |run, due| Stamp::new(run, second(due)).bytes();
    let (cold, other, warm, late) = (stamped(1, 3), stamped(2, 6), stamped(1, 6), stamped(1, 7));
    let values: [&[u8]; 5] = [&cold, &other, b"none", &warm, &late];
    let window = Window {
        from: second(5),
        until: second(9),
        every: None,
    };
    let mut measured = Measured::new(window);
    let counted = arrivals(&batch(&values), 0, 1, second(8), &mut measured).unwrap();
    assert_eq!(counted, 2);
    let size = measured.size;
    assert_eq!(
        (size.requests, size.records, size.payload_bytes),
        (1, 2, 32)
    );
    let slowest = measured.latencies.max();
    assert!((2_000_000..2_010_000).contains(&slowest), "{slowest}");
    // The same batch again, as a fetch from its middle gives it.
    let counted = arrivals(&batch(&values), 4, 1, second(8), &mut measured).unwrap();
    assert_eq!(counted, 1);
}

#[test]
fn a_run_is_complete_when_all_that_was_sent_has_arrived() {
    let progress = Progress::default();
    progress.arrive(2);
    assert!(!progress.is_complete());
    progress.expect(3);
    assert!(!progress.is_complete());
    progress.arrive(1);
    assert!(progress.is_complete());
}
