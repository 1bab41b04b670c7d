//! Shards that stop: the others serve, the log is recycled, nothing of the stopped one is lost before somebody accepts it.

use std::sync::Arc;

use streamhouse_log::append::AppendError;
use streamhouse_log::open::OpenError;
use streamhouse_log::read::waiters::Waiter;
use streamhouse_log::read::{Isolation, ReadError};
use streamhouse_log::recovery::RecoverError;
use streamhouse_log::recovery::loss::{AcceptLossError, AcceptedLoss, Loss};
use streamhouse_metadata::store::ShardShelf;
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_storage::objects::{self, Fault, ObjectClass, ObjectKind};
use streamhouse_storage::wal::crash::{CrashStyle, IoFault};
use streamhouse_storage::wal::{WalLoss, WalPosition};

use crate::doubtful::Doubt;
use crate::world::{World, address, batch, numbered, sequenced};

/// A partition in the same shard as partition 0.
const NEIGHBOUR: i32 = 4;

fn large(fill: &str) -> bytes::Bytes {
    batch(&[&fill.repeat(400_000)])
}

/// Lets the threads and tasks of the broker come so far that `is_so`.
async fn until(world: &World, is_so: impl Fn(&World) -> bool) {
    while !is_so(world) {
        tokio::task::yield_now().await;
    }
}

fn asides(world: &World) -> Vec<String> {
    let names = world.disk.names().into_iter();
    names
        .filter(|name| name.starts_with("aside") && name.ends_with(".wal"))
        .collect()
}

/// A dead broker whose database forgot a flush of partition 0 that the WAL does not hold any more: its offsets 0 and 1 are
/// gone, 2 to 4 lie in the WAL alone. Partitions 1 and 4 lost nothing; 4 is in the shard of 0.
async fn torn() -> World {
    let mut world = World::started().await;
    world.append(NEIGHBOUR, &batch(&["n0"])).await;
    world.log().flush().await.unwrap();
    for fill in ["a", "b"] {
        world.append(0, &large(fill)).await;
    }
    world.append(0, &large("c")).await;
    world.store.script([Doubt::Forgotten]);
    world.log().flush().await.unwrap();
    until(&world, |world| world.log().wal_usage().unwrap().files == 1).await;
    world.append(1, &batch(&["x"])).await;
    world.append(0, &sequenced(7, 0, 0, &["d"])).await;
    world.append(NEIGHBOUR, &batch(&["n1"])).await;
    world.append(0, &sequenced(7, 0, 1, &["e"])).await;
    world.kill().await;
    world
}

/// What the stopped shard says may be accepted.
fn range_of(world: &World) -> WalLoss {
    let stopped = world.log().stopped_shards();
    let [(shard, reason)] = stopped.as_slice() else {
        panic!("one shard stops: {stopped:?}");
    };
    assert_eq!(*shard, address(0).shard);
    assert!(reason.contains("metadata_regression"), "{reason}");
    assert!(reason.contains("offsets 2..5"), "{reason}");
    let (_, command) = reason.split_once("--range ").unwrap();
    let (from, to) = command.trim_end_matches('`').split_once("..").unwrap();
    WalLoss {
        from: WalPosition(from.parse().unwrap()),
        to: WalPosition(to.parse().unwrap()),
    }
}

fn accepted(positions: WalLoss) -> AcceptedLoss {
    let shard = address(0).shard;
    AcceptedLoss::Shard { shard, positions }
}

#[tokio::test]
async fn a_shard_whose_wal_does_not_follow_stops_alone() {
    let mut world = torn().await;
    world.start().await;
    range_of(&world);
    assert!(matches!(
        world.stage(0, &batch(&["f"])),
        Err(AppendError::Stopped(_))
    ));
    let read = world
        .log()
        .read(address(0), 2, Isolation::ReadUncommitted, 100, true);
    assert!(matches!(read.await, Err(ReadError::Stopped(_))));
    world.append(1, &batch(&["y"])).await;
    assert_eq!(world.values(1, 0).await, numbered(&["x", "y"]));
    assert_eq!(world.append(2, &batch(&["z"])).await.base_offset, 0);
}

