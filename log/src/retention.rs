//! Retention: old runs leave by time and size, idle producers are forgotten, deleted topics are dropped.
//!
//! All of it is entries: a trim, an eviction, a drop. The log start moves by whole recorded runs, so a partition keeps at
//! least what its settings ask for and at most one run more.

use std::collections::BTreeMap;

use streamhouse_metadata::store::{RecordedDrop, StoreError};
use streamhouse_protocol::ids::{Timestamp, TopicId, TopicPartition};

use crate::Log;
use crate::append::{AppendError, AppendLost};
use crate::format::entry::Entry;
use crate::read::{PartitionAddress, ReadError};
use crate::shard::{Inner, Shard};
use streamhouse_runtime::planted;

/// What a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`; `None` keeps for ever.
    pub ms: Option<i64>,
    /// `retention.bytes` of one partition; `None` keeps all.
    pub bytes: Option<u64>,
}

/// Why a trim was refused or not finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    /// The offset lies outside the log. Nothing happened.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be staged. Nothing happened.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The broker stopped meanwhile. It may have happened.
    #[error(transparent)]
    Lost(#[from] AppendLost),
}

impl Log {
    /// Moves the log start of a partition up to `offset`, or to the high watermark with `None` (DeleteRecords). Returns
    /// the log start when it is durable.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub async fn delete_records(
        &self,
        address: PartitionAddress,
        offset: Option<i64>,
    ) -> Result<i64, TrimError> {
        let offsets = self.offsets(address)?;
        let to = offset.unwrap_or(offsets.high_watermark);
        if to < 0 || to > offsets.high_watermark {
            let (log_start, log_end) = (offsets.log_start, offsets.high_watermark);
            return Err(ReadError::OutOfRange {
                offset: to,
                log_start,
                log_end,
            }
            .into());
        }
        if to > offsets.log_start || planted::bug("trim_moves_back") {
            let entry = Entry::Trim {
                at: address.at,
                log_start: to,
            };
            self.stage_entry(self.shard(address.shard)?, entry)?
                .acknowledged()
                .await?;
        }
        Ok(self.offsets(address)?.log_start)
    }

    /// One pass of retention over all partitions. `rules` says what each topic keeps; a topic that is not in it keeps
    /// everything. Returns how many partitions were trimmed.
    pub fn apply_retention(&self, rules: &BTreeMap<TopicId, Retention>) -> usize {
        let now = self.wall_ms();
        let mut trimmed = 0;
        for shard in self.shards() {
            let mut inner = shard.lock();
            for entry in inner.due_trims(rules, now) {
                trimmed += usize::from(self.stage_quietly(shard, &mut inner, entry));
            }
        }
        trimmed
    }

    /// Forgets producers that wrote nothing for `idle_ms` (`producer.id.expiration.ms`). Returns how many.
    pub fn evict_producers(&self, idle_ms: i64) -> usize {
        let oldest = self.wall_ms().saturating_sub(idle_ms);
        let mut evicted = 0;
        for shard in self.shards() {
            // In one step: a producer that writes between the look and the eviction would lose its dedupe.
            let mut inner = shard.lock();
            for (_, at, producer) in inner.forgettable(None, Timestamp(oldest)) {
                let entry = Entry::EvictProducer { at, producer };
                evicted += usize::from(self.stage_quietly(shard, &mut inner, entry));
            }
        }
        evicted
    }

    /// Drops the partitions of a deleted topic. When it returns, the drops are durable; they are recorded by the next
    /// flush.
    ///
    /// # Errors
    /// If a drop could not be staged, or the broker stopped; call it again on the next start.
    pub async fn drop_topic(&self, partitions: &[PartitionAddress]) -> Result<(), TrimError> {
        let mut staged = Vec::new();
        for address in partitions {
            let shard = self.shard(address.shard)?;
            staged.push(self.stage_entry(shard, Entry::DropPartition { at: address.at })?);
        }
        for drop in staged {
            drop.acknowledged().await?;
        }
        Ok(())
    }

    /// Tells the database which drops of deleted topics are recorded, so that their tombstones may go. Drops that a crash
    /// kept from being recorded are staged again.
    ///
    /// # Errors
    /// If the metadata store failed; the next call goes on.
    pub async fn settle_tombstones(&self) -> Result<(), StoreError> {
        for tombstone in self.store().topics().await?.tombstones {
            for pending in &tombstone.pending {
                let Ok(shard) = self.shard(*pending) else {
                    continue;
                };
                if let Some(drop) = self.drop_all(shard, tombstone.id) {
                    self.store().drop_recorded(drop).await?;
                }
            }
        }
        Ok(())
    }

    /// Stages a drop of each partition of a deleted topic that has none yet. Gives what is to be noted when all drops are
    /// recorded.
    fn drop_all(&self, shard: &Shard, topic: TopicId) -> Option<RecordedDrop> {
        let mut inner = shard.lock();
        inner.close_topic(topic);
        let held = inner.partitions_of(topic);
        for at in &held {
            if inner.lacks_drop(*at) {
                self.stage_quietly(shard, &mut inner, Entry::DropPartition { at: *at });
            }
        }
        let is_recorded = held.is_empty() && inner.stopped.is_none();
        is_recorded.then_some(RecordedDrop {
            topic,
            shard: shard.id,
            epoch: inner.epoch,
            incarnation: inner.incarnation,
        })
    }

    fn stage_quietly(&self, shard: &Shard, inner: &mut Inner, entry: Entry) -> bool {
        let at = entry.at();
        match self.stage_locked(shard, inner, entry) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(partition = %at, %error, "an entry of the upkeep was not staged; the next pass tries again");
                false
            }
        }
    }
}

