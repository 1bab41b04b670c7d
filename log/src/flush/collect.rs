//! Collecting: what a flush takes from each shard (with `local` durability; [`super::staged`] is its twin for `shared`), and its batches piece by piece while it writes.

use std::ops::Range;

use bytes::Bytes;
use streamhouse_metadata::store::{Incarnation, Lsn, ShardId};
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp, TopicPartition};
use streamhouse_storage::wal::WalPosition;

use super::FlushError;
use crate::Log;
use crate::append::stored::StoredBatch;
use crate::format::manifest::FlushId;
use crate::shard::Inner;
use crate::shard::unrecorded::{BatchPlace, Taken};

/// Batches and bytes that a flush reads at once; it has two such chunks in memory.
const CHUNK_BATCHES: usize = 1024;
const CHUNK_BYTES: usize = 2 << 20;

/// What a flush takes from one shard.
#[derive(Debug)]
pub(crate) struct ShardPart {
    pub(crate) shard: ShardId,
    /// Whose part it is (`shared`).
    pub(crate) ticket: u64,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) incarnation: Incarnation,
    pub(crate) lsn: Lsn,
    pub(crate) prev: FlushId,
    pub(crate) flush_seq: u64,
    pub(crate) stamp: Timestamp,
    pub(crate) earlier: Vec<Bytes>,
    /// Behind everything that it takes, and below everything that it leaves.
    pub(crate) wal_end: WalPosition,
    /// They stay in the shard until this flush records them.
    pub(crate) partitions: Vec<(TopicPartition, Taken)>,
}

/// Up to where a flush takes entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Everything durable below it is taken.
    pub(crate) position: WalPosition,
    /// Whether nothing durable lay behind it when it was drawn: then what became durable since comes along. Otherwise it
    /// is the end of a window, and what lies behind is for the next flush.
    pub(crate) is_end: bool,
}

impl ShardPart {
    /// How many WAL records it comes from.
    pub(crate) fn wal_records(&self) -> usize {
        let partitions = self.partitions.iter();
        partitions.map(|(_, taken)| taken.wal_records()).sum()
    }

    pub(crate) fn has_batches(&self) -> bool {
        self.partitions.iter().any(|(_, taken)| taken.batches > 0)
    }
}

/// A batch and where its bytes are: in the hot tail, or only in the WAL.
struct Found {
    place: BatchPlace,
    tail: Option<StoredBatch>,
}

impl Log {
    /// What a flush takes up to `cut`, shard by shard. Shards without anything are left out.
    pub(crate) fn collect(&self, cut: Cut) -> Vec<ShardPart> {
        self.shards()
            .iter()
            .filter_map(|shard| shard.lock().collect(shard.id, cut))
            .collect()
    }

    /// The next few batches of a partition, by their number. The WAL is read on the blocking pool, once for all of them.
    pub(crate) async fn collect_chunk(
        &self,
        shard: ShardId,
        at: TopicPartition,
        batches: Range<usize>,
    ) -> Result<Vec<StoredBatch>, FlushError> {
        let found = self.shard_of(shard).lock().chunk(at, batches);
        if found.is_empty() {
            return Err(FlushError::Wal("batches of the flush are gone".to_owned()));
        }
        let missing = |found: &&Found| found.tail.is_none();
        let wanted: Vec<_> = found
            .iter()
            .filter(missing)
            .map(|found| found.place)
            .collect();
        let read = self
            .wal_batches(at, wanted)
            .await
            .map_err(FlushError::Wal)?;
        let mut read = read.into_iter().map(StoredBatch::from);
        let chunk = found
            .into_iter()
            .filter_map(|found| found.tail.or_else(|| read.next()));
        Ok(chunk.collect())
    }
}

impl Inner {
    fn collect(&mut self, shard: ShardId, cut: Cut) -> Option<ShardPart> {
        if self.stopped.is_some() {
            return None;
        }
        let mut partitions = Vec::new();
        let mut stamp = Timestamp::NONE;
        let mut wal_end = cut.position;
        let below = (!cut.is_end).then_some(cut.position);
        for (at, partition) in &mut self.partitions {
            let Some(taken) = partition.unrecorded.take(below) else {
                continue;
            };
            stamp = stamp.max(taken.stamp);
            // A record may begin below the cut and end behind it. And entries of a shard become durable in order: what came
            // along lies before all that did not.
            wal_end = wal_end.max(taken.wal_end);
            partitions.push((*at, taken));
        }
        (!partitions.is_empty()).then(|| ShardPart {
            shard,
            ticket: 0,
            epoch: self.epoch,
            incarnation: self.incarnation,
            lsn: self.recorded.next_lsn,
            prev: self.recorded.last_flush,
            flush_seq: self.flushing.next_seq(),
            stamp,
            earlier: self.flushing.bodiless.clone(),
            wal_end,
            partitions,
        })
    }

    fn chunk(&self, at: TopicPartition, batches: Range<usize>) -> Vec<Found> {
        let Some(partition) = self.partitions.get(&at) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        for place in partition.unrecorded.places(batches) {
            if found.len() >= CHUNK_BATCHES || bytes >= CHUNK_BYTES {
                break;
            }
            bytes += place.bytes();
            found.push(Found {
                place: *place,
                tail: partition.in_tail(place.base_offset).cloned(),
            });
        }
        found
    }
}
