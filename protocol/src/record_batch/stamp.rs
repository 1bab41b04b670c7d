//! What the broker writes into a batch when it appends it: base offset, leader epoch and, for topics with
//! LogAppendTime, the time.
//!
//! Base offset and leader epoch lie outside the CRC. LogAppendTime changes attributes and max timestamp and therefore
//! the CRC, which is computed again over the bytes as they are: compressed records stay compressed.
//!
//! Cost: [`RecordBatch::stamped`] copies the 61 bytes of the header and nothing else, whoever else holds the bytes;
//! header and records then go to a vectored write. [`RecordBatch::stamp`] works in place if nobody else holds the bytes
//! and copies the batch once if somebody does, as is the case while the request's frame lives. Records that stay
//! slices of a frame keep the whole frame in memory: who holds many of them should copy.

use bytes::{Bytes, BytesMut};

use super::{
    ATTRIBUTES, Attributes, BASE_OFFSET, CRC, HEADER_SIZE, LEADER_EPOCH, MAX_TIMESTAMP,
    RecordBatch, read_field,
};
use crate::ids::{LeaderEpoch, Timestamp};

/// What an append sets in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The epoch of the leader that appends.
    pub leader_epoch: LeaderEpoch,
    /// The time of the append, on topics with `message.timestamp.type=LogAppendTime`.
    pub append_time: Option<Timestamp>,
}

/// A batch as the log holds it, in two pieces: its own header, and the records that are still the producer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedBatch {
    /// The header.
    pub header: [u8; HEADER_SIZE],
    /// What follows it.
    pub records: Bytes,
}

impl StampedBatch {
    /// The size of the whole batch in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        HEADER_SIZE + self.records.len()
    }

    /// The batch in one piece; copies it once.
    #[must_use]
    pub fn to_batch(&self) -> RecordBatch {
        let mut bytes = BytesMut::with_capacity(self.size_bytes());
        bytes.extend_from_slice(&self.header);
        bytes.extend_from_slice(&self.records);
        RecordBatch {
            bytes: bytes.freeze(),
        }
    }
}

impl RecordBatch {
    /// The batch with `stamp` in a header of its own; the records are not copied.
    #[must_use]
    pub fn stamped(&self, stamp: &Stamp) -> StampedBatch {
        let mut header: [u8; HEADER_SIZE] = self.field(0);
        let records = self.records_bytes();
        stamp.write(&mut header, &records);
        StampedBatch { header, records }
    }

    /// The batch in memory of its own.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&self.bytes),
        }
    }

    /// A copy of the batch with LogAppendTime; base offset and leader epoch stay.
    #[must_use]
    pub fn with_append_time(&self, append_time: Timestamp) -> Self {
        let stamp = Stamp {
            base_offset: self.base_offset(),
            leader_epoch: self.partition_leader_epoch(),
            append_time: Some(append_time),
        };
        self.stamped(&stamp).to_batch()
    }

    /// The batch with `stamp`, in place if nobody else holds its bytes, else in one copy.
    #[must_use]
    pub fn stamp(self, stamp: &Stamp) -> Self {
        match self.bytes.try_into_mut() {
            Ok(mut bytes) => {
                let (header, records) = bytes
                    .split_first_chunk_mut()
                    .expect("a parsed batch is at least as long as its header");
                stamp.write(header, records);
                Self {
                    bytes: bytes.freeze(),
                }
            }
            Err(bytes) => Self { bytes }.stamped(stamp).to_batch(),
        }
    }
}

impl Stamp {
    fn write(&self, header: &mut [u8; HEADER_SIZE], records: &[u8]) {
        put(header, BASE_OFFSET, self.base_offset.to_be_bytes());
        put(header, LEADER_EPOCH, self.leader_epoch.0.to_be_bytes());
        if let Some(append_time) = self.append_time {
            let attributes = read_field(header, ATTRIBUTES).map_or(0, i16::from_be_bytes);
            let attributes = attributes | Attributes::LOG_APPEND_TIME;
            put(header, ATTRIBUTES, attributes.to_be_bytes());
            put(header, MAX_TIMESTAMP, append_time.0.to_be_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&header[ATTRIBUTES..]), records);
            put(header, CRC, crc.to_be_bytes());
        }
    }
}

/// Writes a field of the header; `at` is one of the constants of the layout.
pub(super) fn put<const SIZE: usize>(header: &mut [u8; HEADER_SIZE], at: usize, field: [u8; SIZE]) {
    header[at..at + SIZE].copy_from_slice(&field);
}
