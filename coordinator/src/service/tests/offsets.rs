//! OffsetCommit and OffsetFetch through the driver, and the end of offsets.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_committed_offset_is_fetched_as_it_was() {
    let world = World::new().await;
    let results = world
        .groups
        .commit_offsets(commits("g", &[(0, 42), (1, 43)]))
        .await;
    assert_eq!(results, Ok(vec![Ok(()), Ok(())]));
    let request = FetchOffsets {
        group: GroupId::from("g"),
        member: None,
        epoch: -1,
        partitions: None,
    };
    let all = world.groups.fetch_offsets(request).await.unwrap();
    let shown: Vec<(TopicPartition, i64)> = all
        .iter()
        .map(|one| (one.partition, one.committed.as_ref().unwrap().offset))
        .collect();
    assert_eq!(shown, [(partition(0), 42), (partition(1), 43)]);
    let first = all[0].committed.as_ref().unwrap();
    assert_eq!(
        (first.leader_epoch, &*first.metadata),
        (LeaderEpoch(3), "note")
    );
    assert_eq!(first.committed_at, Timestamp(WALL_MS));
}

#[tokio::test]
async fn what_was_never_committed_is_none_and_no_error() {
    let world = World::new().await;
    assert_eq!(world.offset("unknown", 0).await, None);
    world
        .groups
        .commit_offsets(commits("g", &[(0, 42)]))
        .await
        .unwrap();
    assert_eq!(world.offset("g", 1).await, None);
}

#[tokio::test]
async fn of_two_lines_for_one_partition_the_last_one_wins() {
    let world = World::new().await;
    let results = world
        .groups
        .commit_offsets(commits("g", &[(0, 1), (0, 2)]))
        .await;
    assert_eq!(results, Ok(vec![Ok(()), Ok(())]));
    assert_eq!(world.offset("g", 0).await, Some(2));
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1), (0, 2)]))
        .await
        .unwrap();
    assert_eq!(world.offset("g", 0).await, Some(2));
    assert_eq!(world.writes(), (1, 1));
}

#[tokio::test]
async fn a_note_that_is_too_long_is_refused_by_itself() {
    let world = World::new().await;
    let mut request = commits("g", &[(0, 1), (1, 2)]);
    request.offsets[0].metadata = "x".repeat(4_097).into();
    request.offsets[1].metadata = "x".repeat(4_096).into();
    let results = world.groups.commit_offsets(request).await.unwrap();
    assert_eq!(results, [Err(OffsetError::OffsetMetadataTooLarge), Ok(())]);
    assert_eq!(world.offset("g", 0).await, None);
    assert_eq!(world.offset("g", 1).await, Some(2));
}

#[tokio::test]
async fn a_commit_of_nothing_makes_no_group() {
    let world = World::new().await;
    assert_eq!(
        world.groups.commit_offsets(commits("g", &[])).await,
        Ok(Vec::new())
    );
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_generation_of_an_unknown_group_does_not_exist() {
    let world = World::new().await;
    let mut request = commits("g", &[(0, 1)]);
    request.generation = 0;
    let answer = world.groups.commit_offsets(request).await;
    assert_eq!(answer, Err(CommitError::GroupIdNotFound));
}

#[tokio::test]
async fn a_refused_commit_writes_nothing() {
    let world = World::new().await;
    world.alone("g").await;
    let before = world.writes();
    let answer = world.groups.commit_offsets(commits("g", &[(0, 1)])).await;
    assert_eq!(answer, Err(CommitError::UnknownMemberId));
    settle().await;
    assert_eq!(world.writes(), before);
    assert_eq!(world.offset("g", 0).await, None);
}

#[tokio::test]
async fn an_unchanged_offset_is_not_written_again() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 42), (1, 1)]))
        .await
        .unwrap();
    let before = world.writes();
    world
        .groups
        .commit_offsets(commits("g", &[(0, 42), (1, 1)]))
        .await
        .unwrap();
    assert_eq!(world.writes(), before);
    world
        .groups
        .commit_offsets(commits("g", &[(0, 42), (1, 2)]))
        .await
        .unwrap();
    assert_eq!(world.writes(), (before.0 + 1, before.1 + 1));
}

