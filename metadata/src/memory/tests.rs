//! What simulations do to the store in memory besides asking it.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use super::MemoryStore;
use crate::store::{
    BrokerRow, BrokerShelf, ClusterShelf, Durability, GrantOutcome, GrantRequest, Incarnation,
    MetadataStore, NewCluster, RevisionCheck, ShardId, ShardShelf,
};

const LEASE: Duration = Duration::from_secs(5);

async fn store() -> (ManualClock, MemoryStore) {
    let clock = ManualClock::new(1_000);
    let store = MemoryStore::new(Ambient {
        clock: Arc::new(clock.clone()),
        chance: Arc::new(SeededChance::new(1)),
        tasks: Tasks::new(),
    });
    let cluster = NewCluster {
        cluster_id: 1,
        shards: 2,
        durability: Durability::Shared,
    };
    store.initialise(cluster).await.unwrap();
    (clock, store)
}

async fn grant(store: &MemoryStore, life: u128) -> GrantOutcome {
    let request = GrantRequest::own(Incarnation(life), None, [ShardId(0)]);
    store.grant(request).await.unwrap()[0]
}

async fn register(store: &MemoryStore, broker: i32, life: u128) {
    let row = BrokerRow {
        broker: BrokerId(broker),
        incarnation: Incarnation(life),
        endpoints: Vec::new(),
        rack: None,
    };
    store.register_broker(row, LEASE).await.unwrap();
}

#[tokio::test]
async fn a_failover_loses_what_the_copy_lacks_and_shows_it_by_the_timeline() {
    let (_, store) = store().await;
    grant(&store, 10).await;
    let replica = store.copy();
    store.allocate_producer_ids(1).await.unwrap();
    let lost = store.revision().await.unwrap();
    let mut changes = store.watch_changes();
    changes.mark_unchanged();
    let beside = store.reopen();
    store.fail_over(&replica);
    assert!(changes.has_changed().unwrap());
    for store in [&store, &beside] {
        assert_eq!(store.timeline(), 1);
        let checked = store.check_revision(lost).await.unwrap();
        assert_eq!(checked, RevisionCheck::Missing);
        let row = store.read_shard(ShardId(0)).await.unwrap().unwrap();
        assert_eq!(row.timeline, 0);
    }
    let GrantOutcome::Granted(row) = grant(&store, 11).await else {
        panic!("not granted");
    };
    assert_eq!(row.timeline, 1);
    // Another replica that was copied long ago does not bring an earlier timeline back.
    store.fail_over(&replica);
    assert_eq!(store.timeline(), 2);
}

#[tokio::test]
async fn leases_are_counted_by_the_injected_clock() {
    let (clock, store) = store().await;
    register(&store, 0, 10).await;
    register(&store, 1, 11).await;
    grant(&store, 10).await;
    clock.advance(LEASE - Duration::from_millis(1));
    let held = GrantOutcome::Held {
        by: Incarnation(10),
        until_ms: 6_000,
    };
    assert_eq!(grant(&store, 11).await, held);
    let beat = store.heartbeat(Incarnation(11), LEASE).await.unwrap();
    assert_eq!((beat.now_ms, beat.until_ms), (5_999, 10_999));
    clock.advance(Duration::from_millis(1));
    let living = store.living().await.unwrap().brokers;
    assert_eq!(living.len(), 1);
    assert!(matches!(grant(&store, 11).await, GrantOutcome::Granted(_)));
}
