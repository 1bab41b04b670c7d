//! A record batch as it lies on the wire and on disk (magic 2, KIP-98): the unit that producers send, the broker
//! stores unopened, and consumers get back.
//!
//! ```text
//!  0  base offset             i64   set by the broker: the offset of the first record
//!  8  batch length            i32   size of all that follows this field
//! 12  partition leader epoch  i32   set by the broker
//! 16  magic                   i8    2
//! 17  CRC-32C                 u32   of everything from byte 21 to the end
//! 21  attributes              i16   bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//! 23  last offset delta       i32   last offset - base offset
//! 27  base timestamp          i64
//! 35  max timestamp           i64
//! 43  producer id             i64   -1: none
//! 51  producer epoch          i16
//! 53  base sequence           i32   sequence number of the first record; -1: none
//! 57  records count           i32
//! 61  records, compressed as a whole
//! ```
//! All numbers are big-endian.
//!
//! Invariants: a [`RecordBatch`] holds exactly one batch, whole, of magic 2; nothing else about it was checked, and no
//! accessor panics or overflows whatever the fields say. Nothing is copied and nothing allocated to read a header or to
//! check a CRC. What the broker sets at every append (base offset, leader epoch) lies outside the CRC.
//!
//! The record half is in `record.rs`; the rules for produced batches in `validate.rs`; what the broker writes into a
//! batch in `stamp.rs`; a header without its records in `header.rs`; runs of batches in `run.rs`; our own batches in `builder.rs` and `marker.rs`.

mod builder;
mod header;
mod marker;
mod run;
mod stamp;
mod validate;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use bytes::Bytes;

pub use self::builder::{BuildError, RecordBatchBuilder, RecordContent};
pub use self::header::BatchHeader;
pub use self::marker::{Marker, MarkerError, TransactionResult};
pub use self::run::{Batches, iterate};
pub use self::stamp::{Stamp, StampedBatch};
pub use self::validate::ProducedBatchError;
use crate::compression::Compression;
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};

/// The size of the header of a batch in bytes.
pub const HEADER_SIZE: usize = 61;

/// The batch length field does not count itself and what stands before it.
const LENGTH_OVERHEAD: usize = 12;

const BASE_OFFSET: usize = 0;
const BATCH_LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const RECORDS_COUNT: usize = 57;

/// The only magic that Kafka has written since 0.11 and accepts since 4.0.
const MAGIC_V2: i8 = 2;

/// Why bytes are not one record batch. A produce request with such bytes is refused; nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There are no bytes at all (INVALID_RECORD).
    #[error("there is no record batch")]
    Empty,
    /// The bytes end before the batch does (INVALID_RECORD).
    #[error("a record batch of {size} bytes is cut off after {available}")]
    Truncated {
        /// The size of the batch as far as it can be told: at least the header's.
        size: usize,
        /// The bytes that are there.
        available: usize,
    },
    /// The length field is less than a header, or negative (CORRUPT_MESSAGE).
    #[error("a record batch has the impossible length {length}")]
    Length {
        /// The length field.
        length: i32,
    },
    /// Not a batch of magic 2 (INVALID_RECORD). Older formats are gone since Kafka 4.0 (KIP-724).
    #[error("record batches must have magic 2, not {magic}; use a client of version 0.11 or later")]
    Magic {
        /// The magic byte.
        magic: i8,
    },
    /// More bytes follow the batch, be it a second batch or not (INVALID_RECORD).
    #[error("{extra} bytes follow a record batch of {size} bytes; send one batch per partition")]
    TrailingBytes {
        /// The size of the first batch.
        size: usize,
        /// The bytes behind it.
        extra: usize,
    },
}

/// The CRC of a batch does not match its bytes: they changed on the way (CORRUPT_MESSAGE; a produce may be retried).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CRC of a record batch is {stored:08x}, but its bytes give {computed:08x}")]
pub struct CrcError {
    /// The CRC in the header.
    pub stored: u32,
    /// The CRC of the bytes.
    pub computed: u32,
}

/// Whose clock the timestamps of a batch come from (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Each record has the producer's timestamp.
    CreateTime,
    /// All records have the batch's max timestamp, which the broker set.
    LogAppendTime,
}

