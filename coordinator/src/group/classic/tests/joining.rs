//! JoinGroup: first joins, rejoins, votes, delays and bounds.

use super::*;

fn refused(change: impl FnOnce(&mut JoinRequest)) -> JoinError {
    let mut request = asks("");
    change(&mut request);
    let mut bench = Bench::new();
    let ticket = bench.join(request);
    assert_eq!(bench.group.member_count(), 0);
    bench.joins[&ticket].clone().unwrap_err()
}

#[test]
fn an_empty_group_id_is_invalid() {
    assert_eq!(
        refused(|join| join.group = GroupId::from("")),
        JoinError::InvalidGroupId
    );
}

#[test]
fn a_session_timeout_outside_the_bounds_is_invalid() {
    for timeout in [-1, 0, 5_999, 1_800_001, i32::MAX, i32::MIN] {
        let error = refused(|join| join.session_timeout_ms = timeout);
        assert_eq!(error, JoinError::InvalidSessionTimeout, "{timeout}");
    }
    for timeout in [6_000, 1_800_000] {
        let mut bench = Bench::new();
        let ticket = bench.join(JoinRequest {
            session_timeout_ms: timeout,
            ..asks("")
        });
        assert_eq!(bench.joined(ticket).generation, 1, "{timeout}");
    }
}

#[test]
fn a_join_without_protocols_or_type_is_inconsistent() {
    let expect = JoinError::InconsistentGroupProtocol;
    assert_eq!(refused(|join| join.protocols.clear()), expect);
    assert_eq!(refused(|join| join.protocol_type = shared("")), expect);
}

#[test]
fn an_unknown_member_id_is_refused() {
    assert_eq!(
        refused(|join| join.member = MemberId::from("ghost")),
        JoinError::UnknownMemberId
    );
    let mut bench = Bench::stable(&["a"]);
    let ticket = bench.join(asks("ghost"));
    assert_eq!(bench.joins[&ticket], Err(JoinError::UnknownMemberId));
}

#[test]
fn a_first_join_becomes_leader_of_generation_one_and_sees_itself() {
    let mut bench = Bench::new();
    let ticket = bench.join_as("a", asks(""));
    let answer = bench.joined(ticket);
    assert_eq!((answer.generation, answer.leader.as_str()), (1, "a"));
    assert_eq!(
        (&*answer.protocol_type, &*answer.protocol),
        ("consumer", "range")
    );
    assert_eq!(members(answer), ["a"]);
    assert_eq!(answer.members[0].metadata, "topic");
    assert_eq!(bench.group.state(), State::CompletingRebalance);
    assert_eq!(bench.stored, 1);
}

#[test]
fn any_protocol_type_is_served_and_its_bytes_are_relayed() {
    for kind in ["connect", "sr", "any text"] {
        let mut bench = Bench::new();
        let junk = Protocol {
            name: "v0".into(),
            metadata: Bytes::from_static(&[0xff, 0, 0x80]),
        };
        let request = JoinRequest {
            protocol_type: kind.into(),
            protocols: vec![junk.clone()],
            ..asks("")
        };
        let ticket = bench.join(request);
        let answer = bench.joined(ticket);
        assert_eq!(&*answer.protocol_type, kind);
        assert_eq!(answer.members[0].metadata, junk.metadata);
    }
}

