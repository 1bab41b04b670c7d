//! The guard as a whole: what a store in trouble is asked, and who goes first.

use std::time::Duration;

use futures::future::{join, join_all};

use crate::objects::class::AtOnce;
use crate::objects::rig::{Rig, key, pattern};
use crate::objects::{Fault, GetError, ObjectClass};

const TAIL: ObjectClass = ObjectClass::TailRead;

fn rig() -> Rig {
    let rig = Rig::new(1);
    let body = vec![pattern(100, 1)];
    rig.run(rig.truth.put(&key(1), ObjectClass::Flush, body))
        .expect("stored");
    rig
}

async fn read(rig: &Rig, class: ObjectClass) -> Result<(), GetError> {
    let read = rig.objects.get_range(&key(1), 0..100, class).await;
    read.map(|bytes| assert_eq!(bytes, pattern(100, 1)))
}

#[test]
fn a_store_that_asks_for_fewer_requests_gets_fewer() {
    let rig = rig();
    rig.faults.script([Some(Fault::SlowDown)]);
    let before = rig.ambient.clock.monotonic();
    for _ in 0..9 {
        rig.run(read(&rig, TAIL)).expect("read");
    }
    let took = rig.ambient.clock.monotonic() - before;
    let counts = rig.objects.counts(TAIL);
    assert_eq!(
        (counts.throttled, counts.repeated, counts.requests),
        (1, 1, 10)
    );
    // Nine after the complaint, at two a second.
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert!(took <= Duration::from_secs(6), "{took:?}");
}

#[test]
fn when_there_is_not_room_for_all_the_less_urgent_are_sent_away() {
    let rig = rig();
    rig.faults.script([Some(Fault::SlowDown)]);
    rig.run(read(&rig, TAIL)).expect("read at the second try");
    let (urgent, other) = rig.run(async {
        let urgent = join_all((0..3).map(|_| read(&rig, TAIL)));
        join(urgent, read(&rig, ObjectClass::Reorganisation)).await
    });
    assert!(urgent.iter().all(Result::is_ok), "{urgent:?}");
    assert!(
        matches!(other, Err(GetError::Unavailable { .. })),
        "{other:?}"
    );
    assert_eq!(rig.objects.counts(TAIL).shed, 0);
    let counts = rig.objects.counts(ObjectClass::Reorganisation);
    assert_eq!((counts.shed, counts.requests), (1, 0));
}

#[test]
fn a_store_that_does_not_answer_is_left_alone_until_a_probe_succeeds() {
    let rig = rig();
    rig.faults.set_down(true);
    for _ in 0..50 {
        rig.run(read(&rig, TAIL)).expect_err("down");
    }
    let counts = rig.objects.counts(TAIL);
    assert!(counts.opened >= 1 && counts.cut_short > 0, "{counts:?}");
    assert!(
        counts.requests < 40,
        "fifty reads of five requests: {counts:?}"
    );
    // Others are not harmed by it: their own requests decide.
    assert_eq!(rig.objects.counts(ObjectClass::Flush).cut_short, 0);
    rig.faults.set_down(false);
    rig.world.pass(Duration::from_secs(31));
    rig.run(read(&rig, TAIL)).expect("the probe");
    let before = rig.objects.counts(TAIL).cut_short;
    for _ in 0..10 {
        rig.run(read(&rig, TAIL)).expect("read");
    }
    assert_eq!(rig.objects.counts(TAIL).cut_short, before);
}

#[test]
fn a_store_that_complains_is_not_taken_for_one_that_is_gone() {
    let rig = rig();
    rig.faults.script((0..200).map(|_| Some(Fault::SlowDown)));
    for _ in 0..40 {
        rig.run(read(&rig, TAIL)).expect_err("slow down");
    }
    let counts = rig.objects.counts(TAIL);
    assert_eq!((counts.opened, counts.cut_short), (0, 0));
}

#[test]
fn repetitions_end_when_they_are_not_affordable_any_more() {
    let rig = rig();
    rig.faults.script((0..1_000).map(|_| Some(Fault::SlowDown)));
    for _ in 0..60 {
        rig.run(read(&rig, TAIL)).expect_err("slow down");
    }
    let counts = rig.objects.counts(TAIL);
    assert_eq!(counts.repeated, 100);
    assert!(counts.unaffordable > 0);
}

#[test]
fn who_comes_when_the_queue_is_full_is_sent_away() {
    let rig = rig();
    let room = TAIL.requests_at_once(AtOnce::default()) + TAIL.waiting_max();
    let slow = Fault::Delay(Duration::from_millis(300));
    rig.faults.script((0..room).map(|_| Some(slow)));
    let reads = rig.run(join_all((0..room + 44).map(|_| read(&rig, TAIL))));
    assert_eq!(reads.iter().filter(|read| read.is_ok()).count(), room);
    assert_eq!(rig.objects.counts(TAIL).shed, 44);
}

#[test]
fn who_does_not_wait_for_its_answer_blocks_nobody() {
    let rig = rig();
    rig.faults.set_down(true);
    for _ in 0..20 {
        rig.run(read(&rig, TAIL)).expect_err("down");
    }
    rig.faults.set_down(false);
    rig.world.pass(Duration::from_secs(31));
    rig.faults
        .script([Some(Fault::Delay(Duration::from_secs(1)))]);
    // The probe is dropped on its way.
    rig.run(async {
        let clock = &rig.ambient.clock;
        tokio::select! {
            read = read(&rig, TAIL) => panic!("the answer takes longer: {read:?}"),
            () = clock.sleep(Duration::from_millis(500)) => {}
        }
    });
    rig.run(read(&rig, TAIL)).expect("the next probe");
}

#[test]
fn nobody_waits_for_others_of_its_class_without_end() {
    let rig = rig();
    let at_once = TAIL.requests_at_once(AtOnce::default());
    let slow = Fault::Delay(Duration::from_secs(1));
    rig.faults.script((0..at_once * 20).map(|_| Some(slow)));
    let before = rig.ambient.clock.monotonic();
    let reads = rig.run(join_all((0..at_once * 20).map(|_| read(&rig, TAIL))));
    let took = rig.ambient.clock.monotonic() - before;
    let served = reads.iter().filter(|read| read.is_ok()).count();
    // A second each, and fifteen seconds of waiting.
    assert!((at_once * 14..=at_once * 17).contains(&served), "{served}");
    assert_eq!(
        rig.objects.counts(TAIL).shed,
        (at_once * 20 - served) as u64
    );
    assert!(took < Duration::from_secs(18), "{took:?}");
}
