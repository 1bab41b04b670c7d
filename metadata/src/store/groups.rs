//! The groups shelf: consumer groups and committed offsets, fenced by their shard's coordination row.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId};
use streamhouse_protocol::names::GroupId;

use super::error::StoreError;
use super::shards::{Incarnation, ShardId};

/// A group, as its coordinator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its id.
    pub group: GroupId,
    /// Generation, members, assignment. The store does not look inside.
    pub blob: Bytes,
}

/// Whose committed offset: a group's, for one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// The group.
    pub group: GroupId,
    /// The topic.
    pub topic: TopicId,
    /// Its partition.
    pub partition: PartitionIndex,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRow {
    /// The group.
    pub group: GroupId,
    /// The topic.
    pub topic: TopicId,
    /// Its partition.
    pub partition: PartitionIndex,
    /// The offset of the next record to be read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; [`LeaderEpoch::NONE`] if the client did not say.
    pub leader_epoch: LeaderEpoch,
    /// Whatever the client attached.
    pub metadata: String,
    /// When it was committed, milliseconds since 1970.
    pub commit_ms: i64,
    /// When it expires, milliseconds since 1970; none: by the broker's retention.
    pub expire_ms: Option<i64>,
}

impl OffsetRow {
    /// Whose offset this is.
    #[must_use]
    pub fn key(&self) -> OffsetKey {
        OffsetKey {
            group: self.group.clone(),
            topic: self.topic,
            partition: self.partition,
        }
    }
}

/// All that a shard coordinates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardGroups {
    /// How many coordination writes the shard has seen; the next one must name it.
    pub seq: u64,
    /// The groups, by id.
    pub groups: Vec<GroupRow>,
    /// The committed offsets, by group, topic and partition.
    pub offsets: Vec<OffsetRow>,
}

/// One change of a shard's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Writes a group, there before or not.
    PutGroup(GroupRow),
    /// Removes a group; its offsets are removed one by one. It need not be there.
    DeleteGroup(GroupId),
    /// Writes a committed offset, there before or not.
    PutOffset(OffsetRow),
    /// Removes a committed offset. It need not be there.
    DeleteOffset(OffsetKey),
}

/// Changes of one shard's groups that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinationWrite {
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which the writer leads it.
    pub epoch: LeaderEpoch,
    /// The writer's life.
    pub incarnation: Incarnation,
    /// The `seq` that the writer saw last.
    pub seq: u64,
    /// The changes, in order.
    pub changes: Vec<GroupChange>,
}

/// The fence of a shard's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordination {
    /// The epoch of the shard's last grant; 0 before the first.
    pub epoch: LeaderEpoch,
    /// Who holds that grant; none before the first.
    pub incarnation: Option<Incarnation>,
    /// How many coordination writes the shard has seen.
    pub seq: u64,
}

/// The answer for one [`CoordinationWrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinationOutcome {
    /// All its changes are made.
    Committed {
        /// What the shard's next write must name.
        seq: u64,
    },
    /// None is made: the shard's epoch, incarnation or `seq` is another.
    Refused,
}

/// The facts about groups.
///
/// Promises: a write happens only under the shard's current (epoch, incarnation) and next to the `seq` it names, so
/// these four name it for ever; writes of one batch do not disturb each other.
/// Callers: load after the grant; write what an answer reveals before the answer; after an unknown outcome ask for the
/// coordination row before anything else of that shard is written: under the same grant, the named `seq` plus one says
/// that it happened.
/// Errors: see [`StoreError`].
/// Does not promise: to expire anything.
#[async_trait]
pub trait GroupShelf: fmt::Debug + Send + Sync {
    /// Everything that a shard coordinates; empty for a shard that does not exist.
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError>;

    /// The shard's coordination `seq` alone; none if there is no such shard.
    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError>;

    /// The coordination rows of shards, to resolve writes whose outcome is unknown; answers line up with `shards`, none
    /// for a shard that does not exist. Waits for writes that are under way in the database, and what it tells is as
    /// durable as a write.
    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError>;

    /// Makes the changes of each write whose fence holds; answers line up with `writes`. Several writes of one shard
    /// follow each other by `seq`.
    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError>;
}
