//! What a leader keeps of a partition beside its state: the batches between the lines, the hot tail, and who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use streamhouse_protocol::ids::{ProducerId, Timestamp};
use streamhouse_storage::wal::{WalLocation, WalPosition};

use crate::format::entry::{Entry, Run};
use crate::read::waiters::Waiter;
use crate::state::ProducerState;
use streamhouse_runtime::planted;

/// The part of a partition that is rebuilt on every start.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    /// The offset that the next staged record gets.
    pub(crate) staged_end: i64,
    /// Staged entries that are not durable yet.
    pub(crate) staged_entries: usize,
    /// Producers that those entries change: their state as if the entries were durable; `None` is evicted.
    pub(crate) staged_producers: BTreeMap<ProducerId, StagedProducer>,
    /// Durable entries that no manifest names, in order.
    pub(crate) unrecorded: VecDeque<Unrecorded>,
    /// Bytes of the batches among them.
    pub(crate) unrecorded_bytes: u64,
    /// The newest durable batches, contiguous up to the high watermark.
    pub(crate) tail: VecDeque<TailBatch>,
    /// Parked fetches.
    pub(crate) waiters: Vec<Weak<Waiter>>,
}

/// A producer as a staged entry leaves it.
#[derive(Clone, Debug)]
pub(crate) struct StagedProducer {
    /// The last entry that changes it: when that one is durable, `live` says the same.
    pub(crate) by: WalPosition,
    /// `None` is evicted.
    pub(crate) state: Option<ProducerState>,
}

/// A durable entry and its place in the WAL.
#[derive(Clone, Debug)]
pub(crate) struct Unrecorded {
    pub(crate) location: WalLocation,
    pub(crate) stamp: Timestamp,
    pub(crate) entry: Entry,
    /// Where the partition ends behind this entry. It grows, so that a reader's place is found by halving.
    pub(crate) end: i64,
}

/// A batch whose bytes are in memory.
#[derive(Clone, Debug)]
pub(crate) struct TailBatch {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) bytes: Bytes,
}

impl PartitionLog {
    pub(crate) fn new(end: i64) -> Self {
        Self {
            staged_end: end,
            staged_entries: 0,
            staged_producers: BTreeMap::new(),
            unrecorded: VecDeque::new(),
            unrecorded_bytes: 0,
            tail: VecDeque::new(),
            waiters: Vec::new(),
        }
    }

    /// The batches of the tail from the one that holds `offset` on; `None` if the tail does not reach back to it.
    pub(crate) fn tail_from(&self, offset: i64) -> Option<impl Iterator<Item = &TailBatch>> {
        if self.tail.front()?.base_offset > offset {
            return None;
        }
        let first = self
            .tail
            .partition_point(|batch| batch.next_offset <= offset);
        let first =
            first + usize::from(planted::bug("tail_skips_a_batch") && first + 1 < self.tail.len());
        Some(self.tail.range(first..))
    }

    /// The durable, unrecorded entries from the batch that holds `offset` on. They begin where the recorded ones end.
    pub(crate) fn unrecorded_from(&self, offset: i64) -> impl Iterator<Item = &Unrecorded> {
        let first = self.unrecorded.partition_point(|entry| entry.end <= offset);
        self.unrecorded.range(first..)
    }

    /// A batch of the tail, by its first offset.
    pub(crate) fn in_tail(&self, base_offset: i64) -> Option<&Bytes> {
        let place = self
            .tail
            .binary_search_by_key(&base_offset, |batch| batch.base_offset);
        Some(&self.tail[place.ok()?].bytes)
    }

    /// Moves an entry behind the durable line.
    pub(crate) fn push_unrecorded(&mut self, mut entry: Unrecorded) {
        // A dropped partition has no end in the state any more.
        entry.end = entry
            .end
            .max(self.unrecorded.back().map_or(0, |last| last.end));
        self.unrecorded_bytes += entry.bytes();
        self.unrecorded.push_back(entry);
    }

    /// An entry is durable: what `live` says of its producer counts again, unless a later staged entry changes it.
    pub(crate) fn settle_producer(&mut self, entry: &Entry, position: WalPosition) {
        let id = match entry {
            Entry::Run(run) => run.producers.first().map(|row| row.id),
            Entry::EvictProducer { producer, .. } => Some(*producer),
            Entry::Trim { .. } | Entry::DropPartition { .. } => None,
        };
        if let Some(id) = id
            && self
                .staged_producers
                .get(&id)
                .is_some_and(|staged| staged.by == position)
        {
            self.staged_producers.remove(&id);
        }
    }

    /// Whether any of the first `count` unrecorded entries is a batch, if the recorded ones end at `recorded_end`.
    pub(crate) fn holds_batches(&self, count: usize, recorded_end: i64) -> bool {
        let last = count
            .checked_sub(1)
            .and_then(|last| self.unrecorded.get(last));
        last.is_some_and(|last| last.end > recorded_end)
    }

    /// How many unrecorded entries lie below a position of the WAL.
    pub(crate) fn unrecorded_below(&self, cut: WalPosition) -> usize {
        self.unrecorded
            .partition_point(|entry| entry.location.position < cut)
    }

    /// Moves the entries below a position behind the recorded line.
    pub(crate) fn recorded_below(&mut self, cut: WalPosition) {
        let is_recorded = |entry: &mut Unrecorded| entry.location.position < cut;
        while let Some(entry) = self.unrecorded.pop_front_if(is_recorded) {
            self.unrecorded_bytes = self.unrecorded_bytes.saturating_sub(entry.bytes());
        }
    }

    /// Tells parked fetches that `bytes` more may be read.
    pub(crate) fn wake(&mut self, bytes: usize) {
        self.waiters.retain(|waiter| match waiter.upgrade() {
            Some(waiter) => {
                waiter.arrived(bytes);
                true
            }
            None => false,
        });
    }

    pub(crate) fn park(&mut self, waiter: &Arc<Waiter>) {
        self.waiters.retain(|waiter| waiter.strong_count() > 0);
        self.waiters.push(Arc::downgrade(waiter));
    }
}

impl Unrecorded {
    /// The batch, if this is one.
    pub(crate) fn run(&self) -> Option<&Run> {
        match &self.entry {
            Entry::Run(run) => Some(run),
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => None,
        }
    }

    /// The first offset, if this is a batch.
    pub(crate) fn run_start(&self) -> Option<i64> {
        self.run().map(|run| run.base_offset)
    }

    /// Bytes of the batch, if this is one.
    fn bytes(&self) -> u64 {
        self.run().map_or(0, |run| run.bytes)
    }
}
