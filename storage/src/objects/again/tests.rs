//! What is read twice, what is not, and what is counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use streamhouse_runtime::{Clock, ManualClock};

use super::{Condemned, NAMED_AGAIN, NAMED_MAX};
use crate::objects::rig::{Rig, key, pattern};
use crate::objects::{Fault, GetError, ObjectClass};

const CLASS: ObjectClass = ObjectClass::Checkpoint;

/// Reads an object of 100 bytes while the store fails as `script` says. Says also how often it was asked for.
fn read_with(script: &[Fault]) -> (Result<Bytes, GetError>, usize, Rig) {
    let rig = Rig::new(3);
    let asked = AtomicUsize::new(0);
    let read = rig.run(async {
        let body = vec![pattern(100, 1)];
        rig.truth.put(&key(1), CLASS, body).await.expect("stored");
        rig.faults.script(script.iter().copied().map(Some));
        let (objects, key) = (&rig.objects, key(1));
        let read = || {
            asked.fetch_add(1, Ordering::Relaxed);
            objects.get_range(&key, 0..100, CLASS)
        };
        objects.read_twice(&key, CLASS, read).await
    });
    (read, asked.into_inner(), rig)
}

#[test]
fn what_seems_to_be_gone_or_short_once_is_served() {
    for fault in [Fault::NotFound, Fault::Truncate] {
        let (read, asked, rig) = read_with(&[fault]);
        assert_eq!(read.expect("the second answer"), pattern(100, 1));
        assert_eq!(asked, 2);
        let counts = rig.objects.counts(CLASS);
        assert_eq!((counts.doubted, counts.condemned), (1, 0), "{fault:?}");
    }
}

#[test]
fn what_is_gone_or_short_twice_is_an_error_and_not_asked_for_a_third_time() {
    for fault in [Fault::NotFound, Fault::Truncate] {
        let (read, asked, rig) = read_with(&[fault, fault]);
        assert!(read.is_err(), "{fault:?}");
        assert_eq!(asked, 2);
        let counts = rig.objects.counts(CLASS);
        assert_eq!((counts.doubted, counts.condemned), (1, 1), "{fault:?}");
    }
}

#[test]
fn a_store_that_is_out_of_reach_does_not_blame_the_object() {
    let (read, asked, rig) = read_with(&[Fault::FailBefore; 40]);
    assert!(matches!(read, Err(GetError::Unavailable { .. })));
    assert_eq!((asked, rig.objects.counts(CLASS).doubted), (1, 0));
}

#[test]
fn an_object_that_stays_wrong_is_named_now_and_then() {
    let clock = ManualClock::default();
    let condemned = Condemned::default();
    let is_named = || !condemned.was_named(&key(1), clock.monotonic());
    assert!(is_named());
    condemned.note(&key(1), clock.monotonic());
    assert!(!is_named());
    clock.advance(NAMED_AGAIN);
    assert!(is_named());
    for number in 0..3 * NAMED_MAX as u64 {
        condemned.note(&key(number), clock.monotonic());
        assert!(condemned.named.lock().len() <= NAMED_MAX);
    }
}
