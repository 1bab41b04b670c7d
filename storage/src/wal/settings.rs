//! The limits of the WAL. The settings crate maps the operator's keys to these.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::format::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES};
use super::queue::SEAL_BYTES;
use super::{WalLoss, WalPosition};

/// The limits of one WAL. [`WalSettings::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct WalSettings {
    /// The folder, as errors and logs name it. The folder that is used is the one of the `WalIo`.
    pub dir: PathBuf,
    /// Bytes of one file; a multiple of 4096, at least 8192. A record must fit into one file. Default 64 MiB.
    pub file_bytes: u64,
    /// Bytes of files that may hold unrecycled records; rounded down to whole files. Two files more exist: one for
    /// recovery, one for [`super::AppendClass::Other`]. Default 1 GiB.
    pub cap_bytes: u64,
    /// Unrecycled records of [`super::AppendClass::Run`]; each costs its owner an index entry. Default 1 million.
    pub entries_max: u64,
    /// Spare files kept ready, the two reserved ones included; at least 2. Default 4.
    pub pool_files: usize,
    /// Payload bytes after which a group is written even if more is queued. Default 4 MiB.
    pub group_bytes_max: usize,
    /// Records after which a group is written even if more is queued. Default 1024.
    pub group_records_max: usize,
    /// Payload bytes of class Run that may wait to be written; bounds memory. Default 64 MiB.
    pub queue_bytes_max: u64,
    /// How long after the last group the seal is written that makes damage to that group detectable. Default 20 ms.
    pub seal_after: Duration,
    /// The losses that an operator accepts, each exactly a range that `WalOpenError::Corrupt` named. Must be given at every
    /// start until the damaged file is recycled; what is left of a loss by then lies in its range. Damage outside of them is
    /// never passed over. Default none.
    pub accept_loss: Vec<WalLoss>,
    /// How far the log reached as others have recorded it. A log that ends before has lost its newest files, or has older
    /// ones in their place, which is damage like any other. Default: nobody has recorded anything.
    pub covered_to: WalPosition,
    /// The highest number of a file that others have recorded ([`super::newest_file`]). The newest file never goes, so a log
    /// without this one or a newer one has lost it. Default 0: nobody has recorded any.
    pub begun_to: u64,
    /// What the headers of files carry from this start on; at most 2048 bytes, the rest is cut. Default: what the newest
    /// file carries.
    pub note: Option<Bytes>,
}

impl WalSettings {
    /// The defaults, for the folder `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            file_bytes: 64 << 20,
            cap_bytes: 1 << 30,
            entries_max: 1_000_000,
            pool_files: 4,
            group_bytes_max: 4 << 20,
            group_records_max: 1024,
            queue_bytes_max: 64 << 20,
            seal_after: Duration::from_millis(20),
            accept_loss: Vec::new(),
            covered_to: WalPosition(0),
            begun_to: 0,
            note: None,
        }
    }

    /// The first limit that makes no sense, in words.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.file_bytes < 2 * FILE_HEADER_BYTES || !self.file_bytes.is_multiple_of(4096) {
            Some("file_bytes must be a multiple of 4096 and at least 8192")
        } else if self.file_bytes > u64::from(u32::MAX) {
            Some("file_bytes must be below 4 GiB")
        } else if self.cap_bytes < self.file_bytes {
            Some("cap_bytes must hold at least one file")
        } else if self.pool_files < 2 {
            Some("pool_files must be at least 2")
        } else if self.group_bytes_max == 0 || self.group_records_max == 0 {
            Some("a group must hold at least one byte and one record")
        } else {
            None
        }
    }

    /// Files that may hold unrecycled records of class Run.
    pub(super) fn cap_files(&self) -> u64 {
        self.cap_bytes / self.file_bytes
    }

    /// The largest payload that fits into an empty file.
    pub(super) fn payload_bytes_max(&self) -> u64 {
        self.file_bytes - FILE_HEADER_BYTES - RECORD_HEADER_BYTES - SEAL_BYTES
    }
}
