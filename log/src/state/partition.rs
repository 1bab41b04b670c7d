//! The state of one partition: where its log begins and ends, its leader epochs, its producers.

use std::collections::{BTreeMap, BTreeSet};

use streamhouse_protocol::ids::{LeaderEpoch, ProducerId};

use super::producer::ProducerState;
use crate::format::entry::Run;
use streamhouse_runtime::planted;

/// Where a leader epoch begins (Kafka: the leader epoch cache).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch stamped into the batches.
    pub epoch: LeaderEpoch,
    /// The first offset that carries it.
    pub start_offset: i64,
}

/// What is known of a partition without looking at its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// The first offset that may be read. It only grows, and only by a trim.
    pub log_start: i64,
    /// The offset that the next record gets.
    pub next_offset: i64,
    /// Epoch starts, both parts growing.
    pub epochs: Vec<EpochStart>,
    /// Idempotent producers that wrote here and were not evicted.
    pub producers: BTreeMap<ProducerId, ProducerState>,
    /// The open transactions among them, by first offset: every fetch asks for the oldest.
    pub(crate) open: BTreeSet<(i64, ProducerId)>,
}

impl PartitionState {
    pub(crate) fn append(&mut self, run: &Run) {
        self.next_offset = run.next_offset();
        if self
            .epochs
            .last()
            .is_none_or(|last| last.epoch < run.append_epoch)
        {
            self.epochs.push(EpochStart {
                epoch: run.append_epoch,
                start_offset: run.base_offset,
            });
        }
        for row in &run.producers {
            let producer = match self.producers.remove(&row.id) {
                Some(mut producer) => {
                    producer.append(row);
                    producer
                }
                None => ProducerState::of(row),
            };
            self.put_producer(row.id, producer);
        }
    }

    /// Sets what is known of a producer.
    pub(crate) fn put_producer(&mut self, id: ProducerId, producer: ProducerState) {
        if let Some(first) = producer.open_transaction {
            self.open.insert((first, id));
        }
        self.producers.insert(id, producer);
    }

    /// Forgets a producer. Says whether it was known.
    pub(crate) fn forget_producer(&mut self, id: ProducerId) -> bool {
        let Some(producer) = self.producers.remove(&id) else {
            return false;
        };
        if let Some(first) = producer.open_transaction {
            self.open.remove(&(first, id));
        }
        true
    }

    /// The first offset of the oldest open transaction.
    #[must_use]
    pub fn first_open(&self) -> Option<i64> {
        self.open.first().map(|(first, _)| *first)
    }

    pub(crate) fn trim(&mut self, log_start: i64) {
        // A trim that lies below an earlier one changes nothing: the log start never goes back.
        self.log_start = if planted::bug("trim_moves_back") {
            log_start
        } else {
            self.log_start.max(log_start)
        };
        let gone = self
            .epochs
            .iter()
            .skip(1)
            .take_while(|e| e.start_offset <= self.log_start)
            .count();
        self.epochs.drain(..gone);
        if let Some(first) = self.epochs.first_mut() {
            first.start_offset = first.start_offset.max(self.log_start);
        }
    }

    /// The answer of OffsetForLeaderEpoch: the largest epoch that is at most `wanted`, and the offset where it ends.
    /// `None` if every known epoch is newer, or none is known.
    #[must_use]
    pub fn epoch_end(&self, wanted: LeaderEpoch) -> Option<(LeaderEpoch, i64)> {
        let behind = self.epochs.partition_point(|start| start.epoch <= wanted);
        let found = self.epochs.get(behind.checked_sub(1)?)?;
        let end = self
            .epochs
            .get(behind)
            .map_or(self.next_offset, |next| next.start_offset);
        Some((found.epoch, end))
    }
}
