//! Collecting: the entries that a flush takes from each shard, and how batches become runs.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use streamhouse_metadata::store::{Incarnation, Lsn, ShardId};
use streamhouse_protocol::ids::{LeaderEpoch, ProducerId, Timestamp, TopicPartition};
use streamhouse_storage::wal::{WalLocation, WalPosition};

use super::FlushError;
use crate::Log;
use crate::format::entry::{BATCHES_REMEMBERED, Entry, POINT_EVERY_BYTES, Point, Run, RunProducer};
use crate::format::manifest::FlushId;
use crate::format::wal_record::WalHead;
use crate::shard::Inner;

/// Entries and bytes that a flush has in memory at once.
const CHUNK_ENTRIES: usize = 256;
const CHUNK_BYTES: u64 = 4 << 20;

/// What a flush takes from one shard: entries of its partitions, looked up piece by piece while it writes.
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
    pub(crate) has_batches: bool,
    /// How many of the unrecorded entries of each partition. They stay where they are until this flush records them.
    pub(crate) partitions: Vec<(TopicPartition, usize)>,
}

/// An entry and, for a batch, its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) entry: Entry,
    pub(crate) bytes: Bytes,
}

/// An entry and where its bytes are: in the hot tail, or only in the WAL.
struct Found {
    entry: Entry,
    location: WalLocation,
    tail: Option<Bytes>,
}

impl Log {
    /// Everything durable below `cut`, shard by shard; shards without anything are left out.
    pub(crate) fn collect(&self, cut: WalPosition) -> Vec<ShardPart> {
        self.shards()
            .iter()
            .filter_map(|shard| shard.lock().collect(shard.id, cut))
            .collect()
    }

    /// The next few entries of a partition. The WAL is read on the blocking pool, once for all of them.
    pub(crate) async fn collect_chunk(
        &self,
        shard: ShardId,
        at: TopicPartition,
        places: Range<usize>,
    ) -> Result<Vec<Collected>, FlushError> {
        let found = self.shard_of(shard).lock().chunk(at, places);
        let reader = self.clone();
        let reading = self.ambient.tasks.blocking(move || {
            let read = found.into_iter().map(|found| reader.bytes_of(found));
            read.collect::<Result<Vec<_>, _>>()
        });
        let chunk = reading
            .await
            .unwrap_or_else(|_| Err(FlushError::Wal("the process is stopping".to_owned())))?;
        if chunk.is_empty() {
            return Err(FlushError::Wal("entries of the flush are gone".to_owned()));
        }
        Ok(chunk)
    }

    fn bytes_of(&self, found: Found) -> Result<Collected, FlushError> {
        let Found {
            entry,
            location,
            tail,
        } = found;
        let bytes = match (&entry, tail) {
            (_, Some(bytes)) => bytes,
            (Entry::Run(batch), None) => self.wal_bytes(location, batch)?,
            (_, None) => Bytes::new(),
        };
        Ok(Collected { entry, bytes })
    }

    fn wal_bytes(&self, location: WalLocation, batch: &Run) -> Result<Bytes, FlushError> {
        let failed = |reason: String| FlushError::Wal(reason);
        let payload = self.wal().read_now(location);
        let payload = payload.map_err(|error| failed(error.to_string()))?;
        let (head, bytes) = WalHead::decode(payload).map_err(|error| failed(error.to_string()))?;
        if head.at == batch.at
            && head.offset == batch.base_offset
            && bytes.len() as u64 == batch.bytes
        {
            Ok(bytes)
        } else {
            Err(failed(
                "the WAL holds another batch at this place".to_owned(),
            ))
        }
    }
}

