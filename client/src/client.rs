//! The cluster as a client sees it: a bootstrap list, one connection per broker, metadata, retries.
//!
//! A client knows brokers by their id once it has metadata, and asks the bootstrap list when none of them answers.
//! Metadata of topics is kept for [`METADATA_AGE_MAX`] and forgotten as soon as a broker says that it is stale.
//!
//! Retries: what failed with a retriable error is tried again after a pause that doubles up to [`PAUSE_MAX`], drawn
//! between half and whole, until the deadline; then the last error is returned. A request that may have changed something
//! is tried again only when it certainly did not happen.

mod pool;
mod retry;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_protocol::Request;
use streamhouse_runtime::{Ambient, Monotonic};

use self::pool::Pool;
pub use self::retry::{PAUSE_MAX, Retry};
use crate::address::BrokerAddress;
use crate::connection::{Connection, ConnectionOptions};
use crate::connector::{Connect, Tcp};
use crate::error::ClientError;
use crate::metadata::{Cluster, Topic};

/// How long metadata of a topic is used before it is asked for again.
pub const METADATA_AGE_MAX: Duration = Duration::from_secs(300);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How connections behave.
    pub connection: ConnectionOptions,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long an operation may take with all its retries.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(60),
        }
    }
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker with this id.
    Broker(i32),
}

/// A client of one cluster. Clones share connections and metadata.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    ambient: Ambient,
    pool: Pool,
    /// What the last metadata said of brokers. Held for a read or a replacement only.
    cluster: Mutex<Arc<Cluster>>,
    /// Topics by name, with the time they were learned. As many as the caller asked for by name.
    topics: Mutex<BTreeMap<String, (Monotonic, Arc<Topic>)>>,
}

impl Client {
    /// Reaches a cluster over TCP and learns its brokers. Not tried twice: a wrong address is told at once.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if no address of `bootstrap` answers.
    pub async fn open(
        bootstrap: Vec<BrokerAddress>,
        options: Options,
        ambient: Ambient,
    ) -> Result<Self, ClientError> {
        Self::open_through(Arc::new(Tcp), bootstrap, options, ambient).await
    }

    /// Reaches a cluster as [`Client::open`] does, through another connector than TCP.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if no address of `bootstrap` answers.
    pub async fn open_through(
        connector: Arc<dyn Connect>,
        bootstrap: Vec<BrokerAddress>,
        options: Options,
        ambient: Ambient,
    ) -> Result<Self, ClientError> {
        let pool = Pool::new(connector, bootstrap, options.clone(), ambient.clone());
        let client = Self {
            shared: Arc::new(Shared {
                options,
                ambient,
                pool,
                cluster: Mutex::default(),
                topics: Mutex::default(),
            }),
        };
        client.refresh_cluster().await?;
        Ok(client)
    }

    /// Clock, chance and tasks.
    #[must_use]
    pub fn ambient(&self) -> &Ambient {
        &self.shared.ambient
    }

    /// How this client behaves.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The brokers as last heard.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.shared.cluster.lock())
    }

    /// When an operation that begins now has to end.
    #[must_use]
    pub fn patience(&self) -> Monotonic {
        self.shared.ambient.clock.monotonic() + self.shared.options.patience
    }

    /// An open connection to `target`.
    ///
    /// # Errors
    /// [`ClientError::Connect`] or [`ClientError::Unreachable`]; nothing was sent.
    pub async fn connection(&self, target: Target) -> Result<Connection, ClientError> {
        match target {
            Target::Any => self.shared.pool.any(&self.cluster()).await,
            Target::Broker(id) => self.shared.pool.get(&self.address(id)?).await,
        }
    }

    /// A connection of its own to a broker, which the client does not share with other callers.
    ///
    /// # Errors
    /// [`ClientError::Connect`]; nothing was sent.
    pub async fn separate_connection(
        &self,
        broker: i32,
        options: &ConnectionOptions,
    ) -> Result<Connection, ClientError> {
        self.shared.pool.open(&self.address(broker)?, options).await
    }

    /// Asks once: `build` makes the request for the agreed version, which is at most `max`.
    ///
    /// # Errors
    /// [`ClientError`]; see its outcome.
    pub async fn ask<R: Request>(
        &self,
        target: Target,
        max: i16,
        build: impl Fn(i16) -> R,
    ) -> Result<(Connection, R::Response), ClientError> {
        let connection = self.connection(target).await?;
        let version = connection.version::<R>(max)?;
        let limit = self.shared.ambient.clock.monotonic() + self.shared.options.request_timeout;
        let response = connection.call(version, &build(version), limit).await?;
        Ok((connection, response))
    }

    /// Runs `attempt` until it succeeds, fails for good, or the patience of the options ends.
    ///
    /// # Errors
    /// The last error of `attempt`.
    pub async fn retrying<T, F>(
        &self,
        retry: Retry,
        attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        retry::run(&self.shared.ambient, self.patience(), retry, attempt).await
    }

    fn address(&self, id: i32) -> Result<BrokerAddress, ClientError> {
        let cluster = self.cluster();
        let broker = cluster.brokers.get(&id);
        broker
            .map(|broker| broker.address.clone())
            .ok_or_else(|| ClientError::Connect {
                broker: Arc::from(format!("{id}").as_str()),
                reason: "the metadata of the cluster does not say where it is".to_owned(),
            })
    }

    pub(crate) fn remember_cluster(&self, cluster: Arc<Cluster>) {
        *self.shared.cluster.lock() = cluster;
    }

    pub(crate) fn remembered_topic(&self, name: &str) -> Option<Arc<Topic>> {
        let now = self.shared.ambient.clock.monotonic();
        let topics = self.shared.topics.lock();
        let (learned, topic) = topics.get(name)?;
        (now - *learned < METADATA_AGE_MAX).then(|| Arc::clone(topic))
    }

    pub(crate) fn remember_topic(&self, topic: &Arc<Topic>) {
        let now = self.shared.ambient.clock.monotonic();
        let mut topics = self.shared.topics.lock();
        topics.insert(topic.name.clone(), (now, Arc::clone(topic)));
    }

    /// Forgets where a topic is, so that the next request asks again.
    pub fn forget_topic(&self, name: &str) {
        self.shared.topics.lock().remove(name);
    }
}
