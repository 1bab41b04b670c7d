//! Joining, syncing and staying through the driver; loading, restarting, letting go.

use super::*;
use crate::group::LeaveError;
use crate::group::classic::State;

#[tokio::test]
async fn a_member_joins_syncs_and_stays() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    assert_eq!((joined.generation, &joined.leader), (1, &joined.member));
    for _ in 0..5 {
        world.pass(Duration::from_secs(8)).await;
        assert_eq!(world.groups.heartbeat(beats("g", &joined)).await, Ok(()));
    }
}

#[tokio::test]
async fn a_member_id_is_the_client_id_and_a_uuid() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    let uuid = joined.member.as_str().strip_prefix("client-").unwrap();
    let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(&uuid[14..15], "4");
}

#[tokio::test]
async fn a_second_member_waits_for_the_first_to_rejoin() {
    let world = World::new().await;
    let first = world.alone("g").await;
    let mut parked = world.begin_join(asks("g", ""));
    settle().await;
    assert!(parked.try_recv().is_err());
    let rebalance = Err(HeartbeatError::RebalanceInProgress);
    assert_eq!(world.groups.heartbeat(beats("g", &first)).await, rebalance);
    let rejoined = world
        .groups
        .join(asks("g", first.member.as_str()))
        .await
        .unwrap();
    let second = parked.await.unwrap().unwrap();
    assert_eq!((rejoined.generation, second.generation), (2, 2));
    assert_eq!(rejoined.members.len(), 2);
    let given = [(&first.member, "one"), (&second.member, "two")];
    let follower = {
        let groups = world.groups.clone();
        let request = syncs("g", &second, &[]);
        world.begin(async move { groups.sync(request).await })
    };
    settle().await;
    let leader = world
        .groups
        .sync(syncs("g", &rejoined, &given))
        .await
        .unwrap();
    assert_eq!(leader.assignment, "one");
    assert_eq!(follower.await.unwrap().unwrap().assignment, "two");
}

