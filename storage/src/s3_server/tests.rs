//! The server's faults, as the objects see them, and its books.

use std::time::Duration;

use futures::future::join_all;

use super::{S3Fault, S3Operation, S3Server, S3Totals};
use crate::objects::rig::{S3Rig, key, listed, pattern, scale, settle};
use crate::objects::{GetError, ObjectClass, Objects, PutError, WireCounts};

const CLASS: ObjectClass = ObjectClass::Flush;
const TAIL: ObjectClass = ObjectClass::TailRead;
const LATE_MAX: Duration = Duration::from_secs(10);

async fn put(objects: &Objects, seq: u64) -> Result<(), PutError> {
    objects
        .put(&key(seq), CLASS, vec![pattern(1_000, seq)])
        .await
}

/// Three parts: two full ones and a rest.
async fn upload(objects: &Objects, seq: u64) -> Result<u64, PutError> {
    let mut writer = objects.writer(&key(seq), CLASS);
    for salt in 0..9 {
        writer.write(pattern(2 * 1024 * 1024, salt)).await?;
    }
    writer.finish().await
}

#[test]
fn a_put_without_a_clear_answer_may_have_happened() {
    for (fault, is_there) in [
        (S3Fault::SlowDownBefore, false),
        (S3Fault::SlowDownAfter, true),
        (S3Fault::ErrorBefore, false),
        (S3Fault::ErrorAfter, true),
        (S3Fault::SilenceBefore, false),
        (S3Fault::SilenceAfter, true),
        (S3Fault::Slow(Duration::from_secs(3_600)), false),
    ] {
        let rig = S3Rig::new(1);
        rig.server.script(S3Operation::Put, [Some(fault)]);
        let stored = rig.world.run(put(&rig.objects, 1));
        assert!(
            matches!(stored, Err(PutError::MayHaveHappened { .. })),
            "{fault:?}: {stored:?}"
        );
        assert_eq!(rig.truth(&key(1)).is_some(), is_there, "{fault:?}");
        assert_eq!(rig.server.count(S3Operation::Put), 1, "{fault:?}");
    }
}

#[test]
fn a_put_that_was_refused_is_repeated_and_a_slow_one_is_waited_for() {
    let rig = S3Rig::new(2);
    let faults = [S3Fault::Refuse, S3Fault::Slow(Duration::from_secs(3))];
    rig.server.script(S3Operation::Put, faults.map(Some));
    rig.world.run(put(&rig.objects, 1)).expect("stored");
    assert_eq!(rig.server.count(S3Operation::Put), 2);
}

#[test]
fn a_read_is_repeated_until_it_is_whole_or_said_to_be_short() {
    let rig = S3Rig::new(3);
    rig.world.run(put(&rig.objects, 1)).expect("stored");
    let read = || {
        let key = key(1);
        let read = rig.objects.get_range(&key, 10..500, TAIL);
        rig.world.run(read)
    };
    let faults = [
        S3Fault::ErrorBefore,
        S3Fault::SilenceAfter,
        S3Fault::SlowDownBefore,
    ];
    rig.server.script(S3Operation::Get, faults.map(Some));
    assert_eq!(
        read().expect("the fourth"),
        pattern(1_000, 1).slice(10..500)
    );
    rig.server
        .script(S3Operation::Get, [Some(S3Fault::Truncate)]);
    let short = read();
    assert!(
        matches!(
            short,
            Err(GetError::Short {
                wanted: 490,
                got: 245,
                ..
            })
        ),
        "{short:?}"
    );
    // A wrong bit is for the checksums of those who know what the bytes mean.
    rig.server
        .script(S3Operation::Get, [Some(S3Fault::WrongBytes)]);
    let wrong = read().expect("as long as asked for");
    let right = pattern(1_000, 1).slice(10..500);
    let bits = wrong.iter().zip(&right).map(|(a, b)| (a ^ b).count_ones());
    assert_eq!(bits.sum::<u32>(), 1);
}

