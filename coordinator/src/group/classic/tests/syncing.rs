//! SyncGroup: assignments, waiting for the leader, and generations.

use super::*;

fn sync_request(bench: &Bench, member: &str) -> SyncRequest {
    SyncRequest {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        generation: bench.group.generation(),
        protocol_type: Some(shared("consumer")),
        protocol: Some(shared("range")),
        assignments: Vec::new(),
    }
}

#[test]
fn followers_wait_for_the_leader_and_each_gets_its_own() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b", "c"]);
    let early = bench.sync("b", &[]);
    assert!(!bench.syncs.contains_key(&early));
    let before = bench.stored;
    let leader = bench.sync("a", &["a", "b", "c"]);
    let late = bench.sync("c", &[]);
    assert_eq!(bench.assignment(leader), b"a");
    assert_eq!(bench.assignment(early), b"b");
    assert_eq!(bench.assignment(late), b"c");
    assert_eq!(bench.stored, before + 1);
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn the_answer_names_type_and_protocol() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    let ticket = bench.sync("a", &["a"]);
    let answer = bench.syncs[&ticket].as_ref().unwrap();
    assert_eq!(
        (&*answer.protocol_type, &*answer.protocol),
        ("consumer", "range")
    );
}

#[test]
fn a_member_that_the_leader_forgot_gets_an_empty_assignment() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    bench.sync("a", &["a", "stranger"]);
    let ticket = bench.sync("b", &[]);
    assert_eq!(bench.assignment(ticket), b"");
}

#[test]
fn a_stable_group_answers_a_repeated_sync_with_what_is_stored() {
    let mut bench = Bench::stable(&["a", "b"]);
    let leader = bench.sync("a", &["b"]);
    assert_eq!(
        bench.assignment(leader),
        b"a",
        "a second assignment is not taken"
    );
}

#[test]
fn a_wrong_generation_is_illegal() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    for generation in [-1, 0, 2] {
        let request = SyncRequest {
            generation,
            ..sync_request(&bench, "a")
        };
        let ticket = bench.sync_with(request);
        assert_eq!(
            bench.syncs[&ticket],
            Err(SyncError::IllegalGeneration),
            "{generation}"
        );
    }
}

#[test]
fn an_unknown_member_cannot_sync() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    let ghost = bench.sync("ghost", &[]);
    let request = SyncRequest {
        instance: Some(shared("i")),
        ..sync_request(&bench, "a")
    };
    let instance = bench.sync_with(request);
    for ticket in [ghost, instance] {
        assert_eq!(bench.syncs[&ticket], Err(SyncError::UnknownMemberId));
    }
}

#[test]
fn another_protocol_than_the_generations_is_inconsistent() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    let other = || Some(shared("other"));
    let request = SyncRequest {
        protocol: other(),
        ..sync_request(&bench, "a")
    };
    let name = bench.sync_with(request);
    let request = SyncRequest {
        protocol_type: other(),
        ..sync_request(&bench, "a")
    };
    let kind = bench.sync_with(request);
    for ticket in [name, kind] {
        assert_eq!(
            bench.syncs[&ticket],
            Err(SyncError::InconsistentGroupProtocol)
        );
    }
    let right = sync_request(&bench, "a");
    let ticket = bench.sync_with(right);
    assert!(bench.syncs[&ticket].is_ok());
}

#[test]
fn an_empty_group_id_is_invalid() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    let request = SyncRequest {
        group: GroupId::from(""),
        ..sync_request(&bench, "a")
    };
    let ticket = bench.sync_with(request);
    assert_eq!(bench.syncs[&ticket], Err(SyncError::InvalidGroupId));
}

#[test]
fn a_sync_during_a_rebalance_is_sent_back_to_join() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(asks("a"));
    let ticket = bench.sync("b", &[]);
    assert_eq!(bench.syncs[&ticket], Err(SyncError::RebalanceInProgress));
}

#[test]
fn a_new_member_sends_parked_syncs_back_to_join() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let parked = bench.sync("b", &[]);
    bench.join(asks(""));
    assert_eq!(bench.syncs[&parked], Err(SyncError::RebalanceInProgress));
    assert_eq!(
        bench.heartbeat("b"),
        Err(HeartbeatError::RebalanceInProgress)
    );
}

#[test]
fn a_second_sync_of_a_member_takes_the_place_of_the_first() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let first = bench.sync("b", &[]);
    let second = bench.sync("b", &[]);
    assert_eq!(bench.syncs[&first], Err(SyncError::RebalanceInProgress));
    bench.sync("a", &["b"]);
    assert_eq!(bench.assignment(second), b"b");
}

#[test]
fn a_leader_that_never_syncs_is_removed_and_the_others_start_over() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let parked = bench.sync("b", &[]);
    for _ in 0..7 {
        bench.pass(Duration::from_secs(8));
        assert_eq!(bench.heartbeat("a"), Ok(()));
    }
    assert!(
        !bench.syncs.contains_key(&parked),
        "the leader still has time"
    );
    bench.pass(REBALANCE - Duration::from_secs(56));
    assert_eq!(bench.syncs[&parked], Err(SyncError::RebalanceInProgress));
    assert_eq!(bench.heartbeat("a"), Err(HeartbeatError::UnknownMemberId));
    let rejoined = bench.join(asks("b"));
    assert_eq!(bench.joined(rejoined).leader.as_str(), "b");
}

#[test]
fn a_follower_that_never_syncs_is_removed_from_a_stable_group() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    bench.sync("a", &["a", "b"]);
    assert_eq!(bench.group.state(), State::Stable);
    for _ in 0..10 {
        bench.pass(Duration::from_secs(6));
        let _ = bench.heartbeat("a");
        let _ = bench.heartbeat("b");
    }
    assert_eq!(bench.heartbeat("b"), Err(HeartbeatError::UnknownMemberId));
    assert_eq!(
        bench.heartbeat("a"),
        Err(HeartbeatError::RebalanceInProgress)
    );
}

#[test]
fn a_silent_leader_is_found_out_by_its_session() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let parked = bench.sync("b", &[]);
    bench.pass(SESSION);
    assert_eq!(bench.syncs[&parked], Err(SyncError::RebalanceInProgress));
}

#[test]
fn a_member_that_waits_for_its_assignment_does_not_expire() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let parked = bench.sync("b", &[]);
    for _ in 0..6 {
        bench.pass(Duration::from_secs(8));
        assert_eq!(bench.heartbeat("a"), Ok(()));
    }
    bench.sync("a", &["b"]);
    assert_eq!(bench.assignment(parked), b"b");
    bench.pass(Duration::from_secs(9));
    assert_eq!(
        bench.heartbeat("b"),
        Ok(()),
        "its session restarted with the answer"
    );
}

#[test]
fn assignments_larger_than_a_group_may_hold_are_refused() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    bench.settings.group_bytes_max = 1_000;
    let line = MemberAssignment {
        member: MemberId::from("a"),
        assignment: Bytes::from(vec![0; 1_000]),
    };
    let request = SyncRequest {
        assignments: vec![line],
        ..sync_request(&bench, "a")
    };
    let ticket = bench.sync_with(request);
    assert_eq!(bench.syncs[&ticket], Err(SyncError::AssignmentTooLarge));
    assert_eq!(bench.group.state(), State::CompletingRebalance);
}