#[test]
fn a_first_join_since_version_4_gets_an_id_to_come_back_with() {
    let mut bench = Bench::new();
    let ticket = bench.join_as(
        "a",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    let member = MemberId::from("a");
    assert_eq!(
        bench.joins[&ticket],
        Err(JoinError::MemberIdRequired { member })
    );
    assert_eq!(
        (bench.group.state(), bench.group.member_count()),
        (State::Empty, 0)
    );
    let ticket = bench.join(JoinRequest {
        requires_known_member_id: true,
        ..asks("a")
    });
    assert_eq!(bench.joined(ticket).member.as_str(), "a");
}

#[test]
fn a_pending_id_expires_with_its_session() {
    let mut bench = Bench::new();
    bench.join_as(
        "a",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    bench.pass(SESSION);
    assert!(bench.group.is_vacant());
    let ticket = bench.join(asks("a"));
    assert_eq!(bench.joins[&ticket], Err(JoinError::UnknownMemberId));
}

#[test]
fn a_rebalance_waits_for_pending_members() {
    let mut bench = Bench::stable(&["a"]);
    bench.join_as(
        "b",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    assert_eq!(bench.group.state(), State::Stable);
    let rejoined = bench.join(asks("a"));
    assert!(!bench.joins.contains_key(&rejoined));
    let second = bench.join(asks("b"));
    assert_eq!(
        bench.joined(rejoined).generation,
        bench.joined(second).generation
    );
    assert_eq!(members(bench.joined(rejoined)), ["a", "b"]);
    assert_eq!(members(bench.joined(second)), [""; 0]);
}

#[test]
fn a_pending_member_that_never_comes_does_not_hold_up_a_rebalance_for_ever() {
    let mut bench = Bench::stable(&["a"]);
    bench.join_as(
        "b",
        JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        },
    );
    let rejoined = bench.join(asks("a"));
    bench.pass(SESSION);
    assert_eq!(members(bench.joined(rejoined)), ["a"]);
}

#[test]
fn members_must_share_type_and_a_protocol() {
    let mut bench = Bench::stable(&["a"]);
    let other_type = bench.join(JoinRequest {
        protocol_type: "connect".into(),
        ..asks("")
    });
    let no_common = bench.join(understands("", &["sticky"]));
    for ticket in [other_type, no_common] {
        assert_eq!(
            bench.joins[&ticket],
            Err(JoinError::InconsistentGroupProtocol)
        );
    }
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn an_empty_group_takes_another_protocol_type() {
    let mut bench = Bench::stable(&["a"]);
    bench.leave(&["a"]);
    let ticket = bench.join(JoinRequest {
        protocol_type: "connect".into(),
        ..asks("")
    });
    assert_eq!(&*bench.joined(ticket).protocol_type, "connect");
}

#[test]
fn the_protocol_is_the_common_one_with_the_most_votes() {
    for (of_members, expect) in [
        (vec![vec!["x", "y"], vec!["y", "x"], vec!["y", "x"]], "y"),
        (vec![vec!["x", "y"], vec!["y", "x"]], "x"),
        (vec![vec!["x", "y"], vec!["z", "y"]], "y"),
        (vec![vec!["x", "x", "y"], vec!["y"]], "y"),
    ] {
        let mut bench = Bench::with(GroupSettings::default());
        let tickets: Vec<Ticket> = of_members
            .iter()
            .map(|names| bench.join(understands("", names)))
            .collect();
        bench.pass(DELAY * 2);
        assert_eq!(
            &*bench.joined(tickets[0]).protocol,
            expect,
            "{of_members:?}"
        );
    }
}

#[test]
fn the_first_rebalance_waits_for_its_delay_and_for_each_new_member() {
    let mut bench = Bench::with(GroupSettings::default());
    let first = bench.join(asks(""));
    bench.pass(DELAY - Duration::from_millis(1));
    let second = bench.join(asks(""));
    bench.pass(DELAY);
    assert!(
        bench.joins.is_empty(),
        "the second member earns another delay"
    );
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.joined(first).generation, 1);
    assert_eq!(bench.joined(second).generation, 1);
    assert_eq!(bench.joined(first).members.len(), 2);
}

#[test]
fn the_first_rebalance_is_never_extended_beyond_the_rebalance_timeout() {
    let mut bench = Bench::with(GroupSettings::default());
    let request = || JoinRequest {
        rebalance_timeout_ms: 7_000,
        ..asks("")
    };
    let first = bench.join(request());
    for _ in 0..6 {
        bench.pass(Duration::from_secs(1));
        bench.join(request());
    }
    assert!(bench.joins.is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.joined(first).members.len(), 7);
}

#[test]
fn a_group_whose_last_member_left_during_the_delay_becomes_empty() {
    let mut bench = Bench::with(GroupSettings::default());
    let ticket = bench.join_as("a", asks(""));
    assert_eq!(bench.leave(&["a"]), [Ok(())]);
    assert_eq!(bench.joins[&ticket], Err(JoinError::UnknownMemberId));
    bench.pass(DELAY);
    assert_eq!(bench.group.state(), State::Empty);
}

#[test]
fn only_the_leader_learns_the_members_and_it_stays_leader() {
    let mut bench = Bench::stable(&["a", "b"]);
    let generation = bench.group.generation();
    let follower = bench.join(understands("b", &["range", "sticky"]));
    let leader = bench.join(asks("a"));
    assert_eq!(bench.joined(leader).generation, generation + 1);
    assert_eq!(bench.joined(leader).leader.as_str(), "a");
    assert_eq!(members(bench.joined(leader)), ["a", "b"]);
    assert_eq!(bench.joined(follower).leader.as_str(), "a");
    assert_eq!(members(bench.joined(follower)), [""; 0]);
}

#[test]
fn the_member_that_joined_first_follows_a_leader_that_left() {
    let mut bench = Bench::stable(&["c", "b", "a"]);
    bench.leave(&["c"]);
    let later = bench.join(asks("a"));
    let earlier = bench.join(asks("b"));
    assert_eq!(bench.joined(later).leader.as_str(), "b");
    assert_eq!(members(bench.joined(earlier)), ["b", "a"]);
}

#[test]
fn who_does_not_rejoin_within_the_rebalance_timeout_is_removed() {
    let mut bench = Bench::stable(&["a", "b"]);
    let rejoined = bench.join(asks("a"));
    for _ in 0..7 {
        bench.pass(Duration::from_secs(8));
        assert_eq!(
            bench.heartbeat("b"),
            Err(HeartbeatError::RebalanceInProgress)
        );
    }
    assert!(!bench.joins.contains_key(&rejoined));
    bench.pass(REBALANCE - Duration::from_secs(56));
    assert_eq!(members(bench.joined(rejoined)), ["a"]);
    assert_eq!(bench.heartbeat("b"), Err(HeartbeatError::UnknownMemberId));
}

#[test]
fn a_rebalance_waits_as_long_as_the_slowest_member_may() {
    let mut bench = Bench::stable(&["a"]);
    let long = bench.join(JoinRequest {
        rebalance_timeout_ms: 90_000,
        ..asks("")
    });
    for _ in 0..10 {
        bench.pass(Duration::from_secs(8));
        assert_eq!(
            bench.heartbeat("a"),
            Err(HeartbeatError::RebalanceInProgress)
        );
    }
    assert!(!bench.joins.contains_key(&long));
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.joined(long).members.len(), 1);
}

#[test]
fn a_negative_rebalance_timeout_means_the_session_timeout() {
    let mut bench = Bench::stable(&["a"]);
    bench.leave(&["a"]);
    bench.join_as(
        "b",
        JoinRequest {
            rebalance_timeout_ms: -1,
            ..asks("")
        },
    );
    bench.pass(SESSION);
    assert_eq!(bench.group.member_count(), 0, "it never synced");
}

#[test]
fn a_rejoin_in_a_running_rebalance_updates_the_member_and_waits() {
    let mut bench = Bench::stable(&["a", "b"]);
    let rejoined = bench.join(asks("a"));
    let again = bench.join(JoinRequest {
        protocols: vec![protocol("range", "more")],
        ..asks("a")
    });
    assert_eq!(bench.joins[&rejoined], Err(JoinError::RebalanceInProgress));
    bench.join(asks("b"));
    assert_eq!(bench.joined(again).members[0].metadata, "more");
}

#[test]
fn an_unchanged_rejoin_before_the_sync_is_answered_with_the_current_generation() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let generation = bench.group.generation();
    let leader = bench.join(asks("a"));
    let follower = bench.join(asks("b"));
    assert_eq!(bench.joined(leader).generation, generation);
    assert_eq!(members(bench.joined(leader)), ["a", "b"]);
    assert_eq!(bench.joined(follower).generation, generation);
    assert_eq!(members(bench.joined(follower)), [""; 0]);
    assert_eq!(bench.group.state(), State::CompletingRebalance);
}

