//! InitProducerId.

use std::collections::BTreeSet;

use streamhouse_metadata::MetadataStore;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::{
    FindCoordinatorRequest, InitProducerIdRequest, ProducerId, TransactionalId,
};

use crate::bench::Bench;

fn anonymous() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None)
}

fn transactional(id: &str) -> InitProducerIdRequest {
    let id = TransactionalId(StrBytes::from_string(id.to_owned()));
    anonymous()
        .with_transactional_id(Some(id))
        .with_transaction_timeout_ms(60_000)
}

#[tokio::test]
async fn every_producer_gets_an_id_that_nobody_had() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let mut ids = BTreeSet::new();
    for round in 0..1500 {
        let response = client.call(round % 5, &anonymous()).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        assert!(response.producer_id.0 >= 0);
        assert!(ids.insert(response.producer_id.0));
    }
}

#[tokio::test]
async fn an_id_without_its_epoch_is_refused_and_an_old_id_makes_a_fresh_one() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let half = anonymous()
        .with_producer_id(ProducerId(5))
        .with_producer_epoch(-1);
    assert_eq!(client.call(3, &half).await.error_code, 42);
    let half = anonymous()
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(3);
    assert_eq!(client.call(4, &half).await.error_code, 42);
    let old = anonymous()
        .with_producer_id(ProducerId(5000))
        .with_producer_epoch(3);
    let fresh = client.call(4, &old).await;
    assert_eq!((fresh.error_code, fresh.producer_epoch), (0, 0));
    assert_ne!(fresh.producer_id.0, 5000);
}

#[tokio::test]
async fn a_transactional_producer_fails_at_once() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for version in 0..=4 {
        let response = client.call(version, &transactional("tx")).await;
        assert_eq!((response.error_code, response.producer_id.0), (53, -1));
        assert_eq!(
            client.call(version, &transactional("")).await.error_code,
            42
        );
    }
    let find = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_key(StrBytes::from_static_str("tx"))
        .with_coordinator_keys(Vec::new());
    for version in 1..=3 {
        let response = client.call(version, &find).await;
        assert_eq!(response.error_code, 53);
        assert!(response.error_message.unwrap().contains("Transactions"));
    }
    let find = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![StrBytes::from_static_str("tx")]);
    let response = client.call(4, &find).await;
    assert_eq!(response.coordinators[0].error_code, 53);
    assert_eq!(&*response.coordinators[0].key, "tx");
}

#[tokio::test]
async fn producers_are_told_to_ask_again_while_the_store_is_away() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    bench.store.close().await;
    let response = client.call(4, &anonymous()).await;
    assert_eq!((response.error_code, response.producer_id.0), (14, -1));
}
