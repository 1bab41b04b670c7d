//! Static members: restarts, fencing, removal by instance id, and rebalances that they miss.

use super::*;
use crate::group::CommitError;

const NOBODY: &str = "";

impl Bench {
    /// A Stable group of static members with these instance ids; instance `i` is member `i-1`, the first one leads.
    fn stable_of(instances: &[&str]) -> Self {
        let mut bench = Self::new();
        let ids: Vec<String> = instances.iter().map(|one| format!("{one}-1")).collect();
        for (instance, id) in instances.iter().zip(&ids) {
            bench.join_as(id, asks_as(instance));
        }
        if instances.len() > 1 {
            bench.join(rejoins(&ids[0], instances[0]));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        bench.sync(ids[0], &ids);
        for id in &ids[1..] {
            bench.sync(id, &[]);
        }
        assert_eq!(bench.group.state(), State::Stable);
        bench
    }

    fn context(&self) -> Context<'_> {
        Context {
            now: self.now,
            settings: &self.settings,
        }
    }

    fn beat_as(&mut self, member: &str, instance: &str) -> Result<(), HeartbeatError> {
        let request = Heartbeat {
            group: GroupId::from("g"),
            member: MemberId::from(member),
            instance: Some(shared(instance)),
            generation: self.group.generation(),
        };
        let context = Context {
            now: self.now,
            settings: &self.settings,
        };
        self.group.heartbeat(&request, context)
    }

    fn sync_as(&mut self, member: &str, instance: &str) -> Ticket {
        let request = SyncRequest {
            group: GroupId::from("g"),
            member: MemberId::from(member),
            instance: Some(shared(instance)),
            generation: self.group.generation(),
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        };
        self.sync_with(request)
    }

    fn commit_as(&mut self, member: &str, instance: &str) -> Result<(), CommitError> {
        let request = crate::group::CommitOffsets {
            group: GroupId::from("g"),
            member: MemberId::from(member),
            instance: Some(shared(instance)),
            generation: self.group.generation(),
            knows_member_epochs: false,
            retention_ms: None,
            offsets: Vec::new(),
        };
        let context = Context {
            now: self.now,
            settings: &self.settings,
        };
        self.group.check_commit(&request, context)
    }

    pub(super) fn leave_as(
        &mut self,
        lines: &[(&str, Option<&str>)],
    ) -> Vec<Result<(), LeaveError>> {
        let leaving: Vec<LeavingMember> = lines
            .iter()
            .map(|(member, instance)| LeavingMember {
                member: MemberId::from(*member),
                instance: instance.map(shared),
            })
            .collect();
        let context = Context {
            now: self.now,
            settings: &self.settings,
        };
        let (results, effects) = self.group.leave(&leaving, context);
        self.take(effects);
        results.unwrap()
    }
}

/// A join of a static member that knows its member id.
fn rejoins(member: &str, instance: &str) -> JoinRequest {
    JoinRequest {
        member: MemberId::from(member),
        ..asks_as(instance)
    }
}

#[test]
fn a_static_member_joins_at_once_without_a_second_round() {
    let mut bench = Bench::new();
    let ticket = bench.join_as("i-1", asks_as("i"));
    let answer = bench.joined(ticket);
    assert_eq!((answer.generation, answer.member.as_str()), (1, "i-1"));
    assert_eq!(answer.members[0].instance, Some(shared("i")));
    assert!(!answer.skip_assignment);
}

#[test]
fn a_restart_of_a_follower_in_a_stable_group_costs_no_rebalance() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    let (generation, stored) = (bench.group.generation(), bench.stored);
    let ticket = bench.join_as("j-2", asks_as("j"));
    let answer = bench.joined(ticket);
    assert_eq!(answer.generation, generation);
    assert_eq!(
        (answer.leader.as_str(), answer.member.as_str()),
        ("i-1", "j-2")
    );
    assert!(answer.members.is_empty());
    assert_eq!(bench.group.state(), State::Stable);
    assert_eq!(bench.stored, stored + 1, "the new member id is stored");
    let ticket = bench.sync_as("j-2", "j");
    assert_eq!(bench.assignment(ticket), b"j-1", "what the former self had");
    assert_eq!(bench.beat_as("j-2", "j"), Ok(()));
    assert_eq!(bench.beat_as("i-1", "i"), Ok(()));
}