#[tokio::test]
async fn an_offset_that_goes_back_and_forth_while_a_write_is_on_its_way_ends_as_committed() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    world.stop_store();
    let there = world.begin_commit(commits("g", &[(0, 2)]));
    settle().await;
    let back = world.begin_commit(commits("g", &[(0, 1)]));
    settle().await;
    world.resume_store().await;
    assert!(there.await.unwrap().is_ok());
    assert!(back.await.unwrap().is_ok());
    assert_eq!(world.offset("g", 0).await, Some(1));
}

#[tokio::test]
async fn an_offset_is_shown_when_it_is_written_and_not_before() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    world.stop_store();
    let commit = world.begin_commit(commits("g", &[(0, 2)]));
    settle().await;
    assert_eq!(world.offset("g", 0).await, Some(1));
    world.resume_store().await;
    commit.await.unwrap().unwrap();
    assert_eq!(world.offset("g", 0).await, Some(2));
}

#[tokio::test]
async fn commits_to_many_shards_are_written_together() {
    let world = World::new().await;
    let names = group_per_shard(&world.groups);
    world.stop_store();
    let mut waiting = vec![world.begin_commit(commits(&names[0], &[(0, 1)]))];
    settle().await;
    for round in 0..3 {
        for name in &names {
            waiting.push(world.begin_commit(commits(name, &[(0, 10 + round)])));
        }
    }
    settle().await;
    world.resume_store().await;
    for commit in waiting {
        assert!(commit.await.unwrap().is_ok());
    }
    let (calls, changes) = world.writes();
    assert_eq!(
        calls, 2,
        "one that was under way, one for all that came meanwhile"
    );
    assert_eq!(
        changes,
        1 + names.len(),
        "only the last offset of a partition is written"
    );
    for name in &names {
        assert_eq!(world.offset(name, 0).await, Some(12));
    }
}

#[tokio::test]
async fn a_busy_broker_gathers_commits_and_one_that_commits_alone_waits_for_nobody() {
    let mut world = World::new().await;
    world.settings.busy_write_interval = Duration::from_millis(30);
    world.restart().await;
    for offset in 1..4 {
        let alone = world.begin_commit(commits("alone", &[(0, offset)]));
        settle().await;
        assert_eq!(alone.await.unwrap(), Ok(vec![Ok(())]));
    }
    let many: Vec<(i32, i64)> = (0..8).map(|index| (index, 1)).collect();
    let first = world.begin_commit(commits("many", &many));
    settle().await;
    assert!(first.await.unwrap().is_ok());
    let mut second = world.begin_commit(commits("many", &[(0, 2)]));
    let mut third = world.begin_commit(commits("other", &[(0, 1)]));
    settle().await;
    assert!(second.try_recv().is_err(), "it waits for others");
    world.pass(Duration::from_millis(30)).await;
    assert_eq!(second.try_recv().unwrap(), Ok(vec![Ok(())]));
    assert_eq!(third.try_recv().unwrap(), Ok(vec![Ok(())]));
}

