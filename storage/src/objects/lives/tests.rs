//! The marks of lives.

use streamhouse_runtime::Ambient;

use super::parse;
use crate::objects::rig::{Rig, S3Rig, listed};
use crate::objects::{Fault, Objects};
use crate::s3_server::{S3Fault, S3Operation};

const LIVES: [u128; 3] = [1, 0xc0ffee, u128::MAX];

#[test]
fn marks_are_told_until_they_are_taken_away_and_are_no_objects_of_the_log() {
    let rig = S3Rig::new(1);
    let numbers = || -> Vec<u128> {
        let marked = rig.world.run(rig.objects.marked_lives()).expect("listed");
        marked.iter().map(|life| life.incarnation).collect()
    };
    assert_eq!(numbers(), []);
    for life in LIVES.into_iter().rev().chain(LIVES) {
        rig.world.run(rig.objects.mark_life(life)).expect("marked");
    }
    assert_eq!(numbers(), LIVES);
    assert_eq!(rig.world.run(listed(&rig.objects)), []);
    for _ in 0..2 {
        let away = rig.world.run(rig.objects.unmark_life(LIVES[1]));
        away.expect("taken away");
    }
    assert_eq!(numbers(), [LIVES[0], LIVES[2]]);
}

#[test]
fn a_mark_whose_answer_was_lost_is_left() {
    let rig = S3Rig::new(3);
    rig.server
        .script(S3Operation::Put, [Some(S3Fault::SilenceAfter)]);
    rig.world.run(rig.objects.mark_life(7)).expect("left");
    assert_eq!(rig.server.keys().len(), 1);
}

#[tokio::test]
async fn a_folder_keeps_marks_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Objects::open_folder(folder.path(), Ambient::system()).expect("opened");
    open().mark_life(0xc0ffee).await.expect("marked");
    let marked = open().marked_lives().await.expect("listed");
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].incarnation, 0xc0ffee);
    assert!(marked[0].modified_ms > 0);
}

#[test]
fn a_store_that_does_not_answer_is_not_one_without_lives() {
    let rig = Rig::new(5);
    rig.run(rig.objects.mark_life(1)).expect("marked");
    rig.faults
        .script(std::iter::repeat_n(Some(Fault::FailBefore), 100));
    assert!(rig.run(rig.objects.marked_lives()).is_err());
}

#[test]
fn only_the_one_spelling_of_a_mark_is_one() {
    let whole = "lives/000000000000000000000000000000ff";
    assert_eq!(parse(whole), Some(0xff));
    for other in [
        "lives/ff",
        "lives/000000000000000000000000000000FF",
        "lives/000000000000000000000000000000ff/more",
        "livesX000000000000000000000000000000ff",
        "lives",
        "lives/",
    ] {
        assert_eq!(parse(other), None, "{other}");
    }
}
