//! `shared` durability: nothing is acknowledged before its object is stored and its manifest is committed, whoever dies.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::FutureExt;
use streamhouse_log::append::AppendError;
use streamhouse_log::read::ReadError;
use streamhouse_metadata::store::*;
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_runtime::{Clock, Tasks};
use streamhouse_storage::objects::Fault;

use crate::doubtful::Doubt;
use crate::shared_world::{Broker, Shared};
use crate::world::{address, batch, numbered, sequenced, values};

#[tokio::test]
async fn a_batch_is_acknowledged_when_its_manifest_is_committed_and_not_before() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.faults.set_down(true);
    let staged = broker.stage(0, &batch(&["a", "b"])).unwrap();
    let mut acknowledged = Box::pin(staged.acknowledged());
    shared.pass(Duration::from_secs(2)).await;
    assert!(futures::poll!(&mut acknowledged).is_pending());
    assert_eq!(broker.high_watermark(0), 0);
    assert_eq!(values(&broker.log, 0, 0).await, Vec::new());
    shared.faults.set_down(false);
    let appended = shared.turning(acknowledged).await.unwrap();
    assert_eq!(appended.base_offset, 0);
    assert_eq!(values(&broker.log, 0, 0).await, numbered(&["a", "b"]));
    let row = shared.store.read_shard(address(0).shard).await.unwrap();
    assert_eq!(row.unwrap().next_lsn, Lsn(1));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_its_broker_and_all_it_had_is_gone() {
    let shared = Shared::new().await;
    let first = shared.leader().await;
    shared
        .append(&first, 0, &sequenced(1, 0, 0, &["a", "b"]))
        .await;
    shared.append(&first, 1, &batch(&["x"])).await;
    let epoch = first.log.led()[0].1;
    drop(first);
    let second = shared.leader().await;
    assert!(second.log.led().iter().all(|(_, newer)| *newer > epoch));
    assert_eq!(values(&second.log, 0, 0).await, numbered(&["a", "b"]));
    assert_eq!(values(&second.log, 1, 0).await, numbered(&["x"]));
    // The producer did not hear the answer and asks the new leader.
    let again = shared
        .append(&second, 0, &sequenced(1, 0, 0, &["a", "b"]))
        .await;
    assert_eq!(again.base_offset, 0);
    let next = shared.append(&second, 0, &sequenced(1, 0, 2, &["c"])).await;
    assert_eq!(next.base_offset, 2);
}

#[tokio::test]
async fn a_zombie_acknowledges_nothing_and_leads_no_more() {
    let shared = Shared::new().await;
    let zombie = shared.leader().await;
    shared.append(&zombie, 0, &batch(&["a"])).await;
    let heir = shared.leader().await;
    let lost = shared.try_append(&zombie, 0, &batch(&["lost"])).await;
    assert!(lost.is_err());
    assert_eq!(
        zombie.stage(0, &batch(&["more"])).unwrap_err(),
        AppendError::NotLeader
    );
    assert_eq!(
        zombie.log.offsets(address(0)).unwrap_err(),
        ReadError::NotLeader
    );
    shared.append(&heir, 0, &batch(&["b"])).await;
    assert_eq!(values(&heir.log, 0, 0).await, numbered(&["a", "b"]));
    assert_eq!(zombie.log.stopped_shards(), Vec::new());
}

#[tokio::test]
async fn a_fenced_shard_takes_no_other_with_it() {
    let shared = Shared::new().await;
    let (first, second) = (shared.leader().await, shared.broker().await);
    let (lost, kept) = (address(0), address(1));
    assert_ne!(lost.shard, kept.shard);
    shared.grant(&second, lost.shard).await;
    let doomed = first.stage(0, &batch(&["doomed"])).unwrap();
    let good = first.stage(1, &batch(&["good"])).unwrap();
    let (doomed, good) = shared
        .turning(async { tokio::join!(doomed.acknowledged(), good.acknowledged()) })
        .await;
    assert!(doomed.is_err() && good.is_ok());
    assert_eq!(values(&first.log, 1, 0).await, numbered(&["good"]));
}