#[tokio::test]
async fn what_a_stopped_shard_holds_does_not_fill_the_log_of_the_others() {
    let mut world = torn().await;
    world.start().await;
    assert_eq!(asides(&world).len(), 1);
    for _ in 0..40 {
        world.append(1, &large("x")).await;
        world.log().flush().await.unwrap();
        until(&world, |world| world.log().wal_usage().unwrap().files <= 2).await;
    }
    assert_eq!(world.values(1, 0).await.len(), 41);
    let range = range_of(&world);
    let aside = world.disk.contents(&asides(&world)[0]);
    for _ in 0..3 {
        world.restart().await;
        assert_eq!(range_of(&world), range);
    }
    assert_eq!(world.disk.contents(&asides(&world)[0]), aside);
}

#[tokio::test]
async fn exactly_the_loss_that_was_named_is_accepted_and_what_follows_is_kept() {
    let mut world = torn().await;
    world.start().await;
    let range = range_of(&world);
    let epoch = world.log().grant(address(0).shard).unwrap().0;
    world.kill().await;
    let wrong = WalLoss {
        to: WalPosition(range.to.0 + 8),
        ..range
    };
    let refused = world.accept(accepted(wrong)).await;
    assert!(
        matches!(
            refused,
            Err(AcceptLossError::Open(OpenError::Recover(
                RecoverError::NotAccepted { .. }
            )))
        ),
        "{refused:?}"
    );
    world.start().await;
    assert_eq!(range_of(&world), range, "a refusal changes nothing");
    world.kill().await;
    let lost: Loss = world.accept(accepted(range)).await.unwrap().unwrap();
    assert_eq!((lost.entries, lost.positions), (3, range));
    assert_eq!(lost.offsets[&address(0).at], 2..5);
    for _ in 0..2 {
        world.start().await;
        assert_eq!(world.log().stopped_shards(), Vec::new());
        assert_eq!(world.values(NEIGHBOUR, 0).await, numbered(&["n0", "n1"]));
        assert_eq!(world.values(1, 0).await, numbered(&["x"]));
        assert!(asides(&world).is_empty(), "nobody needs it any more");
        world.kill().await;
    }
    world.start().await;
    assert_eq!(world.values(0, 0).await, Vec::new());
    assert_eq!(world.append(0, &batch(&["again"])).await.base_offset, 0);
    let now = world.log().grant(address(0).shard).unwrap().0;
    assert!(now > epoch, "consumers learn of the cut by the epoch");
    world.kill().await;
    let nothing = world.accept(accepted(range)).await;
    assert!(nothing.is_err(), "there is nothing left to accept");
}

#[tokio::test]
async fn a_broker_killed_at_any_call_while_a_shard_stops_keeps_every_record() {
    let chance = streamhouse_runtime::SeededChance::new(5);
    let torn = torn().await;
    let mut world = torn;
    world.start().await;
    let range = range_of(&world);
    world.kill().await;
    // Twice in a row: from a folder in which nothing was set aside yet, and from what that left.
    let name = asides(&world).pop().unwrap();
    let whole = world.disk.contents(&name).len();
    let mut world = crate::stopped::torn().await;
    let mut n = 1;
    let mut cut_short = 0;
    loop {
        let before = world.disk.after_kill();
        world.disk = before.after_kill();
        world.disk.plan_fault(None, n, IoFault::Kill);
        let started = world.try_start().await;
        let is_over = world.disk.fault_is_pending();
        let history = world.disk.history();
        if started.is_ok() && !is_over {
            cut_short += 1;
        }
        world.die(history.crash_at(history.len(), CrashStyle::Sectors, &chance));
        let again = world.disk.after_kill();
        again.plan_fault(None, 1 + n % 7, IoFault::Kill);
        world.disk = again;
        let _ = world.try_start().await;
        let history = world.disk.history();
        world.die(history.crash_at(history.len(), CrashStyle::Sectors, &chance));
        world.start().await;
        assert_eq!(range_of(&world), range, "killed at call {n}");
        assert_eq!(world.disk.contents(&asides(&world)[0]).len(), whole);
        assert_eq!(world.values(1, 0).await, numbered(&["x"]), "call {n}");
        world.die(before);
        if is_over {
            break;
        }
        n += 1;
    }
    assert!(n > 8, "a start makes more than {n} calls");
    assert!(cut_short > 0, "no start was cut short after its recovery");
}

