//! Removing groups and offsets on request.

use super::*;
use crate::group::classic::State;
use crate::group::{DeleteGroupError, DeleteOffsetError, DeleteOffsets, DeleteOffsetsError};

impl World {
    fn begin_delete(&self, group: &str) -> oneshot::Receiver<Result<(), DeleteGroupError>> {
        let (groups, group) = (self.groups.clone(), GroupId::from(group));
        self.begin(async move { groups.delete(&group).await })
    }

    async fn forget(
        &self,
        group: &str,
        indexes: &[i32],
    ) -> Result<Vec<Result<(), DeleteOffsetError>>, DeleteOffsetsError> {
        let partitions = indexes.iter().map(|index| (partition(*index), "t".into()));
        let request = DeleteOffsets {
            group: GroupId::from(group),
            partitions: partitions.collect(),
        };
        self.groups.delete_offsets(request).await
    }
}

async fn delete(world: &World, group: &str) -> Result<(), DeleteGroupError> {
    world.groups.delete(&GroupId::from(group)).await
}

/// A subscription as Kafka's consumers write it.
fn reads(topics: &[&str]) -> Vec<Protocol> {
    let mut metadata = vec![0, 3];
    metadata.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        metadata.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    metadata.extend(b"what later versions say");
    vec![Protocol {
        name: "range".into(),
        metadata: metadata.into(),
    }]
}

#[tokio::test]
async fn a_deleted_group_is_gone_with_its_offsets_after_a_restart_too() {
    let mut world = World::new().await;
    let joined = world.alone("g").await;
    world
        .groups
        .leave(leaves("g", &joined.member))
        .await
        .unwrap();
    for group in ["g", "simple"] {
        let commit = commits(group, &[(0, 1), (1, 2)]);
        world.groups.commit_offsets(commit).await.unwrap();
        assert_eq!(delete(&world, group).await, Ok(()));
        assert_eq!(world.offset(group, 0).await, None);
        assert_eq!(
            delete(&world, group).await,
            Err(DeleteGroupError::GroupIdNotFound)
        );
    }
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
    world.kill().await;
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
    let joined = world.alone("g").await;
    assert_eq!(joined.generation, 1, "a group of that name starts afresh");
}

#[tokio::test]
async fn a_group_with_members_cannot_be_deleted_in_any_state() {
    let world = World::new().await;
    let joined = world.groups.join(asks("g", "")).await.unwrap();
    let refused = Err(DeleteGroupError::NonEmptyGroup);
    assert_eq!(delete(&world, "g").await, refused);
    let given = [(&joined.member, "all")];
    world
        .groups
        .sync(syncs("g", &joined, &given))
        .await
        .unwrap();
    assert_eq!(delete(&world, "g").await, refused);
    let _parked = world.begin_join(asks("g", ""));
    settle().await;
    assert_eq!(delete(&world, "g").await, refused);
    assert_eq!(
        delete(&world, "unknown").await,
        Err(DeleteGroupError::GroupIdNotFound)
    );
}

