//! Where a record lies in the WAL, and the words that name a WAL folder.
//!
//! A position is a logical byte address that only ever grows: it is never given to a second record, not even after a
//! crash that lost the first one. Positions are opaque outside this room, except that they can be compared.

use std::fmt;

use super::format;

/// A logical byte position in the WAL. Grows through all files and all restarts, never reused.
///
/// Records that follow each other within one run of the broker have neighbouring positions; a restart leaves a gap, so
/// that a position of a record that was lost in a power cut never names another record later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition(pub u64);

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where one record lies: the position at which the record starts, and the length of its payload in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalLocation {
    /// Where the record (not its payload) starts.
    pub position: WalPosition,
    /// Payload bytes, without the record's header and padding.
    pub len: u32,
}

impl WalLocation {
    /// The position just behind the record: the argument for [`super::Wal::recycle_to`] that covers it, and what
    /// [`super::WalListener::durable`] must have reached before the record may be acknowledged.
    #[must_use]
    pub fn end(self) -> WalPosition {
        WalPosition(
            self.position
                .0
                .saturating_add(format::record_bytes(self.len)),
        )
    }
}

/// What a record is to the WAL's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendClass {
    /// Record data. Refused when the WAL is at its cap.
    Run,
    /// An entry that is not record data, or that frees space (trim, drop, marker). May use the file that is kept in
    /// reserve beyond the cap, because what frees space must be writable when there is none.
    Other,
}

/// Whose WAL this is. Written into the header of every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalIdentity {
    /// The cluster. A folder of another cluster is refused.
    pub cluster: u128,
    /// The folder's own id (`wal_dir_uuid`). A folder that holds files of another folder is refused.
    pub dir: u128,
    /// The broker incarnation that writes. Changes with every start.
    pub incarnation: u128,
}

/// A range of acknowledged WAL positions that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalLoss {
    /// The first position that is lost.
    pub from: WalPosition,
    /// The first position behind the loss.
    pub to: WalPosition,
}

impl WalLoss {
    /// Whether all of `other` lies in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }
}

impl fmt::Display for WalLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}
