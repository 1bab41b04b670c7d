//! Exactly one creates an object, and knows it.

use std::time::Duration;

use futures::future::join_all;
use streamhouse_runtime::Ambient;

use crate::objects::rig::{Rig, S3Rig, key, pattern, scale, settle};
use crate::objects::{CreateError, Fault, ObjectClass, Objects};
use crate::s3_server::{S3Fault, S3Operation};

const CLASS: ObjectClass = ObjectClass::Checkpoint;

async fn create(objects: &Objects, salt: u64) -> Result<(), CreateError> {
    objects
        .create(&key(1), CLASS, vec![pattern(100, salt)])
        .await
}

#[test]
fn only_the_first_creates() {
    let rig = Rig::new(1);
    rig.run(create(&rig.objects, 1)).expect("created");
    let second = rig.run(create(&rig.objects, 2));
    assert!(
        matches!(second, Err(CreateError::Exists { .. })),
        "{second:?}"
    );
    // The same bytes of another writer are another object.
    let same = rig.run(create(&rig.objects, 1));
    assert!(matches!(same, Err(CreateError::Exists { .. })), "{same:?}");
    let there = rig.run(rig.truth.get_range(&key(1), 0..100, CLASS));
    assert_eq!(there.expect("read"), pattern(100, 1));
}

#[test]
fn only_the_first_creates_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let objects = Objects::open_folder(folder.path(), Ambient::system()).expect("opened");
        create(&objects, 1).await.expect("created");
        for salt in [1, 2] {
            let again = create(&objects, salt).await;
            assert!(
                matches!(again, Err(CreateError::Exists { .. })),
                "{again:?}"
            );
        }
    });
}

#[test]
fn an_object_whose_answer_was_lost_is_known_as_ours() {
    let rig = Rig::new(2);
    rig.faults.script([Some(Fault::FailAfter)]);
    rig.run(create(&rig.objects, 1)).expect("created");
    assert_eq!(rig.faults.requests(), 2, "the create and a look");
    assert_eq!(rig.objects.counts(CLASS).verified, 1);
}

#[test]
fn a_create_that_did_not_happen_is_tried_again() {
    let rig = Rig::new(3);
    rig.faults.script([Some(Fault::FailBefore)]);
    rig.run(create(&rig.objects, 1)).expect("created");
    assert_eq!(rig.faults.requests(), 3, "a create, a look, a create");
}

#[test]
fn a_create_of_which_nobody_can_see_the_outcome_may_have_happened() {
    let rig = Rig::new(4);
    let down = (0..20).map(|_| Some(Fault::Refuse));
    rig.faults.script([Some(Fault::FailAfter)]);
    rig.faults.script(down);
    let created = rig.run(create(&rig.objects, 1));
    assert!(
        matches!(created, Err(CreateError::MayHaveHappened { .. })),
        "{created:?}"
    );
}

#[test]
fn a_create_that_was_refused_did_not_happen() {
    let rig = Rig::new(5);
    rig.faults.set_down(true);
    let created = rig.run(create(&rig.objects, 1));
    assert!(
        matches!(created, Err(CreateError::DidNotHappen { .. })),
        "{created:?}"
    );
}

#[test]
fn every_ambiguous_answer_of_s3_is_settled() {
    for fault in [
        S3Fault::SlowDownBefore,
        S3Fault::SlowDownAfter,
        S3Fault::ErrorBefore,
        S3Fault::ErrorAfter,
        S3Fault::SilenceBefore,
        S3Fault::SilenceAfter,
        S3Fault::Late(Duration::from_secs(3)),
        S3Fault::Twice,
    ] {
        let rig = S3Rig::new(6);
        rig.server.script(S3Operation::Put, [Some(fault)]);
        rig.world
            .run(create(&rig.objects, 1))
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(rig.truth(&key(1)), Some(pattern(100, 1)), "{fault:?}");
        let second = rig.world.run(create(&rig.objects, 2));
        assert!(
            matches!(second, Err(CreateError::Exists { .. })),
            "{second:?}"
        );
    }
}

/// What each of sixteen that race is told, and who of them is there.
fn judge(outcomes: Vec<Result<(), CreateError>>, there: Option<u64>) -> (usize, usize) {
    let (mut won, mut unsure) = (0, 0);
    for (salt, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(()) => {
                assert_eq!(there, Some(salt), "who is told it won is there");
                won += 1;
            }
            Err(CreateError::Exists { .. } | CreateError::DidNotHappen { .. }) => {
                assert_ne!(there, Some(salt), "who is told it lost is not there");
            }
            Err(CreateError::MayHaveHappened { .. }) => unsure += 1,
        }
    }
    (won, unsure)
}

#[test]
fn of_many_that_race_under_faults_at_most_one_is_told_that_it_won() {
    let (mut won, mut unsure) = (0, 0);
    for seed in 0..60 * scale() {
        let rig = S3Rig::new(seed);
        rig.server.draw(300);
        let outcomes = rig.world.run(async {
            let outcomes = join_all((0..16).map(|salt| create(&rig.objects, salt))).await;
            // What lands late has landed then.
            rig.world.ambient.clock.sleep(Duration::from_secs(10)).await;
            settle().await;
            outcomes
        });
        let body = rig.truth(&key(1));
        let there = (0..16).find(|salt| body.as_ref() == Some(&pattern(100, *salt)));
        let judged = judge(outcomes, there);
        won += judged.0;
        unsure += judged.1;
    }
    assert!(won > 0 && unsure > 0, "{won} won, {unsure} unsure");
}
