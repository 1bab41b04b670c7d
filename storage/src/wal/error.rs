//! What can go wrong with the WAL, one enum per operation; each variant says what the caller does about it.

use std::io;
use std::sync::Arc;

use super::{WalLoss, WalPosition};

/// Records that were acknowledged and cannot be read: restore the file, or accept exactly this loss.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WAL file {file} is damaged ({reason}): acknowledged positions {lost} cannot be read")]
pub struct WalDamage {
    /// The damaged or missing file: the first one, if there are several.
    pub file: String,
    /// What the damage looks like.
    pub reason: &'static str,
    /// The range that [`super::WalSettings::accept_loss`] must name to go on without it: from the first damage to the last.
    pub lost: WalLoss,
}

impl From<WalDamage> for WalOpenError {
    fn from(damage: WalDamage) -> Self {
        Self::Corrupt {
            file: damage.file,
            lost: damage.lost,
            reason: damage.reason,
        }
    }
}

/// Why the WAL could not be opened. Nothing was changed that a later start would miss.
#[derive(Debug, thiserror::Error)]
pub enum WalOpenError {
    /// Another process holds the folder: stop it, or choose another folder.
    #[error(
        "WAL folder {dir} is in use by another broker process; stop it, or name another data folder"
    )]
    Locked {
        /// The folder.
        dir: String,
    },
    /// The folder belongs to another cluster or is a mixture of folders: point the broker at its own folder.
    #[error(
        "WAL file {file} belongs to another {what}: found {found:032x}, expected {expected:032x}; bring database and WAL files back that belong together, or name another data folder"
    )]
    Foreign {
        /// The file.
        file: String,
        /// `cluster` or `folder`.
        what: &'static str,
        /// The id in the file.
        found: u128,
        /// The id of this broker.
        expected: u128,
    },
    /// Records that were acknowledged cannot be read. A human decides: restore the file, or accept exactly this loss.
    #[error(
        "WAL file {file} is damaged ({reason}): acknowledged positions {lost} cannot be read; restore the file, or accept this loss"
    )]
    Corrupt {
        /// The damaged or missing file.
        file: String,
        /// The range that `WalSettings::accept_loss` must name to go on without it.
        lost: WalLoss,
        /// What the damage looks like.
        reason: &'static str,
    },
    /// The file was written by a newer release: start that release.
    #[error(
        "WAL file {file} has format {version}, this release reads up to {newest}; start the release that wrote it"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        version: u32,
        /// The newest format that is understood.
        newest: u32,
    },
    /// A limit makes no sense: correct the setting.
    #[error("WAL settings: {problem}")]
    Settings {
        /// Which limit, and its bounds.
        problem: &'static str,
    },
    /// The file system failed: repair it and start again.
    #[error(
        "cannot {operation} {file} in WAL folder: {source}; check the rights of the data folder and the space on its disk"
    )]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a record was not appended. In every case it did not happen: no byte was written or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The WAL is at its cap, the queue is full, or the disk has no room for the next file: refuse the request and
    /// try again when something was recycled or written.
    #[error("the WAL is full until uploads free space; nothing was written")]
    Full,
    /// The record does not fit into one WAL file: refuse the request for good.
    #[error("the record does not fit into one WAL file; nothing was written")]
    TooLarge,
    /// The WAL was closed or failed: no append will succeed in this process.
    #[error("the WAL is closed; nothing was written")]
    Closed,
}

/// Why a record could not be read back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalReadError {
    /// The file was recycled: look the record up again, an object holds it now.
    #[error("WAL position {0} was recycled; an object holds it")]
    Recycled(WalPosition),
    /// The record is still queued: it is in the hot tail.
    #[error("WAL position {0} is not written yet")]
    NotWritten(WalPosition),
    /// What lies there is not the record that was written: never serve it.
    #[error("WAL position {0} does not hold the record that was written there")]
    Corrupt(WalPosition),
    /// The disk failed; the record may be readable later.
    #[error("cannot read WAL position {position}: {source}")]
    Io {
        /// The position.
        position: WalPosition,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// Why records were not set aside. The log keeps them, as before; what was set aside for the owner earlier is there still.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetAsideError {
    /// The WAL was closed or failed: nothing can be set aside in this process.
    #[error("the WAL is closed; nothing was set aside")]
    Closed,
    /// A record cannot be read back.
    #[error("a record cannot be set aside: {0}")]
    Read(#[from] WalReadError),
    /// The file cannot be made: see to the disk; the next attempt starts again.
    #[error("cannot {operation} WAL file {file} for records to be set aside: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// The WAL failed for good: nothing that was not reported durable may be acknowledged, whatever a later fsync says.
/// The outcome of records in `durable_to..written_to` is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "cannot {operation} WAL file {file}, positions {durable_to}..{written_to} may be lost: {source}"
)]
pub struct WalFailure {
    /// What was tried.
    pub operation: &'static str,
    /// On which file.
    pub file: String,
    /// Everything below is safe.
    pub durable_to: WalPosition,
    /// Everything at or above was not written.
    pub written_to: WalPosition,
    /// What the system said.
    pub source: Arc<io::Error>,
}

/// The text for file headers is longer than a header can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a WAL file header holds a note of at most {max} bytes, not {len}; the previous note stays"
)]
pub struct NoteTooLong {
    /// Bytes that were given.
    pub len: usize,
    /// Bytes that fit.
    pub max: usize,
}