#[test]
fn a_leader_that_restarts_is_told_to_skip_the_assignment_if_it_understands_that() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    let request = JoinRequest {
        can_skip_assignment: true,
        ..asks_as("i")
    };
    let ticket = bench.join_as("i-2", request);
    let answer = bench.joined(ticket);
    assert!(answer.skip_assignment);
    assert_eq!(answer.leader.as_str(), "i-2");
    assert_eq!(members(answer), ["i-2", "j-1"]);
    let request = JoinRequest {
        can_skip_assignment: true,
        ..asks_as("j")
    };
    let ticket = bench.join_as("j-2", request);
    let answer = bench.joined(ticket);
    assert!(!answer.skip_assignment, "a follower never assigns anyway");
    assert!(answer.members.is_empty());
}

#[test]
fn a_leader_that_restarts_and_knows_no_skipping_takes_itself_for_a_follower() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    let ticket = bench.join_as("i-2", asks_as("i"));
    let answer = bench.joined(ticket);
    assert_eq!(
        (answer.leader.as_str(), answer.member.as_str()),
        ("i-1", "i-2")
    );
    assert!(answer.members.is_empty() && !answer.skip_assignment);
    let ticket = bench.sync_as("i-2", "i");
    assert_eq!(bench.assignment(ticket), b"i-1");
    bench.join(rejoins("i-2", "i"));
    assert_eq!(
        bench.group.state(),
        State::PreparingRebalance,
        "it leads all the same: its next join rebalances"
    );
}

#[test]
fn the_member_before_a_restart_is_fenced_in_every_request() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    bench.join_as("j-2", asks_as("j"));
    assert_eq!(
        bench.beat_as("j-1", "j"),
        Err(HeartbeatError::FencedInstanceId)
    );
    assert_eq!(
        bench.commit_as("j-1", "j"),
        Err(CommitError::FencedInstanceId)
    );
    let ticket = bench.sync_as("j-1", "j");
    assert_eq!(bench.syncs[&ticket], Err(SyncError::FencedInstanceId));
    let ticket = bench.join(rejoins("j-1", "j"));
    assert_eq!(bench.joins[&ticket], Err(JoinError::FencedInstanceId));
    assert_eq!(
        bench.leave_as(&[("j-1", Some("j"))]),
        [Err(LeaveError::FencedInstanceId)]
    );
    assert_eq!(bench.commit_as("j-2", "j"), Ok(()));
    assert_eq!(bench.group.member_count(), 2);
}

#[test]
fn a_former_member_id_without_its_instance_id_names_nobody() {
    let mut bench = Bench::stable_of(&["i"]);
    bench.join_as("i-2", asks_as("i"));
    assert_eq!(bench.heartbeat("i-1"), Err(HeartbeatError::UnknownMemberId));
    assert_eq!(
        bench.heartbeat("i-2"),
        Ok(()),
        "it may leave the instance id out"
    );
}

#[test]
fn an_instance_id_that_nobody_has_names_nobody() {
    let mut bench = Bench::stable(&["a"]);
    assert_eq!(
        bench.beat_as("a", "i"),
        Err(HeartbeatError::UnknownMemberId)
    );
    assert_eq!(bench.commit_as("a", "i"), Err(CommitError::UnknownMemberId));
    let ticket = bench.sync_as("a", "i");
    assert_eq!(bench.syncs[&ticket], Err(SyncError::UnknownMemberId));
    let ticket = bench.join(rejoins("a", "i"));
    assert_eq!(bench.joins[&ticket], Err(JoinError::UnknownMemberId));
    let unknown = Err(LeaveError::UnknownMemberId);
    assert_eq!(
        bench.leave_as(&[("a", Some("i")), (NOBODY, Some("i")), (NOBODY, None)]),
        [unknown, unknown, unknown]
    );
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn two_processes_with_one_instance_id_do_not_wait_side_by_side() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    bench.join(rejoins("i-1", "i"));
    let first = bench.join_as("j-2", asks_as("j"));
    assert_eq!(bench.joined(first).generation, 3);
    let parked = bench.sync_as("j-2", "j");
    let second = bench.join_as("j-3", asks_as("j"));
    assert_eq!(bench.syncs[&parked], Err(SyncError::FencedInstanceId));
    assert!(!bench.joins.contains_key(&second), "it waits for i");
    bench.join_as("j-4", asks_as("j"));
    assert_eq!(bench.joins[&second], Err(JoinError::FencedInstanceId));
}