#[tokio::test]
async fn a_drained_shard_holds_nothing_that_is_not_recorded_and_can_be_taken_back() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let staged = broker.stage(0, &batch(&["a"])).unwrap();
    let drained = shared.turning(broker.log.drain(address(0).shard)).await;
    assert_eq!(staged.acknowledged().await.unwrap().base_offset, 0);
    assert_eq!(
        broker.stage(0, &batch(&["b"])).unwrap_err(),
        AppendError::NotLeader
    );
    assert_eq!(values(&broker.log, 0, 0).await, numbered(&["a"]));
    broker.log.resume(drained.unwrap());
    shared.append(&broker, 0, &batch(&["b"])).await;
    assert_eq!(values(&broker.log, 0, 0).await, numbered(&["a", "b"]));
}

#[tokio::test]
async fn a_commit_with_an_unknown_outcome_is_neither_lost_nor_doubled() {
    for doubt in [
        Doubt::Refused,
        Doubt::Before,
        Doubt::After,
        Doubt::Late,
        Doubt::AfterAndBlind,
        Doubt::BetweenReads,
    ] {
        let shared = Shared::new().await;
        let broker = shared.leader().await;
        shared.store.script([doubt, doubt]);
        shared.append(&broker, 0, &batch(&["a"])).await;
        shared.append(&broker, 0, &batch(&["b"])).await;
        let seen = numbered(&["a", "b"]);
        assert_eq!(values(&broker.log, 0, 0).await, seen, "{doubt:?}");
        drop(broker);
        let heir = shared.leader().await;
        assert_eq!(values(&heir.log, 0, 0).await, seen, "{doubt:?}");
        assert_eq!(heir.log.stopped_shards(), Vec::new(), "{doubt:?}");
    }
}

/// A database that refuses without a reason: nobody else would load the shard if its own leader let it go.
#[tokio::test]
async fn a_commit_that_is_refused_under_the_own_grant_is_tried_again() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let led = broker.log.led();
    shared.append(&broker, 0, &batch(&["a"])).await;
    shared.store.script([Doubt::Fenced, Doubt::Fenced]);
    shared.append(&broker, 0, &batch(&["b"])).await;
    assert_eq!(broker.log.led(), led);
    assert_eq!(broker.log.stopped_shards(), Vec::new());
    assert_eq!(values(&broker.log, 0, 0).await, numbered(&["a", "b"]));
    let heir = shared.leader().await;
    assert_eq!(values(&heir.log, 0, 0).await, numbered(&["a", "b"]));
}

/// What is there under the number cannot be explained, so the shard stops where everybody sees it.
#[tokio::test]
async fn a_commit_that_is_refused_for_something_else_under_the_own_grant_stops_the_shard() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let ours = address(0).shard;
    let row = shared.store.read_shard(ours).await.unwrap().unwrap();
    shared.append(&broker, 0, &batch(&["a"])).await;
    let other = shared.store.manifests(ours, Lsn(0), 1).await.unwrap();
    let stranger = Commit {
        object: None,
        manifests: vec![ManifestCommit {
            shard: ours,
            epoch: row.epoch,
            incarnation: broker.incarnation,
            lsn: Lsn(1),
            body: other[0].body.clone(),
            wal_end: None,
            released: Vec::new(),
            clears_wal_dir: false,
        }],
    };
    shared.store.commit(stranger).await.unwrap();
    let lost = shared.try_append(&broker, 0, &batch(&["b"])).await;
    assert!(lost.is_err());
    let (stopped, reason) = broker.log.stopped_shards().remove(0);
    assert_eq!(stopped, ours);
    assert!(reason.contains("own grant"), "{reason}");
}

#[tokio::test]
async fn an_upload_with_an_unknown_outcome_is_neither_lost_nor_doubled() {
    for fault in [Fault::SlowDown, Fault::FailBefore, Fault::FailAfter] {
        let shared = Shared::new().await;
        let broker = shared.leader().await;
        shared.faults.script([Some(fault); 12]);
        shared.append(&broker, 0, &batch(&["a"])).await;
        drop(broker);
        let heir = shared.leader().await;
        assert_eq!(values(&heir.log, 0, 0).await, numbered(&["a"]), "{fault:?}");
    }
}

#[tokio::test]
async fn an_idle_broker_asks_neither_store() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["a"])).await;
    // The one look for what dead lives left behind is over by then.
    shared.pass(Duration::from_secs(30)).await;
    let requests = shared.faults.requests();
    let rows = shared.store.shards().await.unwrap();
    shared.pass(Duration::from_secs(600)).await;
    assert_eq!(shared.faults.requests(), requests);
    assert_eq!(shared.store.shards().await.unwrap(), rows);
}

