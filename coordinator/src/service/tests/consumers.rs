//! Groups of the consumer protocol (KIP-848) on the store: what is written when, what comes back, and one type at a time.

use streamhouse_metadata::{Catalogue, Configs, Revision, TopicRow, Topics};
use streamhouse_protocol::names::TopicName;

use super::bounds::{bytes, overloaded, small};
use super::*;
use crate::group::consumer::{
    ConsumerGroupState, ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerHeartbeatError,
    Partitions,
};
use crate::group::{FetchError, GroupType, LeaveError, MemberId};

type Answered = Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError>;

/// Topic `t` with four partitions; its id is that of the offsets of these tests.
fn topics() -> Arc<Catalogue> {
    let row = TopicRow {
        id: partition(0).topic,
        name: TopicName::new("t").unwrap(),
        partitions: vec![ShardId(0); 4],
        configs: Configs::default(),
        created_ms: 0,
    };
    Arc::new(Catalogue::new(Topics {
        revision: Revision { number: 1, tag: 1 },
        topics: vec![row],
        ..Topics::default()
    }))
}

fn heartbeat(group: &str, member: &str, epoch: i32) -> ConsumerHeartbeat {
    let is_joining = epoch == 0;
    ConsumerHeartbeat {
        group: GroupId::from(group),
        member: MemberId::from(member),
        epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: if is_joining { 60_000 } else { -1 },
        names: is_joining.then(|| ["t".into()].into()),
        regex: None,
        assignor: None,
        owned: is_joining.then(Partitions::new),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        draws_member_id: true,
    }
}

async fn beat(world: &World, beat: ConsumerHeartbeat) -> Answered {
    world
        .groups
        .consumer_heartbeat(beat, &topics(), |_| true)
        .await
}

fn count(answer: &ConsumerHeartbeatAnswer) -> Option<usize> {
    answer.assigned.as_ref().map(Partitions::len)
}

fn commit(member: &str, epoch: i32, offset: i64) -> CommitOffsets {
    CommitOffsets {
        member: MemberId::from(member),
        generation: epoch,
        knows_member_epochs: true,
        ..commits("g", &[(0, offset)])
    }
}

#[tokio::test]
async fn an_answer_waits_for_what_it_reveals_and_a_steady_heartbeat_for_nothing() {
    let world = World::new().await;
    world.stop_store();
    let groups = world.groups.clone();
    let mut joined = world.begin(async move {
        groups
            .consumer_heartbeat(heartbeat("g", "m", 0), &topics(), |_| true)
            .await
    });
    settle().await;
    assert!(joined.try_recv().is_err(), "told before it was stored");
    world.resume_store().await;
    let answer = joined.await.unwrap().unwrap();
    assert_eq!((answer.epoch, count(&answer)), (1, Some(4)));
    let writes = world.writes();
    world.stop_store();
    for _ in 0..5 {
        let answer = beat(&world, heartbeat("g", "m", 1)).await.unwrap();
        assert_eq!((answer.epoch, count(&answer)), (1, None));
    }
    world.resume_store().await;
    assert_eq!(world.writes(), writes);
}

#[tokio::test]
async fn members_go_on_where_they_stood_after_a_kill() {
    let mut world = World::new().await;
    beat(&world, heartbeat("g", "m", 0)).await.unwrap();
    beat(&world, heartbeat("g", "n", 0)).await.unwrap();
    world
        .groups
        .commit_offsets(commit("m", 1, 42))
        .await
        .unwrap();
    world.kill().await;
    assert_eq!(world.offset("g", 0).await, Some(42));
    // What it was to give up before the kill it is to give up now.
    let told = beat(&world, heartbeat("g", "m", 1)).await.unwrap();
    assert_eq!((told.epoch, count(&told)), (1, Some(2)));
    let done = ConsumerHeartbeat {
        owned: told.assigned,
        ..heartbeat("g", "m", 1)
    };
    assert_eq!(beat(&world, done).await.unwrap().epoch, 2);
    let got = beat(&world, heartbeat("g", "n", 2)).await.unwrap();
    assert_eq!(count(&got), Some(2));
    let described = world.groups.describe_consumer(&GroupId::from("g")).await;
    let described = described.unwrap().unwrap();
    assert_eq!(described.state, ConsumerGroupState::Stable);
    assert_eq!(described.members.len(), 2);
}

#[tokio::test]
async fn silent_members_are_found_out_and_that_is_stored() {
    let mut world = World::new().await;
    beat(&world, heartbeat("g", "m", 0)).await.unwrap();
    world.pass_slowly(Duration::from_secs(46)).await;
    world.kill().await;
    let refused = beat(&world, heartbeat("g", "m", 1)).await.unwrap_err();
    assert_eq!(refused, ConsumerHeartbeatError::UnknownMemberId);
    let answer = beat(&world, heartbeat("g", "m", 0)).await.unwrap();
    assert_eq!(answer.epoch, 3);
}

