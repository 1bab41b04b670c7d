//! A disk for the WAL whose syncs a test can hold up: what is written is not durable until they go on.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use streamhouse_storage::wal::crash::CrashIo;
use streamhouse_storage::wal::{WalDirEntry, WalDirLock, WalFile, WalIo};

/// The disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowDisk {
    disk: CrashIo,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

/// Syncs wait until this is dropped.
#[must_use]
pub(crate) struct HeldSyncs {
    gate: Arc<Gate>,
}

impl SlowDisk {
    /// Holds up every sync of a file from now on.
    pub(crate) fn hold_syncs(&self) -> HeldSyncs {
        *self.gate.is_closed.lock() = true;
        HeldSyncs {
            gate: Arc::clone(&self.gate),
        }
    }
}

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        *self.gate.is_closed.lock() = false;
        self.gate.opened.notify_all();
    }
}

impl WalIo for SlowDisk {
    fn lock(&self) -> io::Result<Box<dyn WalDirLock>> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<WalDirEntry>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let file = self.disk.create(name)?;
        Ok(self.slow(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let file = self.disk.open(name)?;
        Ok(self.slow(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

impl SlowDisk {
    fn slow(&self, file: Arc<dyn WalFile>) -> Arc<dyn WalFile> {
        Arc::new(SlowFile {
            file,
            gate: Arc::clone(&self.gate),
        })
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn WalFile>,
    gate: Arc<Gate>,
}

impl WalFile for SlowFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut is_closed = self.gate.is_closed.lock();
        while *is_closed {
            self.gate.opened.wait(&mut is_closed);
        }
        drop(is_closed);
        self.file.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
