//! The file IO seam of the WAL: the few calls on one flat folder of which the WAL is made.
//!
//! What an implementation promises:
//! 1. `sync_data` returns after the file's bytes (and its length) are on the device; an error means that bytes written
//!    since the last success may be lost, and that a later success proves nothing about them.
//! 2. `rename` is atomic: after a crash the file has the old name or the new one. It is durable after `sync_dir`.
//! 3. Bytes written but not synced may be on the device after a crash, all, none or any 512-byte sectors of them.
//! 4. Reads see every earlier write of the same process.
//!
//! What callers must do: never retry a failed sync; treat a short count of `write_at` as progress, not as an error.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// One file as the folder lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalDirEntry {
    /// Its name, without the folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// A flat folder of files.
pub trait WalIo: fmt::Debug + Send + Sync {
    /// Takes the folder for this process until the returned guard is dropped. [`io::ErrorKind::WouldBlock`] says that
    /// another process has it.
    fn lock(&self) -> io::Result<Box<dyn WalDirLock>>;
    /// All files, in no order.
    fn list(&self) -> io::Result<Vec<WalDirEntry>>;
    /// Makes an empty file that did not exist.
    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>>;
    /// Renames a file, replacing whatever had the new name. Open handles stay valid.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// Holds a folder for this process while it lives.
pub trait WalDirLock: fmt::Debug + Send + Sync {}

/// One open file.
pub trait WalFile: fmt::Debug + Send + Sync {
    /// Writes some bytes at `offset` and returns how many; fewer than given is no error.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Writes some bytes of `slices`, which lie one behind the other, at `offset` and returns how many.
    fn write_vectored_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        first.map_or(Ok(0), |slice| self.write_at(offset, slice))
    }
    /// Reads some bytes at `offset` and returns how many; zero at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Gives the file `len` bytes of zeros for which the device has room, so that later writes inside them cannot
    /// fail for lack of space.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Forgets cached bytes, so that the next read shows what the device holds. A hint.
    fn drop_cache(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all_at(file: &dyn WalFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        match file.write_at(at, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                let count = count.min(rest.len());
                at += count as u64;
                rest = &rest[count..];
            }
            // Only a write that moved no byte is interrupted; the same bytes go again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Slices that one call takes (the kernel's own bound).
const SLICES_MAX: usize = 1024;

/// Writes all of `slices`, one behind the other, at `offset`. What is left of `slices` afterwards means nothing.
pub(super) fn write_all_vectored_at(
    file: &dyn WalFile,
    offset: u64,
    mut slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    let mut at = offset;
    // Empty ones in front would look like a write that moved nothing.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let some = &slices[..slices.len().min(SLICES_MAX)];
        match file.write_vectored_at(at, some) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                let given: usize = some.iter().map(|slice| slice.len()).sum();
                let count = count.min(given);
                at += count as u64;
                IoSlice::advance_slices(&mut slices, count);
            }
            // Only a write that moved no byte is interrupted; the same bytes go again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `into` from `offset` as far as the file goes; returns how many bytes came.
pub(super) fn read_full_at(file: &dyn WalFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(offset + filled as u64, &mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