impl Inner {
    fn due_trims(&self, rules: &BTreeMap<TopicId, Retention>, now: i64) -> Vec<Entry> {
        let partitions = self.recorded.locations.iter();
        let due = partitions.filter_map(|(at, runs)| {
            let rule = rules.get(&at.topic)?;
            if self.dropped.contains(&at.topic) {
                return None;
            }
            let mut left = self.recorded.locations.bytes(*at);
            let mut log_start = 0;
            for run in runs {
                let too_old = rule
                    .ms
                    .is_some_and(|ms| now.saturating_sub(run.ages_from().0) > ms);
                let too_much = rule.bytes.is_some_and(|bytes| left - run.bytes >= bytes);
                if !too_old && !too_much {
                    break;
                }
                left -= run.bytes;
                log_start = run.next_offset;
            }
            (log_start > self.log_start(*at)).then_some(Entry::Trim { at: *at, log_start })
        });
        due.collect()
    }

    /// From here on nothing of a deleted topic is read or staged. Parked fetches hear of it at once, also at partitions
    /// that never held a record and need no drop.
    fn close_topic(&mut self, topic: TopicId) {
        if !self.dropped.insert(topic) {
            return;
        }
        let partitions = self.partitions.keys().filter(|at| at.topic == topic);
        for at in partitions.copied().collect::<Vec<_>>() {
            self.partition_mut(at).wake(usize::MAX);
            if !self.live.partitions.contains_key(&at) {
                self.forget_partition(at);
            }
        }
    }

    /// Partitions of a topic that the shard still holds, in any state before a recorded drop.
    fn partitions_of(&self, topic: TopicId) -> Vec<TopicPartition> {
        let live = self.live.partitions.keys();
        let recorded = self.recorded.state.partitions.keys();
        let unrecorded = self.partitions.iter().filter(|(_, partition)| {
            // A second drop on its way would be replayed when nobody knows the topic any more.
            !partition.unrecorded.is_empty() || partition.staged_entries > 0
        });
        let all = live.chain(recorded).chain(unrecorded.map(|(at, _)| at));
        let mut held: Vec<TopicPartition> = all.filter(|at| at.topic == topic).copied().collect();
        held.sort_unstable();
        held.dedup();
        held
    }

    /// Whether nothing that is staged or durable drops the partition.
    fn lacks_drop(&self, at: TopicPartition) -> bool {
        let is_staged = self.pending.iter().any(|pending| {
            matches!(&pending.entry, Entry::DropPartition { at: dropped } if *dropped == at)
        });
        self.live.partitions.contains_key(&at) && !is_staged
    }
}