#[tokio::test]
async fn a_silent_member_goes_when_its_session_ends_without_anybody_asking() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    world.pass(Duration::from_secs(10)).await;
    let unknown = Err(HeartbeatError::UnknownMemberId);
    assert_eq!(world.groups.heartbeat(beats("g", &joined)).await, unknown);
    let described = world
        .groups
        .describe(&GroupId::from("g"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(described.state, State::Empty);
}

#[tokio::test]
async fn a_waiter_that_is_gone_breaks_nothing() {
    let world = World::new().await;
    let first = world.alone("g").await;
    {
        let join = world.groups.join(asks("g", ""));
        let mut join = Box::pin(join);
        assert!(futures_poll(join.as_mut()).await.is_none());
    }
    let rejoined = world
        .groups
        .join(asks("g", first.member.as_str()))
        .await
        .unwrap();
    assert_eq!(
        rejoined.members.len(),
        2,
        "nobody knows yet that the client is gone"
    );
    let given = [(&first.member, "all")];
    let synced = world
        .groups
        .sync(syncs("g", &rejoined, &given))
        .await
        .unwrap();
    assert_eq!(synced.assignment, "all");
    world.pass(Duration::from_secs(9)).await;
    assert_eq!(world.groups.heartbeat(beats("g", &rejoined)).await, Ok(()));
    world.pass(Duration::from_secs(1)).await;
    let alone = world
        .groups
        .join(asks("g", first.member.as_str()))
        .await
        .unwrap();
    assert_eq!(alone.members.len(), 1);
}

/// Polls once.
async fn futures_poll<T>(future: std::pin::Pin<&mut (dyn Future<Output = T> + Send)>) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn the_first_rebalance_ends_by_the_clock() {
    let world = World::with(GroupSettings::default()).await;
    let mut first = world.begin_join(asks("g", ""));
    settle().await;
    world.pass(Duration::from_millis(2_999)).await;
    assert!(first.try_recv().is_err());
    world.pass(Duration::from_millis(1)).await;
    assert_eq!(first.await.unwrap().unwrap().generation, 1);
}

#[tokio::test]
async fn an_answer_waits_until_what_it_reveals_is_written() {
    let world = World::new().await;
    world.stop_store();
    let mut joining = world.begin_join(asks("g", ""));
    settle().await;
    assert!(joining.try_recv().is_err());
    world.resume_store().await;
    let joined = joining.await.unwrap().unwrap();
    world.stop_store();
    let groups = world.groups.clone();
    let request = syncs("g", &joined, &[(&joined.member, "all")]);
    let mut leader = world.begin(async move { groups.sync(request).await });
    settle().await;
    // The group is Stable by now, but nobody may know.
    let groups = world.groups.clone();
    let request = syncs("g", &joined, &[]);
    let mut again = world.begin(async move { groups.sync(request).await });
    let groups = world.groups.clone();
    let mut described = world.begin(async move { groups.describe(&GroupId::from("g")).await });
    settle().await;
    assert!(leader.try_recv().is_err());
    assert!(again.try_recv().is_err());
    assert!(described.try_recv().is_err());
    world.resume_store().await;
    assert_eq!(leader.await.unwrap().unwrap().assignment, "all");
    assert_eq!(again.await.unwrap().unwrap().assignment, "all");
    assert_eq!(
        described.await.unwrap().unwrap().unwrap().state,
        State::Stable
    );
}

#[tokio::test]
async fn a_restart_keeps_members_generation_assignment_and_offsets() {
    let mut world = World::new().await;
    let joined = world.alone("g").await;
    let mut commit = commits("g", &[(0, 42)]);
    (commit.member, commit.generation) = (joined.member.clone(), joined.generation);
    world.groups.commit_offsets(commit).await.unwrap();
    world.pass(Duration::from_secs(9)).await;
    world.restart().await;
    world.pass(Duration::from_secs(9)).await;
    assert_eq!(
        world.groups.heartbeat(beats("g", &joined)).await,
        Ok(()),
        "a fresh session"
    );
    let synced = world.groups.sync(syncs("g", &joined, &[])).await.unwrap();
    assert_eq!(synced.assignment, "all");
    assert_eq!(world.offset("g", 0).await, Some(42));
    let rejoined = world
        .groups
        .join(asks("g", joined.member.as_str()))
        .await
        .unwrap();
    assert_eq!(rejoined.generation, joined.generation + 1);
}

#[tokio::test]
async fn a_generation_that_was_joined_but_not_synced_survives_a_restart() {
    let mut world = World::new().await;
    let joined = world.groups.join(asks("g", "")).await.unwrap();
    world.restart().await;
    let synced = world
        .groups
        .sync(syncs("g", &joined, &[(&joined.member, "all")]))
        .await
        .unwrap();
    assert_eq!(synced.assignment, "all");
}

#[tokio::test]
async fn a_shard_that_is_not_led_here_answers_so() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    let group = GroupId::from("g");
    let here = world.groups.coordinator_of(&group);
    assert_eq!(here.standing, Standing::Loaded);
    world.groups.unload(here.shard);
    assert_eq!(
        world.groups.coordinator_of(&group).standing,
        Standing::Elsewhere
    );
    let elsewhere = CoordinatorError::NotCoordinator;
    assert_eq!(
        world.groups.join(asks("g", "")).await,
        Err(elsewhere.into())
    );
    assert_eq!(
        world.groups.sync(syncs("g", &joined, &[])).await,
        Err(elsewhere.into())
    );
    assert_eq!(
        world.groups.heartbeat(beats("g", &joined)).await,
        Err(elsewhere.into())
    );
    assert_eq!(
        world.groups.leave(leaves("g", &joined.member)).await,
        Err(elsewhere.into())
    );
    let commit = world.groups.commit_offsets(commits("g", &[(0, 1)])).await;
    assert_eq!(commit, Err(elsewhere.into()));
    let fetch = FetchOffsets {
        group: group.clone(),
        member: None,
        epoch: -1,
        partitions: None,
    };
    assert_eq!(
        world.groups.fetch_offsets(fetch).await,
        Err(elsewhere.into())
    );
    assert_eq!(world.groups.describe(&group).await, Err(elsewhere.into()));
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_shard_that_is_let_go_answers_whoever_waits() {
    let world = World::new().await;
    let first = world.alone("g").await;
    let join = world.begin_join(asks("g", ""));
    settle().await;
    let shard = world.groups.coordinator_of(&GroupId::from("g")).shard;
    world.groups.unload(shard);
    assert_eq!(
        join.await.unwrap(),
        Err(CoordinatorError::NotCoordinator.into())
    );
    drop(first);
}

#[tokio::test]
async fn a_shard_that_is_loading_says_so_and_never_says_that_there_is_no_offset() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 42)]))
        .await
        .unwrap();
    let shard = world.groups.coordinator_of(&GroupId::from("g")).shard;
    let grants = world.grant_all(Incarnation(2)).await;
    let grant = grants
        .into_iter()
        .find(|grant| grant.shard == shard)
        .unwrap();
    world.stop_store();
    let groups = world.groups.clone();
    let load = world.begin(async move { groups.load(grant).await });
    settle().await;
    let loading = CoordinatorError::LoadInProgress;
    let group = GroupId::from("g");
    assert_eq!(
        world.groups.coordinator_of(&group).standing,
        Standing::Loading
    );
    let fetch = FetchOffsets {
        group,
        member: None,
        epoch: -1,
        partitions: Some(vec![partition(0)]),
    };
    assert_eq!(world.groups.fetch_offsets(fetch).await, Err(loading.into()));
    assert_eq!(world.groups.join(asks("g", "")).await, Err(loading.into()));
    assert_eq!(world.groups.list().await, Err(loading.into()));
    world.resume_store().await;
    assert_eq!(load.await.unwrap(), Ok(()));
    assert_eq!(world.offset("g", 0).await, Some(42));
}

