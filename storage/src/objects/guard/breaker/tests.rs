//! When the breaker opens, whom it lets pass, and that it closes again.

use std::time::Duration;

use proptest::prelude::*;
use streamhouse_runtime::Monotonic;

use super::{Breaker, Passage, State};

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn fail(breaker: &mut Breaker, ms: u64, times: u32) -> bool {
    (0..times).fold(false, |opened, _| {
        opened | breaker.failed(at(ms), Passage::Free)
    })
}

/// Opened at 0 ms.
fn opened() -> Breaker {
    let mut breaker = Breaker::closed();
    assert!(fail(&mut breaker, 0, 20));
    breaker
}

#[test]
fn it_opens_at_the_twentieth_of_twenty_failures() {
    let mut breaker = Breaker::closed();
    assert!(!fail(&mut breaker, 0, 19));
    assert_eq!(breaker.pass(at(0)), Some(Passage::Free));
    assert!(fail(&mut breaker, 0, 1));
    assert_eq!(breaker.pass(at(0)), None);
}

#[test]
fn it_stays_closed_while_most_requests_are_answered() {
    let mut breaker = Breaker::closed();
    for ms in 0..10_000 {
        breaker.answered(at(ms), Passage::Free);
        breaker.answered(at(ms), Passage::Free);
        assert!(!fail(&mut breaker, ms, 1));
    }
}

#[test]
fn failures_of_more_than_ten_seconds_ago_do_not_count() {
    let mut breaker = Breaker::closed();
    assert!(!fail(&mut breaker, 0, 19));
    assert!(!fail(&mut breaker, 10_000, 19));
    assert!(fail(&mut breaker, 19_999, 1));
}

#[test]
fn one_probe_at_a_time_asks_whether_the_store_is_back() {
    let mut breaker = opened();
    assert_eq!(breaker.pass(at(999)), None);
    assert_eq!(breaker.pass(at(1_000)), Some(Passage::Probe));
    assert_eq!(breaker.pass(at(1_000)), None);
    // An answer to a request that left long ago is not the probe's.
    breaker.answered(at(1_001), Passage::Free);
    assert_eq!(breaker.pass(at(1_001)), None);
    breaker.answered(at(1_002), Passage::Probe);
    assert_eq!(breaker.pass(at(1_002)), Some(Passage::Free));
    assert!(!fail(&mut breaker, 1_002, 19), "it starts afresh");
}

#[test]
fn every_failed_probe_doubles_the_pause_up_to_half_a_minute() {
    let mut breaker = opened();
    let mut now = 0;
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(breaker.pass(at(now + pause * 1_000 - 1)), None);
        now += pause * 1_000;
        assert_eq!(breaker.pass(at(now)), Some(Passage::Probe));
        assert!(breaker.failed(at(now), Passage::Probe));
    }
}

#[test]
fn a_probe_that_nobody_waits_for_makes_room_for_another() {
    let mut breaker = opened();
    assert_eq!(breaker.pass(at(1_000)), Some(Passage::Probe));
    breaker.gave_up(at(1_500), Passage::Probe);
    assert_eq!(breaker.pass(at(1_500)), Some(Passage::Probe));
}

proptest! {
    /// Whatever happens: never two probes at once, and half a minute after the last outcome somebody may pass.
    #[test]
    fn it_never_stays_shut(steps in proptest::collection::vec((0_u64..2_000, 0_u8..4), 0..500)) {
        let mut breaker = Breaker::closed();
        let (mut now, mut probing) = (0, false);
        for (pause, step) in steps {
            now += pause;
            let passage = if probing { Passage::Probe } else { Passage::Free };
            match step {
                0 => {
                    let passed = breaker.pass(at(now));
                    prop_assert!(!(probing && passed.is_some()));
                    probing |= passed == Some(Passage::Probe);
                }
                1 => {
                    breaker.answered(at(now), passage);
                    probing = false;
                }
                2 => {
                    breaker.failed(at(now), passage);
                    probing = false;
                }
                _ => {
                    breaker.gave_up(at(now), passage);
                    probing = false;
                }
            }
            if let State::Open { until, pause } = breaker.state {
                prop_assert!(pause >= Duration::from_secs(1) && pause <= Duration::from_secs(30));
                prop_assert!(until <= at(now).0 + pause);
            }
        }
        if !probing {
            prop_assert!(breaker.pass(at(now + 30_000)).is_some());
        }
    }

    #[test]
    fn answers_alone_never_open_it(gaps in proptest::collection::vec(0_u64..3_000, 0..500)) {
        let mut breaker = Breaker::closed();
        let mut now = 0;
        for gap in gaps {
            now += gap;
            prop_assert_eq!(breaker.pass(at(now)), Some(Passage::Free));
            breaker.answered(at(now), Passage::Free);
        }
    }
}
