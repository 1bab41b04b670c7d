//! One shard at its leader: the unit of order, fencing and recovery.
//!
//! A batch passes three lines, in this order, and never goes back over one:
//! ```text
//! staged     its offset is fixed and it is queued for the WAL       pending
//! durable    the WAL is fsynced: `live` holds it, consumers see it   unrecorded
//! recorded   its manifest is in the database: `recorded` holds it    runs in objects
//! ```
//! One lock guards all of it ([`Inner`]). It is held for the time of one decision, never across IO or an await. While it
//! is held the WAL's queue may be locked, never the other way round, and never a second shard.

pub mod partition;
pub(crate) mod pending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use streamhouse_metadata::store::{Incarnation, ObjectId, ShardId};
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp, TopicId, TopicPartition};
use streamhouse_storage::wal::WalPosition;

use crate::state::ShardState;
use crate::state::recorded::Recorded;
use partition::PartitionLog;
use pending::Pending;

/// One shard and its lock.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    inner: Mutex<Inner>,
}

/// What the lock of a shard guards.
#[derive(Debug)]
pub(crate) struct Inner {
    /// The grant under which this broker leads the shard.
    pub(crate) epoch: LeaderEpoch,
    pub(crate) incarnation: Incarnation,
    /// The shard's clock as of the last staged entry.
    pub(crate) stamp: Timestamp,
    /// Every durable entry.
    pub(crate) live: ShardState,
    /// Every recorded entry.
    pub(crate) recorded: Recorded,
    /// What lies between the lines, by partition.
    pub(crate) partitions: BTreeMap<TopicPartition, PartitionLog>,
    /// Staged and not yet durable, in WAL order.
    pub(crate) pending: VecDeque<Pending>,
    /// Topics whose partitions were dropped here: nothing is staged for them any more.
    pub(crate) dropped: BTreeSet<TopicId>,
    /// Set when the shard must not go on; every request gets this reason.
    pub(crate) stopped: Option<String>,
    /// What flushing remembers.
    pub(crate) flushing: Flushing,
}

/// What a shard remembers between flushes.
#[derive(Debug, Default)]
pub(crate) struct Flushing {
    /// Flushes of this epoch so far.
    pub(crate) flush_seq: u64,
    /// Bodies of manifests without an object since the last section, oldest first: the next section takes them along.
    pub(crate) bodiless: Vec<Bytes>,
    /// Objects that lost their last run in a way that the manifest of the time could not yet name.
    pub(crate) released: Vec<ObjectId>,
    /// Manifests since the last checkpoint, and the bytes of their bodies.
    pub(crate) manifests: u64,
    pub(crate) body_bytes: u64,
}

impl Shard {
    pub(crate) fn new(id: ShardId, inner: Inner) -> Self {
        Self {
            id,
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    /// The state of a shard that was just granted: recorded and live are equal, nothing is staged.
    pub(crate) fn granted(
        epoch: LeaderEpoch,
        incarnation: Incarnation,
        recorded: Recorded,
    ) -> Self {
        Self {
            epoch,
            incarnation,
            stamp: recorded.state.stamp,
            live: recorded.state.clone(),
            recorded,
            partitions: BTreeMap::new(),
            pending: VecDeque::new(),
            dropped: BTreeSet::new(),
            stopped: None,
            flushing: Flushing::default(),
        }
    }

    /// Moves the shard's clock: it never goes back, whatever the wall clock does.
    pub(crate) fn advance_stamp(&mut self, wall_ms: i64) -> Timestamp {
        self.stamp = self.stamp.max(Timestamp(wall_ms));
        self.stamp
    }

    /// The offset that the next staged record of a partition gets.
    pub(crate) fn staged_end(&self, at: TopicPartition) -> i64 {
        match self.partitions.get(&at) {
            Some(partition) => partition.staged_end,
            None => self.high_watermark(at),
        }
    }

    /// The offset behind the last durable record.
    pub(crate) fn high_watermark(&self, at: TopicPartition) -> i64 {
        self.live
            .partitions
            .get(&at)
            .map_or(0, |partition| partition.next_offset)
    }

    /// The first offset that may be read.
    pub(crate) fn log_start(&self, at: TopicPartition) -> i64 {
        self.live
            .partitions
            .get(&at)
            .map_or(0, |partition| partition.log_start)
    }

    /// The runtime part of a partition, made on first use.
    pub(crate) fn partition_mut(&mut self, at: TopicPartition) -> &mut PartitionLog {
        let end = self
            .live
            .partitions
            .get(&at)
            .map_or(0, |partition| partition.next_offset);
        self.partitions
            .entry(at)
            .or_insert_with(|| PartitionLog::new(end))
    }

    /// The first WAL position that holds an entry of this shard which no manifest names.
    pub(crate) fn first_unrecorded(&self) -> Option<WalPosition> {
        let durable = self.partitions.values().filter_map(|partition| {
            partition
                .unrecorded
                .front()
                .map(|entry| entry.location.position)
        });
        let staged = self.pending.front().map(|entry| entry.location.position);
        durable.chain(staged).min()
    }
}