#[tokio::test]
async fn a_load_that_was_overtaken_serves_nothing() {
    let world = World::new().await;
    let grants = world.grant_all(Incarnation(2)).await;
    world.stop_store();
    let groups = world.groups.clone();
    let grant = grants[0];
    let load = world.begin(async move { groups.load(grant).await });
    settle().await;
    world.groups.unload(grant.shard);
    world.resume_store().await;
    assert_eq!(
        load.await.unwrap(),
        Err(LoadError::Superseded { shard: grant.shard })
    );
    let groups = group_per_shard(&world.groups);
    let standing = world
        .groups
        .coordinator_of(&GroupId::from(groups[0].as_str()))
        .standing;
    assert_eq!(standing, Standing::Elsewhere);
}

#[tokio::test]
async fn a_group_that_cannot_be_read_stops_its_shard_by_name() {
    let world = World::new().await;
    let grant = world.grant_all(Incarnation(2)).await[0];
    let row = streamhouse_metadata::GroupRow {
        group: GroupId::from("broken"),
        blob: Bytes::from_static(&[9, 9]),
    };
    let write = CoordinationWrite {
        shard: grant.shard,
        epoch: grant.epoch,
        incarnation: grant.incarnation,
        seq: world
            .store
            .coordination_seq(grant.shard)
            .await
            .unwrap()
            .unwrap(),
        changes: vec![streamhouse_metadata::GroupChange::PutGroup(row)],
    };
    world.store.write_groups(vec![write]).await.unwrap();
    let error = world.groups.load(grant).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot load group \"broken\" of shard 0");
    let names = group_per_shard(&world.groups);
    let standing = world
        .groups
        .coordinator_of(&GroupId::from(names[0].as_str()))
        .standing;
    assert_eq!(standing, Standing::Elsewhere);
}

#[tokio::test]
async fn a_group_is_found_in_the_shard_where_it_is_stored() {
    let world = World::new().await;
    let names = group_per_shard(&world.groups);
    let moved = GroupId::from(names[0].as_str());
    let grants = world.grant_all(Incarnation(2)).await;
    let other = grants[1];
    let blob = crate::group::Group::new(world.groups.inner.now()).encode();
    let row = streamhouse_metadata::GroupRow {
        group: moved.clone(),
        blob,
    };
    let write = CoordinationWrite {
        shard: other.shard,
        epoch: other.epoch,
        incarnation: other.incarnation,
        seq: world
            .store
            .coordination_seq(other.shard)
            .await
            .unwrap()
            .unwrap(),
        changes: vec![streamhouse_metadata::GroupChange::PutGroup(row)],
    };
    world.store.write_groups(vec![write]).await.unwrap();
    assert_eq!(world.groups.coordinator_of(&moved).shard, grants[0].shard);
    world.groups.load(other).await.unwrap();
    assert_eq!(world.groups.coordinator_of(&moved).shard, other.shard);
    world.groups.unload(other.shard);
    assert_eq!(world.groups.coordinator_of(&moved).shard, grants[0].shard);
}