#[test]
fn a_restart_before_the_leader_assigned_starts_over() {
    let mut bench = Bench::new();
    bench.join_as("i-1", asks_as("i"));
    bench.join_as("j-1", asks_as("j"));
    bench.join(rejoins("i-1", "i"));
    assert_eq!(bench.group.state(), State::CompletingRebalance);
    let restarted = bench.join_as("j-2", asks_as("j"));
    assert_eq!(bench.group.state(), State::PreparingRebalance);
    bench.join(rejoins("i-1", "i"));
    assert_eq!(bench.joined(restarted).generation, 3);
}

#[test]
fn a_restart_that_changes_what_the_group_agrees_on_rebalances() {
    let mut bench = Bench::stable_of(&["i"]);
    let changed = JoinRequest {
        protocols: vec![protocol("sticky", "topic"), protocol("range", "topic")],
        ..asks_as("i")
    };
    let ticket = bench.join_as("i-2", changed);
    let answer = bench.joined(ticket);
    assert_eq!((answer.generation, &*answer.protocol), (2, "sticky"));
    assert_eq!(answer.leader.as_str(), "i-2");
    let none_in_common = JoinRequest {
        protocols: vec![protocol("own", "topic")],
        ..asks_as("i")
    };
    let ticket = bench.join(none_in_common);
    assert_eq!(
        bench.joins[&ticket],
        Err(JoinError::InconsistentGroupProtocol)
    );
    assert_eq!(bench.beat_as("i-2", "i"), Ok(()), "nothing happened");
}

#[test]
fn a_restart_counts_as_a_sign_of_life_and_brings_its_own_timeouts() {
    let mut bench = Bench::stable_of(&["i"]);
    bench.pass(SESSION - Duration::from_millis(1));
    let request = JoinRequest {
        session_timeout_ms: 20_000,
        ..asks_as("i")
    };
    bench.join_as("i-2", request);
    bench.pass(Duration::from_millis(19_999));
    assert_eq!(bench.group.state(), State::Stable);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.group.state(), State::Empty);
}

#[test]
fn an_instance_id_is_free_again_when_its_session_ended() {
    let mut bench = Bench::stable_of(&["i"]);
    bench.pass(SESSION);
    assert_eq!(
        bench.beat_as("i-1", "i"),
        Err(HeartbeatError::UnknownMemberId)
    );
    let ticket = bench.join_as("i-2", asks_as("i"));
    assert_eq!(bench.joined(ticket).generation, 3);
}

#[test]
fn an_administrator_removes_members_by_instance_id() {
    let mut bench = Bench::stable_of(&["i", "j", "k"]);
    let unknown = Err(LeaveError::UnknownMemberId);
    let results = bench.leave_as(&[
        (NOBODY, Some("i")),
        (NOBODY, Some("i")),
        ("j-1", Some("j")),
        (NOBODY, Some("ghost")),
    ]);
    assert_eq!(results, [Ok(()), unknown, Ok(()), unknown]);
    assert_eq!(bench.group.member_count(), 1);
    assert_eq!(bench.group.state(), State::PreparingRebalance);
    let ticket = bench.join(rejoins("k-1", "k"));
    assert_eq!(members(bench.joined(ticket)), ["k-1"]);
}

#[test]
fn a_static_member_keeps_its_place_in_a_rebalance_that_it_misses() {
    let mut bench = Bench::new();
    let slow = |instance: &str| JoinRequest {
        session_timeout_ms: 300_000,
        ..asks_as(instance)
    };
    bench.join_as("i-1", slow("i"));
    bench.join_as("j-1", slow("j"));
    bench.join(rejoins("i-1", "i"));
    bench.sync("i-1", &["i-1", "j-1"]);
    bench.sync_as("j-1", "j");
    let ticket = bench.join(JoinRequest {
        session_timeout_ms: 300_000,
        ..rejoins("i-1", "i")
    });
    bench.pass(REBALANCE);
    assert_eq!(members(bench.joined(ticket)), ["i-1", "j-1"]);
    bench.sync("i-1", &["i-1", "j-1"]);
    let back = bench.join_as("j-2", slow("j"));
    assert_eq!(bench.joined(back).generation, 3, "and comes back into it");
    let ticket = bench.sync_as("j-2", "j");
    assert_eq!(bench.assignment(ticket), b"j-1");
}

