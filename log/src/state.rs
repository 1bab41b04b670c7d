//! The state of a shard: a pure function of its entries.
//!
//! `apply(state, entry) -> state` runs on the leader, on recovery and in every tool that checks a bucket. It knows no
//! clock: the only time is the stamp that the shard's leader wrote. Law: the state is the same however batches are cut
//! into runs and manifests.
//!
//! A leader keeps two states per shard: `live` (every durable entry: it answers clients) and `recorded` (every entry
//! whose manifest is in the database: it is what checkpoints hold). Where bytes lie is kept beside them, in
//! [`locations`], because it differs: a recorded range lies in an object, a live one in the WAL.

pub mod locations;
pub mod partition;
pub mod producer;
pub mod recorded;

use std::collections::BTreeMap;

use streamhouse_protocol::ids::{Timestamp, TopicPartition};

use crate::format::entry::Entry;
pub use partition::{EpochStart, PartitionState};
pub use producer::ProducerState;

/// The state of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    /// The shard's clock: the largest stamp seen. It never goes back.
    pub stamp: Timestamp,
    /// Partitions that ever had an entry and were not dropped.
    pub partitions: BTreeMap<TopicPartition, PartitionState>,
    /// Producers of all partitions together: their number is bounded.
    pub producers: usize,
}

/// An entry does not follow the state: something between them is missing or happened twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A run does not begin where the partition ends.
    #[error("a run of partition {at} begins at offset {found}, the partition ends at {expected}")]
    Gap {
        /// The partition.
        at: TopicPartition,
        /// Its next offset.
        expected: i64,
        /// The run's base offset.
        found: i64,
    },
    /// A trim lies behind the end of the partition.
    #[error("a trim of partition {at} to offset {log_start} lies behind its end {next_offset}")]
    TrimBehindEnd {
        /// The partition.
        at: TopicPartition,
        /// The trim's offset.
        log_start: i64,
        /// The partition's next offset.
        next_offset: i64,
    },
}

impl ShardState {
    /// Applies one entry that was staged when the shard's clock showed `stamp`.
    ///
    /// # Errors
    /// If the entry does not follow this state; the state is unchanged then.
    pub fn apply(&mut self, entry: &Entry, stamp: Timestamp) -> Result<(), ApplyError> {
        match entry {
            Entry::Run(run) => {
                let expected = self
                    .partitions
                    .get(&run.at)
                    .map_or(0, |partition| partition.next_offset);
                if run.base_offset != expected {
                    return Err(ApplyError::Gap {
                        at: run.at,
                        expected,
                        found: run.base_offset,
                    });
                }
                let partition = self.partitions.entry(run.at).or_default();
                let known = partition.producers.len();
                partition.append(run);
                self.producers += partition.producers.len() - known;
            }
            Entry::Trim { at, log_start } => {
                let next_offset = self
                    .partitions
                    .get(at)
                    .map_or(0, |partition| partition.next_offset);
                if *log_start > next_offset {
                    return Err(ApplyError::TrimBehindEnd {
                        at: *at,
                        log_start: *log_start,
                        next_offset,
                    });
                }
                self.partitions.entry(*at).or_default().trim(*log_start);
            }
            Entry::DropPartition { at } => {
                let dropped = self.partitions.remove(at);
                self.producers -= dropped.map_or(0, |partition| partition.producers.len());
            }
            Entry::EvictProducer { at, producer } => {
                if let Some(partition) = self.partitions.get_mut(at)
                    && partition.forget_producer(*producer)
                {
                    self.producers -= 1;
                }
            }
        }
        self.stamp = self.stamp.max(stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