#[tokio::test]
async fn a_shard_that_stops_while_the_broker_runs_lets_go_of_the_log() {
    let mut world = World::started().await;
    world.append(0, &sequenced(3, 0, 0, &["a"])).await;
    world.store.script([Doubt::Forgotten]);
    world.log().flush().await.unwrap();
    world.append(0, &sequenced(3, 0, 1, &["b"])).await;
    assert!(world.log().flush().await.is_err());
    assert_eq!(world.log().stopped_shards().len(), 1);
    until(&world, |world| !asides(world).is_empty()).await;
    for _ in 0..40 {
        world.append(1, &large("x")).await;
        world.log().flush().await.unwrap();
        until(&world, |world| world.log().wal_usage().unwrap().files <= 2).await;
    }
    world.restart().await;
    // The flush that was forgotten was recycled with the log: its successor alone cannot be served.
    let stopped = world.log().stopped_shards();
    assert!(stopped[0].1.contains("offsets 1..2"), "{stopped:?}");
    assert_eq!(world.values(1, 0).await.len(), 40);
}

#[tokio::test]
async fn a_parked_fetch_hears_at_once_that_its_shard_stopped() {
    let world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    // One of a partition with records, and one of a partition that nobody wrote to.
    let waiters = [0, NEIGHBOUR, 1].map(|partition| {
        let waiter = Arc::new(Waiter::wanting(1 << 20));
        world.log().park(address(partition), &waiter).unwrap();
        waiter
    });
    world.store.script([Doubt::Forgotten]);
    world.log().flush().await.unwrap();
    world.append(0, &batch(&["b"])).await;
    assert!(world.log().flush().await.is_err());
    assert_eq!(world.log().stopped_shards().len(), 1);
    for waiter in &waiters[..2] {
        assert!(futures::poll!(Box::pin(waiter.enough())).is_ready());
    }
    let other = Box::pin(waiters[2].enough());
    assert!(futures::poll!(other).is_pending(), "its shard serves");
    let read = world
        .log()
        .read(address(NEIGHBOUR), 0, Isolation::ReadUncommitted, 100, true);
    assert!(matches!(read.await, Err(ReadError::Stopped(_))));
}

#[tokio::test]
async fn a_shard_that_another_broker_took_hands_its_entries_to_the_next_start() {
    let mut world = World::started().await;
    world.append(0, &sequenced(3, 0, 0, &["a"])).await;
    world.append(NEIGHBOUR, &batch(&["n0"])).await;
    // As a zombie would: the grant is gone.
    let zombie = streamhouse_metadata::store::Incarnation(99);
    let request =
        streamhouse_metadata::store::GrantRequest::own(zombie, Some(0xd1), [address(0).shard]);
    world.store.inner.grant(request).await.unwrap();
    assert!(world.log().flush().await.is_err());
    until(&world, |world| !asides(world).is_empty()).await;
    for _ in 0..10 {
        world.append(1, &large("x")).await;
        world.log().flush().await.unwrap();
        until(&world, |world| world.log().wal_usage().unwrap().files <= 2).await;
    }
    world.restart().await;
    assert_eq!(world.log().stopped_shards(), Vec::new());
    assert_eq!(world.values(0, 0).await, numbered(&["a"]));
    assert_eq!(
        world
            .append(0, &sequenced(3, 0, 0, &["a"]))
            .await
            .base_offset,
        0,
        "the producer is known"
    );
    world.append(0, &sequenced(3, 0, 1, &["b"])).await;
    world.log().flush().await.unwrap();
    world.restart().await;
    assert!(asides(&world).is_empty(), "all of it is recorded");
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
    assert_eq!(world.values(NEIGHBOUR, 0).await, numbered(&["n0"]));
}

/// A dead broker whose next start reads one checkpoint, that of partition 0, which ends with record `a`; `b` is in the WAL.
async fn checkpointed() -> World {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.log().flush().await.unwrap();
    world.log().checkpoint_all().await.unwrap();
    world.append(0, &batch(&["b"])).await;
    world.kill().await;
    world
}

