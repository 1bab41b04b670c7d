//! The metadata store in SQLite: the embedded default.
//!
//! One thread owns the one connection, and one transaction is one request of a shelf; the file is locked against other
//! processes for as long as the store is open. The journal is a write-ahead log and every COMMIT is fsynced
//! (`synchronous=FULL`); both are verified when the file is opened.

mod brokers;
mod cluster;
mod columns;
mod fault;
mod groups;
mod manifests;
mod objects;
mod open;
mod shards;
mod topics;
mod worker;

use std::path::Path;

use async_trait::async_trait;
use streamhouse_runtime::Ambient;
use tokio::sync::watch;

pub use open::OpenError;

use crate::store::MetadataStore;
use worker::Worker;

/// Keeps the facts of a cluster in one SQLite file. Dropping it closes the file soon after; [`MetadataStore::close`]
/// waits for that.
#[derive(Debug)]
pub struct SqliteStore {
    worker: Worker,
    changes: watch::Sender<u64>,
    ambient: Ambient,
}

impl SqliteStore {
    /// Opens the file at `path`, or creates it, and brings its schema up to date. Waits for the disk: call it before
    /// anything is served.
    pub fn open(path: &Path, ambient: Ambient) -> Result<Self, OpenError> {
        let connection = open::connect(path)?;
        let worker = Worker::start(connection, &ambient.tasks)
            .map_err(|error| OpenError::Thread { error })?;
        Ok(Self {
            worker,
            changes: watch::Sender::default(),
            ambient,
        })
    }

    /// Tells whoever watches that something may have changed, and hands the answer on.
    fn wake<T>(&self, answer: T) -> T {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
        answer
    }
}

#[async_trait]
impl MetadataStore for SqliteStore {
    fn timeline(&self) -> u32 {
        0
    }

    fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.worker.close().await;
    }
}

#[cfg(test)]
mod tests;
