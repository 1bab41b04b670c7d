//! Another database server takes over without the last commits (`shared` durability): nothing is acknowledged on top, and a
//! repair brings back what was acknowledged.

use std::time::Duration;

use streamhouse_log::repair::{RepairError, RepairParts, Repaired};
use streamhouse_metadata::store::*;
use streamhouse_protocol::ids::BrokerId;
use streamhouse_storage::objects::{Fault, ObjectClass, ObjectKind};

use crate::shared_world::Shared;
use crate::world::{SHARDS, address, batch, numbered, values};

/// Appends, keeps a replica, appends more, lets the replica take over, and kills the broker.
async fn after_failover(more: &[&str]) -> Shared {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    shared.append(&broker, 1, &batch(&["other"])).await;
    let replica = shared.store.inner.copy();
    for value in more {
        shared.append(&broker, 0, &batch(&[value])).await;
    }
    shared.store.inner.fail_over(&replica);
    shared
}

async fn repair(shared: &Shared) -> Repaired {
    try_repair(shared).await.unwrap()
}

async fn try_repair(shared: &Shared) -> Result<Repaired, RepairError> {
    let parts = RepairParts {
        store: std::sync::Arc::clone(&shared.store) as _,
        objects: shared.objects(),
        incarnation: Incarnation(0xfee),
    };
    shared
        .turning(streamhouse_log::repair::repair(&parts))
        .await
}

#[tokio::test]
async fn a_new_leader_finds_commits_that_were_lost_with_their_broker() {
    for more in [&["lost"] as &[&str], &["lost", "too"]] {
        let shared = after_failover(more).await;
        let heir = shared.leader().await;
        let stopped = heir.log.stopped_shards();
        assert_eq!(stopped.len(), 1, "{stopped:?}");
        assert!(
            stopped[0].1.starts_with("metadata_regression"),
            "{stopped:?}"
        );
        assert!(heir.stage(0, &batch(&["on top"])).is_err());
        shared.append(&heir, 1, &batch(&["fine"])).await;
        // A restart forgets nothing of it.
        drop(heir);
        let next = shared.leader().await;
        assert_eq!(next.log.stopped_shards().len(), 1);
    }
}

#[tokio::test]
async fn repair_brings_every_acknowledged_record_back_at_its_offset() {
    let shared = after_failover(&["lost", "too"]).await;
    drop(shared.leader().await);
    let repaired = repair(&shared).await;
    assert_eq!((repaired.objects, repaired.records), (2, 2));
    assert_eq!(repaired.manifests[&address(0).shard], 2);
    let heir = shared.leader().await;
    assert_eq!(heir.log.stopped_shards(), Vec::new());
    let back = numbered(&["kept", "lost", "too"]);
    assert_eq!(values(&heir.log, 0, 0).await, back);
    let next = shared.append(&heir, 0, &batch(&["next"])).await;
    assert_eq!(next.base_offset, 3);
    // There is nothing left to do.
    drop(heir);
    assert_eq!(repair(&shared).await, Repaired::default());
}

#[tokio::test]
async fn an_orphan_is_given_up_after_a_failover_that_lost_other_objects() {
    let shared = after_failover(&["lost"]).await;
    let life = shared.store.grants(address(0).shard).await.unwrap()[0].incarnation;
    let orphan = streamhouse_storage::objects::ObjectId {
        incarnation: life.0,
        seq: 900,
        attempt: 0,
    };
    let body = vec![bytes::Bytes::from_static(b"left behind")];
    let put = shared
        .objects()
        .put(
            &orphan.key(ObjectKind::Checkpoint),
            ObjectClass::Flush,
            body,
        )
        .await;
    put.unwrap();
    let heir = shared.leader().await;
    assert_eq!(heir.log.sweep_orphans().await.unwrap(), 1);
    assert_eq!(repair(&shared).await.objects, 1);
}

