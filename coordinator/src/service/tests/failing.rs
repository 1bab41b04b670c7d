//! A metadata store that fails, forgets to answer, or belongs to somebody else by now.

use super::*;

const RETRY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_shard_that_another_broker_took_is_let_go_at_the_first_write() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    let first = world.alone("h").await;
    let parked = world.begin_join(asks("h", ""));
    settle().await;
    world.grant_all(Incarnation(99)).await;
    let elsewhere = CoordinatorError::NotCoordinator;
    let commit = world.groups.commit_offsets(commits("g", &[(0, 2)])).await;
    assert_eq!(commit, Err(elsewhere.into()));
    assert_eq!(
        world.groups.coordinator_of(&GroupId::from("g")).standing,
        Standing::Elsewhere
    );
    let rejoin = world.groups.join(asks("h", first.member.as_str())).await;
    assert_eq!(rejoin, Err(elsewhere.into()));
    assert_eq!(parked.await.unwrap(), Err(elsewhere.into()));
    let shard = world.groups.coordinator_of(&GroupId::from("g")).shard;
    let rows = world.store.load_groups(shard).await.unwrap();
    assert_eq!(rows.offsets[0].offset, 1, "the fenced write did not happen");
}

#[tokio::test]
async fn a_fenced_broker_does_not_take_a_foreign_write_for_its_own() {
    let world = World::new().await;
    let shard = world.groups.coordinator_of(&GroupId::from("g")).shard;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    world.fail_next(Fault::LoseRequest);
    let unknown = world.groups.commit_offsets(commits("g", &[(0, 2)])).await;
    assert_eq!(unknown, Err(CoordinatorError::OutcomeUnknown.into()));
    // The successor writes once, so that `seq` looks as if ours had happened.
    let grants = world.grant_all(Incarnation(99)).await;
    let grant = grants
        .into_iter()
        .find(|grant| grant.shard == shard)
        .unwrap();
    let write = CoordinationWrite {
        shard,
        epoch: grant.epoch,
        incarnation: grant.incarnation,
        seq: world.store.coordination_seq(shard).await.unwrap().unwrap(),
        changes: Vec::new(),
    };
    world.store.write_groups(vec![write]).await.unwrap();
    world.pass(RETRY).await;
    assert_eq!(
        world.groups.coordinator_of(&GroupId::from("g")).standing,
        Standing::Elsewhere
    );
}

#[tokio::test]
async fn a_write_that_did_not_happen_is_a_definite_error() {
    let world = World::new().await;
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    world.fail_next(Fault::Refuse);
    let refused = world.groups.commit_offsets(commits("g", &[(0, 2)])).await;
    assert_eq!(refused, Err(CoordinatorError::NotAvailable.into()));
    world.pass(RETRY).await;
    assert_eq!(world.offset("g", 0).await, Some(1));
    assert!(
        world
            .groups
            .commit_offsets(commits("g", &[(0, 3)]))
            .now_or(&world, RETRY)
            .await
            .is_ok()
    );
    assert_eq!(world.offset("g", 0).await, Some(3));
}

#[tokio::test]
async fn commits_behind_a_write_that_did_not_happen_are_refused_with_it() {
    let world = World::new().await;
    world.stop_store();
    let first = world.begin_commit(commits("g", &[(0, 1)]));
    settle().await;
    let second = world.begin_commit(commits("g", &[(0, 2)]));
    settle().await;
    world.fail_next(Fault::Refuse);
    world.resume_store().await;
    for mut commit in [first, second] {
        let answer = commit
            .try_recv()
            .expect("nobody waits for a store that is not there");
        assert_eq!(answer, Err(CoordinatorError::NotAvailable.into()));
    }
    world.pass(RETRY).await;
    assert_eq!(world.offset("g", 0).await, None);
}

