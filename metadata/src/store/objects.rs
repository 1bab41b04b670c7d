//! The objects shelf: which objects the cluster needs, which it has given up, and when their bytes may go.
//!
//! ```text
//!   commit / checkpoint        last shard releases          tombstone()          forget(), bytes are gone
//!  ──────────────────▶ needed ──────────────────▶ unneeded ───────────▶ tombstone ─────────────┬──▶ (no row)
//!                                                                          ▲                   ▼
//!                         an id without a row (orphan, lost hedge) ────────┘                deleted ──▶ (no row)
//! ```
//!
//! `deleted` rows stay while a shard row still names the incarnation that wrote the object: a late commit of that
//! incarnation must still find the id taken.

use std::fmt;

use async_trait::async_trait;

use super::error::StoreError;
use super::shards::{Incarnation, ShardId};

/// How many `deleted` rows one grant removes at most, in the order of their ids.
pub const DELETED_SWEEP_MAX: usize = 10_000;

/// The name of an object: who wrote it, the how-manieth it was, and which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The broker's life that wrote it.
    pub incarnation: u128,
    /// Counts the objects of that life. At most 2^63 - 1.
    pub seq: u64,
    /// Counts the uploads of one object under different keys.
    pub attempt: u32,
}

impl ObjectId {
    /// The life that wrote it.
    #[must_use]
    pub const fn writer(self) -> Incarnation {
        Incarnation(self.incarnation)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}-{}", self.incarnation, self.seq, self.attempt)
    }
}

/// Where an object stands in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// These shards need it, in ascending order. None left: it may be tombstoned.
    Live {
        /// Who needs it.
        shards: Vec<ShardId>,
    },
    /// Nobody needs it; its bytes go after the grace.
    Tombstone {
        /// When it was given up, milliseconds since 1970.
        at_ms: i64,
    },
    /// Its bytes are gone; the row keeps the id taken.
    Deleted,
}

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its id.
    pub id: ObjectId,
    /// Its key; none if it was tombstoned without ever having been committed.
    pub key: Option<String>,
    /// Its size; 0 if it was tombstoned without ever having been committed.
    pub bytes: u64,
    /// Where it stands.
    pub state: ObjectState,
}

/// The answer for one id of [`ObjectShelf::tombstone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TombstoneOutcome {
    /// It is given up (perhaps it was before, with its time unchanged): no commit can bring it back.
    Tombstoned,
    /// A shard needs it: it was left as it is.
    Needed,
}

/// The answer for one id of [`ObjectShelf::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetOutcome {
    /// It has no row any more.
    Forgotten,
    /// A shard row names the incarnation that wrote it: the row stays as `deleted`.
    Kept,
    /// It is no tombstone: it was left as it is.
    NotTombstone,
}

/// The facts about objects.
///
/// Promises: an object that a shard needs is never tombstoned; an id with a row of any kind is refused by a commit.
/// Callers: delete bytes only of ids that [`ObjectShelf::is_tombstone`] confirms just before, after the grace; call
/// [`ObjectShelf::forget`] only after the bytes are gone.
/// Errors: see [`StoreError`]; every write here may be repeated as it is.
/// Does not promise: that an object exists in the object store.
#[async_trait]
pub trait ObjectShelf: fmt::Debug + Send + Sync {
    /// Up to `limit` objects that no shard needs and that are not given up yet, by id.
    async fn unreferenced(&self, limit: usize) -> Result<Vec<ObjectId>, StoreError>;

    /// Gives objects up, known or not; answers line up with `ids`.
    async fn tombstone(
        &self,
        ids: &[ObjectId],
        at_ms: i64,
    ) -> Result<Vec<TombstoneOutcome>, StoreError>;

    /// Up to `limit` tombstones that are older than `before_ms`, oldest first.
    async fn tombstones_before(
        &self,
        before_ms: i64,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError>;

    /// Whether the object is given up (its bytes may be there still, or gone).
    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError>;

    /// Removes the rows of tombstones whose bytes are gone, or marks them `deleted` while a shard row names their
    /// writer; answers line up with `ids`. A later grant, which changes the names in shard rows, removes those.
    async fn forget(&self, ids: &[ObjectId]) -> Result<Vec<ForgetOutcome>, StoreError>;

    /// Up to `limit` rows behind `after`, by id: for checks of everything.
    async fn objects(
        &self,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError>;
}
