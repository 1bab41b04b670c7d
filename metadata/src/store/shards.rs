//! The shards shelf: who leads each shard, where its log of manifests stands, and which WAL folder belongs to it.

use std::fmt;

use async_trait::async_trait;
use streamhouse_protocol::ids::LeaderEpoch;

use super::error::StoreError;
use super::manifests::Lsn;
use super::objects::ObjectId;

/// The number of a shard, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One life of one broker process: 128 random bits, never zero, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// When a write of a shard counts as durable. Stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Durability {
    /// When the leader's WAL is fsynced.
    Local = 0,
    /// When the object is stored and its manifest is committed.
    Shared = 1,
}

/// The end of the recorded part of a WAL: every WAL entry of the shard up to it is in a committed manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalEnd {
    /// The id of the WAL folder.
    pub dir: u128,
    /// The `wal_position` in it.
    pub position: u64,
}

/// Where the newest checkpoint of a shard's state lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The object that holds it.
    pub object: ObjectId,
    /// The state is that of all manifests below this one; replay starts here.
    pub lsn: Lsn,
    /// The size of the object.
    pub bytes: u64,
    /// A hash of the state, so that a check can recompute it.
    pub state_hash: u64,
}

/// What is known of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRow {
    /// Its number.
    pub shard: ShardId,
    /// When its writes count as durable.
    pub durability: Durability,
    /// The epoch of the last grant, which is the leader epoch of its partitions; 0 before the first.
    pub epoch: LeaderEpoch,
    /// Who holds that grant; none before the first.
    pub incarnation: Option<Incarnation>,
    /// The database server's timeline at that grant; 0 where there is none.
    pub timeline: u32,
    /// The number that the next manifest must have.
    pub next_lsn: Lsn,
    /// The oldest manifest that is kept; equal to `next_lsn` when none is.
    pub first_lsn: Lsn,
    /// The WAL folder that may hold acknowledged records which no manifest names; only its holder may take the shard.
    pub wal_dir: Option<u128>,
    /// The first epoch of the unbroken tenure of `wal_dir`: recovery replays WAL records of this epoch and later.
    pub wal_since_epoch: LeaderEpoch,
    /// How far manifests cover the WAL.
    pub wal_end: Option<WalEnd>,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointRow>,
}

/// A broker that is to lead shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// The life that is to lead.
    pub incarnation: Incarnation,
    /// The life that asks: the same one, or the holder of the shards, which hands them over.
    pub by: Incarnation,
    /// The WAL folder of the one that is to lead; none when the shards are `shared`. Naming the folder that a shard has
    /// says that its lock is held.
    pub wal_dir: Option<u128>,
    /// Which shards.
    pub shards: Vec<AskedShard>,
}

impl GrantRequest {
    /// Asks for shards for oneself, whoever led them before.
    #[must_use]
    pub fn own(
        incarnation: Incarnation,
        wal_dir: Option<u128>,
        shards: impl IntoIterator<Item = ShardId>,
    ) -> Self {
        let shards = shards.into_iter().map(|shard| AskedShard {
            shard,
            expecting: None,
        });
        Self {
            incarnation,
            by: incarnation,
            wal_dir,
            shards: shards.collect(),
        }
    }
}

/// A shard that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedShard {
    /// Its number.
    pub shard: ShardId,
    /// The grant that it must still be under, so that takeovers and handovers never race; none: any.
    pub expecting: Option<(LeaderEpoch, Option<Incarnation>)>,
}

/// The answer for one shard of a [`GrantRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per shard and start of a broker, and nearly all are granted"
)]
pub enum GrantOutcome {
    /// It is led by the asking broker under the row's new epoch.
    Granted(ShardRow),
    /// Another WAL folder may hold acknowledged records of it. Only a broker on that folder may take it.
    WalElsewhere {
        /// That folder.
        wal_dir: u128,
    },
    /// A life whose lease holds leads it, and did not ask for this. Ask again when the lease is over.
    Held {
        /// That life.
        by: Incarnation,
        /// When its lease ends, by the clock of the database, milliseconds since 1970.
        until_ms: i64,
    },
    /// It is under another grant than was expected: read it again.
    Changed {
        /// Its epoch now.
        epoch: LeaderEpoch,
        /// Who holds that grant.
        incarnation: Option<Incarnation>,
    },
    /// The life that asks, or the one that is to lead, was declared dead. It leads nothing ever again.
    Dead {
        /// That life.
        incarnation: Incarnation,
    },
    /// There is no such shard.
    UnknownShard,
}

/// A grant that was made, kept until the checkpoints have passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that it started.
    pub epoch: LeaderEpoch,
    /// To whom.
    pub incarnation: Incarnation,
    /// The shard's `next_lsn` at that moment.
    pub at_lsn: Lsn,
    /// The shard's coordination `seq` at that moment.
    pub at_seq: u64,
    /// The database server's timeline.
    pub timeline: u32,
}

/// The facts about shards.
///
/// Promises: an epoch of a shard is granted once; when a grant returned, no write under an earlier (epoch, incarnation)
/// of that shard succeeds any more, neither of manifests nor of groups; a shard is never taken from a life whose lease
/// holds, unless by that life itself or on the shard's own WAL folder, whose lock says that the life before is over.
/// Callers: load a shard's state only after its grant returned, and never use an epoch whose grant has an unknown
/// outcome (ask again, which makes another epoch).
/// Errors: see [`StoreError`].
/// Does not promise: that the holder of a grant is alive.
#[async_trait]
pub trait ShardShelf: fmt::Debug + Send + Sync {
    /// All shards, by number.
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError>;

    /// One shard; none if there is no such shard.
    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError>;

    /// Makes the asking broker the leader of each shard that it may take; answers line up with `request.shards`.
    ///
    /// A granted shard has its epoch raised by one, in the shard row and in its coordination row at once, and a row of
    /// its grants. Its `wal_since_epoch` becomes the new epoch unless the same `wal_dir` was still set. A holder that did
    /// not hand it over is dead from now on. A life without a row has no lease, so that the embedded store, where the lock
    /// of the data folder is the lease, grants at once.
    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError>;

    /// The grants of a shard that are kept, oldest first. A holder that was fenced compares the first foreign one after
    /// its own with what it saw committed.
    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError>;
}
