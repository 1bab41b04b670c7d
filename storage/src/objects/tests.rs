//! The object store under the laws and under faults: what an error says about the outcome is true.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::memory::InMemory;
use streamhouse_runtime::Ambient;

use super::conformance::conformance;
use super::rig::{Rig, key, listed, pattern, scale, settle};
use super::{Fault, GetError, ObjectClass, Objects, PutError};

const CLASS: ObjectClass = ObjectClass::Flush;

mod memory {
    use super::*;

    fn open() -> (Objects, ()) {
        (
            Objects::new(Arc::new(InMemory::new()), Ambient::system()),
            (),
        )
    }
    conformance!(open);
}

mod s3 {
    use super::*;
    use crate::s3_server::S3Server;

    fn open() -> (Objects, S3Server) {
        let server = S3Server::new("events", "key-id", Ambient::system());
        let objects = Objects::on_s3_server(&server, Ambient::system()).expect("opened");
        // Small pages, so that listings have several.
        server.set_page_keys(3);
        (objects, server)
    }
    conformance!(open);
}

mod s3_over_tcp {
    use super::*;
    use crate::objects::rig::over_tcp;
    use crate::s3_server::S3Server;

    fn open() -> (Objects, S3Server) {
        let ambient = Ambient::system();
        let server = S3Server::new("events", "key-id", ambient.clone());
        let listening = tokio::task::block_in_place(|| {
            let here = ([127, 0, 0, 1], 0).into();
            tokio::runtime::Handle::current().block_on(server.listen(here))
        });
        let listening = listening.expect("a free port");
        (over_tcp(listening.endpoint(), ambient), server)
    }
    conformance!(open);
}

mod folder {
    use std::fs;

    use super::*;
    use crate::objects::OpenFolderError;

    fn open() -> (Objects, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = Objects::open_folder(folder.path(), Ambient::system()).expect("opened");
        (objects, folder)
    }
    conformance!(open);

    #[tokio::test]
    async fn objects_are_there_after_a_restart_and_unfinished_uploads_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/inside");
        let objects = Objects::open_folder(&path, Ambient::system()).expect("opened");
        objects
            .put(&key(1), CLASS, vec![pattern(10, 1)])
            .await
            .expect("stored");
        let staged = [format!("{}#1", key(1)), format!("{}#27", key(2))];
        for name in &staged {
            let staged = path.join(name);
            fs::create_dir_all(staged.parent().expect("a parent")).expect("created");
            fs::write(staged, b"half").expect("written");
        }
        let others = [
            "lost+found",
            "README",
            &format!("{:.2}/note", key(1).to_string()),
        ];
        for other in others {
            fs::write(path.join(other), b"not ours").expect("written");
        }
        drop(objects);

        let objects = Objects::open_folder(&path, Ambient::system()).expect("opened again");
        assert_eq!(
            objects
                .get_range(&key(1), 0..10, CLASS)
                .await
                .expect("read"),
            pattern(10, 1)
        );
        assert_eq!(listed(&objects).await.len(), 1);
        for name in &staged {
            assert!(!path.join(name).exists(), "{name}");
        }
        for other in others {
            assert!(path.join(other).exists(), "{other}");
        }
    }

    #[tokio::test]
    async fn folders_that_became_empty_go_at_the_next_start() {
        let (objects, folder) = open();
        objects
            .put(&key(1), CLASS, vec![pattern(10, 1)])
            .await
            .expect("stored");
        objects.delete(&key(1)).await.expect("deleted");
        let path = folder.path().join(key(1).to_string());
        let parent = path.parent().expect("a parent");
        assert!(parent.exists());
        let again = Objects::open_folder(folder.path(), Ambient::system()).expect("opened again");
        assert!(!parent.exists());
        again
            .put(&key(1), CLASS, vec![pattern(10, 1)])
            .await
            .expect("stored again");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_upload_that_fails_leaves_no_file() {
        let (objects, folder) = open();
        let path = folder.path().join(key(1).to_string());
        // A folder where the object should lie: the last step, the rename, fails.
        fs::create_dir_all(path.join("in the way")).expect("created");
        let mut writer = objects.writer(&key(1), CLASS);
        writer
            .write(pattern(3 * 1024 * 1024, 1))
            .await
            .expect("written");
        let finished = writer.finish().await;
        assert!(
            matches!(finished, Err(PutError::MayHaveHappened { .. })),
            "{finished:?}"
        );
        let left: Vec<_> = fs::read_dir(path.parent().expect("a parent"))
            .expect("read")
            .collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, b"").expect("written");
        let opened = Objects::open_folder(&path, Ambient::system());
        assert!(
            matches!(opened, Err(OpenFolderError::Folder { .. })),
            "{opened:?}"
        );
    }
}

