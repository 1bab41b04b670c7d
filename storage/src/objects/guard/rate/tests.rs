//! The rate under complaints, growth and time that passes in any steps.

use std::time::Duration;

use proptest::prelude::*;
use streamhouse_runtime::Monotonic;

use super::{CEILING, FLOOR, Rate};

const PATIENT: Duration = Duration::from_secs(3_600);

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

/// A rate after `per_second` successes in the first second and a complaint.
fn throttled_at(per_second: u64) -> Rate {
    let mut rate = Rate::default();
    for _ in 0..per_second {
        rate.succeeded(at(500));
    }
    rate.throttled(at(1_000));
    rate
}

#[test]
fn nothing_waits_before_the_first_complaint() {
    let mut rate = Rate::default();
    for _ in 0..10_000 {
        rate.succeeded(at(0));
        assert_eq!(rate.reserve(at(0), Duration::ZERO), Some(Duration::ZERO));
    }
    assert!(rate.limit(at(0)).is_none());
}

#[test]
fn a_complaint_lowers_the_rate_to_seven_tenths_of_what_was_carried_out() {
    let rate = throttled_at(100);
    assert_eq!(rate.limit, Some(70_000));
}

#[test]
fn complaints_of_one_wave_lower_the_rate_once() {
    let mut rate = throttled_at(100);
    for ms in 1_000..2_999 {
        rate.throttled(at(ms));
    }
    assert_eq!(rate.limit, Some(70_000));
    rate.throttled(at(3_000));
    assert_eq!(rate.limit, Some(49_000), "a complaint after the hold");
}

#[test]
fn the_rate_is_held_then_grows_and_the_limit_goes() {
    let mut rate = throttled_at(100);
    assert!(rate.limit(at(3_999)).is_some());
    assert_eq!(rate.limit, Some(70_000), "held");
    assert!(rate.limit(at(4_000)).is_some());
    assert_eq!(rate.limit, Some(73_500), "one second of growth");
    assert!(rate.limit(at(3_000 + 256_000)).is_none());
    assert_eq!(
        rate.reserve(at(300_000), Duration::ZERO),
        Some(Duration::ZERO)
    );
}

#[test]
fn who_may_wait_longer_still_gets_a_slot() {
    let mut rate = throttled_at(0);
    let upload = Duration::from_secs(5);
    let clean_up = Duration::from_millis(100);
    assert_eq!(rate.reserve(at(1_000), clean_up), Some(Duration::ZERO));
    assert_eq!(rate.reserve(at(1_000), clean_up), None);
    assert_eq!(
        rate.reserve(at(1_000), upload),
        Some(Duration::from_millis(500))
    );
}

proptest! {
    /// In any second no more requests go than the highest limit of that second allows, and one.
    #[test]
    fn no_more_go_than_the_limit_allows(
        carried_out in 0_u64..2_000,
        asks in proptest::collection::vec((0_u64..50, any::<bool>()), 1..400),
    ) {
        let mut rate = throttled_at(carried_out);
        let mut now_ms = 1_000;
        let mut sent = Vec::new();
        let mut highest = rate.limit.unwrap_or(CEILING);
        for (step, is_throttled) in asks {
            now_ms += step;
            if is_throttled {
                rate.throttled(at(now_ms));
            }
            if let Some(wait) = rate.reserve(at(now_ms), PATIENT) {
                sent.push(at(now_ms).0 + wait);
            }
            let limit = rate.limit.unwrap_or(CEILING);
            prop_assert!(limit >= FLOOR);
            highest = highest.max(limit);
        }
        for (index, first) in sent.iter().enumerate() {
            let within = sent[index..].iter().take_while(|at| **at < *first + Duration::from_secs(1));
            prop_assert!(within.count() as u64 <= highest / 1_000 + 2);
        }
    }

    #[test]
    fn nobody_waits_longer_than_it_may(
        patience_ms in 0_u64..3_000,
        asks in proptest::collection::vec(0_u64..100, 1..300),
    ) {
        let mut rate = throttled_at(3);
        let patience = Duration::from_millis(patience_ms);
        let mut now_ms = 1_000;
        for step in asks {
            now_ms += step;
            if let Some(wait) = rate.reserve(at(now_ms), patience) {
                prop_assert!(wait <= patience);
            }
        }
    }

    #[test]
    fn without_complaints_every_limit_goes(carried_out in 0_u64..100_000) {
        let mut rate = throttled_at(carried_out);
        prop_assert!(rate.limit(at(1_000_000)).is_none());
    }
}
