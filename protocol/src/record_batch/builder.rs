//! Builds record batches: for `streamhouse produce` and `bench`, for markers, and for tests.
//!
//! A batch that was built passes [`RecordBatch::validate_produced`](super::RecordBatch::validate_produced) unless it was
//! told to be something that producers may not send.

use bytes::BytesMut;

use super::stamp::put;
use super::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_LENGTH, CRC,
    HEADER_SIZE, LAST_OFFSET_DELTA, LEADER_EPOCH, LENGTH_OVERHEAD, MAGIC, MAGIC_V2, MAX_TIMESTAMP,
    NO_SEQUENCE, PRODUCER_EPOCH, PRODUCER_ID, RECORDS_COUNT, RecordBatch,
};
use crate::compression::{Compression, CompressionError, compress};
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};
use crate::record::Header;
use crate::varint::{put_i32, put_i64};

/// Why a batch cannot be built. Nothing was sent; put less into one batch.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A record, or all of them, exceed what the format can hold.
    #[error("a record batch cannot hold more than 2 GiB; split it")]
    TooLarge,
    /// Offsets must rise within a batch.
    #[error("the offset delta {delta} does not follow {last}")]
    OffsetDelta {
        /// The delta of the record.
        delta: i32,
        /// The delta of the record before it.
        last: i32,
    },
    /// Timestamps of one batch lie further apart than 64 bits can say.
    #[error("the timestamps of a batch lie too far apart; split it")]
    Timestamp,
    /// The records cannot be compressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// What a record holds, apart from its offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordContent<'a> {
    /// The timestamp in milliseconds; by default 0.
    pub timestamp_ms: i64,
    /// Attributes of the record; Kafka defines none.
    pub attributes: i8,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// The headers in order; keys may repeat.
    pub headers: &'a [Header<'a>],
}

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct RecordBatchBuilder {
    attributes: i16,
    compression: Compression,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    records_count: i32,
    last_offset_delta: i32,
    records: Vec<u8>,
    /// One record at a time, to know its length before it is written.
    scratch: Vec<u8>,
}

impl RecordBatchBuilder {
    /// An empty batch whose records will be compressed like this.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self {
            attributes: 0,
            compression,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: NO_SEQUENCE,
            base_timestamp: Timestamp::NONE.0,
            max_timestamp: Timestamp::NONE.0,
            records_count: 0,
            last_offset_delta: -1,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Makes it a batch of an idempotent producer.
    #[must_use]
    pub const fn producer(
        mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: i32,
    ) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Makes it part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// Makes it a control batch.
    #[must_use]
    pub(super) const fn control(mut self) -> Self {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// How many records it has.
    #[must_use]
    pub const fn records_count(&self) -> i32 {
        self.records_count
    }

    /// The size of its records in bytes, before compression.
    #[must_use]
    pub const fn records_bytes(&self) -> usize {
        self.records.len()
    }

    /// Adds a record behind the last one. An error leaves the batch as it was.
    pub fn push(&mut self, record: &RecordContent<'_>) -> Result<(), BuildError> {
        let delta = self
            .last_offset_delta
            .checked_add(1)
            .ok_or(BuildError::TooLarge)?;
        self.push_at(delta, record)
    }

    /// Adds a record at this distance from the base offset, as compaction leaves them. An error leaves the batch as it
    /// was.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        record: &RecordContent<'_>,
    ) -> Result<(), BuildError> {
        let last = self.last_offset_delta;
        if offset_delta <= last {
            return Err(BuildError::OffsetDelta {
                delta: offset_delta,
                last,
            });
        }
        let is_first = self.records_count == 0;
        let base = if is_first {
            record.timestamp_ms
        } else {
            self.base_timestamp
        };
        let delta = record
            .timestamp_ms
            .checked_sub(base)
            .ok_or(BuildError::Timestamp)?;
        self.write_record(delta, offset_delta, record)?;
        self.base_timestamp = base;
        self.max_timestamp = if is_first {
            base
        } else {
            self.max_timestamp.max(record.timestamp_ms)
        };
        self.last_offset_delta = offset_delta;
        self.records_count += 1;
        Ok(())
    }

    /// Ends the batch: base offset 0, no leader epoch, as producers send it.
    pub fn build(self) -> Result<RecordBatch, BuildError> {
        let packed = match self.compression {
            Compression::None => None,
            compression @ (Compression::Gzip
            | Compression::Snappy
            | Compression::Lz4
            | Compression::Zstd) => Some(compress(compression, &self.records)?),
        };
        let records = packed.as_deref().unwrap_or(&self.records);
        let length = i32::try_from(HEADER_SIZE - LENGTH_OVERHEAD + records.len())
            .map_err(|_| BuildError::TooLarge)?;
        let mut header = [0; HEADER_SIZE];
        let attributes = self.attributes | i16::from(self.compression.id());
        put(&mut header, BASE_OFFSET, 0_i64.to_be_bytes());
        put(&mut header, BATCH_LENGTH, length.to_be_bytes());
        put(&mut header, LEADER_EPOCH, LeaderEpoch::NONE.0.to_be_bytes());
        put(&mut header, MAGIC, MAGIC_V2.to_be_bytes());
        put(&mut header, ATTRIBUTES, attributes.to_be_bytes());
        put(
            &mut header,
            LAST_OFFSET_DELTA,
            self.last_offset_delta.to_be_bytes(),
        );
        put(
            &mut header,
            BASE_TIMESTAMP,
            self.base_timestamp.to_be_bytes(),
        );
        put(&mut header, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(&mut header, PRODUCER_ID, self.producer_id.0.to_be_bytes());
        put(
            &mut header,
            PRODUCER_EPOCH,
            self.producer_epoch.0.to_be_bytes(),
        );
        put(&mut header, BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(&mut header, RECORDS_COUNT, self.records_count.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[ATTRIBUTES..]), records);
        put(&mut header, CRC, crc.to_be_bytes());
        let mut bytes = BytesMut::with_capacity(HEADER_SIZE + records.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(records);
        Ok(RecordBatch {
            bytes: bytes.freeze(),
        })
    }

    fn write_record(
        &mut self,
        timestamp_delta: i64,
        offset_delta: i32,
        record: &RecordContent<'_>,
    ) -> Result<(), BuildError> {
        let scratch = &mut self.scratch;
        scratch.clear();
        scratch.extend_from_slice(&record.attributes.to_be_bytes());
        put_i64(scratch, timestamp_delta);
        put_i32(scratch, offset_delta);
        put_nullable(scratch, record.key)?;
        put_nullable(scratch, record.value)?;
        put_i32(
            scratch,
            i32::try_from(record.headers.len()).map_err(|_| BuildError::TooLarge)?,
        );
        for header in record.headers {
            put_nullable(scratch, Some(header.key))?;
            put_nullable(scratch, header.value)?;
        }
        let length = i32::try_from(scratch.len()).map_err(|_| BuildError::TooLarge)?;
        put_i32(&mut self.records, length);
        self.records.extend_from_slice(scratch);
        Ok(())
    }
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) -> Result<(), BuildError> {
    let Some(field) = field else {
        put_i32(out, -1);
        return Ok(());
    };
    put_i32(
        out,
        i32::try_from(field.len()).map_err(|_| BuildError::TooLarge)?,
    );
    out.extend_from_slice(field);
    Ok(())
}
