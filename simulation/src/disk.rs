//! The WAL's disk of one life of the broker: a [`CrashIo`] of which every call is a place to die.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_storage::wal::crash::CrashIo;
use streamhouse_storage::wal::{WalDirEntry, WalDirLock, WalFile, WalIo};

use crate::sites::{Moment, Site};
use crate::world::{Life, World};

/// The disk as one process sees it.
#[derive(Clone, Debug)]
pub(crate) struct SiteDisk {
    disk: CrashIo,
    world: World,
    life: Arc<Life>,
    /// What the next sync of the folder belongs to.
    names_changed_by: Arc<Mutex<Change>>,
}

/// Which change of names is to be made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Change {
    #[default]
    File,
    Spare,
    Recycle,
    Aside,
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Log,
    Spare,
    Unfinished,
    /// Records of a stopped shard, wherever the file is on its way.
    Aside,
}

fn role(name: &str) -> Role {
    if name.starts_with("aside-") {
        Role::Aside
    } else if name.ends_with(".tmp") {
        Role::Unfinished
    } else if name.starts_with("spare-") {
        Role::Spare
    } else {
        Role::Log
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl SiteDisk {
    pub(crate) fn new(disk: CrashIo, world: World, life: Arc<Life>) -> Self {
        Self {
            disk,
            world,
            life,
            names_changed_by: Arc::default(),
        }
    }

    fn pick(&self, running: Site, recovering: Site) -> Site {
        if self.life.is_opening() {
            recovering
        } else {
            running
        }
    }

    fn at<T>(&self, site: Site, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.world.cross(&self.life, site, Moment::Before) {
            return Err(dead());
        }
        let answer = call();
        if !self.world.cross(&self.life, site, Moment::After) {
            return Err(dead());
        }
        answer
    }

    fn file(&self, file: Arc<dyn WalFile>, name: &str) -> Arc<dyn WalFile> {
        Arc::new(SiteFile {
            file,
            role: Mutex::new(role(name)),
            disk: self.clone(),
        })
    }
}

impl WalIo for SiteDisk {
    fn lock(&self) -> io::Result<Box<dyn WalDirLock>> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<WalDirEntry>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let site = match role(name) {
            Role::Aside => Site::AsideCreate,
            Role::Log | Role::Spare | Role::Unfinished => {
                self.pick(Site::SpareCreate, Site::RecoveryCreate)
            }
        };
        let file = self.at(site, || self.disk.create(name))?;
        Ok(self.file(file, name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        Ok(self.file(self.disk.open(name)?, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (site, change) = match (role(from), role(to)) {
            (Role::Unfinished, _) => (Site::SpareRename, Change::Spare),
            (Role::Log, _) => (Site::RecycleRename, Change::Recycle),
            (Role::Spare, _) => (Site::FileRename, Change::File),
            (Role::Aside, _) => (Site::AsideRename, Change::Aside),
        };
        *self.names_changed_by.lock() = change;
        let site = match change {
            Change::Aside => site,
            Change::File | Change::Spare | Change::Recycle => self.pick(site, Site::RecoveryRename),
        };
        self.at(site, || self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        *self.names_changed_by.lock() = Change::Recycle;
        self.at(self.pick(Site::RecycleRemove, Site::RecoveryRename), || {
            self.disk.remove(name)
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        let change = *self.names_changed_by.lock();
        let running = match change {
            Change::File => Site::FileSyncFolder,
            Change::Spare => Site::SpareSyncFolder,
            Change::Recycle => Site::RecycleSyncFolder,
            Change::Aside => Site::AsideSyncFolder,
        };
        let site = match change {
            Change::Aside => running,
            Change::File | Change::Spare | Change::Recycle => {
                self.pick(running, Site::RecoverySyncFolder)
            }
        };
        self.at(site, || self.disk.sync_dir())
    }
}

#[derive(Debug)]
struct SiteFile {
    file: Arc<dyn WalFile>,
    /// What it was when it was opened: a spare that became part of the log is told by its first write behind the header.
    role: Mutex<Role>,
    disk: SiteDisk,
}

impl SiteFile {
    fn write_site(&self, offset: u64, len: usize) -> Site {
        let mut role = self.role.lock();
        let is_header = offset == 0 && len <= 4096;
        let running = match *role {
            Role::Unfinished if offset == 0 && !is_header => Site::SpareFill,
            Role::Unfinished | Role::Spare | Role::Log if is_header => {
                *role = Role::Spare;
                Site::FileHeaderWrite
            }
            Role::Unfinished => Site::SpareFill,
            Role::Aside => return Site::AsideWrite,
            Role::Spare | Role::Log => {
                *role = Role::Log;
                Site::GroupWrite
            }
        };
        self.disk.pick(running, Site::RecoveryHeaderWrite)
    }

    fn sync_site(&self) -> Site {
        let (running, recovering) = match *self.role.lock() {
            Role::Unfinished => (Site::SpareSync, Site::RecoveryHeaderSync),
            Role::Spare => (Site::FileHeaderSync, Site::RecoveryHeaderSync),
            Role::Log => (Site::GroupSync, Site::RecoverySync),
            Role::Aside => (Site::AsideSync, Site::AsideSync),
        };
        self.disk.pick(running, recovering)
    }
}

impl WalFile for SiteFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let site = self.write_site(offset, bytes.len());
        let (world, life) = (&self.disk.world, &self.disk.life);
        if !world.cross(life, site, Moment::Before) {
            return Err(dead());
        }
        if !world.cross(life, site, Moment::Half) {
            let part = world.chance.place(bytes.len());
            self.file.write_at(offset, &bytes[..part])?;
            return Err(dead());
        }
        let written = self.file.write_at(offset, bytes);
        if !world.cross(life, site, Moment::After) {
            return Err(dead());
        }
        written
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        if self.disk.life.is_dead() {
            return Err(dead());
        }
        self.file.read_at(offset, into)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let site = match *self.role.lock() {
            Role::Aside => Site::AsideReserve,
            Role::Log | Role::Spare | Role::Unfinished => {
                self.disk.pick(Site::SpareReserve, Site::RecoveryReserve)
            }
        };
        self.disk.at(site, || self.file.reserve(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.at(self.sync_site(), || self.file.sync_data())
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
