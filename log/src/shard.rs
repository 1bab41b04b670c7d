//! One shard at its leader: the unit of order, fencing and recovery.
//!
//! A batch passes three lines, in this order, and never goes back over one:
//! ```text
//! staged     its offset is fixed and it is queued for the WAL       pending
//! durable    the WAL is fsynced: `live` holds it, consumers see it   unrecorded
//! recorded   its manifest is in the database: `recorded` holds it    runs in objects
//! ```
//! One lock guards all of it (`Inner`). It is held for the time of one decision, never across IO or an await. While it
//! is held the WAL's queue may be locked, never the other way round, and never a second shard.

pub mod partition;
pub(crate) mod pending;
pub(crate) mod run_builder;
pub(crate) mod unrecorded;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use streamhouse_metadata::store::{Incarnation, Lsn, ShardId};
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp, TopicId, TopicPartition};
use streamhouse_storage::wal::{AppendClass, WalLocation, WalPosition};
use tokio::sync::Notify;

use crate::flush::pace::Backlog;
use crate::format::manifest::{FlushId, Manifest};
use crate::state::ShardState;
use crate::state::recorded::Recorded;
use partition::PartitionLog;
use pending::Pending;
use unrecorded::FlushWindow;

/// How long a committed manifest stays in the database, checkpointed or not: 10 minutes.
const PRUNE_AGE_MS: i64 = 600_000;

/// One shard and its lock.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    inner: Mutex<Inner>,
}

/// What a broker is to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its leader.
    Leads,
    /// Its leader, about to hand it over: it serves reads and records what is staged, and stages nothing more.
    Drains,
    /// Not its leader.
    Elsewhere,
}

/// What the lock of a shard guards.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Whether this broker leads the shard. With `local` durability it always does.
    pub(crate) standing: Standing,
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
    /// What flushes that are on their way took from the front of `pending`, in order (`shared`); no more than there are
    /// uploads side by side. They are recorded in this order, from the front.
    pub(crate) in_flight: VecDeque<InFlight>,
    /// What of `pending` waits for a flush to begin, as it is counted for the pace: all that no flush took.
    pub(crate) queued: Backlog,
    /// How many wait for the mere write of what is pending (acks=1).
    pub(crate) wait_for_write: usize,
    /// Topics whose partitions were dropped here: nothing is staged for them any more.
    pub(crate) dropped: BTreeSet<TopicId>,
    /// Set when the shard must not go on; every request gets this reason.
    pub(crate) stopped: Option<String>,
    /// Told when that happens.
    pub(crate) on_stop: Arc<Notify>,
    /// WAL records that a stopped shard keeps from its last life, in order.
    pub(crate) held: Vec<(WalLocation, AppendClass)>,
    /// What flushing remembers.
    pub(crate) flushing: Flushing,
    /// How many writes of groups the database had when the shard was loaded (`shared`).
    pub(crate) coordination_seq: u64,
}

/// What one flush took from the front of a shard's queue.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The flush: later ones have higher tickets.
    pub(crate) ticket: u64,
    pub(crate) taken: Backlog,
    pub(crate) becomes: Becomes,
}

/// What a flush leaves behind when it is recorded, as far as the next one must know it before.
#[derive(Debug)]
pub(crate) enum Becomes {
    /// A section of an object: what the next one names as its predecessor.
    Section(FlushId),
    /// A manifest without an object, which the next section takes along.
    Bodiless(Bytes),
}

/// What a shard remembers between flushes.
#[derive(Debug, Default)]
pub(crate) struct Flushing {
    /// Where a flush that is behind may stop.
    pub(crate) window: FlushWindow,
    /// The last number that a flush of this epoch got. None gets it again, whatever becomes of its object.
    pub(crate) flush_seq: u64,
    /// Bodies of manifests without an object since the last section, oldest first: the next section takes them along.
    pub(crate) bodiless: Vec<Bytes>,
    /// The number of the first manifest among them.
    pub(crate) bodiless_from: Option<Lsn>,
    /// Numbers and stamps of manifests that are too young to leave the database, oldest first.
    pub(crate) young: VecDeque<(Lsn, Timestamp)>,
    /// Manifests since the last checkpoint, and the bytes of their bodies.
    pub(crate) manifests: u64,
    pub(crate) body_bytes: u64,
}

