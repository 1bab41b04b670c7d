//! Leader epochs and sizes of a partition.

use streamhouse_protocol::ids::LeaderEpoch;

use super::{PartitionAddress, ReadError};
use crate::Log;

/// Where a partition's bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes that only the WAL holds.
    pub wal_bytes: u64,
    /// Bytes in objects.
    pub object_bytes: u64,
    /// How many runs they form.
    pub runs: u64,
}

impl Log {
    /// The largest leader epoch of the partition that is at most `wanted`, and the offset where it ends
    /// (OffsetForLeaderEpoch); `None` if the log knows none.
    ///
    /// # Errors
    /// If the topic was deleted or the shard has stopped.
    pub fn epoch_end(
        &self,
        address: PartitionAddress,
        wanted: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, i64)>, ReadError> {
        let inner = self.shard(address.shard)?.lock();
        inner.readable(address.at)?;
        if wanted == inner.epoch {
            // Kafka answers the current epoch with the log end, even before the first record of that epoch.
            return Ok(Some((wanted, inner.high_watermark(address.at))));
        }
        Ok(inner
            .live
            .partitions
            .get(&address.at)
            .and_then(|partition| partition.epoch_end(wanted)))
    }

    /// Whether a read from `offset` on costs no memory: its batches are in the hot tail, or there is nothing to read.
    ///
    /// # Errors
    /// If the topic was deleted or the shard has stopped.
    pub fn is_hot(&self, address: PartitionAddress, offset: i64) -> Result<bool, ReadError> {
        let inner = self.shard(address.shard)?.lock();
        inner.readable(address.at)?;
        let partition = inner.partitions.get(&address.at);
        let reaches_back = partition.and_then(|partition| partition.tail.front());
        let is_in_tail = reaches_back.is_some_and(|first| first.base_offset <= offset);
        Ok(is_in_tail || offset >= inner.high_watermark(address.at))
    }

    /// How many bytes a partition holds, and where.
    ///
    /// # Errors
    /// If the topic was deleted or the shard has stopped.
    pub fn sizes(&self, address: PartitionAddress) -> Result<Sizes, ReadError> {
        let inner = self.shard(address.shard)?.lock();
        inner.readable(address.at)?;
        let partition = inner.partitions.get(&address.at);
        let runs = inner.recorded.locations.runs(address.at);
        Ok(Sizes {
            wal_bytes: partition.map_or(0, |partition| partition.unrecorded.bytes()),
            object_bytes: inner.recorded.locations.bytes(address.at),
            runs: runs.map_or(0, |runs| runs.len() as u64),
        })
    }
}
