//! Killed and started again: what was acknowledged is there, at its offset, once.

use crate::doubtful::Doubt;
use crate::model::{check_nothing_leaks, check_shelves};
use crate::world::{World, address, batch, numbered, sequenced};

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.append(1, &batch(&["x", "y"])).await;
    let recovered = world.restart().await;
    assert_eq!((recovered.wal_records, recovered.partitions), (2, 2));
    world.append(0, &batch(&["b"])).await;
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
    assert_eq!(world.values(1, 0).await, numbered(&["x", "y"]));
}

#[tokio::test]
async fn recorded_entries_are_not_replayed_again() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.log().flush().await.unwrap();
    world.append(0, &batch(&["b"])).await;
    let recovered = world.restart().await;
    assert_eq!((recovered.wal_records, recovered.manifests), (1, 1));
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
    world.log().flush().await.unwrap();
    let recovered = world.restart().await;
    assert_eq!((recovered.wal_records, recovered.manifests), (0, 2));
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
}

#[tokio::test]
async fn a_checkpoint_replaces_the_manifests_before_it() {
    let mut world = World::new().await;
    world.settings.checkpoint_manifests = 2;
    world.start().await;
    for value in ["a", "b", "c"] {
        world.append(0, &batch(&[value])).await;
        world.log().flush().await.unwrap();
    }
    let recovered = world.restart().await;
    assert_eq!(
        recovered.manifests, 1,
        "two of three manifests are in the checkpoint"
    );
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b", "c"]));
}

#[tokio::test]
async fn producer_state_survives_a_kill_in_the_wal_in_manifests_and_in_checkpoints() {
    let mut world = World::started().await;
    let batches: Vec<_> = (0..4).map(|n| sequenced(5, 0, n, &["v"])).collect();
    world.append(0, &batches[0]).await;
    world.restart().await;
    assert_eq!(
        world.append(0, &batches[0]).await.base_offset,
        0,
        "from the WAL"
    );
    world.append(0, &batches[1]).await;
    world.log().flush().await.unwrap();
    world.restart().await;
    assert_eq!(
        world.append(0, &batches[1]).await.base_offset,
        1,
        "from a manifest"
    );
    world.append(0, &batches[2]).await;
    world.log().flush().await.unwrap();
    world.log().checkpoint_all().await.unwrap();
    world.restart().await;
    assert_eq!(
        world.append(0, &batches[2]).await.base_offset,
        2,
        "from a checkpoint"
    );
    assert_eq!(world.append(0, &batches[3]).await.base_offset, 3);
}

#[tokio::test]
async fn epochs_grow_with_every_start_and_their_ends_stay() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a", "b"])).await;
    let first = world.log().offsets(address(0)).unwrap().leader_epoch;
    world.restart().await;
    world.append(0, &batch(&["c"])).await;
    let second = world.log().offsets(address(0)).unwrap().leader_epoch;
    assert!(second > first);
    world.log().flush().await.unwrap();
    world.restart().await;
    assert_eq!(
        world.log().epoch_end(address(0), first).unwrap(),
        Some((first, 2))
    );
    assert_eq!(
        world.log().epoch_end(address(0), second).unwrap(),
        Some((second, 3))
    );
}

