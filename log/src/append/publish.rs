//! Publishing: what the fsync of the WAL made durable becomes visible, and those who wait are told.
//!
//! Runs on the WAL's thread after each group. A shard that has something staged was marked before its record was queued,
//! so a group never covers a record of a shard that is not marked.

use std::sync::atomic::Ordering;

use streamhouse_storage::wal::WalPosition;

use crate::Log;
use crate::format::entry::Entry;
use crate::shard::partition::TailBatch;
use crate::shard::pending::Pending;
use crate::shard::{Inner, Shard};
use crate::state::ApplyError;

impl Log {
    /// The WAL has written, not yet fsynced, everything below `up_to`: acks=1 may be answered. Only shards in which
    /// somebody waits for that are looked at.
    pub(crate) fn publish_written(&self, up_to: WalPosition) {
        for shard in self.written_due() {
            let mut inner = shard.lock();
            let Inner {
                pending,
                wait_for_write,
                ..
            } = &mut *inner;
            for pending in pending.iter_mut() {
                if *wait_for_write == 0 || pending.location.position >= up_to {
                    break;
                }
                *wait_for_write = wait_for_write.saturating_sub(pending.written());
            }
            if *wait_for_write > 0 {
                self.mark_written_due(shard.id);
            }
        }
    }

    /// The WAL has fsynced everything below `up_to`. Those who wait are told last, so that what they do next (a flush, a
    /// read) finds everything in place.
    pub(crate) fn publish_durable(&self, up_to: WalPosition) {
        let mut told = Vec::new();
        for shard in self.dirty_shards() {
            self.publish_shard(shard, up_to, &mut told);
        }
        self.unflushed_entries
            .fetch_add(told.len() as u64, Ordering::AcqRel);
        self.published.fetch_max(up_to.0, Ordering::AcqRel);
        self.tell(told);
        self.flush_if_due();
    }

    fn publish_shard(&self, shard: &Shard, up_to: WalPosition, told: &mut Vec<Pending>) {
        let mut inner = shard.lock();
        let is_durable = |pending: &mut Pending| pending.location.position < up_to;
        while let Some(pending) = inner.pending.pop_front_if(is_durable) {
            inner.wait_for_write = inner
                .wait_for_write
                .saturating_sub(pending.wait_for_write());
            if let Err(error) = inner.live.apply(&pending.entry, pending.stamp) {
                // Staging gave the offset under this same lock: a gap is a broken invariant, not bad input. The entry stays
                // in front, so that its WAL file is kept.
                tracing::error!(shard = shard.id.0, %error, "the shard stopped: a staged entry does not follow its state");
                inner.pending.push_front(pending);
                inner.stop(error.to_string());
                return;
            }
            inner.keep_unrecorded(&pending);
            inner.settle(&pending, |bytes, at, base| {
                self.tail.note(shard.id, at, base, bytes)
            });
            told.push(pending);
        }
        if !inner.pending.is_empty() {
            self.mark_dirty(shard.id);
        }
    }
}

impl Log {
    /// Publishes what the first flush on its way took from the shard, in the step that records it (`shared`). Those who
    /// wait are to be told when the shard's lock is free.
    pub(crate) fn publish_flushed(
        &self,
        shard: &Shard,
        inner: &mut Inner,
    ) -> Result<Vec<Pending>, ApplyError> {
        // The flush itself leaves its place when it is recorded.
        let flight = inner.in_flight.front_mut();
        let taken = flight.map(|flight| std::mem::take(&mut flight.taken));
        let entries = taken.map_or(0, |taken| taken.entries);
        let mut told = Vec::with_capacity(entries);
        for _ in 0..entries {
            let Some(pending) = inner.pending.pop_front() else {
                break;
            };
            if let Some(staging) = self.journal.staging() {
                staging.release(pending.location);
            }
            inner.live.apply(&pending.entry, pending.stamp)?;
            inner.settle(&pending, |bytes, at, base| {
                self.tail.note(shard.id, at, base, bytes)
            });
            told.push(pending);
        }
        Ok(told)
    }

    /// Lets go of the oldest batches in memory, and tells those who wait.
    pub(crate) fn tell(&self, told: Vec<Pending>) {
        self.tail
            .shrink(|owner, at, base| self.forget_tail(owner, at, base));
        told.into_iter().for_each(Pending::durable);
    }
}

impl Inner {
    /// Notes a durable entry that no manifest names yet.
    fn keep_unrecorded(&mut self, pending: &Pending) {
        self.partition_mut(pending.entry.at()).unrecorded.push(
            &pending.entry,
            pending.stamp,
            pending.location,
            pending.batch.as_ref(),
        );
    }

    /// Moves an entry behind the durable line.
    fn settle(
        &mut self,
        pending: &Pending,
        note_tail: impl FnOnce(usize, streamhouse_protocol::ids::TopicPartition, i64),
    ) {
        let at = pending.entry.at();
        let log_start = self.log_start(at);
        let partition = self.partition_mut(at);
        partition.staged_entries = partition.staged_entries.saturating_sub(1);
        partition.settle_producer(&pending.entry, pending.location.position);
        match (&pending.entry, &pending.batch) {
            (Entry::Run(run), Some(bytes)) => {
                partition.tail.push_back(TailBatch {
                    base_offset: run.base_offset,
                    next_offset: run.next_offset(),
                    bytes: bytes.clone(),
                });
                partition.wake(bytes.len());
                note_tail(bytes.len(), at, run.base_offset);
            }
            (Entry::Trim { .. }, _) => {
                while partition
                    .tail
                    .front()
                    .is_some_and(|batch| batch.next_offset <= log_start)
                {
                    partition.tail.pop_front();
                }
            }
            (Entry::DropPartition { .. }, _) => {
                partition.tail.clear();
                partition.wake(usize::MAX);
            }
            (Entry::EvictProducer { .. } | Entry::Run(_), _) => {}
        }
    }
}