/// Three processes over a slow store found it: the end of a flush freed its shard, although the next flush of the shard ran
/// already, so that a third one took the same entries under the same number, and the one that came second thought that
/// another broker led the shard.
#[tokio::test]
async fn a_flush_that_ends_late_does_not_let_two_others_take_the_same() {
    let mut shared = Shared::new().await;
    shared.limits.hedged_share = 0.5;
    let broker = shared.leader().await;
    for turn in 0..20 {
        let value = format!("{turn}");
        shared.append(&broker, 0, &batch(&[&value])).await;
    }
    let slow = Some(Fault::Delay(Duration::from_secs(60)));
    shared.faults.script([slow]);
    shared.store.hold_tombstones(true);
    shared.append(&broker, 0, &batch(&["slow"])).await;
    // Both uploads of the next flush are slow, and the one before ends meanwhile.
    shared.faults.script([slow, slow]);
    let next = broker.stage(0, &batch(&["next"])).unwrap();
    shared.pass(Duration::from_secs(5)).await;
    shared.store.hold_tombstones(false);
    shared.pass(Duration::from_secs(1)).await;
    let last = broker.stage(0, &batch(&["last"])).unwrap();
    shared.pass(Duration::from_secs(90)).await;
    assert_eq!(next.acknowledged().await.unwrap().base_offset, 21);
    assert_eq!(last.acknowledged().await.unwrap().base_offset, 22);
    shared.append(&broker, 0, &batch(&["more"])).await;
}

#[tokio::test]
async fn an_object_that_could_not_be_given_up_is_given_up_when_the_database_answers() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.store.refuse_tombstones(true);
    // Its object is stored; the next flush stores the batch again.
    shared.store.script([Doubt::Refused]);
    shared.append(&broker, 0, &batch(&["a"])).await;
    shared.pass(Duration::from_secs(30)).await;
    assert_eq!(shared.unnamed().await.len(), 1);
    shared.store.refuse_tombstones(false);
    shared.pass(Duration::from_secs(30)).await;
    assert_eq!(shared.unnamed().await, [""; 0]);
}

#[tokio::test]
async fn what_a_dead_broker_left_is_given_up_after_the_takeover() {
    let shared = Shared::new().await;
    let (first, second) = (shared.leader().await, shared.broker().await);
    // Whatever a start does is over.
    shared.pass(Duration::from_secs(60)).await;
    shared.store.refuse_tombstones(true);
    shared.store.script([Doubt::Refused]);
    shared.append(&first, 0, &batch(&["a"])).await;
    drop(first);
    shared.store.refuse_tombstones(false);
    assert_eq!(shared.unnamed().await.len(), 1);
    shared.take_all(&second).await;
    shared.pass(Duration::from_secs(30)).await;
    assert_eq!(shared.unnamed().await, [""; 0]);
}

#[tokio::test]
async fn producers_are_refused_when_memory_is_full_and_served_when_the_store_is_back() {
    let mut shared = Shared::new().await;
    shared.limits.staging_bytes = 64 << 10;
    let broker = shared.leader().await;
    shared.faults.set_down(true);
    let large = "x".repeat(1000);
    let mut staged = Vec::new();
    let refused = loop {
        match broker.stage(0, &batch(&[&large])) {
            Ok(entry) => staged.push(entry),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    let (bytes, bytes_max) = broker.log.staged_bytes().unwrap();
    assert!(bytes <= bytes_max);
    shared.pass(Duration::from_secs(5)).await;
    assert!(broker.stage(0, &batch(&[&large])).is_err());
    shared.faults.set_down(false);
    let all = staged.into_iter().map(|entry| entry.acknowledged());
    let answered = shared.turning(futures::future::join_all(all)).await;
    assert!(answered.iter().all(Result::is_ok));
    assert_eq!(broker.log.staged_bytes().unwrap().0, 0);
    shared.append(&broker, 0, &batch(&["more"])).await;
}

#[tokio::test]
async fn a_database_that_lost_commits_stops_their_shards_and_nothing_is_acknowledged_on_top() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    let replica = shared.store.inner.copy();
    shared.append(&broker, 0, &batch(&["lost"])).await;
    shared.store.inner.fail_over(&replica);
    assert!(
        shared
            .try_append(&broker, 0, &batch(&["on top"]))
            .await
            .is_err()
    );
    let stopped = broker.log.stopped_shards();
    assert_eq!(stopped.len(), 1);
    assert!(
        stopped[0].1.starts_with("metadata_regression"),
        "{stopped:?}"
    );
}

#[tokio::test]
async fn a_database_that_lost_commits_is_found_by_looking() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    assert_eq!(broker.log.check_recorded().await.unwrap(), 0);
    let replica = shared.store.inner.copy();
    shared.append(&broker, 0, &batch(&["lost"])).await;
    assert_eq!(broker.log.check_recorded().await.unwrap(), 0);
    shared.store.inner.fail_over(&replica);
    assert_eq!(broker.log.check_recorded().await.unwrap(), 1);
    assert!(broker.stage(0, &batch(&["on top"])).is_err());
    shared.append(&broker, 1, &batch(&["another shard"])).await;
}