#[test]
fn a_range_behind_the_end_is_asked_for_once() {
    let rig = S3Rig::new(4);
    rig.world.run(put(&rig.objects, 1)).expect("stored");
    let key = key(1);
    let read = rig.objects.get_range(&key, 2_000..2_001, TAIL);
    let short = rig.world.run(read);
    assert!(
        matches!(short, Err(GetError::Short { got: 0, .. })),
        "{short:?}"
    );
    assert_eq!(rig.server.count(S3Operation::Get), 1);
}

#[test]
fn an_upload_that_fails_is_given_up_and_leaves_no_parts() {
    for operation in [S3Operation::Part, S3Operation::Begin] {
        let rig = S3Rig::new(5);
        let faults = (0..4).map(|_| Some(S3Fault::ErrorAfter));
        rig.server.script(operation, faults);
        let stored = rig.world.run(async {
            let stored = upload(&rig.objects, 1).await;
            settle().await;
            stored
        });
        assert!(
            matches!(stored, Err(PutError::DidNotHappen { .. })),
            "{stored:?}"
        );
        assert_eq!(rig.truth(&key(1)), None);
        // A beginning whose answer was lost cannot be aborted: nobody knows its number.
        let lost = if operation == S3Operation::Begin {
            4
        } else {
            0
        };
        assert_eq!(rig.server.open_uploads(), lost, "{operation:?}");
    }
}

#[test]
fn the_last_step_of_an_upload_may_have_happened() {
    for (fault, is_there) in [
        (S3Fault::ErrorBefore, false),
        (S3Fault::SilenceAfter, true),
        (S3Fault::Twice, true),
    ] {
        let rig = S3Rig::new(6);
        rig.server.script(S3Operation::Complete, [Some(fault)]);
        let stored = rig.world.run(upload(&rig.objects, 1));
        assert!(
            matches!(stored, Err(PutError::MayHaveHappened { .. })),
            "{stored:?}"
        );
        assert_eq!(rig.truth(&key(1)).is_some(), is_there);
    }
}

#[test]
fn an_outage_ends_and_nothing_that_was_stored_is_lost() {
    let rig = S3Rig::new(7);
    rig.world.run(put(&rig.objects, 1)).expect("stored");
    rig.server.set_down(true);
    for seq in 2..40 {
        let stored = rig.world.run(put(&rig.objects, seq));
        assert!(
            matches!(stored, Err(PutError::DidNotHappen { .. })),
            "{stored:?}"
        );
    }
    rig.server.set_down(false);
    rig.world.pass(Duration::from_secs(30));
    for seq in 2..40 {
        rig.world.run(put(&rig.objects, seq)).expect("stored");
    }
    assert_eq!(rig.world.run(listed(&rig.objects)).len(), 39);
    assert!((1..40).all(|seq| rig.truth(&key(seq)) == Some(pattern(1_000, seq))));
}

#[test]
fn what_an_outcome_says_is_true_under_drawn_faults() {
    let (mut sure, mut unsure) = (0, 0);
    for seed in 0..60 * scale() {
        let rig = S3Rig::new(seed);
        rig.server.draw(300);
        let outcomes = rig.world.run(async {
            let outcomes = join_all((0..10).map(|seq| put(&rig.objects, seq))).await;
            // What lands late has landed then.
            rig.world.ambient.clock.sleep(LATE_MAX).await;
            settle().await;
            outcomes
        });
        for (seq, outcome) in (0..).zip(outcomes) {
            let there = rig.truth(&key(seq));
            match outcome {
                Ok(()) => assert_eq!(there, Some(pattern(1_000, seq))),
                Err(PutError::DidNotHappen { .. }) => {
                    assert_eq!(there, None);
                    sure += 1;
                }
                Err(PutError::MayHaveHappened { .. }) => unsure += 1,
            }
        }
    }
    assert!(
        unsure > 0,
        "the faults were drawn: {sure} sure, {unsure} unsure"
    );
}

/// Uploads, reads, deletions and a listing, each for a class of its own, whatever becomes of them.
async fn work(objects: &Objects, rounds: u64) {
    for seq in 0..rounds {
        drop(put(objects, seq).await);
        drop(objects.get_range(&key(seq), 0..10, TAIL).await);
        drop(objects.size(&key(seq), ObjectClass::CatchUpRead).await);
        drop(objects.delete(&key(seq)).await);
    }
    drop(upload(objects, rounds).await);
    settle().await;
}