#[test]
fn a_static_leader_that_is_away_leads_no_longer() {
    let mut bench = Bench::new();
    let slow = |instance: &str| JoinRequest {
        session_timeout_ms: 300_000,
        ..asks_as(instance)
    };
    bench.join_as("i-1", slow("i"));
    bench.join_as("j-1", slow("j"));
    bench.join(JoinRequest {
        session_timeout_ms: 300_000,
        ..rejoins("i-1", "i")
    });
    assert_eq!(bench.group.state(), State::CompletingRebalance);
    let changed = JoinRequest {
        protocols: vec![protocol("range", "other")],
        session_timeout_ms: 300_000,
        ..rejoins("j-1", "j")
    };
    let ticket = bench.join(changed);
    bench.pass(REBALANCE);
    let answer = bench.joined(ticket);
    assert_eq!(answer.leader.as_str(), "j-1");
    assert_eq!(members(answer), ["i-1", "j-1"]);
}

#[test]
fn a_rebalance_of_static_members_that_are_all_away_waits_for_them_or_for_their_sessions() {
    let mut bench = Bench::new();
    let slow = |instance: &str| JoinRequest {
        session_timeout_ms: 150_000,
        ..asks_as(instance)
    };
    bench.join_as("i-1", slow("i"));
    bench.sync("i-1", &["i-1"]);
    bench.join_as("j-1", asks(""));
    bench.leave(&["j-1"]);
    let generation = bench.group.generation();
    bench.pass(Duration::from_secs(149));
    assert_eq!(
        (bench.group.state(), bench.group.generation()),
        (State::PreparingRebalance, generation)
    );
    assert_eq!(
        bench.beat_as("i-1", "i"),
        Err(HeartbeatError::RebalanceInProgress)
    );
    bench.pass(Duration::from_secs(150));
    assert_eq!(bench.group.state(), State::Empty);
}

#[test]
fn a_static_member_restarts_in_a_full_group() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    bench.settings.group_size_max = 2;
    let newcomer = bench.join_as("k-1", asks_as("k"));
    assert_eq!(bench.joins[&newcomer], Err(JoinError::GroupMaxSizeReached));
    let restarted = bench.join_as("j-2", asks_as("j"));
    assert!(bench.joins[&restarted].is_ok());
}

#[test]
fn a_pending_member_id_cannot_take_an_instance_id() {
    let mut bench = Bench::stable_of(&["i"]);
    let request = JoinRequest {
        requires_known_member_id: true,
        ..asks("")
    };
    bench.join_as("p", request);
    let ticket = bench.join(rejoins("p", "i"));
    assert_eq!(bench.joins[&ticket], Err(JoinError::FencedInstanceId));
    let ticket = bench.join(rejoins("p", "free"));
    assert_eq!(bench.joins[&ticket], Err(JoinError::UnknownMemberId));
    bench.join(asks("p"));
    assert_eq!(
        bench.group.member_count(),
        2,
        "the id is still good for a dynamic member"
    );
}

#[test]
fn instance_ids_survive_a_restart_of_the_coordinator() {
    let mut bench = Bench::stable_of(&["i", "j"]);
    bench.join_as("j-2", asks_as("j"));
    bench.group = Group::decode(&bench.group.encode(), bench.context()).unwrap();
    assert_eq!(
        bench.beat_as("j-1", "j"),
        Err(HeartbeatError::FencedInstanceId)
    );
    assert_eq!(bench.beat_as("j-2", "j"), Ok(()));
    let generation = bench.group.generation();
    let ticket = bench.join_as("i-2", asks_as("i"));
    assert_eq!(bench.joined(ticket).generation, generation);
    let shown: Vec<_> = bench.group.describe().members;
    let shown: Vec<Option<&str>> = shown.iter().map(|one| one.instance.as_deref()).collect();
    assert_eq!(shown, [Some("i"), Some("j")]);
}

#[test]
fn two_stored_members_with_one_instance_id_contradict_each_other() {
    let bench = Bench::stable_of(&["i", "j"]);
    let bytes = bench.group.encode().to_vec();
    let text = b"\0\0\0\x01j\0\0\0\x06client";
    let at = bytes
        .windows(text.len())
        .position(|one| one == text)
        .unwrap();
    let mut twice = bytes;
    twice[at + 4] = b'i';
    assert_eq!(
        Group::decode(&twice, bench.context()).unwrap_err(),
        StoredGroupError::Contradiction
    );
}
