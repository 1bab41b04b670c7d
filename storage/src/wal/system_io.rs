//! A folder on a real file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, FlockOperation};

use super::names::{self, LOCK_FILE};
use super::{WalDirEntry, WalDirLock, WalFile, WalIo};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A folder on a real file system.
#[derive(Clone, Debug)]
pub struct SystemIo {
    dir: PathBuf,
}

impl SystemIo {
    /// Uses the folder `dir`, which is made (with its parents) if it does not exist.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        if !dir.is_dir() {
            fs::create_dir_all(&dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { dir })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl WalIo for SystemIo {
    fn lock(&self) -> io::Result<Box<dyn WalDirLock>> {
        let path = self.dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(FolderLock { _file: file }))
    }

    fn list(&self) -> io::Result<Vec<WalDirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(WalDirEntry {
                    name,
                    len: metadata.len(),
                });
            }
        }
        Ok(entries)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(path)?;
        Ok(Arc::new(SystemFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.dir.join(name))?;
        Ok(Arc::new(SystemFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(File::open(&self.dir)?)?)
    }
}

/// The highest number of a file of the log in the folder; 0 if there is none. Needs no lock. Looks at names only: an opened
/// WAL makes and renames files meanwhile, but the newest one stays.
///
/// # Errors
/// What the file system said.
pub fn newest_file(dir: &Path) -> io::Result<u64> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        // Names of ours are text.
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names::newest_of(names.iter()))
}

/// The system releases the lock when the file is closed, also when the process dies.
#[derive(Debug)]
struct FolderLock {
    _file: File,
}

impl WalDirLock for FolderLock {}

#[derive(Debug)]
struct SystemFile {
    file: File,
}

impl WalFile for SystemFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn write_vectored_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.file, slices, offset)?)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve gets the zeros themselves.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                write_zeros(&self.file, len)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not `File::sync_data`: that one repeats the call when it was interrupted, and a repeated sync may lie.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..count], at)?;
        at += count as u64;
    }
    Ok(())
}
