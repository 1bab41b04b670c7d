//! When an upload is slow, and how many are made twice.

use super::*;

fn steady(hedging: &Hedging, uploads: u32) {
    for turn in 0..uploads {
        hedging.took(Duration::from_millis(100 + u64::from(turn % 3)));
    }
}

#[test]
fn nothing_is_slow_before_uploads_were_seen() {
    let hedging = Hedging::new(0.05);
    steady(&hedging, UPLOADS_KNOWN - 1);
    assert_eq!(hedging.slow_after(), None);
    steady(&hedging, 1);
    assert!(hedging.slow_after().is_some());
}

#[test]
fn slow_is_what_lies_far_above_the_others() {
    let hedging = Hedging::new(0.05);
    steady(&hedging, 100);
    let slow = hedging.slow_after().unwrap();
    assert!(
        slow > Duration::from_millis(100) && slow < Duration::from_millis(120),
        "{slow:?}"
    );
}

#[test]
fn fast_uploads_are_not_hedged_for_a_few_milliseconds() {
    let hedging = Hedging::new(0.05);
    for _ in 0..100 {
        hedging.took(Duration::from_millis(1));
    }
    assert_eq!(hedging.slow_after(), Some(SLOW_MIN));
}

#[test]
fn no_more_than_their_share_is_made_twice() {
    let hedging = Hedging::new(0.05);
    let mut begun = 0;
    for _ in 0..1000 {
        hedging.took(Duration::from_millis(100));
        begun += u64::from(hedging.begin());
    }
    assert!((45..=50).contains(&begun), "{begun}");
    assert_eq!(hedging.counts().begun, begun);
}

#[test]
fn a_share_of_nothing_hedges_nothing() {
    let hedging = Hedging::new(0.0);
    steady(&hedging, 1000);
    assert_eq!(hedging.slow_after(), None);
    assert!(!hedging.begin());
}
