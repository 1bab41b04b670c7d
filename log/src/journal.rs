//! Where staged entries wait for what makes them durable: the WAL with `local` durability, memory with `shared`.
//!
//! With `shared` durability nothing is durable before its object is stored and its manifest is committed, so the place of
//! an entry is only a number that grows, and the bytes stay in the shard's queue until then. Both are bounded: who finds no
//! room waits, and is refused in the end.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use streamhouse_storage::wal::{AppendClass, AppendError, Wal, WalLocation, WalPosition};

/// What an entry in memory costs beside its bytes: its place in the queue, its run and its waiters.
pub(crate) const ENTRY_COST_BYTES: u64 = 512;

/// Part of the room of [`Staging`] that record data may not take: what frees space (trims, drops) fits always.
const RESERVE: u64 = 8;

/// The journal of a log.
#[derive(Debug)]
pub(crate) enum Journal {
    /// `local`: durable when the WAL is fsynced.
    Wal(Wal),
    /// `shared`: durable when recorded.
    Memory(Staging),
}

/// Room for what is staged and not recorded.
#[derive(Debug)]
pub(crate) struct Staging {
    bytes_max: u64,
    bytes: AtomicU64,
    next: AtomicU64,
}

impl Staging {
    /// Room for `bytes_max` bytes, each entry counted with [`ENTRY_COST_BYTES`].
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }

    /// Bytes of what is staged.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// The room there is.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn limit_of(&self, class: AppendClass) -> u64 {
        match class {
            AppendClass::Run => self.bytes_max - self.bytes_max / RESERVE,
            AppendClass::Other => self.bytes_max,
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let staged = self.bytes();
        // A batch that is larger than all room is refused by its size, not for want of room.
        staged == 0 || staged.saturating_add(bytes) <= self.limit_of(AppendClass::Run)
    }

    fn append(&self, class: AppendClass, len: u32) -> Result<WalLocation, AppendError> {
        let cost = cost(len);
        let limit = self.limit_of(class);
        let reserved = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |staged| {
                let sum = staged.saturating_add(cost);
                (sum <= limit || staged == 0).then_some(sum)
            });
        reserved.map_err(|_| AppendError::Full)?;
        Ok(WalLocation {
            position: WalPosition(self.next.fetch_add(cost, Ordering::AcqRel)),
            len,
        })
    }

    /// An entry was recorded, or its shard is led by somebody else.
    pub(crate) fn release(&self, location: WalLocation) {
        let cost = cost(location.len);
        let before = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |staged| {
                Some(staged.saturating_sub(cost))
            });
        debug_assert!(before.is_ok_and(|staged| staged >= cost));
    }
}

fn cost(len: u32) -> u64 {
    u64::from(len) + ENTRY_COST_BYTES
}

impl Journal {
    /// Fixes the place of an entry. Never waits.
    pub(crate) fn append(
        &self,
        class: AppendClass,
        head: Bytes,
        rest: Bytes,
    ) -> Result<WalLocation, AppendError> {
        match self {
            Self::Wal(wal) => wal.append(class, head, rest),
            Self::Memory(staging) => {
                let len = head.len() + rest.len();
                let len = u32::try_from(len).map_err(|_| AppendError::TooLarge)?;
                staging.append(class, len)
            }
        }
    }

    /// Whether a batch of `bytes` would not be refused as [`AppendError::Full`] now.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        match self {
            Self::Wal(wal) => wal.has_room(bytes),
            Self::Memory(staging) => staging.has_room(bytes.saturating_add(ENTRY_COST_BYTES)),
        }
    }

    /// The WAL, if there is one.
    pub(crate) fn wal(&self) -> Option<&Wal> {
        match self {
            Self::Wal(wal) => Some(wal),
            Self::Memory(_) => None,
        }
    }

    /// The room in memory, if that is where entries wait.
    pub(crate) fn staging(&self) -> Option<&Staging> {
        match self {
            Self::Wal(_) => None,
            Self::Memory(staging) => Some(staging),
        }
    }
}

#[cfg(test)]
mod tests;