#[tokio::test]
async fn leaving_is_answered_line_by_line() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    let unknown = LeaveError::UnknownMemberId;
    let nobody = world.groups.leave(leaves("unknown", &joined.member)).await;
    assert_eq!(nobody, Ok(vec![Err(unknown)]));
    assert_eq!(
        world.groups.leave(leaves("g", &joined.member)).await,
        Ok(vec![Ok(())])
    );
    assert_eq!(
        world.groups.leave(leaves("g", &joined.member)).await,
        Ok(vec![Err(unknown)])
    );
}

#[tokio::test]
async fn an_empty_group_id_is_refused_everywhere_but_for_offsets() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    assert_eq!(
        world.groups.join(asks("", "")).await,
        Err(JoinError::InvalidGroupId)
    );
    let sync = world.groups.sync(syncs("", &joined, &[])).await;
    assert_eq!(sync, Err(SyncError::InvalidGroupId));
    let beat = world.groups.heartbeat(beats("", &joined)).await;
    assert_eq!(beat, Err(HeartbeatError::InvalidGroupId));
    let leave = world.groups.leave(leaves("", &joined.member)).await;
    assert_eq!(leave, Err(LeaveError::InvalidGroupId));
    assert!(
        world
            .groups
            .commit_offsets(commits("", &[(0, 1)]))
            .await
            .is_ok()
    );
    assert_eq!(world.offset("", 0).await, Some(1));
}

#[tokio::test]
async fn groups_are_listed_and_described_by_state() {
    let world = World::new().await;
    world.alone("stable").await;
    world
        .groups
        .commit_offsets(commits("simple", &[(0, 1)]))
        .await
        .unwrap();
    let mut listed = world.groups.list().await.unwrap();
    listed.sort_by(|left, right| left.group.cmp(&right.group));
    let shown: Vec<(&str, &str, &str)> = listed
        .iter()
        .map(|one| (one.group.as_str(), &*one.protocol_type, one.state.name()))
        .collect();
    assert_eq!(
        shown,
        [("simple", "", "Empty"), ("stable", "consumer", "Stable")]
    );
    assert_eq!(
        world.groups.describe(&GroupId::from("unknown")).await,
        Ok(None)
    );
}

#[tokio::test]
async fn a_refused_join_leaves_no_group_behind() {
    let world = World::new().await;
    let request = JoinRequest {
        requires_known_member_id: true,
        ..asks("g", "")
    };
    let answer = world.groups.join(request).await;
    assert!(matches!(answer, Err(JoinError::MemberIdRequired { .. })));
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
    assert_eq!(world.writes(), (0, 0));
}

#[tokio::test]
async fn groups_of_a_shard_are_bounded() {
    let settings = GroupSettings {
        initial_rebalance_delay: Duration::ZERO,
        groups_per_shard_max: 0,
        ..Default::default()
    };
    let world = World::with(settings).await;
    let join = world.groups.join(asks("g", "")).await;
    assert_eq!(join, Err(CoordinatorError::Overloaded.into()));
    let commit = world.groups.commit_offsets(commits("g", &[(0, 1)])).await;
    assert_eq!(commit, Err(CoordinatorError::Overloaded.into()));
}

#[tokio::test]
async fn a_shutdown_writes_what_was_accepted_and_then_serves_nobody() {
    let mut world = World::new().await;
    world.stop_store();
    let commit = world.begin_commit(commits("g", &[(0, 42)]));
    settle().await;
    world.tasks.shut_down();
    world.resume_store().await;
    assert!(commit.await.unwrap().is_ok());
    let after = world.groups.commit_offsets(commits("g", &[(0, 43)])).await;
    assert_eq!(after, Err(CoordinatorError::NotCoordinator.into()));
    world.restart().await;
    assert_eq!(world.offset("g", 0).await, Some(42));
}

#[tokio::test]
async fn sync_answers_name_what_was_agreed_on() {
    let world = World::new().await;
    let joined = world.alone("g").await;
    let answer: SyncAnswer = world.groups.sync(syncs("g", &joined, &[])).await.unwrap();
    assert_eq!(
        (&*answer.protocol_type, &*answer.protocol),
        ("consumer", "range")
    );
}
