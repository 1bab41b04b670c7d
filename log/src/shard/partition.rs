//! What a leader keeps of a partition beside its state: the batches between the lines, the hot tail, and who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use streamhouse_protocol::ids::{ProducerId, Timestamp};
use streamhouse_storage::wal::WalLocation;

use crate::format::entry::Entry;
use crate::read::waiters::Waiter;
use crate::state::ProducerState;

/// The part of a partition that is rebuilt on every start.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    /// The offset that the next staged record gets.
    pub(crate) staged_end: i64,
    /// Staged entries that are not durable yet.
    pub(crate) staged_entries: usize,
    /// Producers that those entries change: their state as if the entries were durable; `None` is evicted.
    pub(crate) staged_producers: BTreeMap<ProducerId, Option<ProducerState>>,
    /// Durable entries that no manifest names, in order.
    pub(crate) unrecorded: VecDeque<Unrecorded>,
    /// The newest durable batches, contiguous up to the high watermark.
    pub(crate) tail: VecDeque<TailBatch>,
    /// Parked fetches.
    pub(crate) waiters: Vec<Weak<Waiter>>,
}

/// A durable entry and its place in the WAL.
#[derive(Clone, Debug)]
pub(crate) struct Unrecorded {
    pub(crate) location: WalLocation,
    pub(crate) stamp: Timestamp,
    pub(crate) entry: Entry,
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
        Some(self.tail.range(first..))
    }

    /// The durable, unrecorded entries from the batch that holds `offset` on; `None` if they do not reach back to it.
    pub(crate) fn unrecorded_from(&self, offset: i64) -> Option<impl Iterator<Item = &Unrecorded>> {
        let reaches = self.unrecorded.iter().find_map(|entry| entry.run_start())? <= offset;
        reaches.then(|| {
            self.unrecorded
                .iter()
                .skip_while(move |entry| entry.run_end().is_none_or(|end| end <= offset))
        })
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
    /// The first offset, if this is a batch.
    pub(crate) fn run_start(&self) -> Option<i64> {
        match &self.entry {
            Entry::Run(run) => Some(run.base_offset),
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => None,
        }
    }

    /// The offset behind the last record, if this is a batch.
    pub(crate) fn run_end(&self) -> Option<i64> {
        match &self.entry {
            Entry::Run(run) => Some(run.next_offset()),
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => None,
        }
    }
}
