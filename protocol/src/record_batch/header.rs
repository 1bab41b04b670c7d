//! The header of a batch alone: enough to walk through stored batches, from one to the next, without touching their
//! records. Bytes come from disk: whatever they say, nothing here panics or overflows.

use super::{
    Attributes, BASE_OFFSET, BatchError, HEADER_SIZE, LAST_OFFSET_DELTA, LEADER_EPOCH,
    MAX_TIMESTAMP, RecordBatch, read_field, size_of_first,
};
use crate::ids::{LeaderEpoch, Timestamp};

/// What the first 61 bytes of a batch say. It agrees with [`RecordBatch`], field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    size_bytes: usize,
    base_offset: i64,
    last_offset_delta: i32,
    partition_leader_epoch: LeaderEpoch,
    attributes: Attributes,
    max_timestamp: Timestamp,
}

impl BatchHeader {
    /// Reads the header at the beginning of `bytes`; what follows it is not looked at and may be missing.
    ///
    /// # Errors
    /// The bytes end within the header ([`BatchError::Truncated`]), or no batch of magic 2 begins here.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let size = size_of_first(bytes)?;
        let header = bytes.first_chunk::<HEADER_SIZE>();
        let (Some(size_bytes), Some(header)) = (size, header) else {
            return Err(BatchError::Truncated {
                size: size.unwrap_or(HEADER_SIZE),
                available: bytes.len(),
            });
        };
        Ok(Self {
            size_bytes,
            base_offset: i64::from_be_bytes(field(header, BASE_OFFSET)),
            last_offset_delta: i32::from_be_bytes(field(header, LAST_OFFSET_DELTA)),
            partition_leader_epoch: LeaderEpoch(i32::from_be_bytes(field(header, LEADER_EPOCH))),
            attributes: Attributes(i16::from_be_bytes(field(header, super::ATTRIBUTES))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(header, MAX_TIMESTAMP))),
        })
    }

    /// The size that the batch claims, header included: at least [`HEADER_SIZE`], at most about 2 GiB.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The offset of the first record.
    #[must_use]
    pub const fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The last offset of the batch (saturating, should the fields lie).
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset behind the batch (saturating, should the fields lie).
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The epoch of the leader that appended the batch.
    #[must_use]
    pub const fn partition_leader_epoch(&self) -> LeaderEpoch {
        self.partition_leader_epoch
    }

    /// Compression, timestamp type, transactional, control.
    #[must_use]
    pub const fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// The largest timestamp of the records, or the time of the append with LogAppendTime.
    #[must_use]
    pub const fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }
}

impl RecordBatch {
    /// The header of the batch.
    #[must_use]
    pub fn header(&self) -> BatchHeader {
        BatchHeader::parse(&self.bytes).expect("a parsed batch begins with a header")
    }
}

fn field<const SIZE: usize>(header: &[u8; HEADER_SIZE], at: usize) -> [u8; SIZE] {
    read_field(header, at).expect("every field lies within the header")
}

#[cfg(test)]
mod tests;
