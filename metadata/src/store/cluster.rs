//! The cluster shelf: who the cluster is, how many shards it has, its revisions and its blocks of producer ids.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;

use super::error::{Class, Outcome, StoreError};
use super::shards::Durability;

/// The most shards a cluster may have.
pub const SHARDS_MAX: u32 = 4096;

/// The feature level of a cluster made by this version: which kinds of entries may be written.
pub const FEATURE_LEVEL: u32 = 1;

/// Revision rows older than this may be pruned: 7 days, in milliseconds.
pub const REVISION_AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How many of the newest revision rows are kept whatever their age, so that a broker that was idle for weeks still
/// finds the last revision it saw.
pub const REVISIONS_KEPT_MIN: u64 = 100;

/// What a cluster is created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCluster {
    /// 128 random bits.
    pub cluster_id: u128,
    /// How many shards, 1 to [`SHARDS_MAX`]. Fixed for the life of the cluster.
    pub shards: u32,
    /// When a write counts as durable, the same for all its shards.
    pub durability: Durability,
}

/// The facts that were fixed when the cluster was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// 128 random bits.
    pub cluster_id: u128,
    /// How many shards; they are numbered from 0.
    pub shards: u32,
    /// The durability that the cluster was created with; each shard row has its own copy.
    pub durability: Durability,
    /// Which kinds of entries may be written.
    pub feature_level: u32,
    /// When it was created, milliseconds since 1970.
    pub created_ms: i64,
}

/// A state of topics, configurations and producer-id blocks: a number that grows by one with each write, and a random
/// tag that tells it from another history's revision of the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// 0 before the first write.
    pub number: u64,
    /// Random; 0 before the first write.
    pub tag: u64,
}

/// What the store knows of a revision that somebody saw earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionCheck {
    /// It is part of this history.
    Kept,
    /// It is older than every row that is kept: nothing can be said.
    Pruned,
    /// This history does not have it: the store lost writes. Stop with a `metadata_regression`.
    Missing,
}

/// Why a cluster was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitialiseError {
    /// Did not happen: choose another number.
    #[error("a cluster cannot have {shards} shards; choose 1 to {SHARDS_MAX}")]
    ShardCount {
        /// What was asked for.
        shards: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl InitialiseError {
    /// Whether the write took effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::ShardCount { .. } => Outcome::DidNotHappen,
            Self::Store(error) => error.outcome(),
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::ShardCount { .. } => Class::Caller,
            Self::Store(error) => error.class(),
        }
    }
}

/// The facts about the cluster as a whole.
///
/// Promises: [`ClusterShelf::initialise`] creates once and returns what is there ever after; a producer id is given out
/// once; every write of topics, configurations or producer ids makes exactly one revision.
/// Callers: must initialise before they use another shelf.
/// Errors: see [`StoreError`]; ids of a block whose outcome is unknown are never used.
/// Does not promise: that producer ids are without gaps.
#[async_trait]
pub trait ClusterShelf: fmt::Debug + Send + Sync {
    /// Creates the cluster and its shards, or returns the one that is there and changes nothing.
    async fn initialise(&self, cluster: NewCluster) -> Result<Cluster, InitialiseError>;

    /// The cluster, if it was created.
    async fn cluster(&self) -> Result<Option<Cluster>, StoreError>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Up to `limit` revisions behind the number `after`, oldest first.
    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError>;

    /// Whether a revision that was seen earlier is part of this history.
    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError>;

    /// Gives out `count` producer ids, never to be given out again. Makes a revision. After the database lost writes, ask
    /// for as many as all blocks hold that may be in use, and use none of them.
    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError>;
}
