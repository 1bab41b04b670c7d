//! Heartbeat, LeaveGroup, sessions, and what administrators see.

use super::*;

#[test]
fn a_heartbeat_of_a_member_in_its_generation_is_welcome() {
    let mut bench = Bench::stable(&["a"]);
    assert_eq!(bench.heartbeat("a"), Ok(()));
}

#[test]
fn a_heartbeat_before_the_sync_is_welcome() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    assert_eq!(bench.heartbeat("a"), Ok(()));
}

#[test]
fn a_heartbeat_is_refused_by_member_then_by_generation() {
    let mut bench = Bench::stable(&["a"]);
    let generation = bench.group.generation();
    assert_eq!(
        bench.heartbeat_in("ghost", 99),
        Err(HeartbeatError::UnknownMemberId)
    );
    for other in [-1, 0, generation + 1] {
        assert_eq!(
            bench.heartbeat_in("a", other),
            Err(HeartbeatError::IllegalGeneration)
        );
    }
}

#[test]
fn a_heartbeat_in_a_rebalance_keeps_the_session_and_asks_to_rejoin() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(asks("a"));
    for _ in 0..3 {
        bench.pass(Duration::from_secs(9));
        assert_eq!(
            bench.heartbeat("b"),
            Err(HeartbeatError::RebalanceInProgress)
        );
    }
    assert!(bench.group.has_member(&MemberId::from("b")));
}

#[test]
fn a_pending_member_has_no_heartbeat() {
    let mut bench = Bench::new();
    bench.join_as(
        "a",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    assert_eq!(bench.heartbeat("a"), Err(HeartbeatError::UnknownMemberId));
}

#[test]
fn a_silent_member_is_removed_after_its_session_and_the_others_rebalance() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.pass(SESSION - Duration::from_millis(1));
    assert_eq!(bench.heartbeat("a"), Ok(()));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.heartbeat("b"), Err(HeartbeatError::UnknownMemberId));
    assert_eq!(
        bench.heartbeat("a"),
        Err(HeartbeatError::RebalanceInProgress)
    );
}

#[test]
fn a_group_whose_members_all_fell_silent_is_empty_in_a_generation_of_its_own() {
    let mut bench = Bench::stable(&["a", "b"]);
    let (generation, stored) = (bench.group.generation(), bench.stored);
    bench.pass(SESSION);
    assert_eq!(bench.group.state(), State::Empty);
    assert_eq!(bench.group.generation(), generation + 1);
    assert_eq!(bench.group.empty_since(), bench.now.wall);
    assert_eq!(bench.stored, stored + 1);
    assert_eq!(bench.group.wake_at(), None);
}

#[test]
fn a_member_that_waits_for_a_rebalance_does_not_expire() {
    let mut bench = Bench::stable(&["a", "b"]);
    let parked = bench.join(asks("a"));
    for _ in 0..6 {
        bench.pass(Duration::from_secs(8));
        let _ = bench.heartbeat("b");
    }
    bench.join(asks("b"));
    assert_eq!(members(bench.joined(parked)), ["a", "b"]);
}

#[test]
fn leaving_starts_a_rebalance_of_the_others() {
    let mut bench = Bench::stable(&["a", "b"]);
    assert_eq!(bench.leave(&["a"]), [Ok(())]);
    assert_eq!(
        bench.heartbeat("b"),
        Err(HeartbeatError::RebalanceInProgress)
    );
    assert_eq!(bench.heartbeat("a"), Err(HeartbeatError::UnknownMemberId));
}

#[test]
fn leaving_completes_a_rebalance_that_waited_for_the_leaver() {
    let mut bench = Bench::stable(&["a", "b"]);
    let parked = bench.join(asks("a"));
    bench.leave(&["b"]);
    assert_eq!(members(bench.joined(parked)), ["a"]);
}

#[test]
fn several_members_leave_at_once_with_an_answer_each() {
    let mut bench = Bench::stable(&["a", "b", "c"]);
    let unknown = Err(LeaveError::UnknownMemberId);
    assert_eq!(
        bench.leave(&["a", "ghost", "b", "a"]),
        [Ok(()), unknown, Ok(()), unknown]
    );
    assert_eq!(bench.group.member_count(), 1);
}

#[test]
fn leaving_of_strangers_changes_nothing() {
    let mut bench = Bench::stable(&["a"]);
    assert_eq!(bench.leave(&["ghost"]), [Err(LeaveError::UnknownMemberId)]);
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn a_pending_member_can_leave_and_frees_the_rebalance() {
    let mut bench = Bench::stable(&["a"]);
    bench.join_as(
        "b",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    let parked = bench.join(asks("a"));
    assert_eq!(bench.leave(&["b"]), [Ok(())]);
    assert_eq!(members(bench.joined(parked)), ["a"]);
}

#[test]
fn a_pending_member_that_leaves_a_stable_group_disturbs_nobody() {
    let mut bench = Bench::stable(&["a"]);
    bench.join_as(
        "b",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    assert_eq!(bench.leave(&["b"]), [Ok(())]);
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn leaving_answers_what_the_leaver_waits_for() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let sync = bench.sync("b", &[]);
    bench.leave(&["b"]);
    assert_eq!(bench.syncs[&sync], Err(SyncError::UnknownMemberId));
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    let mut bench = Bench::stable(&["a"]);
    let generation = bench.group.generation();
    bench.leave(&["a"]);
    assert_eq!(
        (bench.group.state(), bench.group.generation()),
        (State::Empty, generation + 1)
    );
}

#[test]
fn a_stable_group_is_described_with_subscriptions_and_assignments() {
    let bench = Bench::stable(&["b", "a"]);
    let described = bench.group.describe();
    assert_eq!(
        (described.state, &*described.protocol),
        (State::Stable, "range")
    );
    let ids: Vec<&str> = described
        .members
        .iter()
        .map(|one| one.member.as_str())
        .collect();
    assert_eq!(ids, ["b", "a"], "in the order in which they joined");
    let first = &described.members[0];
    assert_eq!(
        (&*first.client_id, &*first.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(
        (&first.metadata[..], &first.assignment[..]),
        (&b"topic"[..], &b"b"[..])
    );
}

#[test]
fn a_rebalancing_group_is_described_without_what_is_not_agreed_on() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(asks("a"));
    let described = bench.group.describe();
    assert_eq!(described.state, State::PreparingRebalance);
    assert_eq!(
        (&*described.protocol, &*described.protocol_type),
        ("", "consumer")
    );
    assert!(described.members.iter().all(|one| one.metadata.is_empty()));
    assert!(
        described
            .members
            .iter()
            .all(|one| one.assignment.is_empty())
    );
}

#[test]
fn states_have_kafkas_names() {
    let names = [
        (State::Empty, "Empty"),
        (State::PreparingRebalance, "PreparingRebalance"),
        (State::CompletingRebalance, "CompletingRebalance"),
        (State::Stable, "Stable"),
        (State::Dead, "Dead"),
    ];
    for (state, name) in names {
        assert_eq!(state.to_string(), name);
    }
}