#[tokio::test]
async fn a_refused_first_commit_leaves_no_group_behind() {
    let world = World::new().await;
    world.fail_next(Fault::Refuse);
    let refused = world.groups.commit_offsets(commits("g", &[(0, 2)])).await;
    assert_eq!(refused, Err(CoordinatorError::NotAvailable.into()));
    assert_eq!(world.groups.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_generation_is_written_again_until_it_is_and_then_answered() {
    let mut world = World::new().await;
    world.fail_next(Fault::Refuse);
    world.fail_next(Fault::Refuse);
    let joining = world.begin_join(asks("g", ""));
    settle().await;
    world.pass(Duration::from_millis(50)).await;
    world.pass(Duration::from_millis(100)).await;
    let joined = joining.await.unwrap().unwrap();
    world.restart().await;
    let synced = world
        .groups
        .sync(syncs("g", &joined, &[(&joined.member, "all")]))
        .await;
    assert_eq!(synced.unwrap().assignment, "all");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_happened_and_is_found_out() {
    let mut world = World::new().await;
    world.fail_next(Fault::LoseAnswer);
    let unknown = world.groups.commit_offsets(commits("g", &[(0, 1)])).await;
    let Err(CommitError::Coordinator(error)) = unknown else {
        panic!("{unknown:?}")
    };
    assert_eq!(error, CoordinatorError::OutcomeUnknown);
    assert_eq!(error.outcome(), crate::group::Outcome::MayHaveHappened);
    let calls = world.writes().0;
    world.pass(RETRY).await;
    assert_eq!(world.offset("g", 0).await, Some(1));
    assert_eq!(world.writes().0, calls, "it is not written twice");
    world
        .groups
        .commit_offsets(commits("g", &[(0, 2)]))
        .await
        .unwrap();
    world.restart().await;
    assert_eq!(world.offset("g", 0).await, Some(2));
}

#[tokio::test]
async fn a_commit_whose_request_was_lost_is_repeated_before_later_ones() {
    let world = World::new().await;
    world.fail_next(Fault::LoseRequest);
    let unknown = world
        .groups
        .commit_offsets(commits("g", &[(0, 1), (1, 1)]))
        .await;
    assert_eq!(unknown, Err(CoordinatorError::OutcomeUnknown.into()));
    let mut later = world.begin_commit(commits("g", &[(0, 2)]));
    settle().await;
    assert!(later.try_recv().is_err(), "later writes of the shard wait");
    assert_eq!(world.offset("g", 1).await, None);
    world.pass(RETRY).await;
    assert!(later.await.unwrap().is_ok());
    assert_eq!(world.offset("g", 1).await, Some(1));
    assert_eq!(
        world.offset("g", 0).await,
        Some(2),
        "never back to the older one"
    );
}

#[tokio::test]
async fn an_unknown_outcome_stops_its_shard_only() {
    let world = World::new().await;
    let names = group_per_shard(&world.groups);
    world.fail_next(Fault::LoseRequest);
    let unknown = world
        .groups
        .commit_offsets(commits(&names[0], &[(0, 1)]))
        .await;
    assert_eq!(unknown, Err(CoordinatorError::OutcomeUnknown.into()));
    for name in &names[1..] {
        assert!(
            world
                .groups
                .commit_offsets(commits(name, &[(0, 1)]))
                .await
                .is_ok()
        );
    }
    assert_eq!(world.offset(&names[0], 0).await, None);
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_asked_for_again() {
    let world = World::new().await;
    for _ in 0..4 {
        world.fail_next(Fault::LoseRequest);
    }
    let unknown = world.groups.commit_offsets(commits("g", &[(0, 1)])).await;
    assert_eq!(unknown, Err(CoordinatorError::OutcomeUnknown.into()));
    world.pass_slowly(Duration::from_secs(4)).await;
    assert_eq!(world.offset("g", 0).await, Some(1));
}

#[tokio::test]
async fn one_sick_shard_fails_alone() {
    let world = World::new().await;
    let names = group_per_shard(&world.groups);
    world.faulty.sick.lock().insert(ShardId(2));
    world.stop_store();
    let held = world.begin_commit(commits(&names[0], &[(0, 1)]));
    settle().await;
    let waiting: Vec<_> = names
        .iter()
        .map(|name| world.begin_commit(commits(name, &[(1, 5)])))
        .collect();
    settle().await;
    world.resume_store().await;
    assert!(held.await.unwrap().is_ok());
    for (shard, commit) in waiting.into_iter().enumerate() {
        let expect = if shard == 2 {
            Err(CoordinatorError::NotAvailable.into())
        } else {
            Ok(vec![Ok(())])
        };
        assert_eq!(commit.await.unwrap(), expect, "shard {shard}");
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_waited_for_no_longer_than_the_commit_timeout() {
    let world = World::new().await;
    world.stop_store();
    let mut commit = world.begin_commit(commits("g", &[(0, 1)]));
    let mut join = world.begin_join(asks("h", ""));
    settle().await;
    world.pass(Duration::from_millis(4_999)).await;
    assert!(commit.try_recv().is_err());
    assert!(join.try_recv().is_err());
    world.pass(Duration::from_millis(1)).await;
    assert_eq!(
        commit.await.unwrap(),
        Err(CoordinatorError::OutcomeUnknown.into())
    );
    assert_eq!(
        join.await.unwrap(),
        Err(CoordinatorError::OutcomeUnknown.into())
    );
    world.resume_store().await;
    assert_eq!(world.offset("g", 0).await, Some(1), "it did happen, later");
}

#[tokio::test]
async fn a_store_that_forgot_what_it_confirmed_stops_the_shard() {
    let world = World::new().await;
    let group = GroupId::from("g");
    world
        .groups
        .commit_offsets(commits("g", &[(0, 1)]))
        .await
        .unwrap();
    let shard = world.groups.coordinator_of(&group).shard;
    {
        let mut served = world.groups.inner.served.lock();
        let Some(Place::Loaded(shard)) = served.shards.get_mut(&shard) else {
            panic!("not loaded")
        };
        // As if the store had confirmed ten writes that it does not have any more.
        shard.seq += 10;
    }
    let commit = world.groups.commit_offsets(commits("g", &[(0, 2)])).await;
    assert_eq!(commit, Err(CoordinatorError::NotCoordinator.into()));
    assert_eq!(
        world.groups.coordinator_of(&group).standing,
        Standing::Elsewhere
    );
}

/// Waits for `self` while time passes.
trait NowOr: Future + Sized {
    async fn now_or(self, world: &World, by: Duration) -> Self::Output {
        let (output, ()) = tokio::join!(self, world.pass(by));
        output
    }
}

impl<F: Future> NowOr for F {}
