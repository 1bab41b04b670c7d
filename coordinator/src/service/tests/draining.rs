//! Giving a shard's groups away.

use super::*;

fn shard_of(world: &World, group: &str) -> ShardId {
    world.groups.coordinator_of(&GroupId::from(group)).shard
}

fn begin_drain(world: &World, shard: ShardId) -> oneshot::Receiver<()> {
    let groups = world.groups.clone();
    world.begin(async move { groups.drain(shard).await })
}

#[tokio::test]
async fn what_was_accepted_is_written_before_a_shard_is_given_away() {
    let mut world = World::new().await;
    let shard = shard_of(&world, "g");
    world.stop_store();
    let commit = world.begin_commit(commits("g", &[(0, 42)]));
    settle().await;
    let mut drained = begin_drain(&world, shard);
    settle().await;
    assert!(drained.try_recv().is_err(), "the commit is not written");
    let late = world.groups.commit_offsets(commits("g", &[(0, 43)])).await;
    assert_eq!(late, Err(CoordinatorError::NotCoordinator.into()));
    let standing = world.groups.coordinator_of(&GroupId::from("g")).standing;
    assert_eq!(standing, Standing::Elsewhere);
    world.resume_store().await;
    assert_eq!(commit.await.unwrap(), Ok(vec![Ok(())]));
    drained.await.unwrap();
    world.take_all().await;
    assert_eq!(world.offset("g", 0).await, Some(42));
}

#[tokio::test]
async fn parked_members_of_a_drained_shard_hear_at_once_that_it_is_elsewhere() {
    let world = World::new().await;
    world.alone("g").await;
    let join = world.begin_join(asks("g", ""));
    settle().await;
    world.stop_store();
    let _drained = begin_drain(&world, shard_of(&world, "g"));
    let elsewhere = CoordinatorError::NotCoordinator;
    assert_eq!(join.await.unwrap(), Err(elsewhere.into()));
    assert_eq!(world.groups.list().await.unwrap(), Vec::new());
    world.resume_store().await;
}

#[tokio::test]
async fn a_shard_that_is_let_go_while_it_drains_is_drained() {
    let world = World::new().await;
    let shard = shard_of(&world, "g");
    world.stop_store();
    let _commit = world.begin_commit(commits("g", &[(0, 42)]));
    settle().await;
    let drained = begin_drain(&world, shard);
    settle().await;
    world.groups.unload(shard);
    drained.await.unwrap();
    world.resume_store().await;
}

#[tokio::test]
async fn a_shard_that_stays_after_all_goes_on_where_it_stood() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    let shard = shard_of(&world, "g");
    world.stop_store();
    let commit = world.begin_commit(CommitOffsets {
        member: joined.member.clone(),
        generation: joined.generation,
        ..commits("g", &[(0, 42)])
    });
    settle().await;
    let drained = begin_drain(&world, shard);
    settle().await;
    // Who waits for a drain may give it up.
    world.groups.resume(shard);
    let beat = world.groups.heartbeat(beats("g", &joined)).await;
    assert_eq!(beat, Ok(()));
    world.resume_store().await;
    assert_eq!(commit.await.unwrap(), Ok(vec![Ok(())]));
    drop(drained);
}

#[tokio::test]
async fn a_shard_tells_whether_it_has_groups() {
    let world = World::new().await;
    let shard = shard_of(&world, "g");
    assert!(!world.groups.has_groups(shard));
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    assert!(world.groups.has_groups(shard));
    world.groups.drain(shard).await;
    assert!(!world.groups.has_groups(shard));
}
