//! The lease, by a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use streamhouse_runtime::{Clock, ManualClock};

use super::{Lease, NotHeld};

const PATIENCE: Duration = Duration::from_secs(5);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn held(span: Duration) -> (ManualClock, Lease) {
    let clock = ManualClock::new(0);
    let lease = Lease::not_yet(Arc::new(clock.clone()), PATIENCE);
    assert!(!lease.holds());
    lease.renew(clock.monotonic(), span);
    (clock, lease)
}

#[test]
fn a_lease_is_counted_from_before_the_heartbeat_was_sent() {
    let (clock, lease) = held(secs(5));
    let sent = clock.monotonic();
    clock.advance(secs(4));
    // The answer took four seconds: one is left of the five.
    lease.renew(sent, secs(5));
    assert_eq!(lease.remaining(), Some(secs(1)));
    clock.advance(Duration::from_millis(999));
    assert!(lease.holds());
    clock.advance(Duration::from_millis(1));
    assert!(!lease.holds());
}

#[test]
fn an_answer_to_an_older_heartbeat_does_not_shorten_it() {
    let (clock, lease) = held(secs(5));
    let first = clock.monotonic();
    clock.advance(secs(2));
    lease.renew(clock.monotonic(), secs(5));
    lease.renew(first, secs(5));
    assert_eq!(lease.remaining(), Some(secs(5)));
}

#[test]
fn the_wall_clock_has_no_say() {
    let (clock, lease) = held(secs(5));
    clock.jump_to(i64::MAX / 2);
    assert!(lease.holds());
    clock.jump_to(-1);
    clock.advance(secs(5));
    assert!(!lease.holds());
}

#[test]
fn an_answer_waits_for_the_renewal_and_goes_out_then() {
    let (clock, lease) = held(secs(5));
    assert_eq!(lease.confirmed().now_or_never(), Some(Ok(())));
    clock.advance(secs(6));
    let mut waiting = lease.confirmed().boxed();
    assert_eq!((&mut waiting).now_or_never(), None);
    clock.advance(secs(1));
    assert_eq!((&mut waiting).now_or_never(), None);
    lease.renew(clock.monotonic(), secs(5));
    assert_eq!((&mut waiting).now_or_never(), Some(Ok(())));
}

#[test]
fn a_renewal_that_is_over_when_it_arrives_confirms_nothing() {
    let (clock, lease) = held(secs(5));
    let sent = clock.monotonic();
    clock.advance(secs(6));
    let mut waiting = lease.confirmed().boxed();
    assert_eq!((&mut waiting).now_or_never(), None);
    lease.renew(sent + Duration::from_millis(500), secs(5));
    assert_eq!((&mut waiting).now_or_never(), None);
    clock.advance(PATIENCE);
    assert_eq!((&mut waiting).now_or_never(), Some(Err(NotHeld)));
}

#[test]
fn the_wait_for_a_renewal_has_an_end() {
    let (clock, lease) = held(secs(5));
    clock.advance(secs(5));
    let mut waiting = lease.confirmed().boxed();
    assert_eq!((&mut waiting).now_or_never(), None);
    clock.advance(PATIENCE);
    assert_eq!((&mut waiting).now_or_never(), Some(Err(NotHeld)));
    assert!(!lease.is_lost(), "a heartbeat may still revive it");
}

#[test]
fn a_lost_lease_never_holds_again() {
    let (clock, lease) = held(secs(5));
    let told = lease.clone();
    clock.advance(secs(5));
    let mut waiting = lease.confirmed().boxed();
    assert_eq!((&mut waiting).now_or_never(), None);
    told.lose();
    assert_eq!((&mut waiting).now_or_never(), Some(Err(NotHeld)));
    lease.renew(clock.monotonic(), secs(5));
    assert!(!lease.holds() && lease.is_lost());
    assert_eq!(lease.remaining(), Some(Duration::ZERO));
}

#[test]
fn a_broker_that_is_alone_holds_its_lease_for_ever() {
    let clock = ManualClock::new(0);
    let lease = Lease::for_ever(Arc::new(clock.clone()));
    clock.advance(secs(1_000_000_000));
    assert!(lease.holds());
    assert_eq!(lease.remaining(), None);
    assert_eq!(lease.confirmed().now_or_never(), Some(Ok(())));
}