#[tokio::test]
async fn a_full_queue_refuses_and_does_nothing() {
    let settings = GroupSettings {
        queued_offsets_max: 2,
        ..Default::default()
    };
    let world = World::with(settings).await;
    world.stop_store();
    let first = world.begin_commit(commits("g", &[(0, 1), (1, 1)]));
    settle().await;
    let second = world.groups.commit_offsets(commits("g", &[(2, 1)])).await;
    assert_eq!(second, Err(CoordinatorError::Overloaded.into()));
    world.resume_store().await;
    first.await.unwrap().unwrap();
    assert_eq!(world.offset("g", 2).await, None);
    assert!(
        world
            .groups
            .commit_offsets(commits("g", &[(2, 1)]))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_commit_larger_than_the_queue_is_taken_when_nothing_else_waits() {
    let settings = GroupSettings {
        queued_offsets_max: 1,
        ..Default::default()
    };
    let world = World::with(settings).await;
    assert!(
        world
            .groups
            .commit_offsets(commits("g", &[(0, 1), (1, 1)]))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_group_that_is_empty_for_a_week_is_removed_with_its_offsets() {
    let mut world = World::new().await;
    let joined = world.alone("g").await;
    let mut commit = commits("g", &[(0, 42)]);
    (commit.member, commit.generation) = (joined.member.clone(), joined.generation);
    world.groups.commit_offsets(commit).await.unwrap();
    world
        .groups
        .leave(leaves("g", &joined.member))
        .await
        .unwrap();
    world.pass(DAY * 6).await;
    assert_eq!(world.offset("g", 0).await, Some(42));
    // A restart neither starts the week again nor ends it.
    world.restart().await;
    world.pass(DAY - Duration::from_secs(1)).await;
    assert_eq!(world.offset("g", 0).await, Some(42));
    world.pass(Duration::from_secs(660)).await;
    assert_eq!(world.offset("g", 0).await, None);
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
    world.restart().await;
    assert_eq!(world.offset("g", 0).await, None);
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn offsets_of_a_living_group_stay_for_ever() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    let mut commit = commits("g", &[(0, 42)]);
    (commit.member, commit.generation) = (joined.member.clone(), joined.generation);
    world.groups.commit_offsets(commit).await.unwrap();
    // Three hours a step, and a heartbeat that is never late by the session's clock.
    for _ in 0..80 {
        world.clock.jump_to(world.clock_ms() + 3 * 3_600_000);
        world.pass(Duration::from_secs(9)).await;
        assert_eq!(world.groups.heartbeat(beats("g", &joined)).await, Ok(()));
    }
    world.groups.inner.expire_offsets();
    settle().await;
    assert_eq!(world.offset("g", 0).await, Some(42));
}

#[tokio::test]
async fn only_the_expired_offsets_of_a_simple_consumer_go() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1), (1, 1)]))
        .await
        .unwrap();
    world.pass(DAY * 4).await;
    world
        .groups
        .commit_offsets(commits("g", &[(1, 2)]))
        .await
        .unwrap();
    world.pass(DAY * 3 + Duration::from_secs(600)).await;
    assert_eq!(world.offset("g", 0).await, None);
    assert_eq!(world.offset("g", 1).await, Some(2));
}

#[tokio::test]
async fn a_commit_that_is_on_its_way_keeps_its_group() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    world.pass(DAY * 6).await;
    world.stop_store();
    let commit = world.begin_commit(commits("g", &[(0, 2)]));
    settle().await;
    world.pass(DAY + Duration::from_secs(660)).await;
    world.resume_store().await;
    let unknown = Err(CoordinatorError::OutcomeUnknown.into());
    assert_eq!(commit.await.unwrap(), unknown, "the store hung for a day");
    assert_eq!(world.offset("g", 0).await, Some(2));
}

#[tokio::test]
async fn a_simple_consumer_that_commits_the_same_offset_for_weeks_keeps_it() {
    let world = World::new().await;
    for _ in 0..30 {
        world
            .groups
            .commit_offsets(commits("g", &[(0, 42)]))
            .await
            .unwrap();
        world.pass(DAY).await;
    }
    assert_eq!(world.offset("g", 0).await, Some(42));
    assert!(world.writes().0 <= 30, "at most once a day");
}

#[tokio::test]
async fn an_offset_with_a_lifetime_of_its_own_goes_early() {
    let world = World::new().await;
    let mut request = commits("g", &[(0, 1)]);
    request.retention_ms = Some(1_000);
    world.groups.commit_offsets(request).await.unwrap();
    world
        .groups
        .commit_offsets(commits("g", &[(1, 1)]))
        .await
        .unwrap();
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.offset("g", 0).await, None);
    assert_eq!(world.offset("g", 1).await, Some(1));
}

impl World {
    fn clock_ms(&self) -> i64 {
        streamhouse_runtime::Clock::wall_ms(&self.clock)
    }
}
