//! The queue between those who append and the WAL thread: order, positions and admission.
//!
//! Admission decides where a record will lie, file by file, before it is accepted: what was accepted can always be
//! written without asking the disk for room. Guarded by one lock, which is never held over IO.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{self, RecordKind};
use super::{AppendClass, AppendError, WalLocation, WalPosition, WalSettings};

/// Every file keeps room for the seal that may follow its last record.
pub(super) const SEAL_BYTES: u64 = format::RECORD_HEADER_BYTES;

/// Spares that class Run leaves alone: one for recovery, one for class Other.
const SPARES_KEPT_FROM_RUN: u64 = 2;
/// The spare that even class Other leaves alone: the next start needs it.
const SPARES_KEPT_FROM_OTHER: u64 = 1;

/// A record that waits to be written.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) kind: RecordKind,
    pub(super) position: u64,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    pub(super) payload_crc: u32,
    /// Whether it is the first record of a new file.
    pub(super) starts_file: bool,
}

impl Queued {
    pub(super) fn payload_len(&self) -> u32 {
        // Admission bounds the payload by the file's size, which is below 4 GiB.
        u32::try_from(self.head.len() + self.body.len()).unwrap_or(u32::MAX)
    }
}

/// Whether appends are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// What is queued is still written, then a seal.
    Closing,
    /// Nothing is written any more.
    Closed,
}

/// The append side of the WAL.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) gate: Gate,
    pub(super) pending: VecDeque<Queued>,
    /// Where the next record starts.
    pub(super) next: u64,
    /// Bytes that are left in the file in which the last queued record lies.
    pub(super) room_in_file: u64,
    /// Files that hold records, or will when the queue is written, and those waiting to be recycled.
    pub(super) files: u64,
    /// Spares that no queued record has claimed.
    pub(super) spares: u64,
    /// Bytes of records in those files.
    pub(super) bytes: u64,
    /// Payload bytes of class Run in `pending`.
    pub(super) queued_bytes: u64,
    pub(super) entries: EntryCount,
    pub(super) disk_full: bool,
    /// Whether the WAL thread waits for something to do.
    pub(super) is_parked: bool,
}

impl Queue {
    /// Decides on a record and, if it is taken, gives it its place.
    pub(super) fn admit(
        &mut self,
        limits: &WalSettings,
        class: AppendClass,
        head: Bytes,
        body: Bytes,
        payload_crc: u32,
    ) -> Result<WalLocation, AppendError> {
        if self.gate != Gate::Open {
            return Err(AppendError::Closed);
        }
        let payload = (head.len() as u64).saturating_add(body.len() as u64);
        let len = u32::try_from(payload).map_err(|_| AppendError::TooLarge)?;
        if payload > limits.payload_bytes_max() {
            return Err(AppendError::TooLarge);
        }
        let bytes = format::record_bytes(len);
        let starts_file = self.room_in_file < bytes + SEAL_BYTES;
        if !self.has_room(limits, class, starts_file, payload) {
            return Err(AppendError::Full);
        }
        if starts_file {
            self.spares -= 1;
            self.files += 1;
            self.room_in_file = limits.file_bytes - format::FILE_HEADER_BYTES;
        }
        let location = WalLocation {
            position: WalPosition(self.next),
            len,
        };
        if class == AppendClass::Run {
            self.entries.push(self.next + bytes);
            self.queued_bytes += payload;
        }
        self.push(Queued {
            kind: class.into(),
            position: self.next,
            head,
            body,
            payload_crc,
            starts_file,
        });
        Ok(location)
    }

    /// Whether waiting could make no difference to a record of class Run with `payload` bytes: it would be taken now, or
    /// is refused for another reason than room.
    pub(super) fn would_decide(&self, limits: &WalSettings, payload: u64) -> bool {
        let bytes = format::record_bytes(u32::try_from(payload).unwrap_or(u32::MAX));
        let starts_file = self.room_in_file < bytes + SEAL_BYTES;
        self.gate != Gate::Open
            || self.disk_full
            || payload > limits.payload_bytes_max()
            || self.has_room(limits, AppendClass::Run, starts_file, payload)
    }

    fn has_room(
        &self,
        limits: &WalSettings,
        class: AppendClass,
        starts_file: bool,
        payload: u64,
    ) -> bool {
        let cap_files = limits.cap_files();
        let (kept, files_max) = match class {
            AppendClass::Run => (SPARES_KEPT_FROM_RUN, cap_files),
            AppendClass::Other => (SPARES_KEPT_FROM_OTHER, cap_files + 1),
        };
        let has_file = if starts_file {
            self.files < files_max && self.spares > kept
        } else {
            // What is left of the file in reserve is for class Other; and so is what is left of a recovery's file,
            // which may come on top of a full WAL.
            class == AppendClass::Other || self.files <= files_max
        };
        let has_memory = class == AppendClass::Other
            || (self.entries.total < limits.entries_max
                && (self.pending.is_empty()
                    || self.queued_bytes.saturating_add(payload) <= limits.queue_bytes_max));
        has_file && has_memory
    }

    /// Queues the seal. Room for it was kept.
    pub(super) fn push_seal(&mut self) {
        self.push(Queued {
            kind: RecordKind::Seal,
            position: self.next,
            head: Bytes::new(),
            body: Bytes::new(),
            payload_crc: format::payload_crc(&[], &[]),
            starts_file: false,
        });
    }

    fn push(&mut self, record: Queued) {
        let bytes = format::record_bytes(record.payload_len());
        self.next += bytes;
        self.bytes += bytes;
        self.room_in_file = self.room_in_file.saturating_sub(bytes);
        self.pending.push_back(record);
    }

    /// Moves the next group into `group`: records of one file, up to the limits, at least one if there is any.
    pub(super) fn take_group(&mut self, limits: &WalSettings, group: &mut Vec<Queued>) {
        let mut bytes = 0;
        while let Some(record) = self.pending.front() {
            let is_cut = record.starts_file
                || bytes >= limits.group_bytes_max
                || group.len() >= limits.group_records_max;
            if is_cut && !group.is_empty() {
                break;
            }
            let payload = record.head.len() + record.body.len();
            bytes += payload;
            if record.kind == RecordKind::Run {
                self.queued_bytes = self.queued_bytes.saturating_sub(payload as u64);
            }
            group.extend(self.pending.pop_front());
        }
    }
}

/// Counts records by position, in steps, so that a million records cost a thousand numbers.
#[derive(Debug)]
pub(super) struct EntryCount {
    pub(super) total: u64,
    /// Ends of steps and how many records each has.
    steps: VecDeque<(u64, u64)>,
    step_records: u64,
}

impl EntryCount {
    pub(super) fn new(entries_max: u64) -> Self {
        Self {
            total: 0,
            steps: VecDeque::new(),
            step_records: (entries_max / 1024).max(1),
        }
    }

    /// Counts a record that ends at `end`, behind all others.
    pub(super) fn push(&mut self, end: u64) {
        self.total += 1;
        match self.steps.back_mut() {
            Some((last_end, count)) if *count < self.step_records => {
                *last_end = end;
                *count += 1;
            }
            _ => self.steps.push_back((end, 1)),
        }
    }

    /// Forgets the steps that end at or below `position`.
    pub(super) fn forget_below(&mut self, position: u64) {
        while let Some((end, count)) = self.steps.front().copied() {
            if end > position {
                break;
            }
            self.total -= count;
            self.steps.pop_front();
        }
    }
}