#[test]
fn a_changed_rejoin_before_the_sync_starts_over() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let parked = bench.sync("b", &[]);
    let changed = bench.join(understands("a", &["range", "sticky"]));
    assert_eq!(bench.syncs[&parked], Err(SyncError::RebalanceInProgress));
    assert!(!bench.joins.contains_key(&changed));
    assert_eq!(bench.group.state(), State::PreparingRebalance);
}

#[test]
fn an_unchanged_follower_of_a_stable_group_keeps_its_generation() {
    let mut bench = Bench::stable(&["a", "b"]);
    let generation = bench.group.generation();
    let ticket = bench.join(asks("b"));
    assert_eq!(bench.joined(ticket).generation, generation);
    assert_eq!(bench.group.state(), State::Stable);
}

#[test]
fn a_rejoining_leader_of_a_stable_group_always_starts_a_rebalance() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(asks("a"));
    assert_eq!(bench.group.state(), State::PreparingRebalance);
    assert_eq!(
        bench.heartbeat("b"),
        Err(HeartbeatError::RebalanceInProgress)
    );
}

#[test]
fn a_changed_follower_of_a_stable_group_starts_a_rebalance() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(understands("b", &["range", "sticky"]));
    assert_eq!(bench.group.state(), State::PreparingRebalance);
}

