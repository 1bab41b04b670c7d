//! The disk itself: files, names, the log of what was done, planned faults.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::states::History;
use crate::wal::{WalDirEntry, WalDirLock, WalFile, WalIo};

const EIO: i32 = 5;

/// One call that changed the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        file: usize,
        len: u64,
    },
    Sync {
        file: usize,
    },
    Create {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncDir,
}

/// Which calls a planned fault counts. Reads are never counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoCall {
    /// Creation of a file.
    Create,
    /// A write.
    Write,
    /// A reservation of space.
    Reserve,
    /// `sync_data`.
    Sync,
    /// A rename.
    Rename,
    /// A removal.
    Remove,
    /// `sync_dir`.
    SyncDir,
}

/// What happens at the planned call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoFault {
    /// This call fails with the errno, later ones succeed. A failed sync has lost what it should have made durable,
    /// and the next one says that all is well, as Linux does.
    Once(i32),
    /// This and all later counted calls fail with the errno.
    From(i32),
    /// This write moves only half of its bytes.
    Short,
    /// The process dies: this call happens half or not at all, and every later call fails.
    Kill,
}

/// Names and contents of a disk at rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) files: Vec<Vec<u8>>,
    pub(super) names: BTreeMap<String, usize>,
}

impl Image {
    /// The image without files that lost their name: nobody can open them any more.
    fn without_nameless(mut self) -> Self {
        let mut kept = Self::default();
        for (name, file) in self.names {
            // Two names for one file do not exist here: a rename moves the name.
            kept.files.push(std::mem::take(&mut self.files[file]));
            kept.names.insert(name, kept.files.len() - 1);
        }
        kept
    }
}

#[derive(Debug)]
struct Plan {
    on: Option<IoCall>,
    left: u64,
    fault: IoFault,
}

#[derive(Debug, Default)]
struct Disk {
    now: Image,
    start: Image,
    log: Vec<Op>,
    plan: Option<Plan>,
    calls: u64,
    is_dead: bool,
    ignores_syncs: bool,
    room: Option<u64>,
}

/// A folder in memory. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct CrashIo {
    disk: Arc<Mutex<Disk>>,
    is_locked: Arc<AtomicBool>,
}

impl CrashIo {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn from_image(image: Image) -> Self {
        let image = image.without_nameless();
        let disk = Disk {
            start: image.clone(),
            now: image,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            is_locked: Arc::default(),
        }
    }

    /// Plans `fault` for the `n`-th call (from 1) counted from now; `on` restricts what is counted.
    pub fn plan_fault(&self, on: Option<IoCall>, n: u64, fault: IoFault) {
        self.disk.lock().plan = Some(Plan {
            on,
            left: n.max(1),
            fault,
        });
    }

    /// Withdraws the planned fault; the disk works again.
    pub fn clear_fault(&self) {
        self.disk.lock().plan = None;
    }

    /// Whether the planned fault has not struck yet.
    #[must_use]
    pub fn fault_is_pending(&self) -> bool {
        self.disk
            .lock()
            .plan
            .as_ref()
            .is_some_and(|plan| plan.left > 0)
    }

