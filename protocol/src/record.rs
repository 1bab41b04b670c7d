//! The records inside a batch: offset, timestamp, key, value and headers, as the producer wrote them.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//!   | key length varint | key | value length varint | value
//!   | header count varint | { key length varint | key | value length varint | value }*
//! ```
//! A length below 0 stands for null. Nothing is lost: record attributes, the order of headers, headers of equal keys,
//! and the difference between null and empty are kept.
//!
//! Invariants: no memory is taken on the word of a length or a count; every one is checked against the bytes that are
//! there. Offsets rise within a batch and stay within its range. A batch is read to its last byte or refused.
//!
//! Two ways lead through the records. [`Records`] unpacks a batch into one buffer and lends slices of it. The lookups
//! (`parse.rs` over a stream) keep only a small window in memory and see no keys or values.

mod lookup;
mod parse;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::lookup::{OffsetAndTimestamp, RecordsSummary};
use self::parse::{Placement, Slice, Walk};
use crate::compression::{DecompressionError, Limits, decompress};
use crate::ids::Timestamp;
use crate::record_batch::RecordBatch;
use crate::varint::VarintError;

/// Why the records of a batch cannot be read. Refuse a produced batch (CORRUPT_MESSAGE, or INVALID_RECORD where the
/// record names the fault); a stored one was accepted like this, so skip it where the answer allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The attributes name a compression that does not exist.
    #[error("compression type {id} does not exist")]
    UnknownCompression {
        /// Bits 0 to 2 of the attributes.
        id: u8,
    },
    /// The records cannot be unpacked.
    #[error("cannot unpack the records of a batch")]
    Decompression(#[from] DecompressionError),
    /// The header of the batch counts more records than its bytes can hold, or less than none.
    #[error("a batch counts {records} records in {bytes} bytes")]
    Count {
        /// The count in the header of the batch.
        records: i32,
        /// The most bytes that its records can have, unpacked.
        bytes: usize,
    },
    /// A record is malformed.
    #[error("record {index} of a batch is malformed")]
    Malformed {
        /// Which record, from 0.
        index: i32,
        /// What is wrong with it.
        source: MalformedRecordError,
    },
    /// Bytes follow the last record.
    #[error("bytes follow the {records} records of a batch")]
    TrailingBytes {
        /// The count in the header of the batch.
        records: i32,
    },
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRecordError {
    /// The records end before it does.
    #[error("it is cut off")]
    Truncated,
    /// A varint is too long.
    #[error(transparent)]
    Varint(#[from] VarintError),
    /// A length points beyond the end of the record.
    #[error("a field of {length} bytes begins where {left} bytes of it are left")]
    FieldTooLong {
        /// The length that the field claims.
        length: i32,
        /// The bytes between the field and the end of the record.
        left: usize,
    },
    /// The length of the record is negative, or not the length of its fields.
    #[error("its fields do not fill its length of {length} bytes")]
    Length {
        /// The length that the record claims.
        length: i32,
    },
    /// The header count is negative or larger than the bytes that are left.
    #[error("it counts {count} headers in {left} bytes")]
    HeaderCount {
        /// The count that the record claims.
        count: i32,
        /// The bytes that are left in it.
        left: usize,
    },
    /// A header has a null key.
    #[error("a header has no key")]
    HeaderKey,
    /// Its offset is outside the batch, or not above the offset before it.
    #[error("its offset delta {delta} is out of order or beyond {last_offset_delta}")]
    Offset {
        /// The offset minus the batch's base offset.
        delta: i32,
        /// The largest delta of the batch.
        last_offset_delta: i32,
    },
    /// Its timestamp does not fit 64 bits.
    #[error("its timestamp does not fit 64 bits")]
    Timestamp,
}

/// One record. Keys, values and headers are slices of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Attributes of the record; Kafka defines none, clients may set them.
    pub attributes: i8,
    /// The offset in the partition.
    pub offset: i64,
    /// The producer's timestamp, or the time of the append where the batch says LogAppendTime.
    pub timestamp: Timestamp,
    /// The key; `None` is null, which differs from empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null: a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers in order.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key: UTF-8 by convention, but any bytes are kept.
    pub key: &'a [u8],
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in order; keys may repeat. They were checked when the record was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    block: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let mut source = Slice::new(self.block);
        // The walk over the record has checked these bytes, so that neither read can fail.
        let key = parse::nullable(&mut source, self.block.len()).ok()??;
        let value = parse::nullable(&mut source, self.block.len()).ok()?;
        let header = Header {
            key: &self.block[key],
            value: value.map(|range| &self.block[range]),
        };
        self.block = source.rest();
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// The unpacked records of one batch.
#[derive(Clone, Debug)]
pub struct Records {
    bytes: Bytes,
    placement: Placement,
}

impl Records {
    /// Unpacks the records of `batch`; without compression nothing is copied.
    pub fn unpack(batch: &RecordBatch, limits: &Limits) -> Result<Self, RecordError> {
        let bytes = decompress(lookup::compression(batch)?, &batch.records_bytes(), limits)?;
        Ok(Self {
            bytes,
            placement: Placement::of(batch),
        })
    }

    /// The unpacked bytes; `Bytes::slice_ref` turns a key or value of a [`Record`] into an owned slice of them.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Goes through the records in order. Ends after the first error.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            bytes: &self.bytes,
            walk: Walk::new(Slice::new(&self.bytes), self.placement),
        }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, RecordError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The records of a batch in order; made by [`Records::iter`].
#[derive(Debug)]
pub struct RecordIter<'a> {
    bytes: &'a [u8],
    walk: Walk<Slice<'a>>,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.bytes;
        Some(self.walk.next()?.map(|found| Record {
            attributes: found.fields.attributes,
            offset: found.offset,
            timestamp: found.timestamp,
            key: found.fields.key.map(|range| &bytes[range]),
            value: found.fields.value.map(|range| &bytes[range]),
            headers: Headers {
                block: &bytes[found.fields.headers],
                count: found.fields.header_count,
            },
        }))
    }
}
