//! When a flush begins, and what it waits for.

use super::*;

const INTERVAL: Duration = Duration::from_millis(250);

fn pace() -> Pace {
    let settings = SharedSettings {
        early_uploads_burst: 3.0,
        ..SharedSettings::default()
    };
    Pace::new(settings, 1000, INTERVAL)
}

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn bytes(bytes: u64) -> Backlog {
    Backlog { entries: 1, bytes }
}

/// A flush takes what was queued.
fn begin(pace: &mut Pace, taken: Backlog, from: u64) {
    pace.unqueued(taken);
    pace.begun(0, at(from));
}

/// A flush that began at `from` ends, and `waiting` is queued behind it.
fn end(pace: &mut Pace, waiting: Backlog, from: u64) {
    pace.succeeded();
    pace.left(waiting, at(from));
    pace.ended();
}

/// Runs one flush of all that waits, from `from` to `to`.
fn flush(pace: &mut Pace, from: u64, to: u64) {
    assert_eq!(pace.next(at(from), false), Step::Flush);
    begin(pace, pace.waiting, from);
    end(pace, Backlog::default(), from);
    assert_eq!(pace.next(at(to), false), Step::Idle);
}

#[test]
fn nothing_is_done_while_nothing_waits() {
    assert_eq!(pace().next(at(10_000), false), Step::Idle);
}

#[test]
fn a_flush_begins_when_nobody_else_comes() {
    let mut pace = pace();
    assert!(pace.staged(bytes(10), at(0)));
    assert_eq!(pace.next(at(0), false), Step::At(at(2)));
    assert_eq!(pace.next(at(2), false), Step::Flush);
}

#[test]
fn a_flush_waits_for_who_comes_but_not_beyond_the_interval() {
    let mut pace = pace();
    pace.staged(bytes(10), at(0));
    assert_eq!(pace.next(at(2), true), Step::At(at(250)));
    pace.staged(bytes(10), at(249));
    assert_eq!(pace.next(at(250), true), Step::Flush);
}

#[test]
fn enough_bytes_are_flushed_at_once() {
    let mut pace = pace();
    assert!(pace.staged(bytes(999), at(0)));
    assert!(pace.staged(bytes(1), at(0)));
    assert!(!pace.staged(bytes(1), at(0)));
    assert_eq!(pace.next(at(0), true), Step::Flush);
}

#[test]
fn early_flushes_are_bounded_by_their_budget() {
    let mut pace = pace();
    for turn in 0..3 {
        pace.staged(bytes(1), at(turn * 10));
        flush(&mut pace, turn * 10 + 2, turn * 10 + 3);
    }
    pace.staged(bytes(1), at(40));
    // One tenth of an upload was earned meanwhile; the interval is the limit.
    assert_eq!(pace.next(at(60), false), Step::At(at(290)));
    flush(&mut pace, 290, 291);
    pace.staged(bytes(1), at(600));
    flush(&mut pace, 602, 603);
}

#[test]
fn bytes_pay_for_the_early_flush_that_takes_them() {
    let mut pace = pace();
    let paid = usize::try_from(SharedSettings::default().early_upload_bytes).unwrap() / 999 + 1;
    for turn in 0..20 {
        let now = turn * 10;
        for _ in 0..paid {
            pace.staged(bytes(999), at(now));
            pace.unqueued(bytes(999));
        }
        pace.staged(bytes(1), at(now));
        flush(&mut pace, now + 2, now + 3);
    }
}

#[test]
fn what_came_during_a_flush_is_counted_from_its_beginning() {
    let mut pace = pace();
    pace.staged(bytes(5), at(0));
    assert_eq!(pace.next(at(2), false), Step::Flush);
    begin(&mut pace, bytes(5), 2);
    end(&mut pace, bytes(7), 2);
    assert_eq!(pace.next(at(100), true), Step::At(at(252)));
    assert_eq!(pace.next(at(252), true), Step::Flush);
}

#[test]
fn no_more_flushes_run_than_uploads_may() {
    let mut pace = pace();
    for _ in 0..2 {
        pace.staged(bytes(1000), at(0));
        assert_eq!(pace.next(at(0), false), Step::Flush);
        begin(&mut pace, bytes(1000), 0);
    }
    pace.staged(bytes(1000), at(0));
    assert_eq!(pace.next(at(500), false), Step::Busy);
    end(&mut pace, Backlog::default(), 0);
    assert_eq!(pace.next(at(500), false), Step::Flush);
}

#[test]
fn after_a_failure_nothing_begins_before_its_time() {
    let mut pace = pace();
    pace.staged(bytes(1000), at(0));
    begin(&mut pace, bytes(1000), 0);
    assert_eq!(pace.failed(), 1);
    pace.pause(at(80));
    pace.left(bytes(1000), at(0));
    pace.ended();
    assert_eq!(pace.next(at(10), false), Step::At(at(80)));
    assert_eq!(pace.next(at(80), false), Step::Flush);
}

#[test]
fn entries_that_nobody_can_flush_are_forgotten() {
    let mut pace = pace();
    pace.staged(bytes(1000), at(0));
    pace.unqueued(bytes(1000));
    assert_eq!(pace.next(at(1000), false), Step::Idle);
}
