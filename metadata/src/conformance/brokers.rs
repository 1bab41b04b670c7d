//! Laws of the brokers shelf.

use std::time::Duration;

use streamhouse_protocol::ids::BrokerId;

use super::House;
use crate::store::{BrokerRow, Class, DEAD_AGE_MAX_MS, Incarnation, RegisterError};

fn broker(id: i32, life: u128) -> BrokerRow {
    BrokerRow {
        broker: BrokerId(id),
        incarnation: Incarnation(life),
        host: "localhost".to_owned(),
        port: u16::MAX,
        rack: (id > 0).then(|| "a".to_owned()),
    }
}

pub(super) async fn a_restarted_broker_replaces_its_earlier_life(house: House) {
    let store = house.started().await;
    store.register_broker(broker(1, 12)).await.unwrap();
    store.register_broker(broker(0, 10)).await.unwrap();
    let store = house.reopen(store).await;
    store.register_broker(broker(0, 11)).await.unwrap();
    assert_eq!(
        store.brokers().await.unwrap(),
        [broker(0, 11), broker(1, 12)]
    );
    let moved = BrokerRow {
        port: 9092,
        ..broker(0, 11)
    };
    store.register_broker(moved.clone()).await.unwrap();
    let store = house.reopen(store).await;
    assert_eq!(store.brokers().await.unwrap(), [moved, broker(1, 12)]);
    assert_eq!(
        store
            .register_broker(broker(2, 11))
            .await
            .unwrap_err()
            .class(),
        Class::Bug
    );
}

pub(super) async fn a_dead_life_is_never_revived(house: House) {
    let store = house.started().await;
    store.register_broker(broker(0, 10)).await.unwrap();
    store.register_broker(broker(0, 11)).await.unwrap();
    house.clock.advance(Duration::from_millis(
        u64::try_from(DEAD_AGE_MAX_MS).unwrap(),
    ));
    store.register_broker(broker(0, 11)).await.unwrap();
    let store = house.reopen(store).await;
    let error = store.register_broker(broker(0, 10)).await.unwrap_err();
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
