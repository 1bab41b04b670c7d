//! Collecting: the entries that a flush takes from each shard, and how batches become runs.

use bytes::Bytes;
use streamhouse_metadata::store::{Incarnation, Lsn, ObjectId, ShardId};
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp};
use streamhouse_storage::wal::{WalLocation, WalPosition};

use crate::Log;
use crate::format::entry::{BATCHES_REMEMBERED, Entry, POINT_EVERY_BYTES, Point, Run, RunProducer};
use crate::format::manifest::FlushId;
use crate::shard::Inner;

/// What a flush takes from one shard.
#[derive(Debug)]
pub(crate) struct ShardPart {
    pub(crate) shard: ShardId,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) incarnation: Incarnation,
    pub(crate) lsn: Lsn,
    pub(crate) prev: FlushId,
    pub(crate) flush_seq: u64,
    pub(crate) stamp: Timestamp,
    pub(crate) earlier: Vec<Bytes>,
    pub(crate) released: Vec<ObjectId>,
    /// In partition order, and within a partition in log order.
    pub(crate) entries: Vec<Collected>,
}

/// An entry and, for a batch, where its bytes are.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) entry: Entry,
    pub(crate) location: WalLocation,
    /// The bytes, if they are still in the hot tail.
    pub(crate) bytes: Option<Bytes>,
}

impl Log {
    /// Everything durable below `cut`, shard by shard; shards without anything are left out.
    pub(crate) fn collect(&self, cut: WalPosition) -> Vec<ShardPart> {
        self.shards()
            .iter()
            .filter_map(|shard| shard.lock().collect(shard.id, cut))
            .collect()
    }
}

impl Inner {
    fn collect(&self, shard: ShardId, cut: WalPosition) -> Option<ShardPart> {
        if self.stopped.is_some() {
            return None;
        }
        let mut entries = Vec::new();
        let mut stamp = Timestamp::NONE;
        for partition in self.partitions.values() {
            let mut tail = partition.tail.iter().peekable();
            for unrecorded in partition
                .unrecorded
                .iter()
                .take_while(|entry| entry.location.position < cut)
            {
                let start = unrecorded.run_start();
                while tail
                    .peek()
                    .is_some_and(|batch| start.is_some_and(|start| batch.base_offset < start))
                {
                    tail.next();
                }
                let in_tail = tail.peek().filter(|batch| Some(batch.base_offset) == start);
                stamp = stamp.max(unrecorded.stamp);
                entries.push(Collected {
                    entry: unrecorded.entry.clone(),
                    location: unrecorded.location,
                    bytes: in_tail.map(|batch| batch.bytes.clone()),
                });
            }
        }
        if entries.is_empty() {
            return None;
        }
        let plain: Vec<Entry> = entries
            .iter()
            .map(|collected| collected.entry.clone())
            .collect();
        let mut released = self.recorded.locations.released_by(&plain);
        released.extend(self.flushing.released.iter().copied());
        Some(ShardPart {
            shard,
            epoch: self.epoch,
            incarnation: self.incarnation,
            lsn: self.recorded.next_lsn,
            prev: self.recorded.last_flush,
            flush_seq: self.flushing.flush_seq + 1,
            stamp,
            earlier: self.flushing.bodiless.clone(),
            released,
            entries,
        })
    }
}

/// Makes runs of the batches of one partition, one after the other.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    run: Option<Run>,
    bytes_since_point: u64,
}

impl RunBuilder {
    /// Adds a batch. Gives the run before it, if the batch cannot join that one.
    pub(crate) fn push(&mut self, batch: &Run, bytes: &[u8]) -> Option<Run> {
        let finished = if self.run.as_ref().is_some_and(|run| joins(run, batch)) {
            None
        } else {
            self.finish()
        };
        match &mut self.run {
            None => {
                let mut run = batch.clone();
                run.crc = crc32c::crc32c(bytes);
                self.bytes_since_point = run.bytes;
                self.run = Some(run);
            }
            Some(run) => {
                if self.bytes_since_point >= POINT_EVERY_BYTES {
                    self.bytes_since_point = 0;
                    run.points.push(Point {
                        offset_delta: run.records,
                        byte_delta: run.bytes,
                        max_timestamp_before: run.max_timestamp,
                    });
                }
                self.bytes_since_point += batch.bytes;
                run.crc = crc32c::crc32c_append(run.crc, bytes);
                merge(run, batch);
            }
        }
        finished
    }

    /// The run so far, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Run> {
        self.run.take()
    }
}

/// Whether a batch can join a run: it follows, it carries the same epoch, and its producer has no row of another epoch or
/// kind there (a row can say only one of each).
fn joins(run: &Run, batch: &Run) -> bool {
    run.at == batch.at
        && run.next_offset() == batch.base_offset
        && run.append_epoch == batch.append_epoch
        && batch.producers.iter().all(|row| {
            let known = run.producers.iter().find(|known| known.id == row.id);
            known.is_none_or(|known| {
                known.epoch == row.epoch && known.transactional == row.transactional
            })
        })
}

/// Adds what `batch` says to `run`. Both say the same to the state whether they are merged or not.
pub(crate) fn merge(run: &mut Run, batch: &Run) {
    run.records += batch.records;
    run.batches = run.batches.saturating_add(batch.batches);
    run.bytes += batch.bytes;
    run.max_timestamp = run.max_timestamp.max(batch.max_timestamp);
    for row in &batch.producers {
        match run.producers.iter_mut().find(|known| known.id == row.id) {
            Some(known) => extend(known, row),
            None => run.producers.push(row.clone()),
        }
    }
}

fn extend(known: &mut RunProducer, row: &RunProducer) {
    known.last_stamp = known.last_stamp.max(row.last_stamp);
    known.last_batches.extend_from_slice(&row.last_batches);
    let surplus = known.last_batches.len().saturating_sub(BATCHES_REMEMBERED);
    known.last_batches.drain(..surplus);
}
