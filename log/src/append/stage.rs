//! Staging: one step under the shard's lock that judges the producer's sequence, gives the offset, and queues the WAL
//! record. The order of staging is the order of the log.

use bytes::Bytes;
use streamhouse_protocol::ids::{
    LeaderEpoch, ProducerEpoch, ProducerId, Timestamp, TopicPartition,
};
use streamhouse_protocol::record_batch::{RecordBatch, Stamp};
use streamhouse_storage::wal::{AppendClass, AppendError as WalAppendError, WalLocation};
use tokio::sync::oneshot;

use super::stored::StoredBatch;
use super::validate::Prepared;
use super::{Acks, AppendError, Appended, Staged};
use crate::Log;
use crate::flush::pace::Backlog;
use crate::format::entry::{BatchBounds, Entry, Run, RunProducer};
use crate::format::wal_record::{HEAD_BYTES, WalHead, WalKind};
use crate::shard::partition::StagedProducer;
use crate::shard::pending::{Pending, Waiting};
use crate::shard::{Inner, Shard, Standing};
use crate::state::ProducerState;
use crate::state::producer::Sequenced;
use streamhouse_runtime::planted;

/// Offsets that may be staged and not yet recorded: an unclean election jumps this far, so that no offset is ever bound
/// to two records.
const UNRECORDED_OFFSETS_MAX: i64 = 1 << 31;

impl Log {
    pub(crate) fn stage_batch(
        &self,
        shard: &Shard,
        at: TopicPartition,
        prepared: Prepared,
        acks: Acks,
    ) -> Result<Staged, AppendError> {
        let mut inner = shard.lock();
        inner.accepts(at)?;
        if let Some(bounds) = inner.judge(at, &prepared)? {
            if acks == Acks::Leader {
                self.mark_written_due(shard.id);
            }
            return Ok(inner.join_duplicate(at, bounds, acks));
        }
        let base_offset = inner.staged_end(at);
        let unrecorded = base_offset.saturating_add(prepared.offsets) - inner.recorded_end(at);
        if unrecorded >= UNRECORDED_OFFSETS_MAX {
            return Err(AppendError::Full);
        }
        if let Some(producer) = &prepared.producer {
            self.make_room(shard, &mut inner, at, producer.id)?;
        }
        if acks == Acks::Leader {
            self.mark_written_due(shard.id);
        }
        let stamp = inner.advance_stamp(self.wall_ms());
        let head = WalHead {
            kind: WalKind::Batch,
            shard: shard.id,
            epoch: inner.epoch,
            incarnation: inner.incarnation,
            at,
            offset: base_offset,
            stamp,
            append_time: prepared.append_time,
        };
        let bytes = prepared.batch.size_bytes() as u64;
        let epoch = inner.epoch;
        let (head, rest) = record_of(&head, prepared.batch, prepared.shares, epoch);
        let front = head.slice(HEAD_BYTES..);
        let location = self.queue(shard, AppendClass::Run, head, rest.clone())?;
        let entry = Entry::Run(Run {
            at,
            base_offset,
            records: prepared.offsets.cast_unsigned(),
            batches: 1,
            bytes,
            append_epoch: inner.epoch,
            max_timestamp: prepared.max_timestamp,
            crc: 0,
            producers: prepared
                .producer
                .map(|p| p.row(base_offset, prepared.append_time, stamp))
                .into_iter()
                .collect(),
            points: Vec::new(),
        });
        let answer = Appended {
            base_offset,
            append_time: prepared.append_time,
            log_start: inner.log_start(at),
        };
        let staged = PendingEntry {
            location,
            stamp,
            entry,
            batch: Some(StoredBatch::new(front, rest)),
            answer,
        };
        Ok(self.push_pending(&mut inner, staged, acks))
    }

    /// Stages an entry that is not a batch. It is durable when the answer completes.
    pub(crate) fn stage_entry(&self, shard: &Shard, entry: Entry) -> Result<Staged, AppendError> {
        self.stage_locked(shard, &mut shard.lock(), entry)
    }