#[test]
fn a_full_group_refuses_newcomers_and_keeps_its_members() {
    let settings = GroupSettings {
        initial_rebalance_delay: Duration::ZERO,
        group_size_max: 2,
        ..Default::default()
    };
    let mut bench = Bench::with(settings);
    bench.completing(&["a", "b"]);
    for requires_known_member_id in [false, true] {
        let ticket = bench.join(JoinRequest {
            requires_known_member_id,
            ..asks("")
        });
        assert_eq!(bench.joins[&ticket], Err(JoinError::GroupMaxSizeReached));
    }
    let known = bench.join(asks("b"));
    assert_eq!(bench.joined(known).member.as_str(), "b");
}

#[test]
fn in_a_rebalance_the_first_ones_to_join_fill_the_group() {
    let mut bench = Bench::stable(&["a", "b", "c"]);
    bench.settings.group_size_max = 2;
    let first = bench.join(asks("a"));
    bench.join(asks("b"));
    let last = bench.join(asks("c"));
    assert_eq!(bench.joins[&last], Err(JoinError::GroupMaxSizeReached));
    assert_eq!(members(bench.joined(first)), ["a", "b"]);
}

#[test]
fn the_bytes_of_a_group_are_bounded() {
    let settings = GroupSettings {
        initial_rebalance_delay: Duration::ZERO,
        group_bytes_max: 2_000,
        ..Default::default()
    };
    let mut bench = Bench::with(settings);
    let big = "x".repeat(1_000);
    let with = |id: &str| JoinRequest {
        protocols: vec![protocol("range", &big)],
        ..asks(id)
    };
    let first = bench.join_as("a", with(""));
    assert!(bench.joins[&first].is_ok());
    let second = bench.join_as("b", with(""));
    assert_eq!(bench.joins[&second], Err(JoinError::GroupMaxSizeReached));
    let again = bench.join(with("a"));
    assert!(bench.joins[&again].is_ok());
    for _ in 0..20 {
        bench.join(JoinRequest {
            requires_known_member_id: true,
            ..asks("")
        });
    }
    let pending = bench.join(JoinRequest {
        requires_known_member_id: true,
        ..asks("")
    });
    assert_eq!(bench.joins[&pending], Err(JoinError::GroupMaxSizeReached));
}

#[test]
fn a_client_that_never_got_its_first_generation_is_removed_after_a_while() {
    let mut bench = Bench::stable(&["a"]);
    let request = JoinRequest {
        rebalance_timeout_ms: i32::MAX,
        ..asks("")
    };
    let gone = bench.join(request);
    for _ in 0..40 {
        bench.pass(Duration::from_secs(8));
        let _ = bench.heartbeat("a");
    }
    assert_eq!(bench.joins[&gone], Err(JoinError::UnknownMemberId));
    let leader = bench.join(asks("a"));
    assert_eq!(members(bench.joined(leader)), ["a"]);
}

#[test]
fn a_dead_group_refuses_everything_with_a_retriable_error() {
    let mut bench = Bench::new();
    bench.group.die();
    let unavailable = crate::group::CoordinatorError::NotAvailable;
    let join = bench.join(asks(""));
    let sync = bench.sync("a", &[]);
    assert_eq!(bench.joins[&join], Err(unavailable.into()));
    assert_eq!(bench.syncs[&sync], Err(unavailable.into()));
    assert_eq!(bench.heartbeat("a"), Err(unavailable.into()));
}
