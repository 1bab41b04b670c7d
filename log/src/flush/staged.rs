//! Collecting with `shared` durability: what a flush takes from each shard is staged, and durable only once it is recorded.
//!
//! A shard takes part in one flush at a time: what is staged meanwhile waits for its next one, so that its manifests are
//! committed in order, and only flushes of other shards run beside it. What a flush takes stays in the shard until its
//! manifest is committed; if the flush fails, the next one takes it again.

use std::collections::BTreeMap;

use streamhouse_metadata::store::ShardId;
use streamhouse_protocol::ids::{Timestamp, TopicPartition};
use streamhouse_storage::wal::WalPosition;

use super::collect::ShardPart;
use super::shared::SharedFlush;
use crate::Log;
use crate::append::stored::StoredBatch;
use crate::shard::unrecorded::{Taken, Unrecorded};
use crate::shard::{Inner, Standing};

/// What one partition adds to a flush.
#[derive(Default)]
struct Joining {
    joined: Unrecorded,
    batches: Vec<StoredBatch>,
}

impl Log {
    /// What is staged in shards that are in no flush, beginning at shard `first`, until `bytes_max` bytes of batches are
    /// taken. Says with which shard the next flush should begin, so that none waits for ever.
    pub(crate) fn collect_staged(
        &self,
        flush: &SharedFlush,
        first: usize,
        bytes_max: u64,
    ) -> (Vec<ShardPart>, usize) {
        let shards = self.shards();
        let mut parts = Vec::new();
        let mut left = bytes_max;
        for turn in 0..shards.len() {
            let index = (first + turn) % shards.len();
            if left == 0 {
                return (in_order(parts), index);
            }
            let shard = &shards[index];
            let mut inner = shard.lock();
            let collected = inner.collect_staged(shard.id, left);
            // Taken, or of a shard that stopped: it is flushed now or never.
            flush.unqueued(std::mem::take(&mut inner.queued));
            if let Some((part, bytes)) = collected {
                parts.push(part);
                left = left.saturating_sub(bytes);
            }
        }
        (in_order(parts), first)
    }
}

/// The sections of an object are in the order of their shards, wherever the flush began.
fn in_order(mut parts: Vec<ShardPart>) -> Vec<ShardPart> {
    parts.sort_unstable_by_key(|part| part.shard);
    parts
}

impl Inner {
    /// Takes what is staged, at least one entry, and no more than `bytes_max` if there are several.
    fn collect_staged(&mut self, shard: ShardId, bytes_max: u64) -> Option<(ShardPart, u64)> {
        let may_flush = self.standing != Standing::Elsewhere && self.stopped.is_none();
        if !may_flush || self.is_flushing {
            return None;
        }
        let mut joining: BTreeMap<TopicPartition, Joining> = BTreeMap::new();
        let (mut bytes, mut entries) = (0, 0);
        let mut stamp = Timestamp::NONE;
        for pending in &self.pending {
            let (batch, size) = (pending.batch.as_ref(), pending.bytes());
            if entries > 0 && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            entries += 1;
            stamp = stamp.max(pending.stamp);
            let partition = joining.entry(pending.entry.at()).or_default();
            partition
                .joined
                .push(&pending.entry, pending.stamp, pending.location, batch);
            partition.batches.extend(batch.cloned());
        }
        let partitions: Vec<(TopicPartition, Taken)> = joining
            .into_iter()
            .filter_map(|(at, mut partition)| {
                let mut taken = partition.joined.take(None)?;
                taken.in_memory = partition.batches;
                Some((at, taken))
            })
            .collect();
        if partitions.is_empty() {
            return None;
        }
        self.in_flush = entries;
        self.is_flushing = true;
        let part = ShardPart {
            shard,
            epoch: self.epoch,
            incarnation: self.incarnation,
            lsn: self.recorded.next_lsn,
            prev: self.recorded.last_flush,
            flush_seq: self.flushing.flush_seq + 1,
            stamp,
            earlier: self.flushing.bodiless.clone(),
            wal_end: WalPosition(0),
            partitions,
        };
        Some((part, bytes))
    }
}
