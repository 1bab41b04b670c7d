//! Laws of the store as a whole: what closing means, and that writers do not lose each other's writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::brokers::{LEASE, broker, register};
use super::{House, lead, new_cluster};
use crate::store::{Class, ConfigTarget, Incarnation, Outcome};

pub(super) async fn a_closed_store_says_that_nothing_happened(house: House) {
    let store = house.started().await;
    store.close().await;
    store.close().await;
    let error = store.allocate_producer_ids(1).await.unwrap_err();
    assert_eq!(
        (error.class(), error.outcome()),
        (Class::Unavailable, Outcome::DidNotHappen)
    );
    assert_eq!(
        store.initialise(new_cluster()).await.unwrap_err().outcome(),
        Outcome::DidNotHappen
    );
    assert_eq!(
        store.topics().await.unwrap_err().class(),
        Class::Unavailable
    );
    let again = house.open().await;
    assert_eq!(again.allocate_producer_ids(1).await.unwrap(), 0..1);
    assert_eq!(
        store.shards().await.unwrap_err().class(),
        Class::Unavailable,
        "closed for good"
    );
}

pub(super) async fn writers_at_the_same_time_do_not_lose_each_others_writes(house: House) {
    let store = house.started().await;
    let tasks = streamhouse_runtime::Tasks::new();
    let given = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
    for _ in 0..8 {
        let (store, given) = (Arc::clone(&store), Arc::clone(&given));
        tasks.spawn("writer", async move {
            for _ in 0..5 {
                let block = store.allocate_producer_ids(3).await.unwrap();
                assert!(given.lock().insert(block.start), "given out twice");
            }
        });
    }
    tasks.finished().await;
    let store = house.reopen(store).await;
    assert_eq!(given.lock().len(), 40);
    assert_eq!(store.allocate_producer_ids(1).await.unwrap(), 120..121);
    assert_eq!(store.revision().await.unwrap().number, 41);
}

pub(super) async fn changes_wake_whoever_watches(house: House) {
    let store = house.started().await;
    let mut changes = store.watch_changes();
    changes.mark_unchanged();
    register(&*store, broker(0, 10), LEASE).await;
    changes.changed().await.unwrap();
    lead(&*store, 10, 0).await;
    changes.changed().await.unwrap();
    let changed = store.set_configs(ConfigTarget::BrokerDefaults, Vec::new());
    changed.await.unwrap();
    changes.changed().await.unwrap();
    store.leave(Incarnation(10)).await.unwrap();
    changes.changed().await.unwrap();
}