/// It got through because the faults of the store were never let loose on checkpoints.
#[tokio::test]
async fn a_checkpoint_that_reads_damaged_once_stops_nothing() {
    for fault in [Fault::WrongBytes, Fault::Truncate, Fault::NotFound] {
        let mut world = checkpointed().await;
        let before = world.objects.counts(ObjectClass::Checkpoint);
        world.faults.script([Some(fault)]);
        world.start().await;
        assert_eq!(world.log().stopped_shards(), Vec::new(), "{fault:?}");
        let counts = world.objects.counts(ObjectClass::Checkpoint);
        assert_eq!(
            (counts.doubted - before.doubted, counts.condemned),
            (1, before.condemned),
            "{fault:?}"
        );
        assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
    }
}

#[tokio::test]
async fn a_checkpoint_that_reads_damaged_twice_stops_its_shard() {
    for fault in [Fault::WrongBytes, Fault::Truncate, Fault::NotFound] {
        let mut world = checkpointed().await;
        world.faults.script([Some(fault), Some(fault)]);
        world.start().await;
        let stopped = world.log().stopped_shards();
        assert_eq!(stopped.len(), 1, "{fault:?}");
        assert!(stopped[0].1.contains("checkpoint"), "{stopped:?}");
        assert_eq!(world.objects.counts(ObjectClass::Checkpoint).condemned, 1);
        // The store is well again, and so is the shard after the next start.
        world.restart().await;
        assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_gone_stops_its_shard_until_it_is_back() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.append(1, &batch(&["x"])).await;
    world.log().flush().await.unwrap();
    world.log().checkpoint_all().await.unwrap();
    world.append(0, &batch(&["b"])).await;
    world.kill().await;
    let row = world
        .store
        .inner
        .read_shard(address(0).shard)
        .await
        .unwrap();
    let pointer = row.unwrap().checkpoint.unwrap();
    let id = objects::ObjectId {
        incarnation: pointer.object.incarnation,
        seq: pointer.object.seq,
        attempt: pointer.object.attempt,
    };
    let key = id.key(ObjectKind::Checkpoint);
    let class = ObjectClass::Checkpoint;
    let bytes = world.truth.get_range(&key, 0..pointer.bytes, class).await;
    world.truth.delete(&key).await.unwrap();
    world.start().await;
    let stopped = world.log().stopped_shards();
    assert_eq!(stopped.len(), 1);
    assert!(stopped[0].1.contains("checkpoint"), "{stopped:?}");
    assert_eq!(world.values(1, 0).await, numbered(&["x"]));
    // Nothing of what the broker believes of the stopped shard may be stored.
    world.log().checkpoint_all().await.unwrap();
    world.kill().await;
    world
        .truth
        .put(&key, class, vec![bytes.unwrap()])
        .await
        .unwrap();
    world.start().await;
    assert_eq!(world.log().stopped_shards(), Vec::new());
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b"]));
}

#[tokio::test]
async fn records_of_epochs_that_the_database_never_granted_stop_their_shard() {
    let mut world = World::started().await;
    for _ in 0..5 {
        world.restart().await;
    }
    world.append(0, &batch(&["a"])).await;
    world.kill().await;
    // A database of its own history, with the same topic.
    let other = World::new().await;
    world.store = other.store;
    // What the folder saw of the other one is no hindrance to somebody who knows.
    assert_eq!(world.accept(AcceptedLoss::Database).await.unwrap(), None);
    world.start().await;
    let stopped = world.log().stopped_shards();
    assert!(stopped[0].1.contains("epoch"), "{stopped:?}");
    let reason = stopped[0].1.clone();
    let (_, command) = reason.split_once("--range ").unwrap();
    let (from, to) = command.trim_end_matches('`').split_once("..").unwrap();
    let range = WalLoss {
        from: WalPosition(from.parse().unwrap()),
        to: WalPosition(to.parse().unwrap()),
    };
    world.kill().await;
    world.accept(accepted(range)).await.unwrap();
    world.start().await;
    let epoch = world.log().grant(address(0).shard).unwrap().0;
    assert!(epoch > LeaderEpoch(6), "above what clients have seen");
    assert_eq!(world.append(0, &batch(&["b"])).await.base_offset, 0);
}
