//! What a leader keeps of a partition beside its state: the batches between the lines, the hot tail, and who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use streamhouse_protocol::ids::ProducerId;
use streamhouse_storage::wal::WalPosition;

use crate::append::stored::StoredBatch;
use crate::format::entry::Entry;
use crate::read::waiters::Waiter;
use crate::shard::unrecorded::{FlushWindow, Unrecorded};
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
    pub(crate) unrecorded: Unrecorded,
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

/// A batch whose bytes are in memory.
#[derive(Clone, Debug)]
pub(crate) struct TailBatch {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) bytes: StoredBatch,
}

impl PartitionLog {
    pub(crate) fn new(end: i64, window: FlushWindow) -> Self {
        Self {
            staged_end: end,
            staged_entries: 0,
            staged_producers: BTreeMap::new(),
            unrecorded: Unrecorded::in_windows(window),
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

    /// A batch of the tail, by its first offset.
    pub(crate) fn in_tail(&self, base_offset: i64) -> Option<&StoredBatch> {
        let place = self
            .tail
            .binary_search_by_key(&base_offset, |batch| batch.base_offset);
        Some(&self.tail[place.ok()?].bytes)
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

    /// Tells parked fetches that `bytes` more may be read.
    pub(crate) fn wake(&mut self, bytes: usize) {
        if planted::bug("parked_fetch_not_woken") {
            return;
        }
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