#[tokio::test]
async fn offsets_belong_to_the_members_epoch() {
    let world = World::new().await;
    beat(&world, heartbeat("g", "m", 0)).await.unwrap();
    let stale = world.groups.commit_offsets(commit("m", 0, 1)).await;
    assert_eq!(stale, Err(CommitError::StaleMemberEpoch));
    world
        .groups
        .commit_offsets(commit("m", 1, 7))
        .await
        .unwrap();
    let fetch = |epoch| FetchOffsets {
        group: GroupId::from("g"),
        member: Some(MemberId::from("m")),
        epoch,
        partitions: Some(vec![partition(0)]),
    };
    let fetched = world.groups.fetch_offsets(fetch(1)).await.unwrap();
    assert_eq!(fetched[0].committed.as_ref().unwrap().offset, 7);
    let stale = world.groups.fetch_offsets(fetch(3)).await;
    assert_eq!(stale, Err(FetchError::StaleMemberEpoch));
}

#[tokio::test]
async fn a_group_id_is_of_one_type_at_a_time() {
    let world = World::new().await;
    beat(&world, heartbeat("new", "m", 0)).await.unwrap();
    world.alone("old").await;
    let joined = world.groups.join(asks("new", "")).await;
    assert_eq!(joined, Err(JoinError::InconsistentGroupProtocol));
    let refused = beat(&world, heartbeat("old", "m", 0)).await;
    assert_eq!(refused, Err(ConsumerHeartbeatError::GroupIdNotFound));
    let refused = beat(&world, heartbeat("none", "m", 1)).await;
    assert_eq!(refused, Err(ConsumerHeartbeatError::GroupIdNotFound));
    let leave = LeaveRequest {
        group: GroupId::from("new"),
        members: vec![LeavingMember {
            member: MemberId::from("m"),
            instance: None,
        }],
    };
    let left = world.groups.leave(leave).await.unwrap();
    assert_eq!(left, [Err(LeaveError::UnknownMemberId)]);
    let mut listed = world.groups.list().await.unwrap();
    listed.sort_by(|left, right| left.group.cmp(&right.group));
    let shown: Vec<_> = listed
        .iter()
        .map(|one| (one.group.as_str(), one.group_type, one.state.name()))
        .collect();
    let expected = [
        ("new", GroupType::Consumer, "Stable"),
        ("old", GroupType::Classic, "Stable"),
    ];
    assert_eq!(shown, expected);
    let id = GroupId::from("new");
    assert_eq!(world.groups.describe(&id).await, Ok(None));
    let old = GroupId::from("old");
    assert_eq!(world.groups.describe_consumer(&old).await, Ok(None));
}

#[tokio::test]
async fn an_empty_group_may_change_its_type_and_its_number_goes_on() {
    let mut world = World::new().await;
    let joined = world.alone("g").await;
    let commit = CommitOffsets {
        member: joined.member.clone(),
        generation: joined.generation,
        ..commits("g", &[(0, 42)])
    };
    world.groups.commit_offsets(commit).await.unwrap();
    let leave = LeaveRequest {
        group: GroupId::from("g"),
        members: vec![LeavingMember {
            member: joined.member,
            instance: None,
        }],
    };
    world.groups.leave(leave).await.unwrap();
    let answer = beat(&world, heartbeat("g", "m", 0)).await.unwrap();
    assert_eq!(answer.epoch, joined.generation + 2);
    world.kill().await;
    assert_eq!(world.offset("g", 0).await, Some(42));
    beat(&world, heartbeat("g", "m", -1)).await.unwrap();
    let again = world.alone("g").await;
    assert!(again.generation > answer.epoch);
}

#[tokio::test]
async fn a_member_of_a_thousand_groups_costs_what_it_may_and_harms_no_other() {
    let world = small(300_000).await;
    beat(&world, heartbeat("mine", "m", 0)).await.unwrap();
    let mut taken = 0;
    for number in 0..1_000 {
        match beat(&world, heartbeat(&format!("theirs-{number}"), "m", 0)).await {
            Ok(_) => taken += 1,
            refused => assert_eq!(refused, overloaded()),
        }
    }
    assert!((100..400).contains(&taken), "{taken}");
    assert!(bytes(&world) <= 300_000);
    let mine = beat(&world, heartbeat("mine", "m", 1)).await.unwrap();
    assert_eq!((mine.epoch, mine.assigned), (1, None));
    // A member of the classic protocol has no more room than one of the other.
    let subscription = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0";
    let mut late = asks("mine", "");
    late.protocols[0].metadata = Bytes::from_static(subscription);
    late.client_id = "c".repeat(bytes(&world)).into();
    assert_eq!(world.groups.join(late).await, overloaded());
    world.pass_slowly(Duration::from_secs(46)).await;
    world.groups.inner.expire_offsets();
    settle().await;
    assert!(bytes(&world) < 10_000, "{}", bytes(&world));
}

#[tokio::test]
async fn an_invalid_regex_touches_no_group() {
    let world = World::new().await;
    let request = ConsumerHeartbeat {
        regex: Some("(".into()),
        ..heartbeat("g", "m", 0)
    };
    assert!(matches!(
        beat(&world, request).await,
        Err(ConsumerHeartbeatError::InvalidRegularExpression(_))
    ));
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_regex_matches_what_the_asker_may_see() {
    let world = World::new().await;
    let matching = || ConsumerHeartbeat {
        names: None,
        regex: Some("t.*".into()),
        ..heartbeat("g", "m", 0)
    };
    let blind = world
        .groups
        .consumer_heartbeat(matching(), &topics(), |_| false)
        .await;
    assert_eq!(count(&blind.unwrap()), Some(0));
    let other = ConsumerHeartbeat {
        group: GroupId::from("other"),
        ..matching()
    };
    assert_eq!(count(&beat(&world, other).await.unwrap()), Some(4));
}