impl Flushing {
    /// The number of a flush that begins.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.flush_seq += 1;
        self.flush_seq
    }

    /// A manifest was committed.
    pub(crate) fn note(&mut self, manifest: &Manifest, body: &Bytes) {
        if manifest.data.is_some() {
            self.bodiless.clear();
            self.bodiless_from = None;
        } else {
            self.bodiless_from.get_or_insert(manifest.lsn);
            self.bodiless.push(body.clone());
        }
        self.young.push_back((manifest.lsn, manifest.stamp));
        self.manifests += 1;
        self.body_bytes += body.len() as u64;
    }

    /// A checkpoint holds every manifest so far.
    pub(crate) fn checkpointed(&mut self) {
        self.manifests = 0;
        self.body_bytes = 0;
    }

    /// Up to which manifest a checkpoint may prune: what is young stays, and what no object holds yet.
    pub(crate) fn prune_below(&mut self, checkpointed: Lsn, now_ms: i64) -> Lsn {
        let is_old =
            |(_, stamp): &mut (Lsn, Timestamp)| now_ms.saturating_sub(stamp.0) > PRUNE_AGE_MS;
        while self.young.pop_front_if(is_old).is_some() {}
        let young = self.young.front().map(|(lsn, _)| *lsn);
        let kept = young.into_iter().chain(self.bodiless_from).min();
        kept.map_or(checkpointed, |kept| kept.min(checkpointed))
    }
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
            standing: Standing::Leads,
            epoch,
            incarnation,
            stamp: recorded.state.stamp,
            live: recorded.state.clone(),
            recorded,
            partitions: BTreeMap::new(),
            pending: VecDeque::new(),
            in_flight: VecDeque::new(),
            queued: Backlog::default(),
            wait_for_write: 0,
            dropped: BTreeSet::new(),
            stopped: None,
            on_stop: Arc::default(),
            held: Vec::new(),
            flushing: Flushing::default(),
            coordination_seq: 0,
        }
    }

    /// Moves the shard's clock: it never goes back, whatever the wall clock does.
    pub(crate) fn advance_stamp(&mut self, wall_ms: i64) -> Timestamp {
        self.stamp = self.stamp.max(Timestamp(wall_ms));
        self.stamp
    }

    /// The offset behind the last recorded record: here the unrecorded ones begin.
    pub(crate) fn recorded_end(&self, at: TopicPartition) -> i64 {
        let recorded = self.recorded.state.partitions.get(&at);
        recorded.map_or(0, |partition| partition.next_offset)
    }

    /// Lets go of what is kept of a dropped partition, unless another drop of it is on its way.
    pub(crate) fn forget_partition(&mut self, at: TopicPartition) {
        let is_idle = |partition: &PartitionLog| {
            partition.staged_entries == 0 && partition.unrecorded.is_empty()
        };
        if self.partitions.get(&at).is_some_and(is_idle) {
            self.partitions.remove(&at);
        }
    }

    /// Stops the shard. Those who wait for what is staged hear that it may or may not have happened, and parked fetches
    /// that there is nothing to wait for.
    pub(crate) fn stop(&mut self, reason: String) {
        self.stopped.get_or_insert(reason);
        self.on_stop.notify_one();
        self.wait_for_write = 0;
        for pending in &mut self.pending {
            pending.waiters.clear();
        }
        for partition in self.partitions.values_mut() {
            partition.wake(usize::MAX);
        }
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
            .or_insert_with(|| PartitionLog::new(end, self.flushing.window))
    }

    /// The first WAL position that holds an entry of this shard which no manifest names.
    pub(crate) fn first_unrecorded(&self) -> Option<WalPosition> {
        let durable = self.partitions.values();
        let durable = durable.filter_map(|partition| partition.unrecorded.first_position());
        let staged = self.pending.front().map(|entry| entry.location.position);
        let held = self.held.first().map(|(location, _)| location.position);
        durable.chain(staged).chain(held).min()
    }
}
