//! Brokers as the database has them, and as clients are told of them.

use std::sync::Arc;

use streamhouse_metadata::{BrokerEndpoint, BrokerRow, Incarnation};

use crate::reach::{Endpoint, KnownBroker};

/// The row of a broker.
pub(super) fn row(broker: &KnownBroker, incarnation: Incarnation) -> BrokerRow {
    let endpoints = broker.endpoints.iter();
    let endpoints = endpoints.map(|(listener, endpoint)| BrokerEndpoint {
        listener: listener.to_string(),
        host: endpoint.host.clone(),
        port: endpoint.port,
    });
    BrokerRow {
        broker: broker.broker,
        incarnation,
        endpoints: endpoints.collect(),
        rack: broker.rack.as_deref().map(str::to_owned),
    }
}

/// The broker of a row.
pub(super) fn known(row: &BrokerRow) -> KnownBroker {
    let endpoints = row.endpoints.iter().map(|one| {
        let endpoint = Endpoint {
            host: one.host.clone(),
            port: one.port,
        };
        (Arc::from(one.listener.as_str()), endpoint)
    });
    KnownBroker {
        broker: row.broker,
        rack: row.rack.as_deref().map(Arc::from),
        endpoints: endpoints.collect(),
    }
}
