//! Reads one file of the WAL record by record, and finds records behind damage.
//!
//! Holds at most one window of the file in memory, or one record if that is larger.

use std::io;

use super::WalFile;
use super::format::{
    FILE_HEADER_BYTES, POSITION_MAX, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader,
};
use super::io::read_full_at;

const WINDOW_BYTES: u64 = 1 << 20;

/// A reader of one file.
pub(super) struct FileScan<'a> {
    file: &'a dyn WalFile,
    salt: u64,
    base: u64,
    file_len: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What lies behind the first invalid record of the file that was written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Valid records found.
    pub(super) records: u64,
    /// The highest `synced up to` of them: everything below was durable.
    pub(super) synced_upto: u64,
}

impl<'a> FileScan<'a> {
    pub(super) fn new(file: &'a dyn WalFile, salt: u64, base: u64, file_len: u64) -> Self {
        Self {
            file,
            salt,
            base,
            file_len,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The valid record that starts at `position`, with its payload; `None` if there is none.
    pub(super) fn record_at(&mut self, position: u64) -> io::Result<Option<(RecordHeader, &[u8])>> {
        let Some(offset) = self.offset_of(position) else {
            return Ok(None);
        };
        let salt = self.salt;
        let Some(bytes) = self.bytes_at(offset, RECORD_HEADER_BYTES)? else {
            return Ok(None);
        };
        let Some(header) = RecordHeader::decode(bytes) else {
            return Ok(None);
        };
        let is_here = header.salt == salt && header.position == position;
        if !is_here || header.synced_upto > position {
            return Ok(None);
        }
        let payload = self.payload_at(offset, &header)?;
        Ok(payload.map(|payload| (header, payload)))
    }

    /// The valid record at `offset` of a file whose records have positions that only grow: here `at_least`.
    pub(super) fn record_in_place(
        &mut self,
        offset: u64,
        at_least: u64,
    ) -> io::Result<Option<(RecordHeader, &[u8])>> {
        let salt = self.salt;
        let Some(bytes) = self.bytes_at(offset, RECORD_HEADER_BYTES)? else {
            return Ok(None);
        };
        let Some(header) = RecordHeader::decode(bytes) else {
            return Ok(None);
        };
        let is_possible = (at_least..=POSITION_MAX).contains(&header.position);
        if header.salt != salt || !is_possible {
            return Ok(None);
        }
        let payload = self.payload_at(offset, &header)?;
        Ok(payload.map(|payload| (header, payload)))
    }

    /// The payload of the record at `offset`, if the record is sound.
    fn payload_at(&mut self, offset: u64, header: &RecordHeader) -> io::Result<Option<&[u8]>> {
        let payload_len = u64::from(header.payload_len);
        let Some(record) = self.bytes_at(offset, header.bytes())? else {
            return Ok(None);
        };
        if !RecordHeader::is_sound(record) {
            return Ok(None);
        }
        let end = usize::try_from(RECORD_HEADER_BYTES + payload_len).ok();
        Ok(end.and_then(|end| record.get(super::format::RECORD_HEADER_LEN..end)))
    }

    /// The position of the first valid record at or behind `position`.
    pub(super) fn find_from(&mut self, position: u64) -> io::Result<Option<u64>> {
        let salt = self.salt.to_le_bytes();
        let mut at = position;
        while let Some(offset) = self.offset_of(at) {
            let left = self.file_len.saturating_sub(offset).min(WINDOW_BYTES);
            let whole = left - left % RECORD_ALIGN;
            if whole == 0 {
                return Ok(None);
            }
            let Some(bytes) = self.bytes_at(offset, whole)? else {
                return Ok(None);
            };
            let Some(hit) = bytes.chunks_exact(8).position(|chunk| chunk == salt) else {
                at += whole;
                continue;
            };
            at += hit as u64 * RECORD_ALIGN;
            if self.record_at(at)?.is_some() {
                return Ok(Some(at));
            }
            at += RECORD_ALIGN;
        }
        Ok(None)
    }

    /// Looks at everything at or behind `position`.
    pub(super) fn survey(&mut self, position: u64) -> io::Result<Survey> {
        let mut survey = Survey::default();
        let mut at = position;
        while let Some(found) = self.find_from(at)? {
            let Some((header, _)) = self.record_at(found)? else {
                break;
            };
            survey.records += 1;
            survey.synced_upto = survey.synced_upto.max(header.synced_upto);
            at = found + header.bytes();
        }
        Ok(survey)
    }

    fn offset_of(&self, position: u64) -> Option<u64> {
        let offset = position
            .checked_sub(self.base)?
            .checked_add(FILE_HEADER_BYTES)?;
        (offset < self.file_len).then_some(offset)
    }

    /// The bytes of a range; `None` if the file ends before it does.
    fn bytes_at(&mut self, offset: u64, len: u64) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.file_len) else {
            return Ok(None);
        };
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || end > window_end {
            let wanted = len.max(WINDOW_BYTES).min(self.file_len - offset);
            let wanted = usize::try_from(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.window.resize(wanted, 0);
            self.window_at = offset;
            let filled = read_full_at(self.file, offset, &mut self.window);
            self.window.truncate(*filled.as_ref().unwrap_or(&0));
            filled?;
            if self.window_at + (self.window.len() as u64) < end {
                return Ok(None);
            }
        }
        let from = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        let to = usize::try_from(end - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(from..to))
    }
}
