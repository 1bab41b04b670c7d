//! The manifests shelf: each shard's log of manifests, the fence around it, and the checkpoints that shorten it.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use streamhouse_protocol::ids::LeaderEpoch;

use super::error::{Class, Outcome, StoreError};
use super::objects::ObjectId;
use super::shards::{CheckpointRow, Incarnation, ShardId, ShardRow, WalEnd};

/// The number of a manifest in its shard, from 0, without gaps. At most 2^63 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An object that was stored and is about to be needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Its id.
    pub id: ObjectId,
    /// Its key in the object store.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

/// One manifest to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestCommit {
    /// The shard whose log it joins.
    pub shard: ShardId,
    /// The epoch under which the writer leads it.
    pub epoch: LeaderEpoch,
    /// The writer's life.
    pub incarnation: Incarnation,
    /// The number that the manifest was given; it must be the shard's next.
    pub lsn: Lsn,
    /// The manifest. The store does not look inside.
    pub body: Bytes,
    /// How far this manifest covers the WAL; none leaves the shard's `wal_end` as it is.
    pub wal_end: Option<WalEnd>,
    /// Objects that this shard needs no more.
    pub released: Vec<ObjectId>,
    /// Whether the shard lets its WAL folder go, so that brokers on other folders may take it: only in the last manifest
    /// of the shard in this commit, whose `wal_end` is the shard's last WAL entry of any kind.
    pub clears_wal_dir: bool,
}

/// Manifests that are committed in one transaction, and the object that holds what they name.
///
/// With an object, every manifest of the commit must be in it: each shard that wins becomes one that needs the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The object, if there is one.
    pub object: Option<NewObject>,
    /// Any number of shards; several of one shard follow each other by `lsn` and win or lose together.
    pub manifests: Vec<ManifestCommit>,
}

/// The answer for one manifest of a [`Commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is in the shard's log.
    Committed,
    /// The shard's epoch, incarnation or next number is another. Read the shard row to learn which.
    Refused,
}

/// Why a commit failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Did not happen: the id has a row, be it needed or a tombstone. Store the bytes again under a new id.
    #[error("object {id} already has a row in the metadata store; the commit did not happen")]
    ObjectExists {
        /// The object.
        id: ObjectId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CommitError {
    /// Whether the commit took effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::ObjectExists { .. } => Outcome::DidNotHappen,
            Self::Store(error) => error.outcome(),
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::ObjectExists { .. } => Class::Conflict,
            Self::Store(error) => error.class(),
        }
    }
}

/// A committed manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// Its number.
    pub lsn: Lsn,
    /// The epoch that committed it.
    pub epoch: LeaderEpoch,
    /// The life that committed it.
    pub incarnation: Incarnation,
    /// The manifest.
    pub body: Bytes,
}

/// What names a commit of one manifest for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitName {
    /// The shard.
    pub shard: ShardId,
    /// The manifest's number in it.
    pub lsn: Lsn,
    /// The epoch under which it was written.
    pub epoch: LeaderEpoch,
    /// The life that wrote it.
    pub incarnation: Incarnation,
}

/// What became of a commit whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The shard as it is now; none if there is no such shard.
    pub row: Option<ShardRow>,
    /// By whom the manifest of that shard and number was committed; none if there is none, be it never committed or
    /// pruned: then it lies below the row's `first_lsn`.
    pub committed_by: Option<(LeaderEpoch, Incarnation)>,
}

impl Resolved {
    /// Whether the commit of that name happened.
    #[must_use]
    pub fn happened(&self, name: &CommitName) -> bool {
        self.committed_by == Some((name.epoch, name.incarnation))
    }
}

/// A checkpoint that was stored and is about to be the shard's newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCheckpoint {
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which the writer leads it.
    pub epoch: LeaderEpoch,
    /// The writer's life.
    pub incarnation: Incarnation,
    /// The checkpoint. Its `lsn` is at most the shard's `next_lsn` and not below that of the checkpoint before.
    pub checkpoint: CheckpointRow,
    /// The key of its object.
    pub key: String,
    /// Manifests below this number are forgotten; at most the checkpoint's `lsn`. A number that was passed before
    /// forgets nothing.
    pub prune_below: Lsn,
}

/// Why a checkpoint was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Did not happen: another grant holds the shard. Stop serving it.
    #[error("shard {shard} is led under another grant; the checkpoint was not set")]
    Fenced {
        /// The shard.
        shard: ShardId,
    },
    /// Did not happen: the id has a row. Store the checkpoint again under a new id.
    #[error("object {id} already has a row in the metadata store; the checkpoint was not set")]
    ObjectExists {
        /// The object.
        id: ObjectId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CheckpointError {
    /// Whether the checkpoint was set.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Fenced { .. } | Self::ObjectExists { .. } => Outcome::DidNotHappen,
            Self::Store(error) => error.outcome(),
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Fenced { .. } => Class::Fenced,
            Self::ObjectExists { .. } => Class::Conflict,
            Self::Store(error) => error.class(),
        }
    }
}

/// The shards' logs of manifests.
///
/// Promises: a manifest is committed only under the shard's current (epoch, incarnation) and as its next number, so
/// (shard, lsn, epoch, incarnation) names it for ever; shards of one commit do not disturb each other; an object has a
/// row exactly if a shard won with it.
/// Callers: commit the manifests of a shard in order; after an unknown outcome resolve it before anything else of that
/// shard is committed, and then run the identical commit or none. A repeated commit that is refused is resolved again:
/// the original may have come through in between.
/// Errors: see [`CommitError`] and [`CheckpointError`].
/// Does not promise: to know what is inside a body, or that the object exists.
#[async_trait]
pub trait ManifestShelf: fmt::Debug + Send + Sync {
    /// Commits the manifests of each shard whose epoch, incarnation and next number are as given; answers line up with
    /// `commit.manifests`. Without a winner nothing is looked at or written for the object either.
    async fn commit(&self, commit: Commit) -> Result<Vec<CommitOutcome>, CommitError>;

    /// Up to `limit` manifests of a shard, from the number `from` on, in order. Pruned ones are skipped.
    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError>;

    /// What became of commits whose outcome is unknown; answers line up with `names`. Waits for those that are under way
    /// in the database, and what it tells is as durable as a commit. A commit that has not reached the database yet may
    /// still happen, unless the row's grant or next number is another.
    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError>;

    /// Makes a checkpoint the shard's newest: pointer, hash and pruning change at once. Its object is needed by the
    /// shard from now on, the object of the checkpoint before is not. Setting the one that is set only prunes.
    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError>;
}