async fn put(objects: &Objects, seq: u64) -> Result<(), PutError> {
    objects
        .put(&key(seq), CLASS, vec![pattern(1_000, seq)])
        .await
}

#[test]
fn a_put_that_was_refused_is_repeated() {
    let rig = Rig::new(1);
    rig.faults
        .script([Some(Fault::Refuse), Some(Fault::Refuse)]);
    rig.run(put(&rig.objects, 1))
        .expect("stored at the third try");
    assert_eq!(rig.faults.requests(), 3);
    assert_eq!(rig.objects.counts(CLASS).repeated, 2);
    assert_eq!(rig.objects.counts(CLASS).bytes, 1_000);
}

#[test]
fn a_put_that_is_refused_for_long_did_not_happen() {
    let rig = Rig::new(2);
    rig.faults.set_down(true);
    let stored = rig.run(put(&rig.objects, 1));
    assert!(
        matches!(stored, Err(PutError::DidNotHappen { .. })),
        "{stored:?}"
    );
    assert_eq!(rig.faults.requests(), u64::from(CLASS.attempts_max()));
    rig.faults.set_down(false);
    rig.run(put(&rig.objects, 1)).expect("stored");
}

#[test]
fn a_put_of_unknown_outcome_is_not_repeated_and_may_have_happened() {
    for fault in [
        Fault::FailBefore,
        Fault::FailAfter,
        Fault::Delay(Duration::from_secs(3_600)),
    ] {
        let rig = Rig::new(3);
        rig.faults.script([Some(fault)]);
        let stored = rig.run(put(&rig.objects, 1));
        assert!(
            matches!(stored, Err(PutError::MayHaveHappened { .. })),
            "{stored:?}"
        );
        assert_eq!(rig.faults.requests(), 1);
        let is_there = !rig.run(listed(&rig.truth)).is_empty();
        assert_eq!(is_there, fault == Fault::FailAfter);
    }
}

#[test]
fn a_slow_answer_is_waited_for() {
    let rig = Rig::new(4);
    rig.faults
        .script([Some(Fault::Delay(Duration::from_millis(1_500)))]);
    rig.run(put(&rig.objects, 1)).expect("stored");
}

#[test]
fn a_read_is_repeated_whatever_went_wrong() {
    let rig = Rig::new(5);
    rig.run(put(&rig.objects, 1)).expect("stored");
    let hang = Fault::Delay(Duration::from_secs(3_600));
    rig.faults
        .script([Some(Fault::FailAfter), Some(hang), Some(Fault::Refuse)]);
    let read = rig.run(
        rig.objects
            .get_range(&key(1), 10..20, ObjectClass::TailRead),
    );
    assert_eq!(
        read.expect("read at the fourth try"),
        pattern(1_000, 1).slice(10..20)
    );
}

#[test]
fn a_read_from_a_store_that_is_down_says_unavailable() {
    let rig = Rig::new(6);
    rig.run(put(&rig.objects, 1)).expect("stored");
    rig.faults.set_down(true);
    let read = rig.run(
        rig.objects
            .get_range(&key(1), 10..20, ObjectClass::TailRead),
    );
    assert!(
        matches!(read, Err(GetError::Unavailable { .. })),
        "{read:?}"
    );
    assert_eq!(
        rig.objects.counts(ObjectClass::TailRead).failed,
        2,
        "the read and the look at its size"
    );
}

#[test]
fn a_read_that_is_cut_off_is_never_passed_on() {
    let rig = Rig::new(7);
    rig.run(put(&rig.objects, 1)).expect("stored");
    rig.faults.script([Some(Fault::Truncate)]);
    let read = rig.run(
        rig.objects
            .get_range(&key(1), 10..20, ObjectClass::TailRead),
    );
    assert!(
        matches!(
            read,
            Err(GetError::Short {
                wanted: 10,
                got: 5,
                ..
            })
        ),
        "{read:?}"
    );
}