/// The simulation found that a broker forgot what it had seen in a shard as soon as it was handed over.
#[tokio::test]
async fn a_database_that_lost_a_handover_with_what_came_before_stops_the_shard_at_its_old_leader() {
    let shared = Shared::new().await;
    let (broker, heir) = (shared.leader().await, shared.broker().await);
    let shard = address(0).shard;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    let replica = shared.store.inner.copy();
    shared.append(&broker, 0, &batch(&["lost"])).await;
    let row = shared.grant(&heir, shard).await;
    broker.log.cede(shard, LeaderEpoch(row.epoch.0 - 1));
    shared.store.inner.fail_over(&replica);
    let row = shared.grant(&broker, shard).await;
    broker.log.lead(&row).await.unwrap();
    let stopped = broker.log.stopped_shards();
    assert_eq!(stopped.len(), 1);
    assert!(
        stopped[0].1.starts_with("metadata_regression"),
        "{stopped:?}"
    );
    assert!(broker.stage(0, &batch(&["on top"])).is_err());
    assert_eq!(broker.log.check_recorded().await.unwrap(), 1);

    let taken = shared.grant(&heir, shard).await;
    broker.log.cede(shard, row.epoch);
    let row = shared.grant(&broker, shard).await;
    assert!(taken.epoch < row.epoch);
    broker.log.lead(&row).await.unwrap();
    assert_eq!(broker.log.stopped_shards().len(), 1, "it knows it still");
}

#[tokio::test]
async fn what_a_ceded_shard_lost_is_found_by_looking() {
    let shared = Shared::new().await;
    let (broker, heir) = (shared.leader().await, shared.broker().await);
    let shard = address(0).shard;
    let replica = shared.store.inner.copy();
    shared.append(&broker, 0, &batch(&["lost"])).await;
    let row = shared.grant(&heir, shard).await;
    broker.log.cede(shard, LeaderEpoch(row.epoch.0 - 1));
    assert_eq!(broker.log.check_recorded().await.unwrap(), 0);
    shared.store.inner.fail_over(&replica);
    assert_eq!(broker.log.check_recorded().await.unwrap(), 1);
}

#[tokio::test]
async fn what_was_accepted_is_flushed_at_shutdown() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let staged = broker.stage(0, &batch(&["a"])).unwrap();
    drop(broker);
    assert!(shared.turning(staged.acknowledged()).await.is_ok());
}

#[tokio::test]
async fn a_slow_upload_is_made_twice_and_counts_once() {
    let mut shared = Shared::new().await;
    shared.limits.hedged_share = 0.5;
    let broker = shared.leader().await;
    for turn in 0..20 {
        shared
            .append(&broker, 0, &batch(&[&format!("{turn}")]))
            .await;
    }
    let minute = Duration::from_secs(60);
    shared.faults.script([Some(Fault::Delay(minute))]);
    let before = shared.clock.monotonic();
    shared.append(&broker, 0, &batch(&["slow"])).await;
    assert!(shared.clock.monotonic() - before < Duration::from_secs(5));
    let counts = broker.log.hedge_counts().unwrap();
    assert_eq!((counts.begun, counts.won), (1, 1));
    shared.append(&broker, 0, &batch(&["next"])).await;
    drop(broker);
    let heir = shared.leader().await;
    let values = values(&heir.log, 0, 0).await;
    assert_eq!(values.len(), 22);
    assert_eq!(
        values[20..],
        [(20, "slow".to_owned()), (21, "next".to_owned())]
    );
}