#[tokio::test]
async fn killing_at_every_step_of_a_flush_loses_nothing() {
    // The flush is cut short by dropping it at its n-th await.
    for steps in 0..60 {
        let mut world = World::started().await;
        world.append(0, &sequenced(1, 0, 0, &["a", "b"])).await;
        world.append(1, &batch(&["x"])).await;
        {
            let log = world.log().clone();
            let mut flush = Box::pin(async move { log.flush().await });
            for _ in 0..steps {
                if futures::poll!(&mut flush).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        world.restart().await;
        assert_eq!(
            world.values(0, 0).await,
            numbered(&["a", "b"]),
            "after {steps} steps"
        );
        assert_eq!(
            world.values(1, 0).await,
            numbered(&["x"]),
            "after {steps} steps"
        );
        assert_eq!(
            world
                .append(0, &sequenced(1, 0, 0, &["a", "b"]))
                .await
                .base_offset,
            0
        );
        world.log().flush().await.unwrap();
        world.restart().await;
        assert_eq!(
            world.values(0, 0).await,
            numbered(&["a", "b"]),
            "after {steps} steps and a flush"
        );
    }
}

#[tokio::test]
async fn an_object_that_no_commit_followed_is_deleted_after_the_grace() {
    for (doubt, orphans) in [(Doubt::Before, 1), (Doubt::Late, 1), (Doubt::After, 0)] {
        let mut world = World::started().await;
        world.append(0, &batch(&["a"])).await;
        world.log().flush().await.unwrap();
        world.append(0, &batch(&["b"])).await;
        world.append(1, &batch(&["x"])).await;
        // The process dies before it knows what became of its commit.
        world.store.script([doubt; 5]);
        let flushed = world.log().flush().await;
        assert_eq!(flushed.is_err(), orphans > 0, "{doubt:?}");
        world.restart().await;
        let found = world.log().sweep_orphans().await.unwrap();
        assert_eq!(found, orphans, "{doubt:?}");
        let again = world.log().sweep_orphans().await.unwrap();
        assert_eq!(again, 0, "{doubt:?}: what is given up is known");
        world.append(0, &batch(&["c"])).await;
        world.log().flush().await.unwrap();
        check_nothing_leaks(&world).await.unwrap();
        check_shelves(&world).await.unwrap();
        assert_eq!(world.values(0, 0).await, numbered(&["a", "b", "c"]));
    }
}

#[tokio::test]
async fn an_orphan_is_kept_for_the_grace_and_its_late_commit_fails() {
    use streamhouse_metadata::store::{
        Commit, CommitError, CommitOutcome, ManifestCommit, ManifestShelf, NewObject, ObjectId,
        ShardShelf,
    };
    use streamhouse_storage::objects::{self, ObjectClass, ObjectKind};
    let mut world = World::started().await;
    let life = world.log().grant(address(0).shard).unwrap().1.0;
    let key = |seq| {
        let id = objects::ObjectId {
            incarnation: life,
            seq,
            attempt: 0,
        };
        id.key(ObjectKind::L0)
    };
    let body = || vec![bytes::Bytes::from_static(b"left behind")];
    for seq in [3, 900] {
        let key = key(seq);
        let put = world.truth.put(&key, ObjectClass::Flush, body());
        put.await.unwrap();
    }
    assert_eq!(
        world.log().sweep_orphans().await.unwrap(),
        0,
        "a life that goes on may commit it yet"
    );
    for _ in 0..3 {
        world.restart().await;
    }
    assert_eq!(world.log().sweep_orphans().await.unwrap(), 2);
    world.log().sweep().await.unwrap();
    let class = ObjectClass::Garbage;
    assert!(world.truth.size(&key(900), class).await.is_ok(), "grace");
    let row = world.store.inner.read_shard(address(0).shard).await;
    let row = row.unwrap().unwrap();
    let late = Commit {
        object: Some(NewObject {
            id: ObjectId {
                incarnation: life,
                seq: 900,
                attempt: 0,
            },
            key: key(900).to_string(),
            bytes: 11,
        }),
        manifests: vec![ManifestCommit {
            shard: row.shard,
            epoch: row.epoch,
            incarnation: row.incarnation.unwrap(),
            lsn: row.next_lsn,
            body: bytes::Bytes::from_static(b"late"),
            wal_end: None,
            released: Vec::new(),
            clears_wal_dir: false,
        }],
    };
    let committed: Result<Vec<CommitOutcome>, _> = world.store.inner.commit(late).await;
    assert!(matches!(committed, Err(CommitError::ObjectExists { .. })));
    check_nothing_leaks(&world).await.unwrap();
    assert!(world.truth.size(&key(3), class).await.is_err());
}
