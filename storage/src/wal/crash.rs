//! A disk in memory that remembers every write, so that a test can ask what a crash would have left behind.
//!
//! [`CrashIo`] is a folder for the WAL. It logs each write, sync, rename and removal. [`History`] turns that log into
//! *crash states*: for any moment, everything that was synced is there, and of what was not synced any subset of
//! 512-byte sectors (an old content may be zeros or what an earlier use of the file left), any subset of renames,
//! creations and removals, or a write torn at any byte. Faults can be planned for the n-th call, and
//! [`CrashIo::ignore_syncs`] is the negative control: a disk that lies must be caught by the same test.
//!
//! What it models is weaker than any real file system: nothing is ordered that was not ordered by a sync.

mod disk;
mod states;

#[cfg(test)]
mod tests;

pub use disk::{CrashIo, IoCall, IoFault};
pub use states::{CrashCursor, CrashStyle, History};