/// The attributes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(crate) const COMPRESSION: i16 = 0x07;
    pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
    pub(crate) const DELETE_HORIZON: i16 = 0x40;

    /// The number of the compression, 0 to 7.
    #[must_use]
    pub const fn compression_id(self) -> u8 {
        (self.0 & Self::COMPRESSION).to_le_bytes()[0]
    }

    /// The compression of the records; `None` for a number that does not exist.
    #[must_use]
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id(self.compression_id())
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker instead of data; consumers skip it.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether compaction stored in the base timestamp when tombstones of this batch may go (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// One record batch of magic 2.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes bytes that are exactly one batch. Length and magic are checked; the CRC, the other fields and the records
    /// are not.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        if bytes.is_empty() {
            return Err(BatchError::Empty);
        }
        let available = bytes.len();
        let size = size_of_first(&bytes)?.unwrap_or(HEADER_SIZE);
        if available < size {
            return Err(BatchError::Truncated { size, available });
        }
        if available > size {
            return Err(BatchError::TrailingBytes {
                size,
                extra: available - size,
            });
        }
        Ok(Self { bytes })
    }

    /// Checks the CRC-32C over everything behind it.
    pub fn verify_crc(&self) -> Result<(), CrcError> {
        let (stored, computed) = (self.crc(), crc32c::crc32c(&self.bytes[ATTRIBUTES..]));
        if stored == computed {
            Ok(())
        } else {
            Err(CrcError { stored, computed })
        }
    }

    /// The offset of the first record; 0 in what producers send.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(BASE_OFFSET))
    }

    /// The last offset minus the base offset. It stays when compaction removes the last record.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(LAST_OFFSET_DELTA))
    }

    /// The last offset of the batch (saturating, should the fields lie).
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The offset behind the batch (saturating, should the fields lie).
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The epoch of the leader that appended the batch; -1 in what producers send.
    #[must_use]
    pub fn partition_leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(self.field(LEADER_EPOCH)))
    }

    /// The CRC-32C in the header.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field(CRC))
    }

    /// Compression, timestamp type, transactional, control.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes(i16::from_be_bytes(self.field(ATTRIBUTES)))
    }

    /// What the timestamps of the records count from.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(i64::from_be_bytes(self.field(BASE_TIMESTAMP)))
    }

    /// The largest timestamp of the records as the producer claims, or the time of the append with LogAppendTime.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(i64::from_be_bytes(self.field(MAX_TIMESTAMP)))
    }

    /// Who produced the batch; [`ProducerId::NONE`] without idempotence.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(i64::from_be_bytes(self.field(PRODUCER_ID)))
    }

    /// The epoch of the producer; -1 without one.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(self.field(PRODUCER_EPOCH)))
    }

    /// The sequence number of the first record; -1 without one.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(BASE_SEQUENCE))
    }

    /// The sequence number of the last record. After 2^31-1 comes 0. Without sequence numbers it is -1.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            base @ 0.. => sequence_after(base, self.last_offset_delta()),
            _ => NO_SEQUENCE,
        }
    }

    /// How many records the header counts.
    #[must_use]
    pub fn records_count(&self) -> i32 {
        i32::from_be_bytes(self.field(RECORDS_COUNT))
    }

    /// The size of the whole batch in bytes: what `max.message.bytes` limits.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The whole batch.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The records as they are stored: compressed, if the attributes say so.
    #[must_use]
    pub fn records_bytes(&self) -> Bytes {
        self.bytes.slice(HEADER_SIZE..)
    }

    fn field<const SIZE: usize>(&self, at: usize) -> [u8; SIZE] {
        read_field(&self.bytes, at).expect("a parsed batch is at least as long as its header")
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch")
            .field("base_offset", &self.base_offset())
            .field("last_offset", &self.last_offset())
            .field("records_count", &self.records_count())
            .field("attributes", &self.attributes())
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}

/// What a batch carries instead of a sequence number when its producer is not idempotent.
pub const NO_SEQUENCE: i32 = -1;

/// The sequence number `steps` after `sequence`, both 0 or above: 2^31-1 is followed by 0 (Kafka:
/// `DefaultRecordBatch.incrementSequence`). Steps below 0 count as 0.
#[must_use]
pub fn sequence_after(sequence: i32, steps: i32) -> i32 {
    let sum = i64::from(sequence.max(0)) + i64::from(steps.max(0));
    i32::try_from(sum & i64::from(i32::MAX)).expect("31 bits were kept")
}

/// The size that the first batch in `bytes` claims, or `None` if `bytes` end within the part of the header that is
/// needed to tell. An error says that no batch begins here.
fn size_of_first(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let Some(length) = read_field(bytes, BATCH_LENGTH).map(i32::from_be_bytes) else {
        return Ok(None);
    };
    let Some(magic) = read_field(bytes, MAGIC).map(i8::from_be_bytes) else {
        return Ok(None);
    };
    // Older magics have shorter headers: name the magic before the length is judged.
    if magic != MAGIC_V2 {
        return Err(BatchError::Magic { magic });
    }
    let size = usize::try_from(length)
        .ok()
        .map(|length| length + LENGTH_OVERHEAD);
    let size = size.filter(|size| *size >= HEADER_SIZE);
    size.map(Some).ok_or(BatchError::Length { length })
}

fn read_field<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..)?.first_chunk().copied()
}
