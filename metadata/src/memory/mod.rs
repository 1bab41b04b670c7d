//! The metadata store in memory: the readable specification, and the store of simulations.
//!
//! One lock guards all facts and is held for one operation, never across an await. Every write checks everything first
//! and changes after, so that a refused write changes nothing.

mod brokers;
mod cluster;
mod groups;
mod manifests;
mod objects;
mod shards;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use streamhouse_protocol::ids::{BrokerId, TopicId};
use streamhouse_runtime::Ambient;
use tokio::sync::watch;

use crate::store::{
    BrokerRow, Cluster, Configs, Coordination, GrantRow, GroupRow, Incarnation, Lsn, ManifestRow,
    MetadataStore, ObjectId, ObjectRow, OffsetKey, OffsetRow, Outcome, ShardId, ShardRow,
    StoreError, TopicRow, TopicTombstone,
};

/// Keeps the facts of a cluster in memory. Clones are one store; [`MemoryStore::reopen`] makes another one on the same
/// facts, as a process does that starts again.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    facts: Arc<Mutex<Facts>>,
    closed: Arc<AtomicBool>,
    changes: Arc<watch::Sender<u64>>,
    ambient: Ambient,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
struct Facts {
    cluster: Option<Cluster>,
    timeline: u32,
    next_producer_id: i64,
    revisions: BTreeMap<u64, StampedTag>,
    shards: BTreeMap<ShardId, Shard>,
    objects: BTreeMap<ObjectId, ObjectRow>,
    topics: BTreeMap<TopicId, TopicRow>,
    topic_tombstones: BTreeMap<TopicId, TopicTombstone>,
    broker_defaults: Configs,
    broker_configs: BTreeMap<BrokerId, Configs>,
    brokers: BTreeMap<Incarnation, Life>,
}

#[derive(Clone, Copy, Debug)]
struct StampedTag {
    tag: u64,
    at_ms: i64,
}

/// A shard row, and the rows of other tables that belong to it.
#[derive(Clone, Debug)]
struct Shard {
    row: ShardRow,
    /// Its own copy of the grant, so that it can be a row of its own.
    coordination: Coordination,
    grants: Vec<GrantRow>,
    manifests: BTreeMap<Lsn, ManifestRow>,
    groups: BTreeMap<streamhouse_protocol::names::GroupId, GroupRow>,
    offsets: BTreeMap<OffsetKey, OffsetRow>,
}

#[derive(Clone, Debug)]
struct Life {
    broker: BrokerRow,
    lease_until_ms: i64,
    died_ms: Option<i64>,
}

impl MemoryStore {
    /// A store without facts.
    #[must_use]
    pub fn new(ambient: Ambient) -> Self {
        Self {
            facts: Arc::default(),
            closed: Arc::default(),
            changes: Arc::default(),
            ambient,
        }
    }

    /// Another store on the same facts. It is open even if this one was closed.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            facts: Arc::clone(&self.facts),
            closed: Arc::default(),
            changes: Arc::clone(&self.changes),
            ambient: self.ambient.clone(),
        }
    }

    /// A copy of all facts as they are now: a backup, which later writes do not change.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            facts: Arc::new(Mutex::new(self.facts.lock().clone())),
            closed: Arc::default(),
            changes: Arc::default(),
            ambient: self.ambient.clone(),
        }
    }

    /// Takes the facts of a [`MemoryStore::copy`] for its own, as somebody does who brings an older file back. Every store
    /// on the same facts sees them.
    pub fn bring_back(&self, copy: &Self) {
        let facts = copy.facts.lock().clone();
        *self.facts.lock() = facts;
    }

    /// Lets a replica take over that stands where a [`MemoryStore::copy`] does: whatever was committed since is lost, and
    /// the timeline is another. Every store on the same facts sees it; leases go on to be counted by the same clock.
    pub fn fail_over(&self, replica: &Self) {
        let mut facts = replica.facts.lock().clone();
        let mut current = self.facts.lock();
        facts.timeline = facts.timeline.max(current.timeline).saturating_add(1);
        *current = facts;
        drop(current);
        self.wake();
    }

    /// Tells whoever watches that something changed.
    fn wake(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn facts(&self, operation: &'static str) -> Result<MutexGuard<'_, Facts>, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable {
                operation,
                outcome: Outcome::DidNotHappen,
                reason: "it was closed".to_owned(),
            });
        }
        Ok(self.facts.lock())
    }
}

#[async_trait]
impl MetadataStore for MemoryStore {
    fn timeline(&self) -> u32 {
        self.facts.lock().timeline
    }

    fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