impl Inner {
    fn collect(&self, shard: ShardId, cut: WalPosition) -> Option<ShardPart> {
        if self.stopped.is_some() {
            return None;
        }
        let mut partitions = Vec::new();
        let mut stamp = Timestamp::NONE;
        let mut has_batches = false;
        for (at, partition) in &self.partitions {
            let count = partition.unrecorded_below(cut);
            let Some(last) = count.checked_sub(1).map(|last| &partition.unrecorded[last]) else {
                continue;
            };
            stamp = stamp.max(last.stamp);
            has_batches |= partition.holds_batches(count, self.recorded_end(*at));
            partitions.push((*at, count));
        }
        (!partitions.is_empty()).then(|| ShardPart {
            shard,
            epoch: self.epoch,
            incarnation: self.incarnation,
            lsn: self.recorded.next_lsn,
            prev: self.recorded.last_flush,
            flush_seq: self.flushing.flush_seq + 1,
            stamp,
            earlier: self.flushing.bodiless.clone(),
            has_batches,
            partitions,
        })
    }

    fn chunk(&self, at: TopicPartition, places: Range<usize>) -> Vec<Found> {
        let Some(partition) = self.partitions.get(&at) else {
            return Vec::new();
        };
        let end = places.end.min(partition.unrecorded.len());
        let mut found = Vec::new();
        let mut bytes = 0;
        for unrecorded in partition.unrecorded.range(places.start.min(end)..end) {
            if found.len() >= CHUNK_ENTRIES || bytes >= CHUNK_BYTES {
                break;
            }
            bytes += u64::from(unrecorded.location.len);
            let start = unrecorded.run_start();
            found.push(Found {
                entry: unrecorded.entry.clone(),
                location: unrecorded.location,
                tail: start.and_then(|start| partition.in_tail(start)).cloned(),
            });
        }
        found
    }
}

/// Makes runs of the batches of one partition, one after the other.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    run: Option<Run>,
    /// Where the run's row of each producer is.
    rows: BTreeMap<ProducerId, usize>,
    bytes_since_point: u64,
}

impl RunBuilder {
    /// Adds a batch. Gives the run before it, if the batch cannot join that one.
    pub(crate) fn push(&mut self, batch: &Run, bytes: &[u8]) -> Option<Run> {
        let finished = if self.joins(batch) {
            None
        } else {
            self.finish()
        };
        match &mut self.run {
            None => {
                let mut run = batch.clone();
                run.crc = crc32c::crc32c(bytes);
                self.bytes_since_point = run.bytes;
                let rows = run.producers.iter().enumerate();
                self.rows = rows.map(|(row, producer)| (producer.id, row)).collect();
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
                merge(run, &mut self.rows, batch);
            }
        }
        finished
    }

    /// The run so far, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Run> {
        self.run.take()
    }

    /// Whether a batch can join the run: it follows, it carries the same epoch, and its producer has no row of another
    /// epoch or kind there (a row can say only one of each).
    fn joins(&self, batch: &Run) -> bool {
        let Some(run) = &self.run else { return false };
        run.at == batch.at
            && run.next_offset() == batch.base_offset
            && run.append_epoch == batch.append_epoch
            && batch.producers.iter().all(|row| {
                let known = self.rows.get(&row.id).map(|place| &run.producers[*place]);
                known.is_none_or(|known| {
                    known.epoch == row.epoch && known.transactional == row.transactional
                })
            })
    }
}

/// Adds what `batch` says to `run`. Both say the same to the state whether they are merged or not.
fn merge(run: &mut Run, rows: &mut BTreeMap<ProducerId, usize>, batch: &Run) {
    run.records += batch.records;
    run.batches = run.batches.saturating_add(batch.batches);
    run.bytes += batch.bytes;
    run.max_timestamp = run.max_timestamp.max(batch.max_timestamp);
    for row in &batch.producers {
        match rows.get(&row.id) {
            Some(place) => extend(&mut run.producers[*place], row),
            None => {
                rows.insert(row.id, run.producers.len());
                run.producers.push(row.clone());
            }
        }
    }
}

fn extend(known: &mut RunProducer, row: &RunProducer) {
    known.last_stamp = known.last_stamp.max(row.last_stamp);
    known.last_batches.extend_from_slice(&row.last_batches);
    let surplus = known.last_batches.len().saturating_sub(BATCHES_REMEMBERED);
    known.last_batches.drain(..surplus);
}
