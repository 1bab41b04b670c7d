//! What ListOffsets and compacted topics ask of the records of one batch.
//!
//! The answers are about records, not about the batch: a batch-level answer to a lookup by time skips records or
//! returns too early an offset. Compressed records are unpacked through a small window.

use super::RecordError;
use super::parse::{Found, Placement, Slice, Source, Walk, Window};
use crate::compression::{Compression, Decompressor, Limits};
use crate::ids::Timestamp;
use crate::record_batch::RecordBatch;

/// A record's place: what ListOffsets answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// The offset of the record.
    pub offset: i64,
    /// Its timestamp; the time of the append where the batch says LogAppendTime.
    pub timestamp: Timestamp,
}

/// What one pass over all records of a batch finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsSummary {
    /// The first record that has the largest timestamp; `None` for a batch without records.
    pub max_timestamp: Option<OffsetAndTimestamp>,
    /// The smallest timestamp of a record; `None` for a batch without records.
    pub min_timestamp: Option<Timestamp>,
    /// The index in the batch of the first record with a null key, which a compacted topic refuses.
    pub first_null_key: Option<i32>,
}

impl RecordBatch {
    /// Reads every record to its last byte and keeps nothing but the summary. This is the record-level check of a
    /// produced batch.
    pub fn summarize_records(&self, limits: &Limits) -> Result<RecordsSummary, RecordError> {
        let mut summary = RecordsSummary {
            max_timestamp: None,
            min_timestamp: None,
            first_null_key: None,
        };
        let mut index = 0;
        self.find_record(limits, |found| {
            let (offset, timestamp) = (found.offset, found.timestamp);
            if summary
                .max_timestamp
                .is_none_or(|max| timestamp > max.timestamp)
            {
                summary.max_timestamp = Some(OffsetAndTimestamp { offset, timestamp });
            }
            if summary.min_timestamp.is_none_or(|min| timestamp < min) {
                summary.min_timestamp = Some(timestamp);
            }
            if found.fields.key.is_none() && summary.first_null_key.is_none() {
                summary.first_null_key = Some(index);
            }
            index += 1;
            false
        })?;
        Ok(summary)
    }

    /// The first record whose timestamp is `timestamp` or later. Records behind it are not read, so a fault there is
    /// not seen.
    pub fn first_record_at_or_after(
        &self,
        timestamp: Timestamp,
        limits: &Limits,
    ) -> Result<Option<OffsetAndTimestamp>, RecordError> {
        self.find_record(limits, |found| found.timestamp >= timestamp)
    }

    /// The first of the records that have the largest timestamp (KIP-734).
    pub fn first_record_with_max_timestamp(
        &self,
        limits: &Limits,
    ) -> Result<Option<OffsetAndTimestamp>, RecordError> {
        Ok(self.summarize_records(limits)?.max_timestamp)
    }

    /// The first record without a key. Records behind it are not read, so a fault there is not seen.
    pub fn first_record_with_null_key(
        &self,
        limits: &Limits,
    ) -> Result<Option<OffsetAndTimestamp>, RecordError> {
        self.find_record(limits, |found| found.fields.key.is_none())
    }

    fn find_record(
        &self,
        limits: &Limits,
        is_wanted: impl FnMut(&Found) -> bool,
    ) -> Result<Option<OffsetAndTimestamp>, RecordError> {
        let records = self.records_bytes();
        let placement = Placement::of(self);
        match compression(self)? {
            Compression::None => find(Walk::new(Slice::new(&records), placement), is_wanted),
            packed @ (Compression::Gzip
            | Compression::Snappy
            | Compression::Lz4
            | Compression::Zstd) => {
                let decompressor = Decompressor::new(packed, &records, limits)?;
                find(Walk::new(Window::new(decompressor), placement), is_wanted)
            }
        }
    }
}

fn find<S: Source>(
    mut walk: Walk<S>,
    mut is_wanted: impl FnMut(&Found) -> bool,
) -> Result<Option<OffsetAndTimestamp>, RecordError> {
    while let Some(found) = walk.next() {
        let found = found?;
        if is_wanted(&found) {
            let (offset, timestamp) = (found.offset, found.timestamp);
            return Ok(Some(OffsetAndTimestamp { offset, timestamp }));
        }
    }
    Ok(None)
}

/// The compression that the attributes of `batch` name.
pub(super) fn compression(batch: &RecordBatch) -> Result<Compression, RecordError> {
    let attributes = batch.attributes();
    let id = attributes.compression_id();
    attributes
        .compression()
        .ok_or(RecordError::UnknownCompression { id })
}
