//! Replaying the WAL's records of one shard, and the judgement on those that do not follow.
//!
//! A record follows if its epoch was granted before, its topic is known or deleted, and its entry applies to the live
//! state. One that does not is not applied, and neither is any later entry of its partition but a drop. If there is one the
//! shard stops, with all that only the WAL holds of it kept, unless exactly this loss was accepted.

use bytes::Bytes;
use streamhouse_metadata::store::ShardRow;
use streamhouse_protocol::ids::{LeaderEpoch, ProducerId, Timestamp};
use streamhouse_protocol::record_batch::RecordBatch;
use streamhouse_storage::wal::{AppendClass, WalLocation};

use super::RecoverError;
use super::loss::{AcceptedLoss, Loss};
use crate::append::stage::BatchProducer;
use crate::append::stored::StoredBatch;
use crate::format::entry::{Entry, Run};
use crate::format::wal_record::{WalHead, WalKind};
use crate::shard::Inner;
use streamhouse_runtime::planted;

/// A shard on its way back.
#[derive(Debug)]
pub(super) struct Recovering {
    pub(super) row: ShardRow,
    pub(super) inner: Inner,
    /// The largest epoch of its WAL records.
    pub(super) highest_epoch: LeaderEpoch,
    /// Why its recorded state cannot be used.
    unusable: Option<String>,
    loss: Option<Loss>,
    /// Every WAL record of it that no manifest covers.
    held: Vec<(WalLocation, AppendClass)>,
}

impl Recovering {
    pub(super) fn new(row: ShardRow, inner: Inner) -> Self {
        Self {
            row,
            inner,
            highest_epoch: LeaderEpoch(0),
            unusable: None,
            loss: None,
            held: Vec::new(),
        }
    }

    /// A shard whose recorded state cannot be read: its WAL records are kept and not looked at.
    pub(super) fn unusable(row: ShardRow, inner: Inner, reason: String) -> Self {
        Self {
            unusable: Some(reason),
            ..Self::new(row, inner)
        }
    }

    /// Applies a record that no manifest covers; false if it was not applied.
    pub(super) fn replay(
        &mut self,
        head: &WalHead,
        batch: Bytes,
        (location, class): (WalLocation, AppendClass),
        is_known: bool,
    ) -> bool {
        self.held.push((location, class));
        self.highest_epoch = self.highest_epoch.max(head.epoch);
        if self.unusable.is_some() {
            return false;
        }
        let end = head.offset.saturating_add(offsets_of(head, &batch));
        let Err(reason) = self.apply(head, batch, location, is_known) else {
            return true;
        };
        let shard = self.row.shard;
        let loss = self
            .loss
            .get_or_insert_with(|| Loss::new(shard, location, reason));
        loss.add(location, head, end);
        false
    }

    fn apply(
        &mut self,
        head: &WalHead,
        batch: Bytes,
        location: WalLocation,
        is_known: bool,
    ) -> Result<(), String> {
        if head.epoch >= self.row.epoch {
            return Err(format!(
                "it was written under epoch {}, which the database has not granted before",
                head.epoch
            ));
        }
        if !is_known {
            let topic = head.at.topic;
            return Err(format!("topic {topic} is neither known nor deleted"));
        }
        let follows_a_lost_one = self.loss.as_ref().is_some_and(|loss| loss.has(head.at));
        if follows_a_lost_one && head.kind != WalKind::DropPartition {
            return Err("an earlier one of its partition does not follow".to_owned());
        }
        let entry = entry_of(head, batch.clone())?;
        let batch = (head.kind == WalKind::Batch).then(|| StoredBatch::from(batch));
        self.inner
            .replay(&entry, head.stamp, location, batch.as_ref())
    }

    /// The shard, ready to serve or stopped, and its loss if it was accepted.
    pub(super) fn finish(
        mut self,
        accepted: Option<AcceptedLoss>,
    ) -> Result<(Inner, Option<Loss>), RecoverError> {
        let positions = accepted.and_then(|accepted| accepted.positions_of(self.row.shard));
        let refused = |reason: String| match positions {
            Some(accepted) => Err(RecoverError::NotAccepted {
                shard: self.row.shard.0,
                accepted,
                reason,
            }),
            None => Ok(reason),
        };
        let reason = match (self.unusable, self.loss) {
            (Some(reason), _) => refused(reason)?,
            (None, None) => {
                refused("every record follows the database".to_owned())?;
                return Ok((self.inner, None));
            }
            (None, Some(loss)) if positions == Some(loss.positions) => {
                return Ok((self.inner, Some(loss)));
            }
            (None, Some(_)) if planted::bug("loss_passed_over") => return Ok((self.inner, None)),
            (None, Some(loss)) => refused(loss.to_string())?,
        };
        self.inner.stop(reason);
        // The records stay where they are; nobody reads them before the next start.
        self.inner.partitions.clear();
        self.inner.held = self.held;
        Ok((self.inner, None))
    }
}

/// How many offsets a record takes.
fn offsets_of(head: &WalHead, batch: &Bytes) -> i64 {
    match head.kind {
        WalKind::Batch => RecordBatch::parse(batch.clone())
            .map_or(1, |batch| i64::from(batch.last_offset_delta()) + 1),
        WalKind::Trim | WalKind::DropPartition | WalKind::EvictProducer => 0,
    }
}

/// The entry that a WAL record stands for.
fn entry_of(head: &WalHead, batch: Bytes) -> Result<Entry, String> {
    match head.kind {
        WalKind::Trim => Ok(Entry::Trim {
            at: head.at,
            log_start: head.offset,
        }),
        WalKind::DropPartition => Ok(Entry::DropPartition { at: head.at }),
        WalKind::EvictProducer => Ok(Entry::EvictProducer {
            at: head.at,
            producer: ProducerId(head.offset),
        }),
        WalKind::Batch => {
            let batch = RecordBatch::parse(batch).map_err(|error| error.to_string())?;
            batch.verify_crc().map_err(|error| error.to_string())?;
            Ok(Entry::Run(run_of(head, &batch)))
        }
    }
}

fn run_of(head: &WalHead, batch: &RecordBatch) -> Run {
    let is_known = batch.producer_id().is_some() && !planted::bug("dedupe_lost_on_restart");
    let producer = is_known.then(|| {
        let producer = BatchProducer {
            id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
        };
        producer.row(head.offset, head.append_time, head.stamp)
    });
    Run {
        at: head.at,
        base_offset: head.offset,
        records: u64::try_from(i64::from(batch.last_offset_delta()) + 1).unwrap_or(0),
        batches: 1,
        bytes: batch.size_bytes() as u64,
        append_epoch: head.epoch,
        max_timestamp: batch.max_timestamp(),
        crc: 0,
        producers: producer.into_iter().collect(),
        points: Vec::new(),
    }
}

impl Inner {
    fn replay(
        &mut self,
        entry: &Entry,
        stamp: Timestamp,
        location: WalLocation,
        batch: Option<&StoredBatch>,
    ) -> Result<(), String> {
        self.live
            .apply(entry, stamp)
            .map_err(|error| error.to_string())?;
        self.stamp = self.stamp.max(stamp);
        let at = entry.at();
        if matches!(entry, Entry::DropPartition { .. }) {
            self.dropped.insert(at.topic);
        }
        let end = self.high_watermark(at);
        let partition = self.partition_mut(at);
        partition.staged_end = end;
        partition.unrecorded.push(entry, stamp, location, batch);
        Ok(())
    }
}