    /// Calls that changed the disk or asked for a sync, so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.disk.lock().calls
    }

    /// From now on syncs say yes and do nothing: the disk that lies.
    pub fn ignore_syncs(&self) {
        self.disk.lock().ignores_syncs = true;
    }

    /// Room for all files together; reservations beyond it fail with ENOSPC. `None` is endless.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.disk.lock().room = bytes;
    }

    /// The process that [`IoFault::Kill`] ended is started again on the same running system: what it wrote and did
    /// not sync is still only in memory.
    pub fn revive(&self) {
        let mut disk = self.disk.lock();
        disk.is_dead = false;
        disk.plan = None;
    }

    /// How many operations the log holds: a moment, for [`History`].
    #[must_use]
    pub fn moment(&self) -> usize {
        self.disk.lock().log.len()
    }

    /// All that happened so far.
    #[must_use]
    pub fn history(&self) -> History {
        let disk = self.disk.lock();
        History::new(disk.start.clone(), disk.log.clone())
    }

    /// The same folder after the process died and the system lived: every write is there.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        Self::from_image(self.disk.lock().now.clone())
    }

    /// Names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.disk.lock().now.names.keys().cloned().collect()
    }

    /// What a file holds; empty if there is none of that name.
    #[must_use]
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let disk = self.disk.lock();
        disk.now
            .names
            .get(name)
            .map(|file| disk.now.files[*file].clone())
            .unwrap_or_default()
    }

    /// Replaces what a file holds, outside the log: damage. A file that does not exist is made.
    pub fn set_contents(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.disk.lock();
        if let Some(file) = disk.now.names.get(name).copied() {
            disk.now.files[file] = bytes;
        } else {
            let file = disk.now.files.len();
            disk.now.files.push(bytes);
            disk.now.names.insert(name.to_owned(), file);
        }
        disk.start = disk.now.clone();
        disk.log.clear();
    }

    /// Flips one bit of a file, outside the log.
    pub fn flip_bit(&self, name: &str, bit: usize) {
        let mut disk = self.disk.lock();
        let Some(file) = disk.now.names.get(name).copied() else {
            return;
        };
        if let Some(byte) = disk.now.files[file].get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        if let Some(byte) = disk
            .start
            .files
            .get_mut(file)
            .and_then(|start| start.get_mut(bit / 8))
        {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// What the plan says about one call.
enum Fate {
    Normal,
    Fails(io::Error),
    Half,
    Dies,
}

impl Disk {
    fn alive(&self) -> io::Result<()> {
        if self.is_dead {
            Err(io::Error::from_raw_os_error(EIO))
        } else {
            Ok(())
        }
    }

    fn fate(&mut self, call: IoCall) -> io::Result<Fate> {
        self.alive()?;
        self.calls += 1;
        let Some(plan) = &mut self.plan else {
            return Ok(Fate::Normal);
        };
        if plan.on.is_some_and(|on| on != call) {
            return Ok(Fate::Normal);
        }
        let strikes = plan.left == 1;
        let struck = plan.left == 0;
        plan.left = plan.left.saturating_sub(1);
        Ok(match plan.fault {
            IoFault::Once(errno) if strikes => Fate::Fails(io::Error::from_raw_os_error(errno)),
            IoFault::From(errno) if strikes || struck => {
                Fate::Fails(io::Error::from_raw_os_error(errno))
            }
            IoFault::Short if strikes => Fate::Half,
            IoFault::Kill if strikes => {
                self.is_dead = true;
                Fate::Dies
            }
            IoFault::Once(_) | IoFault::From(_) | IoFault::Short | IoFault::Kill => Fate::Normal,
        })
    }

    /// For calls that happen or do not.
    fn happens(&mut self, call: IoCall) -> io::Result<()> {
        match self.fate(call)? {
            Fate::Normal | Fate::Half => Ok(()),
            Fate::Fails(error) => Err(error),
            Fate::Dies => Err(io::Error::from_raw_os_error(EIO)),
        }
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let content = &mut self.now.files[file];
        if content.len() < at + bytes.len() {
            content.resize(at + bytes.len(), 0);
        }
        content[at..at + bytes.len()].copy_from_slice(bytes);
        self.log.push(Op::Write {
            file,
            offset,
            bytes: bytes.to_vec(),
        });
    }

    fn used(&self) -> u64 {
        self.now
            .names
            .values()
            .map(|file| self.now.files[*file].len() as u64)
            .sum()
    }
}

fn no_such_file() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl WalIo for CrashIo {
    fn lock(&self) -> io::Result<Box<dyn WalDirLock>> {
        if self.is_locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock {
            is_locked: Arc::clone(&self.is_locked),
        }))
    }

    fn list(&self) -> io::Result<Vec<WalDirEntry>> {
        let disk = self.disk.lock();
        disk.alive()?;
        let files = &disk.now.files;
        let entries = disk.now.names.iter();
        Ok(entries
            .map(|(name, file)| WalDirEntry {
                name: name.clone(),
                len: files[*file].len() as u64,
            })
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let mut disk = self.disk.lock();
        disk.happens(IoCall::Create)?;
        if disk.now.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = disk.now.files.len();
        disk.now.files.push(Vec::new());
        disk.now.names.insert(name.to_owned(), file);
        disk.log.push(Op::Create {
            name: name.to_owned(),
            file,
        });
        Ok(Arc::new(MemoryFile {
            disk: Arc::clone(&self.disk),
            file,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let disk = self.disk.lock();
        disk.alive()?;
        let file = *disk.now.names.get(name).ok_or_else(no_such_file)?;
        Ok(Arc::new(MemoryFile {
            disk: Arc::clone(&self.disk),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.happens(IoCall::Rename)?;
        let file = disk.now.names.remove(from).ok_or_else(no_such_file)?;
        disk.now.names.insert(to.to_owned(), file);
        disk.log.push(Op::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.happens(IoCall::Remove)?;
        disk.now.names.remove(name).ok_or_else(no_such_file)?;
        disk.log.push(Op::Remove {
            name: name.to_owned(),
        });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.happens(IoCall::SyncDir)?;
        if !disk.ignores_syncs {
            disk.log.push(Op::SyncDir);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryLock {
    is_locked: Arc<AtomicBool>,
}

impl WalDirLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.is_locked.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: Arc<Mutex<Disk>>,
    file: usize,
}

impl WalFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        match disk.fate(IoCall::Write)? {
            Fate::Normal => {
                disk.write(self.file, offset, bytes);
                Ok(bytes.len())
            }
            Fate::Fails(error) => Err(error),
            Fate::Half => {
                let half = bytes.len().div_ceil(2);
                disk.write(self.file, offset, &bytes[..half]);
                Ok(half)
            }
            Fate::Dies => {
                disk.write(self.file, offset, &bytes[..bytes.len() / 2]);
                Err(io::Error::from_raw_os_error(EIO))
            }
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk.lock();
        disk.alive()?;
        let content = &disk.now.files[self.file];
        let at = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let count = into.len().min(content.len() - at);
        into[..count].copy_from_slice(&content[at..at + count]);
        Ok(count)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.happens(IoCall::Reserve)?;
        let has = disk.now.files[self.file].len() as u64;
        if disk
            .room
            .is_some_and(|room| disk.used().saturating_sub(has) + len > room)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.now.files[self.file].resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        disk.log.push(Op::SetLen {
            file: self.file,
            len,
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.happens(IoCall::Sync)?;
        if !disk.ignores_syncs {
            disk.log.push(Op::Sync { file: self.file });
        }
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.disk.lock().alive()
    }

    fn len(&self) -> io::Result<u64> {
        let disk = self.disk.lock();
        disk.alive()?;
        Ok(disk.now.files[self.file].len() as u64)
    }
}
