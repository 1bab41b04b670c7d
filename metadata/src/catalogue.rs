//! The topics and configurations as every request reads them: a snapshot in memory, replaced as a whole.
//!
//! Requests never wait for the store to learn whether a topic exists. Whoever changes topics refreshes afterwards, so
//! that the next request sees the change.
//!
//! Invariant: the snapshot never goes back to an older revision, however refreshes overtake each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use streamhouse_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use streamhouse_protocol::names::TopicName;
use tokio::sync::watch;

use crate::store::{
    Configs, MetadataStore, Revision, ShardId, StoreError, TopicRow, TopicTombstone, Topics,
};

/// One topic of a [`Catalogue`].
pub type Topic = Arc<TopicRow>;

/// The topics and configurations of one revision.
#[derive(Debug, Default)]
pub struct Catalogue {
    revision: Revision,
    by_name: BTreeMap<TopicName, Topic>,
    by_id: BTreeMap<TopicId, Topic>,
    tombstones: BTreeMap<TopicId, TopicTombstone>,
    broker_defaults: Configs,
    broker_configs: BTreeMap<BrokerId, Configs>,
    partitions: usize,
}

impl Catalogue {
    /// A snapshot of what was read.
    #[must_use]
    pub fn new(topics: Topics) -> Self {
        let all: Vec<Topic> = topics.topics.into_iter().map(Arc::new).collect();
        Self {
            revision: topics.revision,
            partitions: all.iter().map(|topic| topic.partitions.len()).sum(),
            by_name: all
                .iter()
                .map(|topic| (topic.name.clone(), Arc::clone(topic)))
                .collect(),
            by_id: all.into_iter().map(|topic| (topic.id, topic)).collect(),
            tombstones: topics
                .tombstones
                .into_iter()
                .map(|tombstone| (tombstone.id, tombstone))
                .collect(),
            broker_defaults: topics.broker_defaults,
            broker_configs: topics.broker_configs,
        }
    }

    /// The revision that this is the state of.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The topic of this name.
    #[must_use]
    pub fn by_name(&self, name: &TopicName) -> Option<&Topic> {
        self.by_name.get(name)
    }

    /// The topic of this id.
    #[must_use]
    pub fn by_id(&self, id: TopicId) -> Option<&Topic> {
        self.by_id.get(&id)
    }

    /// The shard of a partition; none if there is no such partition.
    #[must_use]
    pub fn shard(&self, topic: TopicId, partition: PartitionIndex) -> Option<ShardId> {
        let index = usize::try_from(partition.0).ok()?;
        self.by_id.get(&topic)?.partitions.get(index).copied()
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Topic> {
        self.by_name.values()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The tombstone of a deleted topic whose partitions are not dropped everywhere yet.
    #[must_use]
    pub fn tombstone(&self, id: TopicId) -> Option<&TopicTombstone> {
        self.tombstones.get(&id)
    }

    /// All such tombstones, by topic id.
    pub fn tombstones(&self) -> impl ExactSizeIterator<Item = &TopicTombstone> {
        self.tombstones.values()
    }

    /// The shards that still owe the drop of a deleted topic.
    #[must_use]
    pub fn shards_with_drops(&self) -> BTreeSet<ShardId> {
        self.tombstones
            .values()
            .flat_map(|tombstone| tombstone.pending.iter().copied())
            .collect()
    }

    /// What was set for all brokers.
    #[must_use]
    pub const fn broker_defaults(&self) -> &Configs {
        &self.broker_defaults
    }

    /// What was set for this broker; none if nothing was.
    #[must_use]
    pub fn broker_configs(&self, broker: BrokerId) -> Option<&Configs> {
        self.broker_configs.get(&broker)
    }
}

/// Holds the newest [`Catalogue`] and tells whoever watches when it changes.
#[derive(Debug)]
pub struct TopicCatalogue {
    newest: ArcSwap<Catalogue>,
    /// Held while the snapshot is compared and replaced, so that an older one never replaces a newer one.
    replacing: Mutex<()>,
    changes: watch::Sender<Revision>,
}

impl TopicCatalogue {
    /// A catalogue of what the store holds now.
    pub async fn load(store: &dyn MetadataStore) -> Result<Self, StoreError> {
        let catalogue = Catalogue::new(store.topics().await?);
        let (changes, _) = watch::channel(catalogue.revision);
        Ok(Self {
            newest: ArcSwap::from_pointee(catalogue),
            replacing: Mutex::new(()),
            changes,
        })
    }

    /// The newest snapshot. One request should take it once, so that it sees one state.
    #[must_use]
    pub fn current(&self) -> Arc<Catalogue> {
        self.newest.load_full()
    }

    /// Reads the store again if its revision is another, and tells the watchers of a change. Returns the snapshot that
    /// is newest then: it holds every write that had returned before this was called.
    pub async fn refresh(&self, store: &dyn MetadataStore) -> Result<Arc<Catalogue>, StoreError> {
        if store.revision().await? == self.newest.load().revision {
            return Ok(self.current());
        }
        let read = store.topics().await?;
        self.replace(read);
        Ok(self.current())
    }

    /// Shows what was read, unless what is shown is newer; whether it did.
    fn replace(&self, read: Topics) -> bool {
        let _replacing = self.replacing.lock();
        let revision = read.revision;
        if revision.number <= self.newest.load().revision.number {
            return false;
        }
        self.newest.store(Arc::new(Catalogue::new(read)));
        self.changes.send_replace(revision);
        true
    }

    /// Hears of every later snapshot, by its revision; several changes may be heard as one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests;
