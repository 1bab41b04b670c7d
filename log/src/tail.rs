//! The budget of the hot tails: how many bytes of the newest batches all partitions together keep in memory.
//!
//! Batches are let go in the order in which they came, whatever their partition: a reader that keeps up finds everything
//! here, a reader that does not reads the WAL and the objects.

use std::collections::VecDeque;

use parking_lot::Mutex;
use streamhouse_metadata::store::ShardId;
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_runtime::planted;

/// What a batch costs beside its own bytes: its entry here and in its partition, and its allocation. With records of a
/// hundred bytes, each a batch of its own, that is most of it.
const BATCH_COST_BYTES: usize = 224;

/// Bookkeeping of the hot tails. Its lock is a leaf: it may be taken under a shard's lock, nothing is taken under it.
#[derive(Debug)]
pub(crate) struct TailBudget {
    bytes_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: usize,
    batches: VecDeque<Noted>,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    shard: ShardId,
    at: TopicPartition,
    base_offset: i64,
    bytes: usize,
}

impl TailBudget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            queue: Mutex::default(),
        }
    }

    /// A batch joined the tail of its partition.
    pub(crate) fn note(&self, shard: ShardId, at: TopicPartition, base_offset: i64, bytes: usize) {
        let bytes = bytes + BATCH_COST_BYTES;
        let mut queue = self.queue.lock();
        queue.bytes += bytes;
        queue.batches.push_back(Noted {
            shard,
            at,
            base_offset,
            bytes,
        });
    }

    /// Lets the oldest batches go until the budget holds. `forget` is called without the budget's lock.
    pub(crate) fn shrink(&self, forget: impl Fn(ShardId, TopicPartition, i64)) {
        loop {
            let mut queue = self.queue.lock();
            if queue.bytes <= self.bytes_max || planted::bug("tail_without_bound") {
                return;
            }
            let Some(oldest) = queue.batches.pop_front() else {
                return;
            };
            queue.bytes -= oldest.bytes;
            drop(queue);
            forget(oldest.shard, oldest.at, oldest.base_offset);
        }
    }

    /// Bytes of all tails, with what keeping them costs.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }
}
