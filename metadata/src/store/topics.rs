//! The topics shelf: topics, the shard of each partition, configurations, and the tombstones of deleted topics.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use streamhouse_protocol::ids::{BrokerId, LeaderEpoch, TopicId};
use streamhouse_protocol::names::TopicName;

use super::cluster::Revision;
use super::error::{Class, Outcome, StoreError};
use super::shards::{Incarnation, ShardId};

/// Configuration keys and values that somebody set; defaults are not in it.
pub type Configs = BTreeMap<String, String>;

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// A random id that was never used.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// The shard of each partition, by partition.
    pub partitions: Vec<ShardId>,
    /// What was set for it.
    pub configs: Configs,
    /// When, milliseconds since 1970.
    pub created_ms: i64,
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// The shard of each partition, by partition.
    pub partitions: Vec<ShardId>,
    /// What was set for it.
    pub configs: Configs,
    /// When it was created, milliseconds since 1970.
    pub created_ms: i64,
}

/// A deleted topic whose partitions have not been dropped by all their shards yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTombstone {
    /// Its id, which is never used again.
    pub id: TopicId,
    /// The name that it had; another topic may have it by now.
    pub name: TopicName,
    /// The shards that have not recorded their drop yet, in ascending order.
    pub pending: Vec<ShardId>,
}

/// Everything on this shelf, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// The revision that this is the state of.
    pub revision: Revision,
    /// The topics, by name.
    pub topics: Vec<TopicRow>,
    /// The deleted topics that are not gone, by id.
    pub tombstones: Vec<TopicTombstone>,
    /// What was set for all brokers.
    pub broker_defaults: Configs,
    /// What was set for one broker.
    pub broker_configs: BTreeMap<BrokerId, Configs>,
}

/// More partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitions {
    /// The topic.
    pub topic: TopicId,
    /// How many partitions the caller believes it has.
    pub current: u32,
    /// The shard of each further partition.
    pub shards: Vec<ShardId>,
}

/// Whose configuration is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigTarget {
    /// A topic's.
    Topic(TopicId),
    /// That of all brokers.
    BrokerDefaults,
    /// One broker's.
    Broker(BrokerId),
}

/// A change of a configuration; several are applied in order, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets one key.
    Set {
        /// The key.
        name: String,
        /// Its value.
        value: String,
    },
    /// Unsets one key; a key that is not set may be unset.
    Delete {
        /// The key.
        name: String,
    },
    /// Sets exactly these keys and unsets all others.
    Replace(Configs),
}

/// Why a topic was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    /// Did not happen: the name is taken.
    #[error("topic {name:?} already exists")]
    Exists {
        /// The name.
        name: TopicName,
        /// The id of the topic that has it.
        id: TopicId,
    },
    /// Did not happen: in metric names `.` and `_` look alike, so the two names would be one (Kafka:
    /// `Topic.hasCollision`).
    #[error(
        "topic {name:?} collides with existing topic {with:?}: they differ only in '.' and '_'"
    )]
    NameCollision {
        /// The name that was asked for.
        name: TopicName,
        /// The name that is there.
        with: TopicName,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why partitions were not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddPartitionsError {
    /// Did not happen: there is no such topic.
    #[error("topic id {topic} not found")]
    UnknownTopic {
        /// The id.
        topic: TopicId,
    },
    /// Did not happen: the topic has another number of partitions by now. Read it again.
    #[error("topic id {topic} has {partitions} partitions by now; read it again")]
    Changed {
        /// The id.
        topic: TopicId,
        /// How many it has.
        partitions: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a configuration was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetConfigsError {
    /// Did not happen: there is no such topic.
    #[error("topic id {topic} not found")]
    UnknownTopic {
        /// The id.
        topic: TopicId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a topic was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    /// Did not happen: there is no such topic (perhaps it was deleted before).
    #[error("topic id {topic} not found")]
    UnknownTopic {
        /// The id.
        topic: TopicId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

macro_rules! answers {
    ($error:ident { $($fields:pat => $class:expr),+ $(,)? }) => {
        impl $error {
            /// Whether the write took effect.
            #[must_use]
            pub const fn outcome(&self) -> Outcome {
                match self {
                    Self::Store(error) => error.outcome(),
                    $($fields => Outcome::DidNotHappen,)+
                }
            }

            /// What the receiver should do.
            #[must_use]
            pub const fn class(&self) -> Class {
                match self {
                    Self::Store(error) => error.class(),
                    $($fields => $class,)+
                }
            }
        }
    };
}

answers!(CreateTopicError { Self::Exists { .. } => Class::Conflict, Self::NameCollision { .. } => Class::Conflict });
answers!(AddPartitionsError { Self::UnknownTopic { .. } => Class::NotFound, Self::Changed { .. } => Class::Conflict });
answers!(SetConfigsError { Self::UnknownTopic { .. } => Class::NotFound });
answers!(DeleteTopicError { Self::UnknownTopic { .. } => Class::NotFound });

/// A shard has recorded the drop of a deleted topic's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedDrop {
    /// The deleted topic.
    pub topic: TopicId,
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which the caller leads it.
    pub epoch: LeaderEpoch,
    /// The caller's incarnation.
    pub incarnation: Incarnation,
}

/// The facts about topics and configurations.
///
/// Promises: a name belongs to at most one topic, an id is never used twice, every write makes one revision and returns
/// it.
/// Callers: check names, limits and values before; commit the drop of a deleted topic's partitions in each pending shard
/// before they call [`TopicShelf::drop_recorded`].
/// Errors: one enum per operation; after an unknown outcome, read [`TopicShelf::topics`].
/// Does not promise: that a configuration makes sense.
#[async_trait]
pub trait TopicShelf: fmt::Debug + Send + Sync {
    /// Everything on this shelf, at one revision.
    async fn topics(&self) -> Result<Topics, StoreError>;

    /// Creates a topic.
    async fn create_topic(&self, topic: NewTopic) -> Result<Revision, CreateTopicError>;

    /// Gives a topic more partitions, numbered from `request.current` on.
    async fn add_partitions(&self, request: AddPartitions) -> Result<Revision, AddPartitionsError>;

    /// Changes a configuration.
    async fn set_configs(
        &self,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    ) -> Result<Revision, SetConfigsError>;

    /// Turns a topic into a tombstone: its name is free at once, its id stays known until every shard of its partitions
    /// has dropped them.
    async fn delete_topic(&self, topic: TopicId) -> Result<Revision, DeleteTopicError>;

    /// Notes that a shard has recorded the drop of a deleted topic's partitions; after the last one the tombstone goes.
    /// Noting it again changes nothing and returns the newest revision, and so does noting it under a grant that is not
    /// the shard's: whoever leads it now may hold records of the topic, and must find the tombstone.
    async fn drop_recorded(&self, drop: RecordedDrop) -> Result<Revision, StoreError>;
}
