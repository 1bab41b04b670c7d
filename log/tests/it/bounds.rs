//! Bounds, and what must not slip through: producers, stale entries, lost files, garbage.

use std::collections::BTreeMap;

use streamhouse_log::append::producers::ProducerBounds;
use streamhouse_log::append::{Acks, AppendError, validate::Prepared};
use streamhouse_log::read::{Isolation, ReadError};
use streamhouse_log::retention::Retention;
use streamhouse_metadata::store::{ObjectRow, ObjectShelf, ObjectState, TopicShelf};
use streamhouse_runtime::Clock;
use streamhouse_storage::objects::Fault;
use streamhouse_storage::wal::crash::CrashIo;

use crate::world::{TOPIC, World, address, batch, numbered, rules, sequenced};

#[tokio::test]
async fn the_longest_silent_producer_is_forgotten_when_one_too_many_comes() {
    let mut world = World::started().await;
    world.log().bound_producers(ProducerBounds {
        per_partition: 10,
        per_shard: 1000,
    });
    for id in 0..10 {
        world.append(0, &sequenced(id, 0, 0, &["v"])).await;
        world.clock.advance(std::time::Duration::from_secs(1));
    }
    world.append(0, &sequenced(10, 0, 0, &["v"])).await;
    // The newest nine are known still.
    for id in 1..10 {
        assert_eq!(
            world
                .append(0, &sequenced(id, 0, 0, &["v"]))
                .await
                .base_offset,
            id
        );
    }
    let again = world
        .append(0, &sequenced(0, 0, 0, &["v"]))
        .await
        .base_offset;
    assert_eq!(again, 11, "the oldest was forgotten");
    world.restart().await;
    assert_eq!(
        world
            .append(0, &sequenced(0, 0, 0, &["v"]))
            .await
            .base_offset,
        again
    );
}

#[tokio::test]
async fn producers_of_a_shard_are_bounded_together_even_while_all_are_on_their_way() {
    let world = World::started().await;
    world.log().bound_producers(ProducerBounds {
        per_partition: 1000,
        per_shard: 8,
    });
    let staged: Vec<_> = (0..50)
        .map(|id| world.stage(0, &sequenced(id, 0, 0, &["v"])).unwrap())
        .collect();
    for staged in staged {
        staged.acknowledged().await.unwrap();
    }
    world.append(0, &sequenced(50, 0, 0, &["v"])).await;
    let duplicates = futures::future::join_all((0..50).map(|id| {
        let batch = sequenced(id, 0, 0, &["v"]);
        let world = &world;
        async move { world.append(0, &batch).await.base_offset == id }
    }));
    let known = duplicates.await.into_iter().filter(|known| *known).count();
    assert!(known <= 8, "{known} of 50 producers are remembered");
}

#[tokio::test]
async fn retention_of_a_topic_that_was_dropped_meanwhile_stops_nothing() {
    let world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.log().flush().await.unwrap();
    world.append(0, &batch(&["b"])).await;
    world.store.delete_topic(TOPIC).await.unwrap();
    world.log().drop_topic(&[address(0)]).await.unwrap();
    let rules = BTreeMap::from([(
        TOPIC,
        Retention {
            ms: None,
            bytes: Some(0),
        },
    )]);
    assert_eq!(world.log().apply_retention(&rules), 0);
    world.log().flush().await.unwrap();
    assert_eq!(world.log().stopped_shards(), Vec::new());
}

#[tokio::test]
async fn a_second_drop_on_its_way_keeps_the_tombstone() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.store.delete_topic(TOPIC).await.unwrap();
    world.log().drop_topic(&[address(0)]).await.unwrap();
    world.log().flush().await.unwrap();
    // A client's second deletion, and one of the upkeep, whose WAL records outlive the first drop.
    world.log().drop_topic(&[address(0)]).await.unwrap();
    world.log().settle_tombstones().await.unwrap();
    world.restart().await;
    world.log().flush().await.unwrap();
    world.log().settle_tombstones().await.unwrap();
    assert_eq!(world.store.topics().await.unwrap().tombstones.len(), 0);
    world.restart().await;
}

#[tokio::test]
async fn a_wal_that_was_lost_is_not_begun_again_below_what_is_recorded() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.log().flush().await.unwrap();
    world.die(CrashIo::new());
    let error = world.try_start().await.unwrap_err().to_string();
    assert!(error.contains("lost or replaced"), "{error}");
}

#[tokio::test]
async fn an_object_whose_records_were_all_deleted_before_it_was_written_is_garbage_at_once() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.log().delete_records(address(0), None).await.unwrap();
    world.log().flush().await.unwrap();
    world.restart().await;
    assert_eq!(world.log().sweep().await.unwrap().tombstoned, 1);
}

#[tokio::test]
async fn an_object_that_may_have_been_stored_is_given_up() {
    let world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.faults.script([Some(Fault::FailAfter); 40]);
    let failed = world.turning(world.log().flush()).await;
    assert!(failed.is_err());
    let rows = world.store.inner.objects(None, 10).await.unwrap();
    assert!(
        rows.iter()
            .any(|row| matches!(row.state, ObjectState::Tombstone { .. })),
        "{rows:?}"
    );
}

#[tokio::test]
async fn checkpoints_become_due_across_restarts() {
    let mut world = World::new().await;
    world.settings.checkpoint_manifests = 3;
    world.start().await;
    for _ in 0..6 {
        world.append(0, &batch(&["v"])).await;
        world.log().flush().await.unwrap();
        world.restart().await;
    }
    let recovered = world.restart().await;
    assert!(recovered.manifests < 3, "{recovered:?}");
}

