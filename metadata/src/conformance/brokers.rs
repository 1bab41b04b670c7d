//! Laws of the brokers shelf.

use std::time::Duration;

use streamhouse_protocol::ids::BrokerId;

use super::House;
use crate::store::{
    BrokerEndpoint, BrokerRow, Class, ConfigTarget, DEAD_AGE_MAX_MS, HeartbeatError, Incarnation,
    MetadataStore, RegisterError,
};

/// So long that it does not end during a law.
pub(super) const LEASE: Duration = Duration::from_secs(3600);

pub(super) async fn register(store: &dyn MetadataStore, broker: BrokerRow, lease: Duration) {
    store.register_broker(broker, lease).await.unwrap();
}

fn endpoint(listener: &str, host: &str, port: u16) -> BrokerEndpoint {
    BrokerEndpoint {
        listener: listener.to_owned(),
        host: host.to_owned(),
        port,
    }
}

pub(super) fn broker(id: i32, life: u128) -> BrokerRow {
    BrokerRow {
        broker: BrokerId(id),
        incarnation: Incarnation(life),
        endpoints: vec![
            endpoint("PLAINTEXT", "localhost", u16::MAX),
            endpoint("INSIDE-2.x", "::1", 0),
        ],
        rack: (id > 0).then(|| "a".to_owned()),
    }
}

pub(super) async fn a_restarted_broker_replaces_its_earlier_life(house: House) {
    let store = house.started().await;
    register(&*store, broker(1, 12), Duration::ZERO).await;
    register(&*store, broker(0, 10), Duration::ZERO).await;
    let store = house.reopen(store).await;
    register(&*store, broker(0, 11), Duration::ZERO).await;
    assert_eq!(
        store.brokers().await.unwrap(),
        [broker(0, 11), broker(1, 12)]
    );
    let moved = BrokerRow {
        endpoints: Vec::new(),
        ..broker(0, 11)
    };
    register(&*store, moved.clone(), Duration::ZERO).await;
    let store = house.reopen(store).await;
    assert_eq!(store.brokers().await.unwrap(), [moved, broker(1, 12)]);
    assert_eq!(
        store
            .register_broker(broker(2, 11), Duration::ZERO)
            .await
            .unwrap_err()
            .class(),
        Class::Bug
    );
}

pub(super) async fn a_dead_life_is_never_revived(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), Duration::ZERO).await;
    register(&*store, broker(0, 11), Duration::ZERO).await;
    house.clock.advance(Duration::from_millis(
        u64::try_from(DEAD_AGE_MAX_MS).unwrap(),
    ));
    register(&*store, broker(0, 11), Duration::ZERO).await;
    let store = house.reopen(store).await;
    let error = store
        .register_broker(broker(0, 10), Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        RegisterError::Dead {
            broker: BrokerId(0),
            incarnation: Incarnation(10)
        }
    );
    assert_eq!(error.class(), Class::Fenced);
    assert_eq!(store.brokers().await.unwrap(), [broker(0, 11)]);
}

pub(super) async fn a_twin_is_refused_while_the_lease_holds(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    register(&*store, broker(0, 10), LEASE).await;
    let store = house.reopen(store).await;
    let error = store
        .register_broker(broker(0, 11), LEASE)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    let RegisterError::Twin {
        incarnation,
        until_ms,
        now_ms,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(incarnation, Incarnation(10));
    assert!(now_ms < until_ms && until_ms <= now_ms + 3_600_000);
    register(&*store, broker(1, 12), LEASE).await;
    // It renews with a lease of no length, as if that much time had passed.
    let beat = store.heartbeat(Incarnation(10), Duration::ZERO).await;
    let beat = beat.unwrap();
    assert_eq!(beat.until_ms, beat.now_ms);
    register(&*store, broker(0, 11), LEASE).await;
    let store = house.reopen(store).await;
    assert_eq!(
        store.heartbeat(Incarnation(10), LEASE).await.unwrap_err(),
        HeartbeatError::Dead {
            incarnation: Incarnation(10)
        }
    );
    let living = store.living().await.unwrap();
    let rows: Vec<BrokerRow> = living.brokers.iter().map(|each| each.row.clone()).collect();
    assert_eq!(rows, [broker(0, 11), broker(1, 12)]);
    assert!(
        living
            .brokers
            .iter()
            .all(|each| each.lease_until_ms > living.now_ms)
    );
}

pub(super) async fn a_heartbeat_renews_a_lease_that_was_over(house: House) {
    let store = house.started().await;
    let unknown = store.heartbeat(Incarnation(10), LEASE).await.unwrap_err();
    assert_eq!(
        unknown,
        HeartbeatError::Unknown {
            incarnation: Incarnation(10)
        }
    );
    register(&*store, broker(0, 10), Duration::ZERO).await;
    assert_eq!(store.living().await.unwrap().brokers, []);
    assert_eq!(store.brokers().await.unwrap(), [broker(0, 10)]);
    let store = house.reopen(store).await;
    let beat = store.heartbeat(Incarnation(10), LEASE).await.unwrap();
    assert_eq!(beat.until_ms - beat.now_ms, 3_600_000);
    assert_eq!(beat.timeline, store.timeline());
    let store = house.reopen(store).await;
    let living = store.living().await.unwrap();
    assert_eq!(living.brokers.len(), 1);
    assert_eq!(living.brokers[0].lease_until_ms, beat.until_ms);
}

pub(super) async fn a_heartbeat_tells_of_the_newest_revision(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    let before = store.heartbeat(Incarnation(10), LEASE).await.unwrap();
    let changed = store.set_configs(ConfigTarget::BrokerDefaults, Vec::new());
    let changed = changed.await.unwrap();
    let store = house.reopen(store).await;
    let after = store.heartbeat(Incarnation(10), LEASE).await.unwrap();
    assert_ne!(before.revision, changed);
    assert_eq!(after.revision, changed);
}

pub(super) async fn a_life_that_left_is_dead_at_once(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    store.leave(Incarnation(10)).await.unwrap();
    store.leave(Incarnation(10)).await.unwrap();
    store.leave(Incarnation(99)).await.unwrap();
    let store = house.reopen(store).await;
    assert_eq!(store.living().await.unwrap().brokers, []);
    let dead = HeartbeatError::Dead {
        incarnation: Incarnation(10),
    };
    let error = store.heartbeat(Incarnation(10), LEASE).await.unwrap_err();
    assert_eq!((error.class(), error), (Class::Fenced, dead));
    register(&*store, broker(0, 11), LEASE).await;
}