#[tokio::test]
async fn a_deletion_is_answered_when_it_is_written_and_not_before() {
    let world = World::new().await;
    let commit = commits("g", &[(0, 1)]);
    world.groups.commit_offsets(commit).await.unwrap();
    world.stop_store();
    let mut deleted = world.begin_delete("g");
    settle().await;
    assert!(deleted.try_recv().is_err());
    let mut again = world.begin_delete("g");
    settle().await;
    assert!(again.try_recv().is_err(), "asked again, it waits too");
    let join = world.groups.join(asks("g", "")).await;
    assert_eq!(join, Err(CoordinatorError::NotAvailable.into()));
    world.resume_store().await;
    assert_eq!(deleted.await.unwrap(), Ok(()));
    assert_eq!(again.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_deletion_waits_for_the_commits_before_it() {
    let mut world = World::new().await;
    world.stop_store();
    let commit = world.begin_commit(commits("g", &[(0, 1)]));
    settle().await;
    let mut deleted = world.begin_delete("g");
    settle().await;
    assert!(deleted.try_recv().is_err());
    world.resume_store().await;
    assert_eq!(commit.await.unwrap(), Ok(vec![Ok(())]));
    assert_eq!(deleted.await.unwrap(), Ok(()));
    world.restart().await;
    assert_eq!(world.offset("g", 0).await, None);
}

#[tokio::test]
async fn a_deletion_that_the_store_does_not_take_in_time_says_what_is_known() {
    let world = World::new().await;
    let commit = commits("g", &[(0, 1)]);
    world.groups.commit_offsets(commit).await.unwrap();
    world.stop_store();
    let first = world.begin_delete("g");
    let _commit = world.begin_commit(commits("busy", &[(0, 1)]));
    settle().await;
    let second = world.begin_delete("busy");
    settle().await;
    world.pass(Duration::from_secs(5)).await;
    let unknown = CoordinatorError::OutcomeUnknown;
    assert_eq!(first.await.unwrap(), Err(unknown.into()));
    let nothing = CoordinatorError::NotAvailable;
    assert_eq!(second.await.unwrap(), Err(nothing.into()));
    world.resume_store().await;
}

#[tokio::test]
async fn a_deletion_that_the_store_refused_is_made_good() {
    let world = World::new().await;
    let commit = commits("g", &[(0, 1)]);
    world.groups.commit_offsets(commit).await.unwrap();
    world.fail_next(Fault::Refuse);
    let deleted = world.begin_delete("g");
    settle().await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(deleted.await.unwrap(), Ok(()));
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_member_id_that_was_handed_out_does_not_keep_a_group() {
    let world = World::new().await;
    let request = JoinRequest {
        requires_known_member_id: true,
        ..asks("g", "")
    };
    let Err(JoinError::MemberIdRequired { member }) = world.groups.join(request).await else {
        panic!("an id is handed out")
    };
    assert_eq!(delete(&world, "g").await, Ok(()));
    let late = world.groups.join(asks("g", member.as_str())).await;
    assert_eq!(late, Err(JoinError::UnknownMemberId));
}

#[tokio::test]
async fn deleted_offsets_stay_deleted_and_the_others_stay() {
    let mut world = World::new().await;
    let commit = commits("g", &[(0, 1), (1, 2)]);
    world.groups.commit_offsets(commit).await.unwrap();
    assert_eq!(world.forget("g", &[0, 7]).await, Ok(vec![Ok(()), Ok(())]));
    assert_eq!(world.offset("g", 0).await, None);
    world.kill().await;
    assert_eq!(world.offset("g", 0).await, None);
    assert_eq!(world.offset("g", 1).await, Some(2));
}

#[tokio::test]
async fn deleting_offsets_that_are_not_there_writes_nothing() {
    let world = World::new().await;
    let unknown = world.forget("g", &[0]).await;
    assert_eq!(unknown, Err(DeleteOffsetsError::GroupIdNotFound));
    let unnamed = world.forget("", &[0]).await;
    assert_eq!(unnamed, Err(DeleteOffsetsError::InvalidGroupId));
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    let before = world.writes();
    assert_eq!(world.forget("g", &[1]).await, Ok(vec![Ok(())]));
    assert_eq!(world.forget("g", &[]).await, Ok(Vec::new()));
    assert_eq!(world.writes(), before);
}

#[tokio::test]
async fn offsets_of_topics_that_a_consumer_reads_stay() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    let subscribed = Ok(vec![Err(DeleteOffsetError::SubscribedToTopic)]);
    for (protocols, expected) in [
        (reads(&["u", "t"]), subscribed.clone()),
        (asks("g", "").protocols, subscribed),
        (reads(&["u"]), Ok(vec![Ok(())])),
    ] {
        let request = JoinRequest {
            protocols,
            ..asks("g", "")
        };
        let joined = world.groups.join(request).await.unwrap();
        assert_eq!(world.forget("g", &[0]).await, expected);
        world
            .groups
            .leave(leaves("g", &joined.member))
            .await
            .unwrap();
    }
    assert_eq!(world.offset("g", 0).await, None);
}

#[tokio::test]
async fn offsets_of_a_group_of_another_kind_stay_while_it_has_members() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    let request = JoinRequest {
        protocol_type: "connect".into(),
        ..asks("g", "")
    };
    let joined = world.groups.join(request).await.unwrap();
    let refused = Err(DeleteOffsetsError::NonEmptyGroup);
    assert_eq!(world.forget("g", &[0]).await, refused);
    world
        .groups
        .leave(leaves("g", &joined.member))
        .await
        .unwrap();
    assert_eq!(world.forget("g", &[0]).await, Ok(vec![Ok(())]));
}

#[tokio::test]
async fn a_static_member_is_known_after_its_coordinator_was_killed() {
    let mut world = World::new().await;
    let request = |member: &str| JoinRequest {
        instance: Some("i".into()),
        requires_known_member_id: true,
        ..asks("g", member)
    };
    let first = world.groups.join(request("")).await.unwrap();
    assert!(first.member.as_str().starts_with("i-"));
    let given = [(&first.member, "all")];
    world.groups.sync(syncs("g", &first, &given)).await.unwrap();
    world.kill().await;
    let second = world.groups.join(request("")).await.unwrap();
    assert_eq!(second.generation, first.generation);
    assert_ne!(second.member, first.member);
    world.kill().await;
    let old = Heartbeat {
        instance: Some("i".into()),
        ..beats("g", &first)
    };
    let fenced = Err(HeartbeatError::FencedInstanceId);
    assert_eq!(world.groups.heartbeat(old).await, fenced);
    let synced = world.groups.sync(syncs("g", &second, &[])).await;
    assert_eq!(synced.unwrap().assignment, "all");
    let described = world.groups.describe(&GroupId::from("g")).await;
    let described = described.unwrap().unwrap();
    assert_eq!(described.state, State::Stable);
    assert_eq!(described.members[0].instance.as_deref(), Some("i"));
}

#[tokio::test]
async fn a_static_member_that_came_back_is_answered_when_its_new_id_is_written() {
    let world = World::new().await;
    let request = || JoinRequest {
        instance: Some("i".into()),
        ..asks("g", "")
    };
    let first = world.groups.join(request()).await.unwrap();
    let given = [(&first.member, "all")];
    world.groups.sync(syncs("g", &first, &given)).await.unwrap();
    world.stop_store();
    let mut second = world.begin_join(request());
    settle().await;
    assert!(second.try_recv().is_err());
    world.resume_store().await;
    assert_eq!(second.await.unwrap().unwrap().generation, first.generation);
}