#[tokio::test]
async fn a_failed_wal_leaves_nobody_waiting() {
    use streamhouse_storage::wal::crash::{IoCall, IoFault};
    let world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world
        .disk
        .plan_fault(Some(IoCall::Sync), 1, IoFault::From(5));
    let staged = world.stage(0, &batch(&["b"])).unwrap();
    assert!(staged.acknowledged().await.is_err());
    assert!(matches!(
        world.stage(0, &batch(&["c"])),
        Err(AppendError::Stopped(_))
    ));
}

#[tokio::test]
async fn a_small_flush_size_does_not_flush_what_is_recorded_again_and_again() {
    let mut world = World::new().await;
    world.settings.flush_bytes = 20_000;
    world.start().await;
    let value = "x".repeat(10_000);
    for _ in 0..3 {
        world.append(0, &batch(&[&value])).await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    world.log().flush().await.unwrap();
    let objects = || async { world.store.inner.objects(None, 100).await.unwrap().len() };
    let before = objects().await;
    for _ in 0..5 {
        world.append(0, &batch(&["small"])).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    assert!(
        objects().await <= before + 1,
        "small batches were flushed one by one"
    );
}

#[tokio::test]
async fn acks_1_is_answered_in_a_crowd_of_acks_all() {
    let world = World::started().await;
    for round in 0..20 {
        let prepared = |value| Prepared::new(&batch(&[value]), 0, &rules(), 1_000_000).unwrap();
        let all = world
            .log()
            .stage(address(0), prepared("a"), Acks::All)
            .unwrap();
        let one = world
            .log()
            .stage(address(0), prepared("b"), Acks::Leader)
            .unwrap();
        assert_eq!(one.acknowledged().await.unwrap().base_offset, round * 2 + 1);
        assert_eq!(all.acknowledged().await.unwrap().base_offset, round * 2);
    }
}

#[tokio::test]
async fn damage_and_absence_of_an_object_are_errors_and_never_skips() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.log().flush().await.unwrap();
    world.append(0, &batch(&["b"])).await;
    for fault in [
        Fault::WrongBytes,
        Fault::Truncate,
        Fault::NotFound,
        Fault::FailBefore,
    ] {
        world.restart().await;
        world.faults.script([Some(fault); 200]);
        let read = world
            .log()
            .read(address(0), 0, Isolation::ReadUncommitted, 1000, true);
        let read = world.turning(read).await;
        assert!(
            matches!(read, Err(ReadError::Storage(_))),
            "{fault:?}: {read:?}"
        );
        // The script may outlast the read.
        while world.faults.requests() < u64::MAX {
            let read = world
                .log()
                .read(address(0), 0, Isolation::ReadUncommitted, 1000, true);
            if world.turning(read).await.is_ok() {
                break;
            }
        }
        assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
    }
}

#[tokio::test]
async fn a_full_wal_holds_producers_up_and_takes_them_again_when_a_flush_has_made_room() {
    let world = World::started().await;
    let value = "x".repeat(700_000);
    let large = batch(&[&value]);
    let second = std::time::Duration::from_secs(1);
    world.faults.set_down(true);
    while world.log().wal_usage().unwrap().files < 16 || world.stage(0, &large).is_ok() {
        let now = world.clock.monotonic();
        world
            .turning(world.log().room(large.len(), now + second))
            .await;
        if let Ok(staged) = world.stage(0, &large) {
            staged.acknowledged().await.unwrap();
        }
    }
    let began = world.clock.monotonic();
    world
        .turning(world.log().room(large.len(), began + second))
        .await;
    assert!(
        world.clock.monotonic() >= began + second,
        "nothing made room"
    );
    assert!(matches!(world.stage(0, &large), Err(AppendError::Full)));
    world.faults.set_down(false);
    let room = async {
        let until = world.clock.monotonic() + std::time::Duration::from_secs(86_400);
        world.log().room(large.len(), until).await;
    };
    let (flushed, ()) = world
        .turning(async { tokio::join!(world.log().flush(), room) })
        .await;
    flushed.unwrap();
    world.append(0, &large).await;
}

#[tokio::test]
async fn a_flush_that_is_behind_lets_the_wal_go_piece_by_piece() {
    let mut world = World::new().await;
    world.settings.flush_bytes = 1 << 20;
    world.start().await;
    world.faults.set_down(true);
    let value = "x".repeat(100_000);
    let mut written = 0;
    while world.log().wal_usage().unwrap().files < 6 {
        for partition in 0..3 {
            world.append(partition, &batch(&[&value])).await;
        }
        written += 1;
    }
    let files = world.log().wal_usage().unwrap().files;
    world.faults.set_down(false);
    let flush = world.log().flush();
    let watch = async {
        // The first object is all that gets through. Those that were given up before have rows, too.
        let is_live = |row: &ObjectRow| matches!(row.state, ObjectState::Live { .. });
        while !world
            .store
            .inner
            .objects(None, 100)
            .await
            .unwrap()
            .iter()
            .any(is_live)
        {
            tokio::task::yield_now().await;
        }
        world.faults.set_down(true);
    };
    let (flushed, ()) = world.turning(async { tokio::join!(flush, watch) }).await;
    assert!(flushed.is_err(), "everything went up at once");
    // A thread of the WAL lets the files go.
    let is_left = || world.log().wal_usage().unwrap().files == files;
    for _ in 0..1_000_000 {
        if !is_left() {
            break;
        }
        std::thread::yield_now();
    }
    assert!(!is_left(), "all {files} files are left");
    world.faults.set_down(false);
    world.turning(world.log().flush()).await.unwrap();
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for partition in 0..3 {
            assert_eq!(world.values(partition, 0).await.len(), written);
        }
    }
}
