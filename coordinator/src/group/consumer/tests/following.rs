//! Giving up before others get, and how long that may take.

use super::*;

/// `m` has both partitions and `n` has joined.
fn two_members() -> Bench {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    let answer = bench.beat(&join("n", &["a"])).unwrap();
    assert_eq!(
        (answer.epoch, answer.assigned),
        (2, Some(Partitions::new()))
    );
    bench
}

#[test]
fn a_partition_is_given_up_before_another_member_gets_it() {
    let mut bench = two_members();
    assert_eq!(bench.group.state(), ConsumerGroupState::Reconciling);
    let all = partitions(1, &[0, 1]);
    let told = bench.beat(&owning("m", 1, &all)).unwrap();
    assert_eq!((told.epoch, told.assigned), (1, Some(partitions(1, &[0]))));
    // It still has both, and says so or says nothing.
    assert_eq!(bench.beat(&owning("m", 1, &all)).unwrap().epoch, 1);
    assert_eq!(bench.beat(&beat("m", 1)).unwrap().epoch, 1);
    assert_eq!(bench.beat(&beat("n", 2)).unwrap().assigned, None);
    let done = bench.beat(&owning("m", 1, &partitions(1, &[0]))).unwrap();
    assert_eq!((done.epoch, done.assigned), (2, None));
    let got = bench.beat(&beat("n", 2)).unwrap();
    assert_eq!(got.assigned, Some(partitions(1, &[1])));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn who_does_not_give_up_in_time_is_out() {
    let mut bench = two_members();
    let all = partitions(1, &[0, 1]);
    bench.beat(&owning("m", 1, &all)).unwrap();
    let step = Duration::from_secs(20);
    for _ in 0..2 {
        bench.pass(step);
        bench.beat(&owning("m", 1, &all)).unwrap();
        bench.beat(&beat("n", 2)).unwrap();
    }
    bench.pass(step);
    let refused = bench.beat(&owning("m", 1, &all)).unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::UnknownMemberId);
    let answer = bench.beat(&beat("n", 2)).unwrap();
    assert_eq!(answer.assigned, Some(all));
}

#[test]
fn what_was_taken_away_and_comes_back_is_told_again() {
    let mut bench = two_members();
    let all = partitions(1, &[0, 1]);
    bench.beat(&owning("m", 1, &all)).unwrap();
    bench.beat(&beat("n", LEAVING_EPOCH)).unwrap();
    // It gave the partition up and gets it anew with the next epoch.
    let answer = bench.beat(&owning("m", 1, &partitions(1, &[0]))).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (3, Some(all)));
}

#[test]
fn a_change_of_subscription_gives_up_the_old_topic_first() {
    let mut bench = Bench::with(&[("a", 1, 1), ("b", 2, 1)]);
    bench.beat(&join("m", &["a"])).unwrap();
    let both = partitions(1, &[0]);
    let change = ConsumerHeartbeat {
        names: Some(set(&["b"])),
        ..owning("m", 1, &both)
    };
    let told = bench.beat(&change).unwrap();
    assert_eq!((told.epoch, told.assigned), (1, Some(Partitions::new())));
    let done = bench.beat(&owning("m", 1, &Partitions::new())).unwrap();
    assert_eq!((done.epoch, done.assigned), (2, Some(partitions(2, &[0]))));
}

#[test]
fn the_members_choose_the_assignor() {
    let mut bench = Bench::of(4);
    let asking = |member: &str| ConsumerHeartbeat {
        assignor: Some("range".into()),
        ..join(member, &["a"])
    };
    bench.beat(&asking("m")).unwrap();
    bench.beat(&asking("n")).unwrap();
    let known = bench.settled(&["m", "n"]);
    assert_eq!(known[0].1, partitions(1, &[0, 1]));
    assert_eq!(known[1].1, partitions(1, &[2, 3]));
    let described = bench.group.describe(&bench.settings);
    assert_eq!(described.assignor, ConsumerAssignor::Range);
    assert_eq!(described.members[1].target, partitions(1, &[2, 3]));
    assert_eq!(described.state, ConsumerGroupState::Stable);
}

#[test]
fn members_commit_and_fetch_with_their_epoch() {
    use super::super::super::request::CommitOffsets;
    use super::super::super::{CommitError, FetchError};
    let mut bench = Bench::of(1);
    let commit = |member: &str, generation, knows_member_epochs| CommitOffsets {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        generation,
        knows_member_epochs,
        retention_ms: None,
        offsets: Vec::new(),
    };
    assert_eq!(bench.group.check_commit(&commit("", -1, false)), Ok(()));
    bench.beat(&join("m", &["a"])).unwrap();
    let group = &bench.group;
    assert_eq!(group.check_commit(&commit("m", 1, true)), Ok(()));
    let stale = Err(CommitError::StaleMemberEpoch);
    assert_eq!(group.check_commit(&commit("m", 0, true)), stale);
    assert_eq!(group.check_commit(&commit("m", -1, true)), stale);
    let old = Err(CommitError::MemberEpochRequired);
    assert_eq!(group.check_commit(&commit("m", 1, false)), old);
    let unknown = Err(CommitError::UnknownMemberId);
    assert_eq!(group.check_commit(&commit("", -1, true)), unknown);
    let member = MemberId::from("m");
    assert_eq!(group.check_fetch(None, -1), Ok(()));
    assert_eq!(group.check_fetch(Some(&member), 1), Ok(()));
    assert_eq!(
        group.check_fetch(Some(&member), 2),
        Err(FetchError::StaleMemberEpoch)
    );
    let other = MemberId::from("n");
    assert_eq!(
        group.check_fetch(Some(&other), 1),
        Err(FetchError::UnknownMemberId)
    );
}

/// What a heartbeat costs must not depend on how many others there are, and a change must reach all in a few of them.
#[test]
fn a_thousand_members_come_to_rest_within_a_few_heartbeats_each() {
    const MEMBERS: usize = 1_000;
    let mut bench = Bench::of(10_000);
    let topics = std::mem::take(&mut bench.topics);
    let context = Context {
        now: bench.now,
        settings: &bench.settings,
        topics: &topics,
        bytes_left: usize::MAX,
    };
    let group = &mut bench.group;
    let names: Vec<String> = (0..MEMBERS).map(|index| format!("m{index}")).collect();
    let mut known: Vec<(i32, Partitions)> = Vec::new();
    // All at once: each join moves the epoch, and only the last target counts.
    for name in &names {
        let answer = group
            .heartbeat(&join(name, &["a"]), None, context)
            .0
            .unwrap();
        known.push((answer.epoch, answer.assigned.unwrap()));
    }
    let mut rounds = 0;
    while group.state() != ConsumerGroupState::Stable {
        rounds += 1;
        assert!(rounds <= 4, "{rounds} rounds");
        for (name, (epoch, owned)) in names.iter().zip(&mut known) {
            let answer = group.heartbeat(&owning(name, *epoch, owned), None, context);
            let answer = answer.0.unwrap();
            *epoch = answer.epoch;
            if let Some(assigned) = answer.assigned {
                *owned = assigned;
            }
        }
    }
    assert!(
        group
            .members
            .values()
            .all(|member| member.assigned.len() == 10)
    );
    let stored = group.encode();
    assert!(stored.len() < 300_000, "{} bytes", stored.len());
}
