//! Who may commit offsets, and when they expire.

use streamhouse_protocol::ids::LeaderEpoch;

use super::*;
use crate::group::{AnyGroup, CommitError, CommitOffsets, CommittedOffset};

fn commit(bench: &mut Bench, member: &str, generation: i32) -> Result<(), CommitError> {
    let request = CommitOffsets {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        generation,
        knows_member_epochs: false,
        retention_ms: None,
        offsets: Vec::new(),
    };
    bench.group.check_commit(
        &request,
        Context {
            now: bench.now,
            settings: &bench.settings,
        },
    )
}

#[test]
fn a_simple_consumer_commits_while_nobody_is_in_the_group() {
    let mut bench = Bench::new();
    assert_eq!(commit(&mut bench, "", -1), Ok(()));
    assert_eq!(commit(&mut bench, "anyone", -1), Ok(()));
    let mut bench = Bench::stable(&["a"]);
    bench.leave(&["a"]);
    assert_eq!(commit(&mut bench, "", -1), Ok(()));
}

#[test]
fn a_generation_in_an_empty_group_belongs_to_nobody() {
    let mut bench = Bench::new();
    assert_eq!(
        commit(&mut bench, "a", 0),
        Err(CommitError::UnknownMemberId)
    );
}

#[test]
fn a_commit_without_member_is_refused_while_there_are_members() {
    let mut bench = Bench::stable(&["a"]);
    assert_eq!(
        commit(&mut bench, "", -1),
        Err(CommitError::UnknownMemberId)
    );
}

#[test]
fn a_member_commits_in_its_generation_only() {
    let mut bench = Bench::stable(&["a"]);
    let generation = bench.group.generation();
    assert_eq!(commit(&mut bench, "a", generation), Ok(()));
    assert_eq!(
        commit(&mut bench, "ghost", generation),
        Err(CommitError::UnknownMemberId)
    );
    for other in [-1, generation - 1, generation + 1] {
        assert_eq!(
            commit(&mut bench, "a", other),
            Err(CommitError::IllegalGeneration)
        );
    }
}

#[test]
fn a_commit_before_the_sync_is_sent_back() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    let generation = bench.group.generation();
    assert_eq!(
        commit(&mut bench, "a", generation),
        Err(CommitError::RebalanceInProgress)
    );
}

#[test]
fn members_save_their_progress_during_a_rebalance() {
    let mut bench = Bench::stable(&["a", "b"]);
    let generation = bench.group.generation();
    bench.join(asks("a"));
    assert_eq!(commit(&mut bench, "b", generation), Ok(()));
}

#[test]
fn a_commit_keeps_the_session_alive() {
    let mut bench = Bench::stable(&["a"]);
    let generation = bench.group.generation();
    bench.pass(Duration::from_secs(9));
    assert_eq!(commit(&mut bench, "a", generation), Ok(()));
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.heartbeat("a"), Ok(()));
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn committed_at(wall: Timestamp) -> CommittedOffset {
    CommittedOffset {
        offset: 5,
        leader_epoch: LeaderEpoch::NONE,
        metadata: shared(""),
        committed_at: wall,
        expires_at: None,
    }
}

fn is_expired(bench: &Bench, offset: &CommittedOffset, wall: Timestamp) -> bool {
    let group = AnyGroup::Classic(Box::new(bench.group.clone()));
    group.is_expired(offset, WEEK, wall)
}

fn later(wall: Timestamp, by: Duration) -> Timestamp {
    Timestamp(wall.0 + i64::try_from(by.as_millis()).unwrap())
}

#[test]
fn offsets_of_a_simple_consumer_expire_a_week_after_the_commit() {
    let bench = Bench::new();
    let offset = committed_at(bench.now.wall);
    let end = later(bench.now.wall, WEEK);
    assert!(!is_expired(&bench, &offset, Timestamp(end.0 - 1)));
    assert!(is_expired(&bench, &offset, end));
}

#[test]
fn offsets_of_a_group_with_members_never_expire() {
    let bench = Bench::stable(&["a"]);
    let offset = committed_at(bench.now.wall);
    assert!(!is_expired(
        &bench,
        &offset,
        later(bench.now.wall, WEEK * 10)
    ));
}

#[test]
fn offsets_of_a_group_expire_a_week_after_it_became_empty() {
    let mut bench = Bench::stable(&["a"]);
    let offset = committed_at(bench.now.wall);
    for _ in 0..100 {
        bench.pass(Duration::from_secs(9));
        assert_eq!(bench.heartbeat("a"), Ok(()));
    }
    bench.leave(&["a"]);
    let end = later(bench.now.wall, WEEK);
    assert!(!is_expired(&bench, &offset, Timestamp(end.0 - 1)));
    assert!(is_expired(&bench, &offset, end));
}

#[test]
fn a_member_that_is_about_to_join_keeps_the_offsets() {
    let mut bench = Bench::new();
    let offset = committed_at(bench.now.wall);
    bench.join_as(
        "a",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    assert!(!is_expired(&bench, &offset, later(bench.now.wall, WEEK)));
}

#[test]
fn an_offset_with_a_lifetime_of_its_own_goes_when_that_is_over() {
    let bench = Bench::new();
    let expires_at = Some(later(bench.now.wall, Duration::from_secs(1)));
    let offset = CommittedOffset {
        expires_at,
        ..committed_at(bench.now.wall)
    };
    assert!(!is_expired(&bench, &offset, bench.now.wall));
    let end = later(bench.now.wall, Duration::from_secs(1));
    assert!(is_expired(&bench, &offset, end));
}
