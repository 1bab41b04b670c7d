//! Walks over the records of one batch: one parser for bytes that lie in memory and for bytes that are unpacked on the
//! way.
//!
//! The parser knows fields by their position in the unpacked records; who has them in memory cuts them out.

use std::ops::Range;

use super::{MalformedRecordError, RecordError};
use crate::compression::{DecompressionError, Decompressor};
use crate::ids::Timestamp;
use crate::record_batch::{RecordBatch, TimestampType};
use crate::varint::{self, VarintError};

/// The smallest record: length, attributes, two deltas, two lengths and a header count of one byte each.
const RECORD_SIZE_MIN: usize = 7;

/// How much of a stream is in memory at a time.
const WINDOW_SIZE: usize = 16 << 10;

/// Where record bytes come from.
pub(super) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, SourceError>;
    /// Passes over `size` bytes.
    fn skip(&mut self, size: usize) -> Result<(), SourceError>;
    /// How many bytes were taken so far.
    fn position(&self) -> usize;
    /// No position can be larger than this.
    fn position_max(&self) -> usize;
    /// Whether no byte is left.
    fn is_at_end(&mut self) -> Result<bool, SourceError>;
}

/// Why a source gave no bytes, or the parser refused them.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error(transparent)]
    Malformed(#[from] MalformedRecordError),
    #[error(transparent)]
    Decompression(#[from] DecompressionError),
}

impl From<VarintError> for SourceError {
    fn from(error: VarintError) -> Self {
        Self::Malformed(error.into())
    }
}

impl SourceError {
    fn at(self, index: i32) -> RecordError {
        match self {
            Self::Malformed(source) => RecordError::Malformed { index, source },
            Self::Decompression(error) => RecordError::Decompression(error),
        }
    }
}

/// Records that lie in memory.
#[derive(Clone, Debug)]
pub(super) struct Slice<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Slice<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The bytes that were not taken.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }
}

impl Source for Slice<'_> {
    fn byte(&mut self) -> Result<u8, SourceError> {
        let byte = *self
            .bytes
            .get(self.position)
            .ok_or(MalformedRecordError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    fn skip(&mut self, size: usize) -> Result<(), SourceError> {
        if size > self.bytes.len() - self.position {
            return Err(MalformedRecordError::Truncated.into());
        }
        self.position += size;
        Ok(())
    }

    fn position(&self) -> usize {
        self.position
    }

    fn position_max(&self) -> usize {
        self.bytes.len()
    }

    fn is_at_end(&mut self) -> Result<bool, SourceError> {
        Ok(self.position == self.bytes.len())
    }
}

/// Records that are unpacked on the way, one window at a time.
#[derive(Debug)]
pub(super) struct Window<'a> {
    decompressor: Decompressor<'a>,
    window: Vec<u8>,
    /// The part of `window` that was unpacked and not yet taken.
    ready: Range<usize>,
    position: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(decompressor: Decompressor<'a>) -> Self {
        let window = vec![0; WINDOW_SIZE.min(decompressor.output_max().max(1))];
        Self {
            decompressor,
            window,
            ready: 0..0,
            position: 0,
        }
    }

    /// Makes bytes ready if none are; false at the end.
    fn fill(&mut self) -> Result<bool, SourceError> {
        if self.ready.is_empty() {
            self.ready = 0..self.decompressor.read(&mut self.window)?;
        }
        Ok(!self.ready.is_empty())
    }
}

impl Source for Window<'_> {
    fn byte(&mut self) -> Result<u8, SourceError> {
        if !self.fill()? {
            return Err(MalformedRecordError::Truncated.into());
        }
        let byte = self.window[self.ready.start];
        self.ready.start += 1;
        self.position += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut size: usize) -> Result<(), SourceError> {
        while size > 0 {
            if !self.fill()? {
                return Err(MalformedRecordError::Truncated.into());
            }
            let step = size.min(self.ready.len());
            self.ready.start += step;
            self.position += step;
            size -= step;
        }
        Ok(())
    }

    fn position(&self) -> usize {
        self.position
    }

    fn position_max(&self) -> usize {
        self.decompressor.output_max()
    }

    fn is_at_end(&mut self) -> Result<bool, SourceError> {
        Ok(!self.fill()?)
    }
}

/// The fields of one record, by position.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) attributes: i8,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
    pub(super) headers: Range<usize>,
    pub(super) header_count: usize,
    timestamp_delta: i64,
    offset_delta: i32,
}

/// One record, with its place in the partition.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) offset: i64,
    pub(super) timestamp: Timestamp,
    pub(super) fields: Fields,
}

/// What the header of a batch says about its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: Timestamp,
    /// The timestamp of all records where the broker set it (LogAppendTime).
    append_time: Option<Timestamp>,
    records: i32,
}

