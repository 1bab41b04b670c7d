//! What may be read: the corners of a partition, and whether an offset lies between them.

use streamhouse_protocol::ids::TopicPartition;

use super::{Isolation, Offsets, PartitionAddress, ReadError};
use crate::Log;
use crate::shard::{Inner, Standing};
use crate::state::PartitionState;
use streamhouse_runtime::planted;

impl Log {
    /// The corners of a partition.
    ///
    /// # Errors
    /// If the topic was deleted or the shard has stopped.
    pub fn offsets(&self, address: PartitionAddress) -> Result<Offsets, ReadError> {
        let inner = self.shard(address.shard)?.lock();
        inner.readable(address.at)?;
        Ok(inner.offsets(address.at))
    }
}

impl Inner {
    pub(crate) fn readable(&self, at: TopicPartition) -> Result<(), ReadError> {
        if self.standing == Standing::Elsewhere {
            return Err(ReadError::NotLeader);
        }
        if let Some(reason) = &self.stopped {
            return Err(ReadError::Stopped(reason.clone()));
        }
        if self.dropped.contains(&at.topic) {
            return Err(ReadError::UnknownPartition);
        }
        Ok(())
    }

    pub(crate) fn offsets(&self, at: TopicPartition) -> Offsets {
        let mut high_watermark = self.high_watermark(at);
        if planted::bug("high_watermark_off_by_one") && self.staged_end(at) > high_watermark {
            high_watermark += 1;
        }
        if planted::bug("recorded_instead_of_live") {
            high_watermark = self.recorded_end(at);
        }
        let partition = self.live.partitions.get(&at);
        let open = partition.and_then(PartitionState::first_open);
        Offsets {
            log_start: self.log_start(at),
            high_watermark,
            last_stable: open.unwrap_or(high_watermark),
            log_end: self.staged_end(at),
            leader_epoch: self.epoch,
        }
    }
}

impl Offsets {
    /// The offset behind the last record that a reader may see.
    #[must_use]
    pub fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable,
        }
    }

    /// Refuses an offset below the log start or above the log end. Between high watermark and log end a read is empty,
    /// not out of range: answering otherwise would reset consumers.
    pub(crate) fn check(&self, offset: i64) -> Result<(), ReadError> {
        if offset < self.log_start || offset > self.log_end {
            return Err(ReadError::OutOfRange {
                offset,
                log_start: self.log_start,
                log_end: self.log_end,
            });
        }
        Ok(())
    }
}
