//! Joining, leaving, falling silent, and what is refused.

use super::*;

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut bench = Bench::of(3);
    let answer = bench.beat(&join("m", &["a"])).unwrap();
    assert_eq!(answer.epoch, 1);
    assert_eq!(answer.interval, Duration::from_secs(5));
    assert_eq!(answer.assigned, Some(partitions(1, &[0, 1, 2])));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn a_steady_heartbeat_says_and_stores_nothing() {
    let mut bench = Bench::of(3);
    bench.beat(&join("m", &["a"])).unwrap();
    let stores = bench.stores;
    let answer = bench
        .beat(&owning("m", 1, &partitions(1, &[0, 1, 2])))
        .unwrap();
    assert_eq!((answer.epoch, answer.assigned), (1, None));
    assert_eq!(bench.beat(&beat("m", 1)).unwrap().assigned, None);
    assert_eq!(bench.stores, stores);
}

#[test]
fn a_full_heartbeat_gets_the_assignment_again() {
    let mut bench = Bench::of(1);
    bench.beat(&join("m", &["a"])).unwrap();
    let full = ConsumerHeartbeat {
        epoch: 1,
        ..join("m", &["a"])
    };
    let assigned = bench.beat(&full).unwrap().assigned;
    assert_eq!(assigned, Some(partitions(1, &[0])));
}

#[test]
fn a_topic_that_does_not_exist_yet_is_read_when_it_does() {
    let mut bench = Bench::with(&[]);
    let answer = bench.beat(&join("m", &["a"])).unwrap();
    assert_eq!(answer.assigned, Some(Partitions::new()));
    bench.topics = catalogue(2, &[("a", 1, 2)]);
    let answer = bench.beat(&beat("m", 1)).unwrap();
    assert_eq!(answer.epoch, 2);
    assert_eq!(answer.assigned, Some(partitions(1, &[0, 1])));
}

#[test]
fn new_partitions_and_deleted_topics_move_the_epoch_and_others_do_not() {
    let mut bench = Bench::of(1);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.topics = catalogue(2, &[("a", 1, 2), ("other", 9, 5)]);
    let answer = bench.beat(&beat("m", 1)).unwrap();
    assert_eq!(answer.assigned, Some(partitions(1, &[0, 1])));
    bench.topics = catalogue(3, &[("a", 1, 2)]);
    assert_eq!(bench.beat(&beat("m", 2)).unwrap().epoch, 2);
    // Deleted and made again: another topic.
    bench.topics = catalogue(4, &[("a", 2, 1)]);
    let told = bench.beat(&beat("m", 2)).unwrap();
    assert_eq!((told.epoch, told.assigned), (2, Some(Partitions::new())));
    let answer = bench.beat(&owning("m", 2, &Partitions::new())).unwrap();
    assert_eq!(
        (answer.epoch, answer.assigned),
        (3, Some(partitions(2, &[0])))
    );
}

#[test]
fn who_leaves_frees_its_partitions_for_the_next_heartbeat() {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.beat(&join("n", &["a"])).unwrap();
    let known = bench.settled(&["m", "n"]);
    let answer = bench.beat(&beat("n", LEAVING_EPOCH)).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (LEAVING_EPOCH, None));
    assert_eq!(bench.group.state(), ConsumerGroupState::Assigning);
    let answer = bench.beat(&beat("m", known[0].0)).unwrap();
    assert_eq!(answer.assigned, Some(partitions(1, &[0, 1])));
}

#[test]
fn the_last_member_leaves_an_empty_group_that_remembers_its_epoch() {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.beat(&beat("m", LEAVING_EPOCH)).unwrap();
    assert_eq!(bench.group.state(), ConsumerGroupState::Empty);
    assert!(bench.group.is_vacant());
    assert_eq!(bench.group.wake_at(), None);
    bench.restart();
    assert_eq!(bench.beat(&join("m", &["a"])).unwrap().epoch, 3);
}

#[test]
fn silence_ends_a_session_and_heartbeats_keep_it() {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.beat(&join("n", &["a"])).unwrap();
    bench.settled(&["m", "n"]);
    bench.pass(SESSION - Duration::from_millis(1));
    let epoch = bench.group.epoch();
    bench.beat(&beat("m", epoch)).unwrap();
    bench.pass(Duration::from_millis(1));
    assert!(!bench.group.has_member(&MemberId::from("n")));
    assert!(bench.group.has_member(&MemberId::from("m")));
    let refused = bench.beat(&beat("n", epoch)).unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::UnknownMemberId);
}

#[test]
fn another_epoch_is_fenced() {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.beat(&beat("m", 1)).unwrap();
    for epoch in [2, 0] {
        let known = ConsumerHeartbeat {
            epoch,
            ..join("m", &["a"])
        };
        let refused = bench.beat(&known).unwrap_err();
        let expected = ConsumerHeartbeatError::FencedMemberEpoch {
            known: 1,
            received: epoch,
        };
        assert_eq!(refused, expected);
    }
}