    /// As [`Log::stage_entry`], in the step that decided on the entry.
    pub(crate) fn stage_locked(
        &self,
        shard: &Shard,
        inner: &mut Inner,
        entry: Entry,
    ) -> Result<Staged, AppendError> {
        let at = entry.at();
        let (kind, offset) = match &entry {
            Entry::Trim { log_start, .. } => (WalKind::Trim, *log_start),
            Entry::DropPartition { .. } => (WalKind::DropPartition, 0),
            Entry::EvictProducer { producer, .. } => (WalKind::EvictProducer, producer.0),
            Entry::Run(_) => unreachable!("batches are staged by stage_batch"),
        };
        if kind != WalKind::DropPartition {
            // Nothing follows a drop but another one: a trim of what is gone would not follow the state.
            inner.accepts(at)?;
        } else {
            inner.takes_entries()?;
        }
        let stamp = inner.advance_stamp(self.wall_ms());
        let head = WalHead {
            kind,
            shard: shard.id,
            epoch: inner.epoch,
            incarnation: inner.incarnation,
            at,
            offset,
            stamp,
            append_time: Timestamp::NONE,
        };
        let location = self.queue(shard, AppendClass::Other, head.encode(), Bytes::new())?;
        if kind == WalKind::DropPartition {
            inner.dropped.insert(at.topic);
        }
        let answer = Appended {
            base_offset: offset,
            append_time: Timestamp::NONE,
            log_start: inner.log_start(at),
        };
        let staged = PendingEntry {
            location,
            stamp,
            entry,
            batch: None,
            answer,
        };
        Ok(self.push_pending(inner, staged, Acks::All))
    }

    /// Puts an entry into its shard's queue. With `shared` durability that is what a flush begins with.
    fn push_pending(&self, inner: &mut Inner, staged: PendingEntry, acks: Acks) -> Staged {
        let bytes = staged.batch.as_ref().map_or(0, StoredBatch::len) as u64;
        let staged = inner.push_pending(staged, acks);
        if let Some(flush) = &self.shared {
            let more = Backlog { entries: 1, bytes };
            inner.queued.add(more);
            flush.staged(more, self.ambient.clock.monotonic());
        }
        staged
    }

    /// Puts a record into the WAL's queue. The shard is marked before, so that the fsync that covers the record finds it.
    fn queue(
        &self,
        shard: &Shard,
        class: AppendClass,
        head: Bytes,
        rest: Bytes,
    ) -> Result<WalLocation, AppendError> {
        self.mark_dirty(shard.id);
        self.journal
            .append(class, head, rest)
            .map_err(|error| match error {
                WalAppendError::Full => AppendError::Full,
                WalAppendError::TooLarge => AppendError::TooLarge,
                WalAppendError::Closed => {
                    AppendError::Stopped("the write-ahead log is closed".to_owned())
                }
            })
    }
}

struct PendingEntry {
    location: WalLocation,
    stamp: Timestamp,
    entry: Entry,
    batch: Option<StoredBatch>,
    answer: Appended,
}

impl Inner {
    /// Whether anything may be staged in the shard.
    fn takes_entries(&self) -> Result<(), AppendError> {
        if self.standing != Standing::Leads {
            return Err(AppendError::NotLeader);
        }
        match &self.stopped {
            Some(reason) => Err(AppendError::Stopped(reason.clone())),
            None => Ok(()),
        }
    }

    fn accepts(&self, at: TopicPartition) -> Result<(), AppendError> {
        self.takes_entries()?;
        if self.dropped.contains(&at.topic) {
            return Err(AppendError::UnknownPartition);
        }
        Ok(())
    }

    /// Judges the batch's sequence; a duplicate gives the bounds of the original.
    fn judge(
        &self,
        at: TopicPartition,
        prepared: &Prepared,
    ) -> Result<Option<BatchBounds>, AppendError> {
        let Some(producer) = &prepared.producer else {
            return Ok(None);
        };
        // A producer that is not known may begin anywhere: its state may have been evicted.
        let Some(known) = self.staged_producer(at, producer.id) else {
            return Ok(None);
        };
        match known.judge(
            producer.epoch,
            producer.first_sequence,
            producer.last_sequence,
        ) {
            Sequenced::Next => Ok(None),
            Sequenced::Duplicate(_) if planted::bug("duplicate_appended_again") => Ok(None),
            Sequenced::Duplicate(bounds) => Ok(Some(bounds)),
            Sequenced::OutOfOrder { expected } => Err(AppendError::OutOfOrder {
                found: producer.first_sequence,
                expected,
            }),
            Sequenced::Fenced { current } => Err(AppendError::Fenced {
                found: producer.epoch,
                current,
            }),
        }
    }

