//! The shelves: what a metadata store promises, one trait per shelf, with the words that go over it.
//!
//! A store knows facts ("commit this manifest if the epoch still holds"), never Kafka's error codes, protocol versions
//! or record bytes. Laws that hold on every shelf:
//!
//! - A write that returned `Ok` survives the loss of the process and of the machine's power.
//! - A write is all or nothing. An error says by [`Outcome`] whether it may have happened all the same; the caller
//!   finds out by reading, never by assuming.
//! - Writes take effect one after another; a read sees every write that returned before it began.
//! - A call whose future is dropped may still take effect: commits are never raced against a timer.
//! - Requests and responses are index-aligned.

pub mod brokers;
pub mod cluster;
pub mod error;
pub mod groups;
pub(crate) mod laws;
pub mod manifests;
pub mod objects;
pub mod shards;
pub mod topics;

use async_trait::async_trait;
use tokio::sync::watch;

pub use brokers::{
    Beat, BrokerEndpoint, BrokerRow, BrokerShelf, DEAD_AGE_MAX_MS, HeartbeatError, Living,
    LivingBroker, RegisterError,
};
pub use cluster::{
    Cluster, ClusterShelf, FEATURE_LEVEL, InitialiseError, NewCluster, REVISION_AGE_MAX_MS,
    REVISIONS_KEPT_MIN, Revision, RevisionCheck, SHARDS_MAX,
};
pub use error::{Class, Outcome, StoreError};
pub use groups::{
    Coordination, CoordinationOutcome, CoordinationWrite, GroupChange, GroupRow, GroupShelf,
    OffsetKey, OffsetRow, ShardGroups,
};
pub use manifests::{
    CheckpointError, Commit, CommitError, CommitName, CommitOutcome, Lsn, ManifestCommit,
    ManifestRow, ManifestShelf, NewObject, Resolved, SetCheckpoint,
};
pub use objects::{
    DELETED_SWEEP_MAX, ForgetOutcome, ObjectId, ObjectRow, ObjectShelf, ObjectState,
    TombstoneOutcome,
};
pub use shards::{
    AskedShard, CheckpointRow, Durability, GrantOutcome, GrantRequest, GrantRow, Incarnation,
    ShardId, ShardRow, ShardShelf, WalEnd,
};
pub use topics::{
    AddPartitions, AddPartitionsError, ConfigChange, ConfigTarget, Configs, CreateTopicError,
    DeleteTopicError, NewTopic, RecordedDrop, SetConfigsError, TopicRow, TopicShelf,
    TopicTombstone, Topics,
};

/// All shelves of one cluster.
#[async_trait]
pub trait MetadataStore:
    ClusterShelf + ShardShelf + ManifestShelf + ObjectShelf + TopicShelf + GroupShelf + BrokerShelf
{
    /// The timeline of the database server: it changes when a replica took over, which may lack the last commits. 0 where
    /// there is none.
    fn timeline(&self) -> u32;

    /// Changes soon after another broker, or this one, wrote topics, configurations, brokers or grants, and after the
    /// timeline changed. It is a hint, so that nobody has to wait for the next heartbeat to learn of it: wake-ups may be lost
    /// or for nothing, and the number says nothing but that it is another.
    fn watch_changes(&self) -> watch::Receiver<u64>;

    /// Finishes what was accepted and lets go of the data, so that it can be opened again. Later calls answer
    /// [`StoreError::Unavailable`]; a second close does nothing.
    async fn close(&self);
}
