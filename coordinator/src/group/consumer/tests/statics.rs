//! Static members (`group.instance.id`): away for a while, replaced, fenced.

use super::*;

fn with_instance(request: ConsumerHeartbeat) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        instance: Some("i".into()),
        ..request
    }
}

fn away() -> Bench {
    let mut bench = Bench::of(2);
    bench.beat(&with_instance(join("m", &["a"]))).unwrap();
    bench.beat(&join("n", &["a"])).unwrap();
    bench.settled(&["m", "n"]);
    let answer = bench
        .beat(&with_instance(beat("m", STATIC_LEAVING_EPOCH)))
        .unwrap();
    assert_eq!(answer.epoch, STATIC_LEAVING_EPOCH);
    bench
}

#[test]
fn a_static_member_that_comes_back_has_its_partitions_and_nobody_moves() {
    let mut bench = away();
    let epoch = bench.group.epoch();
    assert_eq!(bench.beat(&beat("n", epoch)).unwrap().assigned, None);
    bench.restart();
    let answer = bench.beat(&with_instance(join("new", &["a"]))).unwrap();
    assert_eq!(answer.epoch, epoch);
    assert_eq!(answer.assigned.map(|all| all.len()), Some(1));
    assert_eq!(bench.group.epoch(), epoch);
    let refused = bench.beat(&with_instance(beat("m", epoch))).unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::FencedInstanceId);
    let refused = bench
        .beat(&with_instance(beat("m", LEAVING_EPOCH)))
        .unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::FencedInstanceId);
}

#[test]
fn a_static_member_that_does_not_come_back_is_out_with_its_session() {
    let mut bench = away();
    let epoch = bench.group.epoch();
    for _ in 0..2 {
        bench.pass(SESSION / 2);
        bench.beat(&beat("n", epoch)).unwrap();
    }
    let all = partitions(1, &[0, 1]);
    let described = bench.group.describe(&bench.settings);
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.members[0].assigned, all);
}

#[test]
fn an_instance_id_in_use_is_not_released() {
    let mut bench = Bench::of(2);
    bench.beat(&with_instance(join("m", &["a"]))).unwrap();
    let refused = bench.beat(&with_instance(join("n", &["a"]))).unwrap_err();
    let expected = ConsumerHeartbeatError::UnreleasedInstanceId("m".into());
    assert_eq!(refused, expected);
    // Its own join, whose answer was lost, is another matter.
    bench.beat(&with_instance(join("m", &["a"]))).unwrap();
    let refused = bench
        .beat(&ConsumerHeartbeat {
            instance: Some("other".into()),
            ..beat("m", 1)
        })
        .unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::UnknownMemberId);
}

#[test]
fn a_returning_static_member_cannot_take_the_id_of_another() {
    let mut bench = away();
    let refused = bench.beat(&with_instance(join("n", &["a"]))).unwrap_err();
    assert!(matches!(refused, ConsumerHeartbeatError::InvalidRequest(_)));
}