    /// What will be known of a producer once everything that is staged is durable.
    pub(crate) fn staged_producer(
        &self,
        at: TopicPartition,
        id: ProducerId,
    ) -> Option<&ProducerState> {
        match self
            .partitions
            .get(&at)
            .and_then(|partition| partition.staged_producers.get(&id))
        {
            Some(staged) => staged.state.as_ref(),
            None => self.live.partitions.get(&at)?.producers.get(&id),
        }
    }

    /// A duplicate of a durable batch is answered at once; one of a staged batch waits for the original.
    fn join_duplicate(&mut self, at: TopicPartition, bounds: BatchBounds, acks: Acks) -> Staged {
        let log_start = self.log_start(at);
        let expected = Appended {
            base_offset: bounds.base_offset,
            append_time: bounds.timestamp,
            log_start,
        };
        let is_durable = bounds.base_offset < self.high_watermark(at);
        let mut staged = self.pending.iter_mut().rev().take_while(|_| !is_durable);
        let original = staged.find(|pending| {
            matches!(&pending.entry, Entry::Run(run) if run.at == at && run.base_offset == bounds.base_offset)
        });
        let outcome = original.and_then(|pending| wait_for(pending, acks));
        self.wait_for_write += usize::from(acks == Acks::Leader && outcome.is_some());
        Staged { expected, outcome }
    }

    fn push_pending(&mut self, staged: PendingEntry, acks: Acks) -> Staged {
        let at = staged.entry.at();
        let by = staged.location.position;
        match &staged.entry {
            Entry::Run(run) => {
                let next = run.producers.first().map(|row| {
                    match self.staged_producer(at, row.id).cloned() {
                        Some(mut producer) => {
                            producer.append(row);
                            (row.id, producer)
                        }
                        None => (row.id, ProducerState::of(row)),
                    }
                });
                let partition = self.partition_mut(at);
                partition.staged_end = run.next_offset();
                let next = next.map(|(id, producer)| {
                    (
                        id,
                        StagedProducer {
                            by,
                            state: Some(producer),
                        },
                    )
                });
                partition.staged_producers.extend(next);
            }
            Entry::EvictProducer { producer, .. } => {
                let gone = StagedProducer { by, state: None };
                self.partition_mut(at)
                    .staged_producers
                    .insert(*producer, gone);
            }
            Entry::Trim { .. } | Entry::DropPartition { .. } => {}
        }
        self.partition_mut(at).staged_entries += 1;
        let PendingEntry {
            location,
            stamp,
            entry,
            batch,
            answer,
        } = staged;
        let mut pending = Pending {
            location,
            stamp,
            entry,
            batch,
            answer,
            waiters: Vec::new(),
        };
        let outcome = wait_for(&mut pending, acks);
        self.wait_for_write += pending.wait_for_write();
        self.pending.push_back(pending);
        Staged {
            expected: answer,
            outcome,
        }
    }
}

fn wait_for(pending: &mut Pending, acks: Acks) -> Option<oneshot::Receiver<super::Durable>> {
    if acks == Acks::None {
        return None;
    }
    let (tell, outcome) = oneshot::channel();
    pending.waiters.push(Waiting {
        at_write: acks == Acks::Leader,
        tell,
    });
    Some(outcome)
}

/// The two parts of a batch's WAL record, with base offset and leader epoch in the batch; both lie outside its CRC. The
/// header of a batch that shares other memory goes into the first part, and its records stay where they are.
fn record_of(
    head: &WalHead,
    batch: RecordBatch,
    shares: bool,
    leader_epoch: LeaderEpoch,
) -> (Bytes, Bytes) {
    let stamp = Stamp {
        base_offset: head.offset,
        leader_epoch,
        append_time: None,
    };
    if shares {
        let stamped = batch.stamped(&stamp);
        (head.encode_before(&stamped.header), stamped.records)
    } else {
        (head.encode(), batch.stamp(&stamp).into_bytes())
    }
}

/// The producer of a prepared batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchProducer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
}

impl BatchProducer {
    /// The row of a run that holds this batch alone.
    pub(crate) fn row(
        self,
        base_offset: i64,
        append_time: Timestamp,
        stamp: Timestamp,
    ) -> RunProducer {
        RunProducer {
            id: self.id,
            epoch: self.epoch,
            transactional: false,
            first_sequence: self.first_sequence,
            first_offset: base_offset,
            last_stamp: stamp,
            last_batches: vec![BatchBounds {
                first_sequence: self.first_sequence,
                last_sequence: self.last_sequence,
                base_offset,
                timestamp: append_time,
            }],
        }
    }
}
