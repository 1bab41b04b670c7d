//! The metadata store in PostgreSQL: the facts of a cluster whose brokers come and go.
//!
//! Many brokers use one database, so that every write carries its own fence: the row that it compares is locked in the
//! statement that writes. Reading order: `settings` and `tls` (where the server is, and whose), `open` (whose schema, and
//! migrations), `session` (one connection, verified), `pool`, `work` (how requests become transactions), `fault` (what
//! errors say of a write), then a file per shelf, as in `sqlite`, and `listen` (who is told of changes).
//! `server` and `proxy` are for tests: a real server, and a way to it that fails on purpose.
//!
//! One lock order for every transaction: the row of the cluster, the rows of shards by number, the coordination rows by
//! number, the rest by key.

mod brokers;
mod cluster;
mod columns;
mod fault;
mod groups;
mod listen;
mod manifests;
mod objects;
mod open;
mod pool;
mod session;
mod settings;
mod shards;
mod tls;
mod topics;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use streamhouse_runtime::Ambient;
use tokio::sync::watch;

pub use open::OpenError;
pub use settings::{CONNECTIONS_MAX, PostgresSettings};

use crate::store::MetadataStore;
use pool::Pool;

/// Keeps the facts of a cluster in one schema of a PostgreSQL database. Clones are one store.
///
/// Its tasks, one per connection and one per write under way, end after [`MetadataStore::close`].
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: Arc<Pool>,
}

impl PostgresStore {
    /// Connects to the server, verifies that it keeps what it commits, and brings the schema up to date. Brokers that do
    /// this at the same time wait for each other.
    pub async fn open(settings: PostgresSettings, ambient: Ambient) -> Result<Self, OpenError> {
        let (target, connector) = open::prepare(&settings)?;
        let pool = Arc::new(Pool::new(target, connector, settings, ambient));
        pool.migrate().await?;
        Ok(Self { pool })
    }
}

#[async_trait]
impl MetadataStore for PostgresStore {
    /// The newest one that the server was seen on: it grows by one each time a standby is promoted.
    fn timeline(&self) -> u32 {
        self.pool.timeline()
    }

    /// The first call opens one more connection, which listens to what other brokers tell.
    fn watch_changes(&self) -> watch::Receiver<u64> {
        let changes = self.pool.watch();
        if self.pool.begins_to_listen() {
            listen::start(&self.pool);
        }
        changes
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(any(test, feature = "test-support"))]
pub mod proxy;
#[cfg(any(test, feature = "test-support"))]
pub mod server;
#[cfg(test)]
mod tests;