impl Placement {
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let append_time = match batch.attributes().timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(batch.max_timestamp()),
        };
        Self {
            base_offset: batch.base_offset(),
            last_offset_delta: batch.last_offset_delta(),
            base_timestamp: batch.base_timestamp(),
            append_time,
            records: batch.records_count(),
        }
    }

    fn timestamp(&self, delta: i64) -> Result<Timestamp, MalformedRecordError> {
        if let Some(append_time) = self.append_time {
            return Ok(append_time);
        }
        let sum = self.base_timestamp.0.checked_add(delta);
        sum.map(Timestamp).ok_or(MalformedRecordError::Timestamp)
    }
}

/// A walk over all records of a batch. Ends after the first error; the end itself is checked too.
#[derive(Debug)]
pub(super) struct Walk<S> {
    source: S,
    placement: Placement,
    index: i32,
    offset_delta_last: i32,
    is_over: bool,
}

impl<S: Source> Walk<S> {
    pub(super) const fn new(source: S, placement: Placement) -> Self {
        Self {
            source,
            placement,
            index: 0,
            offset_delta_last: -1,
            is_over: false,
        }
    }

    /// The next record; `None` after the last one or after an error.
    pub(super) fn next(&mut self) -> Option<Result<Found, RecordError>> {
        if self.is_over {
            return None;
        }
        let step = self.step();
        self.is_over = !matches!(step, Ok(Some(_)));
        step.transpose()
    }

    fn step(&mut self) -> Result<Option<Found>, RecordError> {
        let records = self.placement.records;
        if self.index == 0 {
            let bytes = self.source.position_max();
            let fits = |count: usize| count.saturating_mul(RECORD_SIZE_MIN) <= bytes;
            if !usize::try_from(records).is_ok_and(fits) {
                return Err(RecordError::Count { records, bytes });
            }
        }
        let index = self.index;
        if index == records {
            let is_at_end = self.source.is_at_end().map_err(|error| error.at(index))?;
            return if is_at_end {
                Ok(None)
            } else {
                Err(RecordError::TrailingBytes { records })
            };
        }
        let found = self.record().map_err(|error| error.at(index))?;
        self.index += 1;
        Ok(Some(found))
    }

    fn record(&mut self) -> Result<Found, SourceError> {
        let fields = read_fields(&mut self.source)?;
        let delta = fields.offset_delta;
        let last_offset_delta = self.placement.last_offset_delta;
        let offset = self.placement.base_offset.checked_add(i64::from(delta));
        let is_in_order = delta > self.offset_delta_last && delta <= last_offset_delta;
        let (Some(offset), true) = (offset, is_in_order) else {
            return Err(MalformedRecordError::Offset {
                delta,
                last_offset_delta,
            }
            .into());
        };
        self.offset_delta_last = delta;
        let timestamp = self.placement.timestamp(fields.timestamp_delta)?;
        Ok(Found {
            offset,
            timestamp,
            fields,
        })
    }
}

fn read_fields(source: &mut impl Source) -> Result<Fields, SourceError> {
    let length = varint::read_i32(|| source.byte())?;
    let begin = source.position();
    let left = source.position_max().saturating_sub(begin);
    let size = usize::try_from(length).map_err(|_| MalformedRecordError::Length { length })?;
    if size > left {
        return Err(MalformedRecordError::Truncated.into());
    }
    let end = begin + size;
    let attributes = source.byte()?.cast_signed();
    let timestamp_delta = varint::read_i64(|| source.byte())?;
    let offset_delta = varint::read_i32(|| source.byte())?;
    let key = nullable(source, end)?;
    let value = nullable(source, end)?;
    let count = varint::read_i32(|| source.byte())?;
    let left = end.saturating_sub(source.position());
    let header_count = usize::try_from(count).ok().filter(|count| *count <= left);
    let header_count = header_count.ok_or(MalformedRecordError::HeaderCount { count, left })?;
    let headers_begin = source.position();
    for _ in 0..header_count {
        nullable(source, end)?.ok_or(MalformedRecordError::HeaderKey)?;
        nullable(source, end)?;
    }
    if source.position() != end {
        return Err(MalformedRecordError::Length { length }.into());
    }
    let headers = headers_begin..end;
    Ok(Fields {
        attributes,
        key,
        value,
        headers,
        header_count,
        timestamp_delta,
        offset_delta,
    })
}

/// Passes over a length and its bytes, which must not go beyond `end`; `None` for null.
pub(super) fn nullable(
    source: &mut impl Source,
    end: usize,
) -> Result<Option<Range<usize>>, SourceError> {
    let length = varint::read_i32(|| source.byte())?;
    let Ok(size) = usize::try_from(length) else {
        return Ok(None);
    };
    let begin = source.position();
    let left = end.saturating_sub(begin);
    if size > left {
        return Err(MalformedRecordError::FieldTooLong { length, left }.into());
    }
    source.skip(size)?;
    Ok(Some(begin..begin + size))
}
