//! Which files of the folder form the log, in which order.
//!
//! The file with the highest number is the newest. Each header names the file before it; following these names back
//! gives the log. A file between two neighbours of that chain is dead: an earlier recovery used it and found it empty.
//! The chain may end at a file that is gone only if nothing older is left, because recycling goes in order.

use std::sync::Arc;

use super::format::{FILE_HEADER_BYTES, FileHeader, HeaderError};
use super::io::read_full_at;
use super::names::{self, FileName};
use super::{WalFile, WalIdentity, WalIo, WalOpenError};

/// One file with a number.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) file: Arc<dyn WalFile>,
    /// `None` if the header is damaged.
    pub(super) header: Option<FileHeader>,
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The log, oldest file first.
    pub(super) chain: Vec<FoundFile>,
    /// Files with numbers that are not part of the log.
    pub(super) dead: Vec<FoundFile>,
    /// A file that the chain names and that is gone although older ones are there.
    pub(super) missing: Option<u64>,
    /// Files of records that were set aside: owner, name.
    pub(super) asides: Vec<(u32, String)>,
    /// Spare files: serial, name, length.
    pub(super) spares: Vec<(u64, String, u64)>,
    /// The highest number of all.
    pub(super) newest_number: u64,
    /// The highest serial of spares.
    pub(super) newest_serial: u64,
}

pub(super) fn io_error(
    operation: &'static str,
    file: &str,
) -> impl FnOnce(std::io::Error) -> WalOpenError {
    let file = file.to_owned();
    move |source| WalOpenError::Io {
        operation,
        file,
        source,
    }
}

/// Reads the folder. What an interrupted creation left is removed; nothing else changes.
pub(super) fn read_folder(io: &dyn WalIo, identity: &WalIdentity) -> Result<Folder, WalOpenError> {
    // What the folder shows may be in memory only, left by a process that died: make it last before trusting it.
    io.sync_dir().map_err(io_error("sync", "the folder"))?;
    let mut folder = Folder::default();
    let mut found = Vec::new();
    for entry in io.list().map_err(io_error("list", "the folder"))? {
        match names::parse(&entry.name) {
            FileName::Log(number) => found.push(read_file(io, number, entry.name)?),
            FileName::Spare(serial) => {
                folder.newest_serial = folder.newest_serial.max(serial);
                folder.spares.push((serial, entry.name, entry.len));
            }
            FileName::Aside(owner) => folder.asides.push((owner, entry.name)),
            FileName::Unfinished => {
                io.remove(&entry.name)
                    .map_err(io_error("remove", &entry.name))?;
            }
            FileName::Stranger => {}
        }
    }
    folder.spares.sort_unstable();
    folder.asides.sort_unstable();
    found.sort_unstable_by_key(|file| file.number);
    for file in &found {
        check_identity(file, identity)?;
    }
    folder.newest_number = found.last().map_or(0, |file| file.number);
    link(&mut folder, found);
    Ok(folder)
}

/// Reads the header of a file.
pub(super) fn read_file(
    io: &dyn WalIo,
    number: u64,
    name: String,
) -> Result<FoundFile, WalOpenError> {
    let file = io.open(&name).map_err(io_error("open", &name))?;
    // The process before may have died with unsynced bytes in memory, or of a failed sync after which memory shows
    // what the device never got: sync, forget, and read what the device holds.
    file.sync_data().map_err(io_error("sync", &name))?;
    file.drop_cache()
        .map_err(io_error("drop the cache of", &name))?;
    let len = file.len().map_err(io_error("look at", &name))?;
    let mut bytes = vec![0; usize::try_from(FILE_HEADER_BYTES).unwrap_or(0)];
    let filled = read_full_at(file.as_ref(), 0, &mut bytes).map_err(io_error("read", &name))?;
    let header = match FileHeader::decode(&bytes[..filled]) {
        Ok(header) if header.number == number => Some(header),
        Ok(_) | Err(HeaderError::Damaged) => None,
        Err(HeaderError::Newer(version)) => {
            let newest = super::format::FORMAT;
            return Err(WalOpenError::Newer {
                file: name,
                version,
                newest,
            });
        }
    };
    Ok(FoundFile {
        number,
        name,
        len,
        file,
        header,
    })
}

pub(super) fn check_identity(file: &FoundFile, own: &WalIdentity) -> Result<(), WalOpenError> {
    let Some(header) = &file.header else {
        return Ok(());
    };
    let theirs = header.identity;
    for (what, found, expected) in [
        ("cluster", theirs.cluster, own.cluster),
        ("folder", theirs.dir, own.dir),
    ] {
        if found != expected {
            let file = file.name.clone();
            return Err(WalOpenError::Foreign {
                file,
                what,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Sorts the files into chain and dead ones.
fn link(folder: &mut Folder, found: Vec<FoundFile>) {
    let mut wanted = found.last().map(|file| file.number);
    let mut files = found.into_iter().rev().peekable();
    while let Some(file) = files.next() {
        if wanted != Some(file.number) {
            if wanted.is_some_and(|wanted| file.number < wanted) {
                // The chain names a file that is gone, and this one is older still.
                folder.missing = wanted;
                folder.chain.push(file);
                wanted = previous_of(folder, files.peek().map(|next| next.number));
            } else {
                folder.dead.push(file);
            }
            continue;
        }
        folder.chain.push(file);
        wanted = previous_of(folder, files.peek().map(|next| next.number));
    }
    folder.chain.reverse();
    folder.dead.reverse();
}

/// The file that the file pushed last names; if its header is damaged, the next older one in the folder.
fn previous_of(folder: &Folder, next_older: Option<u64>) -> Option<u64> {
    match folder.chain.last().and_then(|file| file.header.as_ref()) {
        Some(header) => header.predecessor.map(|before| before.number),
        None => next_older,
    }
}
