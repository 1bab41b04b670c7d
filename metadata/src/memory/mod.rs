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

use crate::store::{
    BrokerRow, Cluster, Configs, GrantRow, GroupRow, Incarnation, Lsn, ManifestRow, MetadataStore,
    ObjectId, ObjectRow, OffsetKey, OffsetRow, Outcome, ShardId, ShardRow, StoreError, TopicRow,
    TopicTombstone,
};

/// Keeps the facts of a cluster in memory. Clones are one store; [`MemoryStore::reopen`] makes another one on the same
/// facts, as a process does that starts again.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    facts: Arc<Mutex<Facts>>,
    closed: Arc<AtomicBool>,
    ambient: Ambient,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
struct Facts {
    cluster: Option<Cluster>,
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
    coordination: Coordination,
    grants: Vec<GrantRow>,
    manifests: BTreeMap<Lsn, ManifestRow>,
    groups: BTreeMap<streamhouse_protocol::names::GroupId, GroupRow>,
    offsets: BTreeMap<OffsetKey, OffsetRow>,
}

/// The fence of a shard's groups: its own copy of the grant, so that it can be a row of its own.
#[derive(Clone, Debug)]
struct Coordination {
    epoch: streamhouse_protocol::ids::LeaderEpoch,
    incarnation: Option<Incarnation>,
    seq: u64,
}

#[derive(Clone, Debug)]
struct Life {
    broker: BrokerRow,
    died_ms: Option<i64>,
}

impl MemoryStore {
    /// A store without facts.
    #[must_use]
    pub fn new(ambient: Ambient) -> Self {
        Self {
            facts: Arc::default(),
            closed: Arc::default(),
            ambient,
        }
    }

    /// Another store on the same facts. It is open even if this one was closed.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            facts: Arc::clone(&self.facts),
            closed: Arc::default(),
            ambient: self.ambient.clone(),
        }
    }

    /// A copy of all facts as they are now: a backup, which later writes do not change.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            facts: Arc::new(Mutex::new(self.facts.lock().clone())),
            closed: Arc::default(),
            ambient: self.ambient.clone(),
        }
    }

    /// Takes the facts of a [`MemoryStore::copy`] for its own, as somebody does who brings an older file back. Every store
    /// on the same facts sees them.
    pub fn bring_back(&self, copy: &Self) {
        let facts = copy.facts.lock().clone();
        *self.facts.lock() = facts;
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
    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
