//! Connections: one per address, opened when it is needed and again when it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, deadline};

use super::Options;
use crate::address::BrokerAddress;
use crate::connection::{Connection, ConnectionOptions};
use crate::connector::Connect;
use crate::error::ClientError;
use crate::metadata::Cluster;

/// A place for the connection to one address. Whoever holds it opens the connection; others wait for that.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

#[derive(Debug)]
pub(super) struct Pool {
    connector: Arc<dyn Connect>,
    bootstrap: Vec<BrokerAddress>,
    options: Options,
    ambient: Ambient,
    /// Grows with the brokers of the cluster. The lock is held for a look-up only.
    slots: Mutex<BTreeMap<BrokerAddress, Slot>>,
}

impl Pool {
    pub(super) const fn new(
        connector: Arc<dyn Connect>,
        bootstrap: Vec<BrokerAddress>,
        options: Options,
        ambient: Ambient,
    ) -> Self {
        Self {
            connector,
            bootstrap,
            options,
            ambient,
            slots: Mutex::new(BTreeMap::new()),
        }
    }

    /// The shared connection to `address`.
    pub(super) async fn get(&self, address: &BrokerAddress) -> Result<Connection, ClientError> {
        let slot = Arc::clone(self.slots.lock().entry(address.clone()).or_default());
        let mut held = slot.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.open(address, &self.options.connection).await?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// A connection to a broker of `cluster` or, if none answers, of the bootstrap list.
    pub(super) async fn any(&self, cluster: &Cluster) -> Result<Connection, ClientError> {
        let known = cluster.brokers.values().map(|broker| &broker.address);
        let mut tried: Vec<&BrokerAddress> = Vec::new();
        let mut reason = "the list of brokers is empty".to_owned();
        for address in known.chain(&self.bootstrap) {
            if tried.contains(&address) {
                continue;
            }
            match self.get(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) if error.is_retriable() => {
                    let words = error.to_string();
                    reason = if let ClientError::Connect { reason, .. } = error {
                        reason
                    } else {
                        words
                    };
                }
                Err(error) => return Err(error),
            }
            tried.push(address);
        }
        let brokers: Vec<String> = tried.iter().map(ToString::to_string).collect();
        Err(ClientError::Unreachable {
            brokers: brokers.join(", "),
            reason,
        })
    }

    /// A fresh connection to `address`.
    pub(super) async fn open(
        &self,
        address: &BrokerAddress,
        options: &ConnectionOptions,
    ) -> Result<Connection, ClientError> {
        let clock = Arc::clone(&self.ambient.clock);
        let limit = clock.monotonic() + self.options.connect_timeout;
        let shown = address.to_string();
        let failed = |reason: String| ClientError::Connect {
            broker: Arc::from(shown.as_str()),
            reason,
        };
        let stream = deadline(&*clock, limit, self.connector.connect(address))
            .await
            .ok_or_else(|| {
                failed(format!(
                    "it did not accept within {:?}",
                    self.options.connect_timeout
                ))
            })?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Connection::open(stream, &shown, options, &self.ambient, limit).await?)
    }
}