#[tokio::test]
async fn repair_does_not_take_a_store_that_fails_for_one_without_objects() {
    let mut failed = 0;
    // Requests list and read by turns: the failures begin at each of them.
    for before in 0..270 {
        let shared = after_failover(&["lost", "too"]).await;
        let faults = std::iter::repeat_n(Some(Fault::FailBefore), 20);
        let script = std::iter::repeat_n(None, before).chain(faults);
        shared.faults.script(script);
        match try_repair(&shared).await {
            Ok(repaired) => assert_eq!((repaired.objects, repaired.records), (2, 2)),
            Err(RepairError::Load(_)) => failed += 1,
            Err(RepairError::List(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failed > 0);
}

/// The simulation found that whoever started after a failover gave up the objects whose commits the database had lost: no row
/// names them. A repair found nothing any more.
#[tokio::test]
async fn a_sweep_of_orphans_leaves_what_a_repair_brings_back() {
    let shared = after_failover(&["lost", "too"]).await;
    let heir = shared.leader().await;
    assert_eq!(heir.log.sweep_orphans().await.unwrap(), 0);
    drop(heir);
    assert_eq!(repair(&shared).await.records, 2);
    let heir = shared.leader().await;
    assert_eq!(heir.log.sweep_orphans().await.unwrap(), 0);
    let back = numbered(&["kept", "lost", "too"]);
    assert_eq!(values(&heir.log, 0, 0).await, back);
}

#[tokio::test]
async fn an_object_store_that_does_not_answer_hides_no_loss() {
    // The objects of a life are listed first, then what was found is read.
    for answered in [0, 100, 255, 256, 257, 258] {
        let shared = after_failover(&["lost"]).await;
        let heir = shared.broker().await;
        let row = shared.grant(&heir, address(0).shard).await;
        let fine = std::iter::repeat_n(None, answered);
        let away = std::iter::repeat_n(Some(Fault::FailBefore), 1000);
        shared.faults.script(fine.chain(away));
        let led = shared.turning(heir.log.lead(&row)).await;
        assert!(
            led.is_err() || !heir.log.stopped_shards().is_empty(),
            "it serves after {answered} answers"
        );
    }
}

/// The simulation found brokers that took a shard over and could not load it: they list several lives one after the other, and
/// once the store had asked for fewer requests, each next listing was sent away as if it were of the clean-up.
#[tokio::test]
async fn a_takeover_waits_its_turn_when_the_store_asks_for_fewer_listings() {
    let shared = after_failover(&[]).await;
    let heir = shared.broker().await;
    shared.faults.script([Some(Fault::SlowDown)]);
    for shard in (0..SHARDS).map(ShardId) {
        let row = shared.grant(&heir, shard).await;
        shared.turning(heir.log.lead(&row)).await.unwrap();
    }
    assert_eq!(heir.log.stopped_shards(), Vec::new());
}

#[tokio::test]
async fn repair_of_a_database_that_lost_nothing_lets_its_shards_serve() {
    let shared = after_failover(&[]).await;
    let heir = shared.leader().await;
    assert_eq!(heir.log.stopped_shards(), Vec::new());
    drop(heir);
    assert_eq!(repair(&shared).await, Repaired::default());
    let heir = shared.leader().await;
    assert_eq!(values(&heir.log, 0, 0).await, numbered(&["kept"]));
}

#[tokio::test]
async fn a_new_leader_finds_what_was_lost_behind_what_was_committed_since() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    let replica = shared.store.inner.copy();
    shared.append(&broker, 0, &batch(&["lost"])).await;
    shared.store.inner.fail_over(&replica);
    // The same life goes on in another shard, and what it cannot commit it gives up.
    shared
        .append(&broker, 1, &batch(&["on the new server"]))
        .await;
    let on_top = shared.try_append(&broker, 0, &batch(&["on top"])).await;
    assert!(on_top.is_err());
    drop(broker);
    let heir = shared.leader().await;
    assert_eq!(heir.log.stopped_shards().len(), 1);
    drop(heir);
    assert_eq!(repair(&shared).await.records, 1);
}

#[tokio::test]
async fn a_leader_whose_grant_is_of_the_lost_server_looks_for_what_was_lost() {
    let shared = Shared::new().await;
    let (first, second) = (shared.leader().await, shared.broker().await);
    shared.append(&first, 0, &batch(&["kept"])).await;
    let row = BrokerRow {
        broker: BrokerId(2),
        incarnation: second.incarnation,
        endpoints: Vec::new(),
        rack: None,
    };
    let lease = Duration::from_secs(5);
    shared.store.register_broker(row, lease).await.unwrap();
    let replica = shared.store.inner.copy();
    // The shard moves and is written to; the replica knows neither.
    let row = shared.grant(&second, address(0).shard).await;
    second.log.lead(&row).await.unwrap();
    shared.append(&second, 0, &batch(&["lost"])).await;
    first.log.cede(row.shard, row.epoch);
    drop(second);
    shared.store.inner.fail_over(&replica);
    let row = shared.store.read_shard(row.shard).await.unwrap().unwrap();
    assert_eq!(row.incarnation, Some(first.incarnation));
    first.log.lead(&row).await.unwrap();
    assert_eq!(first.log.stopped_shards().len(), 1);
}

#[tokio::test]
async fn a_life_that_was_lost_with_all_that_it_did_is_found_by_its_mark() {
    let shared = Shared::new().await;
    let first = shared.leader().await;
    shared.append(&first, 0, &batch(&["kept"])).await;
    let replica = shared.store.inner.copy();
    drop(first);
    // It registers, leads, writes and dies; the replica knows nothing of it.
    let second = shared.leader().await;
    shared.append(&second, 0, &batch(&["lost"])).await;
    let lost = second.incarnation;
    drop(second);
    shared.store.inner.fail_over(&replica);
    let heir = shared.leader().await;
    assert_eq!(heir.log.stopped_shards().len(), 1);
    assert!(heir.stage(0, &batch(&["on top"])).is_err());
    shared.append(&heir, 1, &batch(&["fine"])).await;
    // Nor is what it left taken for garbage.
    assert_eq!(heir.log.sweep_orphans().await.unwrap(), 0);
    drop(heir);
    assert_eq!(repair(&shared).await.records, 1);
    let marked = shared.objects().marked_lives().await.unwrap();
    assert!(marked.iter().all(|life| life.incarnation != lost.0));
    let heir = shared.leader().await;
    assert_eq!(heir.log.stopped_shards(), Vec::new());
    assert_eq!(values(&heir.log, 0, 0).await, numbered(&["kept", "lost"]));
}

#[tokio::test]
async fn a_mark_goes_when_its_life_is_over_for_longer_than_the_grace() {
    let shared = Shared::new().await;
    let first = shared.leader().await;
    shared.append(&first, 0, &batch(&["kept"])).await;
    let over = first.incarnation;
    drop(first);
    let second = shared.leader().await;
    let marked = async || -> Vec<u128> {
        let marked = shared.objects().marked_lives().await.unwrap();
        marked.iter().map(|life| life.incarnation).collect()
    };
    second.log.sweep_orphans().await.unwrap();
    assert!(marked().await.contains(&over.0));
    // The store's clock is the machine's, ours stands near 1970.
    shared
        .clock
        .advance(Duration::from_secs(200 * 366 * 24 * 3600));
    second.log.sweep_orphans().await.unwrap();
    assert_eq!(marked().await, [second.incarnation.0]);
}

#[tokio::test]
async fn commits_that_a_flush_missed_first_count_as_lost() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    let replica = shared.store.inner.copy();
    shared.append(&broker, 0, &batch(&["lost"])).await;
    shared.store.inner.fail_over(&replica);
    let on_top = shared.try_append(&broker, 0, &batch(&["on top"])).await;
    assert!(on_top.is_err());
    assert_eq!(broker.log.check_recorded().await.unwrap(), 1);
}
