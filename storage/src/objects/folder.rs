//! A folder as object store: what `object_store` leaves open for an object to survive a power cut.
//!
//! With `with_fsync(true)` the crate makes the file, its folder and folders that *this* upload created durable before
//! an upload succeeds. Four things are left, and are done here:
//! - Uploads in parts go past the page cache (`folder/upload.rs`).
//! - A folder that another upload created a moment ago, or that an earlier process created before it was killed, is
//!   taken as it is: its entry in the folder above may not be durable. So the folders of a key are made and fsynced
//!   here first, once per process.
//! - A deletion is not fsynced: a deleted object would come back after a power cut, without the row that names it.
//! - An upload that was cut off leaves its staging file `<name>#<number>`; these are removed at start, with folders
//!   that became empty.

mod upload;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;
use streamhouse_runtime::Tasks;

pub(super) use self::upload::{FolderUpload, store_error};
use super::{ObjectKey, OpenFolderError, StoreError};

/// Names of folders known to be durable that are remembered; a broker uses one per key shard and incarnation.
const REMEMBERED_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// The folders of keys, relative to the root, whose entries are durable. Held for look-ups only.
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Folder {
    /// Opens `root`, creating it durably if it does not exist.
    pub(super) fn open(root: &Path) -> Result<(Arc<Self>, Arc<dyn ObjectStore>), OpenFolderError> {
        let failed = |what| {
            move |source| OpenFolderError::Folder {
                path: root.to_owned(),
                what,
                source,
            }
        };
        create_durably(root).map_err(failed("created"))?;
        let root = root.canonicalize().map_err(failed("read"))?;
        let removed = remove_unfinished(&root).map_err(failed("cleaned of unfinished uploads"))?;
        if removed > 0 {
            tracing::info!(folder = %root.display(), removed, "removed uploads that were cut off");
        }
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| OpenFolderError::Store {
                path: root.clone(),
                source: Arc::new(error) as StoreError,
            })?
            .with_fsync(true);
        let folder = Self {
            root,
            durable: Mutex::new(BTreeSet::new()),
        };
        Ok((Arc::new(folder), Arc::new(store)))
    }

    /// Whether the folders of `key` still have to be made durable.
    pub(super) fn needs_parents(&self, key: &ObjectKey) -> bool {
        !self.durable.lock().contains(&parents(key))
    }

    /// Makes the folders of `key` and their entries durable. Waits for the disk.
    pub(super) fn make_parents(&self, key: &ObjectKey) -> io::Result<()> {
        let relative = parents(key);
        let folder = self.root.join(&relative);
        fs::create_dir_all(&folder)?;
        for folder in folder.ancestors() {
            sync_folder(folder)?;
            if folder == self.root {
                break;
            }
        }
        let mut durable = self.durable.lock();
        if durable.len() >= REMEMBERED_MAX {
            durable.clear();
        }
        durable.insert(relative);
        Ok(())
    }

    /// Makes a deletion of `key` durable. Waits for the disk.
    pub(super) fn sync_deletion(&self, key: &ObjectKey) -> io::Result<()> {
        match sync_folder(&self.root.join(parents(key))) {
            // There never was an object of that incarnation and shard.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Begins an upload in parts, of which all but the last have a size that is a multiple of 4 KiB. Its folder exists.
    /// Waits for the disk.
    pub(super) fn begin_upload(&self, key: &ObjectKey, tasks: Tasks) -> io::Result<FolderUpload> {
        FolderUpload::begin(self.root.join(key.to_string()), tasks)
    }

    /// Removes what a failed upload of `key` left. Harmless while such an upload still runs: its last step, the
    /// rename, then finds nothing. Waits for the disk.
    pub(super) fn remove_staged(&self, key: &ObjectKey) -> io::Result<()> {
        for path in self.staged_paths(key)? {
            remove_file(&path)?;
        }
        Ok(())
    }

    fn staged_paths(&self, key: &ObjectKey) -> io::Result<Vec<PathBuf>> {
        let path = self.root.join(key.to_string());
        let (Some(folder), Some(name)) = (
            path.parent(),
            path.file_name().and_then(|name| name.to_str()),
        ) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let staged = entry.file_name();
            if staged.to_str().and_then(staged_name) == Some(name) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

fn parents(key: &ObjectKey) -> PathBuf {
    let path = PathBuf::from(key.to_string());
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// The name of the object that the staging file `name` would have become.
fn staged_name(name: &str) -> Option<&str> {
    let (object, number) = name.rsplit_once('#')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(object)
}

fn create_durably(folder: &Path) -> io::Result<()> {
    let existing = folder
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .map(Path::to_owned);
    fs::create_dir_all(folder)?;
    for ancestor in folder.canonicalize()?.ancestors() {
        sync_folder(ancestor)?;
        let reached = existing.as_ref().is_some_and(|existing| {
            existing
                .canonicalize()
                .is_ok_and(|existing| existing == ancestor)
        });
        if reached {
            break;
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Removes the staging files of earlier processes and the folders that hold nothing. Only touches names that an
/// object of ours can have. Says how many files went.
fn remove_unfinished(root: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for shard in hex_folders(root, 2)? {
        for incarnation in hex_folders(&shard, 32)? {
            let mut kept = false;
            for entry in fs::read_dir(&incarnation)? {
                let entry = entry?;
                if entry.file_name().to_str().and_then(staged_name).is_some() {
                    remove_file(&entry.path())?;
                    removed += 1;
                } else {
                    kept = true;
                }
            }
            if !kept {
                fs::remove_dir(&incarnation)?;
            }
        }
    }
    Ok(removed)
}

/// The folders directly in `folder` whose name is `digits` lower-case hex digits.
fn hex_folders(folder: &Path, digits: usize) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.len() == digits
            && name
                .as_encoded_bytes()
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_ours && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
