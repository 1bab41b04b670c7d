//! What counts, and when.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

use super::{Measured, Size, Window};

fn second(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn window(every: Option<u64>) -> Window {
    Window {
        from: second(10),
        until: second(15),
        every: every.map(Duration::from_secs),
    }
}

const ONE: Size = Size {
    requests: 1,
    records: 2,
    payload_bytes: 3,
    batch_bytes: 4,
};

#[test]
fn what_was_due_before_the_window_warms_up() {
    let mut measured = Measured::new(window(None));
    measured.finished(second(9), second(12), &ONE);
    assert_eq!(measured.size, Size::default());
    measured.finished(second(10), second(12), &ONE);
    assert_eq!(measured.size, ONE);
    assert_eq!(measured.latencies.len(), 1);
}

#[test]
fn intervals_hold_what_was_finished_in_them_and_the_last_one_the_rest() {
    let mut measured = Measured::new(window(Some(2)));
    let lengths: Vec<u64> = measured
        .intervals
        .iter()
        .map(|interval| interval.length.as_secs())
        .collect();
    assert_eq!(lengths, [2, 2, 1]);
    for (due, done) in [(10, 11), (10, 12), (13, 20)] {
        measured.finished(second(due), second(done), &ONE);
    }
    let mut other = Measured::new(window(Some(2)));
    other.finished(second(11), second(11), &ONE);
    measured.add(&other);
    let found: Vec<(u64, u64)> = measured
        .intervals
        .iter()
        .map(|interval| (interval.size.requests, interval.latency_max_us))
        .collect();
    assert_eq!(found, [(2, 1_000_000), (1, 2_000_000), (1, 7_000_000)]);
}