/// What the objects and the server count of the same: requests and bytes, by operation.
fn books(objects: &Objects, server: &S3Server) -> Vec<(&'static str, u64, u64)> {
    use S3Operation::{Abort, Begin, Complete, Delete, Get, Head, List, Part, Put};
    let wire = |of: fn(&WireCounts) -> u64| -> u64 {
        let counts = ObjectClass::ALL.map(|class| objects.wire_counts(class));
        counts.iter().flatten().map(of).sum()
    };
    let log = |operations: &[S3Operation], of: fn(&S3Totals) -> u64| -> u64 {
        let totals = operations.iter().map(|operation| server.totals(*operation));
        totals.map(|totals| of(&totals)).sum()
    };
    let requests = |totals: &S3Totals| totals.requests;
    vec![
        ("puts", wire(|w| w.puts), log(&[Put, Part], requests)),
        ("gets", wire(|w| w.gets), log(&[Get], requests)),
        ("heads", wire(|w| w.heads), log(&[Head], requests)),
        (
            "deletes",
            wire(|w| w.deletes),
            log(&[Delete, Abort], requests),
        ),
        ("lists", wire(|w| w.lists), log(&[List], requests)),
        (
            "posts",
            wire(|w| w.posts),
            log(&[Begin, Complete], requests),
        ),
        (
            "sent",
            wire(|w| w.bytes_sent),
            log(&[Put, Part], |t| t.bytes_in),
        ),
    ]
}

#[test]
fn the_wire_counts_what_the_access_log_counts() {
    let rig = S3Rig::new(8);
    rig.server.draw(200);
    rig.world.run(async {
        work(&rig.objects, 30).await;
        rig.server.draw(0);
        listed(&rig.objects).await;
    });
    for (what, wire, log) in books(&rig.objects, &rig.server) {
        assert_eq!(wire, log, "{what}");
        assert!(wire > 0, "{what}");
    }
    // Each class has its own.
    let counts = |class| rig.objects.wire_counts(class).expect("there is a wire");
    assert!(counts(CLASS).puts > 30 && counts(CLASS).gets == 0);
    assert!(counts(TAIL).gets >= 30 && counts(TAIL).puts == 0);
    assert!(counts(ObjectClass::CatchUpRead).heads >= 30);
    assert!(counts(ObjectClass::Garbage).deletes >= 30);
    assert!(counts(ObjectClass::Garbage).lists >= 256);
    assert_eq!(counts(ObjectClass::Reorganisation), WireCounts::default());
}

#[test]
fn the_bytes_that_were_read_are_those_that_the_server_sent() {
    let rig = S3Rig::new(9);
    rig.server.script(
        S3Operation::Get,
        [
            Some(S3Fault::ErrorBefore),
            None,
            Some(S3Fault::WrongBytes),
            Some(S3Fault::SlowDownBefore),
        ],
    );
    rig.world.run(async {
        put(&rig.objects, 1).await.expect("stored");
        for _ in 0..10 {
            let read = rig.objects.get_range(&key(1), 0..700, TAIL).await;
            read.expect("read");
        }
    });
    let wire = rig.objects.wire_counts(TAIL).expect("there is a wire");
    assert_eq!((wire.gets, wire.bytes_received), (12, 7_000));
    let errors = [S3Fault::ErrorBefore, S3Fault::SlowDownBefore];
    let log = rig.server.log();
    let sent = log.iter().filter(|access| {
        access.operation == S3Operation::Get
            && access.fault.is_none_or(|fault| !errors.contains(&fault))
    });
    assert_eq!(sent.map(|access| access.bytes_out).sum::<u64>(), 7_000);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let rig = S3Rig::new(seed);
        rig.server.draw(300);
        let puts = join_all((0..20).map(|seq| put(&rig.objects, seq)));
        let outcomes = rig.world.run(puts);
        let outcomes: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        (
            outcomes,
            rig.server.log(),
            rig.world.ambient.clock.monotonic(),
        )
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

mod tcp;
