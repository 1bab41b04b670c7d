//! What a partition remembers of an idempotent producer, and what it makes of the next batch.
//!
//! The rules are Kafka's (`ProducerStateEntry`, `ProducerAppendInfo`): the last five batches are remembered; a batch that
//! equals one of them is a duplicate and is answered like the first; any other batch must follow without a gap.

use streamhouse_protocol::ids::{ProducerEpoch, Timestamp};

use crate::format::entry::{BATCHES_REMEMBERED, BatchBounds, RunProducer};

/// An idempotent producer as one partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The newest epoch that wrote.
    pub epoch: ProducerEpoch,
    /// The shard's clock at the last append: idle time counts from here, whatever timestamps the records carry.
    pub last_stamp: Timestamp,
    /// The last batches of this epoch, oldest first, at most [`BATCHES_REMEMBERED`]. Never empty.
    pub batches: Vec<BatchBounds>,
    /// First offset of the open transaction.
    pub open_transaction: Option<i64>,
}

/// What to do with a batch of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// It follows: append it.
    Next,
    /// It was appended before, as this batch: answer that one.
    Duplicate(BatchBounds),
    /// It does not follow the last batch (OUT_OF_ORDER_SEQUENCE_NUMBER).
    OutOfOrder {
        /// The sequence that would follow.
        expected: i32,
    },
    /// Its epoch is older than one that already wrote (INVALID_PRODUCER_EPOCH).
    Fenced {
        /// The newest epoch.
        current: ProducerEpoch,
    },
}

impl ProducerState {
    /// The state after a producer's first run.
    #[must_use]
    pub fn of(row: &RunProducer) -> Self {
        Self {
            epoch: row.epoch,
            last_stamp: row.last_stamp,
            batches: row.last_batches.clone(),
            open_transaction: row.transactional.then_some(row.first_offset),
        }
    }

    pub(crate) fn append(&mut self, row: &RunProducer) {
        if self.epoch != row.epoch {
            self.epoch = row.epoch;
            self.batches.clear();
        }
        self.batches.extend_from_slice(&row.last_batches);
        let surplus = self.batches.len().saturating_sub(BATCHES_REMEMBERED);
        self.batches.drain(..surplus);
        self.last_stamp = self.last_stamp.max(row.last_stamp);
        if row.transactional && self.open_transaction.is_none() {
            self.open_transaction = Some(row.first_offset);
        }
    }

    /// Judges a batch against what is remembered.
    #[must_use]
    pub fn judge(
        &self,
        epoch: ProducerEpoch,
        first_sequence: i32,
        last_sequence: i32,
    ) -> Sequenced {
        if epoch < self.epoch {
            return Sequenced::Fenced {
                current: self.epoch,
            };
        }
        if epoch > self.epoch {
            return if first_sequence == 0 {
                Sequenced::Next
            } else {
                Sequenced::OutOfOrder { expected: 0 }
            };
        }
        let same = |batch: &&BatchBounds| {
            batch.first_sequence == first_sequence && batch.last_sequence == last_sequence
        };
        if let Some(batch) = self.batches.iter().find(same) {
            return Sequenced::Duplicate(*batch);
        }
        let expected = self
            .batches
            .last()
            .map_or(0, |last| following(last.last_sequence));
        if first_sequence == expected {
            Sequenced::Next
        } else {
            Sequenced::OutOfOrder { expected }
        }
    }
}

/// The sequence behind `sequence`: 2^31 - 1 is followed by 0.
#[must_use]
pub fn following(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}