#[test]
fn a_lost_answer_costs_nothing_and_two_in_a_row_neither() {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    // The answer is lost: the member joins again, and finds itself in.
    let again = bench.beat(&join("m", &["a"])).unwrap();
    assert_eq!(again.assigned, Some(partitions(1, &[0, 1])));
    let owned = partitions(1, &[0, 1]);
    bench.topics = catalogue(2, &[("a", 1, 3)]);
    bench.beat(&owning("m", 1, &owned)).unwrap();
    bench.topics = catalogue(3, &[("a", 1, 4)]);
    bench.beat(&owning("m", 1, &owned)).unwrap();
    let answer = bench.beat(&owning("m", 1, &owned)).unwrap();
    assert_eq!(answer.epoch, 3);
    assert_eq!(answer.assigned, Some(partitions(1, &[0, 1, 2, 3])));
}

#[test]
fn a_member_that_is_behind_and_keeps_what_it_must_not_have_is_fenced() {
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.beat(&beat("m", 1)).unwrap();
    bench.topics = catalogue(2, &[("a", 1, 3)]);
    bench.beat(&beat("m", 1)).unwrap();
    let too_much = partitions(1, &[0, 1, 2, 7]);
    assert!(matches!(
        bench.beat(&owning("m", 1, &too_much)),
        Err(ConsumerHeartbeatError::FencedMemberEpoch { known: 2, .. })
    ));
    // Nor is one that does not say what it has.
    assert!(bench.beat(&beat("m", 1)).is_err());
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut bench = Bench::of(2);
    bench.settings.consumer.size_max = 1;
    bench.beat(&join("m", &["a"])).unwrap();
    let refused = bench.beat(&join("n", &["a"])).unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::GroupMaxSizeReached);
    bench.beat(&join("m", &["a"])).unwrap();
}

#[test]
fn subscriptions_are_bounded_in_bytes() {
    let mut bench = Bench::of(2);
    bench.settings.group_bytes_max = 2_000;
    bench.beat(&join("m", &["a"])).unwrap();
    let long = "x".repeat(2_000);
    let refused = bench.beat(&join("n", &[&long])).unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::GroupMaxSizeReached);
    let more = ConsumerHeartbeat {
        names: Some(set(&["a", &long])),
        ..beat("m", 1)
    };
    assert!(bench.beat(&more).is_err());
    bench.beat(&beat("m", 1)).unwrap();
}

#[test]
fn a_full_broker_lets_nobody_in_and_what_is_there_goes_on() {
    use super::super::super::CoordinatorError;
    let mut bench = Bench::of(2);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.bytes_left = 0;
    let refused = bench.beat(&join("n", &["a"])).unwrap_err();
    let expected = ConsumerHeartbeatError::Coordinator(CoordinatorError::Overloaded);
    assert_eq!(refused, expected);
    bench.beat(&join("m", &["a"])).unwrap();
    bench.beat(&beat("m", LEAVING_EPOCH)).unwrap();
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let wrong = |change: &dyn Fn(&mut ConsumerHeartbeat)| {
        let mut request = join("m", &["a"]);
        change(&mut request);
        check_heartbeat(&request, &[ConsumerAssignor::Uniform]).unwrap_err()
    };
    let is_invalid = |error| matches!(error, ConsumerHeartbeatError::InvalidRequest(_));
    assert!(is_invalid(wrong(&|one| one.group = GroupId::from(""))));
    let long = "g".repeat(1_025);
    assert!(is_invalid(wrong(&|one| one.group = long.as_str().into())));
    assert!(is_invalid(wrong(&|one| one.member = MemberId::none())));
    assert!(is_invalid(wrong(&|one| one.instance = Some("".into()))));
    assert!(is_invalid(wrong(&|one| one.rack = Some("".into()))));
    assert!(is_invalid(wrong(&|one| one.rebalance_timeout_ms = -1)));
    assert!(is_invalid(wrong(&|one| one.rebalance_timeout_ms = -7)));
    assert!(is_invalid(wrong(&|one| one.owned = None)));
    assert!(is_invalid(wrong(
        &|one| one.owned = Some(partitions(1, &[0]))
    )));
    assert!(is_invalid(wrong(&|one| one.names = None)));
    assert!(is_invalid(wrong(&|one| one.epoch = -2)));
    assert!(is_invalid(wrong(&|one| one.epoch = -3)));
    let error = wrong(&|one| one.assignor = Some("range".into()));
    assert_eq!(
        error,
        ConsumerHeartbeatError::UnsupportedAssignor("range".into())
    );
}

#[test]
fn before_version_one_the_first_heartbeat_has_no_member_id() {
    let first = ConsumerHeartbeat {
        draws_member_id: false,
        member: MemberId::none(),
        ..join("", &["a"])
    };
    assert_eq!(
        check_heartbeat(&first, &[ConsumerAssignor::Uniform]),
        Ok(())
    );
    let later = ConsumerHeartbeat { epoch: 1, ..first };
    assert!(check_heartbeat(&later, &[ConsumerAssignor::Uniform]).is_err());
}

#[test]
fn a_dead_group_refuses_everything() {
    let mut bench = Bench::of(1);
    bench.group.die();
    assert!(matches!(
        bench.beat(&join("m", &["a"])),
        Err(ConsumerHeartbeatError::Coordinator(_))
    ));
}