#[tokio::test]
async fn a_flush_asks_the_database_once() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let before = shared.store.requests();
    let staged: Vec<_> = (0..3)
        .map(|partition| broker.stage(partition, &batch(&["a"])).unwrap())
        .collect();
    let all = staged.into_iter().map(|entry| entry.acknowledged());
    shared.turning(futures::future::join_all(all)).await;
    assert_eq!(shared.store.requests() - before, 1);
}

#[tokio::test]
async fn a_flush_waits_for_who_is_about_to_come_and_not_longer_than_the_interval() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let early = Duration::from_millis(50);
    let alone = broker.stage(0, &batch(&["a"])).unwrap();
    shared.pass(early).await;
    alone.acknowledged().now_or_never().unwrap().unwrap();

    let arriving = broker.log.arriving();
    let first = broker.stage(0, &batch(&["b"])).unwrap();
    let mut first = Box::pin(first.acknowledged());
    shared.pass(early).await;
    assert!(futures::poll!(&mut first).is_pending());
    drop(arriving);
    shared.pass(early).await;
    first.now_or_never().unwrap().unwrap();

    let dawdler = broker.log.arriving();
    let second = broker.stage(0, &batch(&["c"])).unwrap();
    shared.pass(shared.settings.flush_interval + early).await;
    second.acknowledged().now_or_never().unwrap().unwrap();
    drop(dawdler);
}

/// More than a flush takes: the next one begins with the shard where it ended, and goes on with the first ones.
#[tokio::test]
async fn flushes_begin_with_any_shard_and_their_objects_can_be_written() {
    let one = batch(&["a"]);
    for quarters in 1..24 {
        let mut shared = Shared::new().await;
        shared.settings.flush_bytes = one.len() as u64 * quarters / 4;
        let broker = shared.leader().await;
        let mut staged = Vec::new();
        for turn in 0..60 {
            let partition = turn * turn % 11;
            staged.push(broker.stage(partition, &one).unwrap());
        }
        shared.pass(Duration::from_secs(3)).await;
        for staged in staged {
            let appended = staged.acknowledged().now_or_never();
            appended.expect("it is flushed").unwrap();
        }
    }
}

/// Whoever stages has the shard and asks for the pace of flushes; a flush that asked in the other order stopped the broker.
#[test]
fn staging_and_flushing_at_once_never_wait_for_each_other() {
    const BATCHES: usize = 3000;
    let stage = |broker: &Broker, partition| {
        for _ in 0..BATCHES {
            drop(broker.stage(partition, &batch(&["a"])).unwrap());
        }
    };
    assert!(all_end(2, stage), "they wait for each other");
}

/// Producers that send nothing more before they are answered: a flush that forgets what came while another one ended stops
/// them all, and no time passes here that would begin one.
#[test]
fn what_comes_while_flushes_begin_and_end_is_flushed_without_anything_more_to_come() {
    const ROUNDS: usize = 400;
    const AT_ONCE: usize = 8;
    let produce = |broker: &Broker, producer: i32| {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for round in 0..ROUNDS {
            let partition = producer + i32::try_from(round % 3).unwrap();
            let staged: Vec<_> = (0..AT_ONCE)
                .map(|_| broker.stage(partition, &batch(&["a"])).unwrap())
                .collect();
            for staged in staged {
                waiting.block_on(staged.acknowledged()).unwrap();
            }
        }
    };
    assert!(all_end(4, produce), "records are staged and never flushed");
}

/// Whether threads of their own come to the end of `work`, beside a broker that flushes whatever is there.
fn all_end(threads: i32, work: fn(&Broker, i32)) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let broker = runtime.block_on(async {
        let mut shared = Shared::new().await;
        shared.settings.flush_bytes = 1;
        Arc::new(shared.leader().await)
    });
    let (done, ended) = mpsc::sync_channel(4);
    let tasks = Tasks::new();
    for thread in 0..threads {
        let (broker, done) = (Arc::clone(&broker), done.clone());
        let run = move || {
            work(&broker, thread);
            // Nobody may be left to be told.
            let _ = done.send(());
        };
        drop(tasks.thread("producer", run).unwrap());
    }
    let all = (0..threads).all(|_| ended.recv_timeout(Duration::from_secs(60)).is_ok());
    // Who waits for ever would hold up the end of the runtime, too.
    runtime.shutdown_background();
    all
}