#[test]
fn a_deletion_whose_answer_was_lost_succeeds_when_repeated() {
    let rig = Rig::new(8);
    rig.run(put(&rig.objects, 1)).expect("stored");
    rig.faults
        .script([Some(Fault::FailAfter), Some(Fault::NotFound)]);
    rig.run(rig.objects.delete(&key(1))).expect("deleted");
    assert_eq!(rig.run(listed(&rig.truth)), []);
}

async fn stream(objects: &Objects, seq: u64) -> Result<u64, PutError> {
    let mut writer = objects.writer(&key(seq), CLASS);
    for salt in 0..9 {
        writer.write(pattern(2 * 1024 * 1024, salt)).await?;
    }
    writer.finish().await
}

#[test]
fn an_upload_fails_definitely_until_its_last_step() {
    // Begin, two full parts, the rest: each fails in turn.
    for passes in 0..4 {
        let rig = Rig::new(9);
        // Beginning is repeated: nothing depends on how often it happened.
        let times = if passes == 0 { 4 } else { 1 };
        rig.faults.script((0..passes).map(|_| None));
        rig.faults
            .script((0..times).map(|_| Some(Fault::FailAfter)));
        let stored = rig.run(stream(&rig.objects, 1));
        assert!(
            matches!(stored, Err(PutError::DidNotHappen { .. })),
            "{passes}: {stored:?}"
        );
        rig.run(settle());
        assert_eq!(rig.run(listed(&rig.truth)), []);
    }
}

#[test]
fn the_last_step_of_an_upload_may_have_happened() {
    for (fault, is_there) in [(Fault::FailAfter, true), (Fault::FailBefore, false)] {
        let rig = Rig::new(10);
        rig.faults.script([None, None, None, None, Some(fault)]);
        let stored = rig.run(stream(&rig.objects, 1));
        assert!(
            matches!(stored, Err(PutError::MayHaveHappened { .. })),
            "{stored:?}"
        );
        assert_eq!(!rig.run(listed(&rig.truth)).is_empty(), is_there);
    }
}

#[test]
fn a_writer_holds_one_part_at_most() {
    let rig = Rig::new(11);
    let part = rig.objects.inner.part_bytes;
    rig.run(async {
        let mut writer = rig.objects.writer(&key(1), CLASS);
        for salt in 0..40 {
            writer
                .write(pattern(1024 * 1024 + 5, salt))
                .await
                .expect("written");
            assert!(writer.buffered() < part);
        }
        // Five full parts of 8 MiB have gone up, and the beginning.
        assert_eq!(rig.faults.requests(), 6);
    });
}

#[test]
fn what_an_outcome_says_is_true_under_drawn_faults() {
    let (mut sure, mut unsure) = (0, 0);
    for seed in 0..60 * scale() {
        let rig = Rig::new(seed);
        rig.faults.draw(300);
        let outcomes = rig.run(join_all((0..10).map(|seq| put(&rig.objects, seq))));
        rig.faults.draw(0);
        for (seq, outcome) in (0..).zip(outcomes) {
            let there = rig.run(rig.truth.get_range(&key(seq), 0..1_000, CLASS));
            match outcome {
                Ok(()) => assert_eq!(
                    there.expect("a stored object is there"),
                    pattern(1_000, seq)
                ),
                Err(PutError::DidNotHappen { .. }) => {
                    assert!(matches!(there, Err(GetError::NotFound { .. })), "{there:?}");
                    sure += 1;
                }
                Err(PutError::MayHaveHappened { .. }) => unsure += 1,
            }
        }
    }
    assert!(
        unsure > 0 && sure + unsure < 600 * scale(),
        "the faults were drawn"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let rig = Rig::new(seed);
        rig.faults.draw(300);
        let outcomes = rig.run(join_all((0..20).map(|seq| put(&rig.objects, seq))));
        let spelled: Vec<String> = outcomes
            .iter()
            .map(|outcome| format!("{outcome:?}"))
            .collect();
        (spelled, rig.faults.requests())
    };
    assert_eq!(run(12), run(12));
    assert_ne!(run(12), run(13));
}
