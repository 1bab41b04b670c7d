//! The data folder of a broker: one process at a time, of one cluster, of one format.
//!
//! ```text
//! meta.properties   what the folder is, and the newest file of its WAL; written when it is made, and at every start
//! .lock             held while a broker runs on it
//! wal/              the write-ahead log
//! objects/          the object store, unless it lies elsewhere
//! metadata.db       the embedded metadata store
//! accepted-wal-losses   damage of the WAL that somebody accepted; only while there is any
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::FlockOperation;
use streamhouse_runtime::Chance;
use streamhouse_storage::wal::newest_file;

mod accepted_losses;

pub use accepted_losses::parse_range;

/// The layout of the folder that this release writes and reads.
const VERSION: &str = "1";

/// What a folder holds that was opened as a whole once. Without one of them a start would take the rest for an empty
/// broker's, and make a new one in its place.
const PARTS: [&str; 3] = ["metadata.db", "wal", "objects"];

/// An opened data folder. The lock is let go with it.
#[derive(Debug)]
pub struct DataDir {
    /// Where it is.
    pub path: PathBuf,
    /// The id of the cluster, as clients see it.
    pub cluster_id: String,
    /// The id of the WAL folder.
    pub wal_dir: u128,
    /// The number of the newest file of the WAL at the last start that served; 0 before the first.
    pub wal_file: u64,
    /// Whether parts of it may not have been made yet: nothing was ever acknowledged from it.
    is_new: bool,
    _lock: File,
}

/// Why a data folder cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process runs on it.
    #[error("data folder {path} is in use by another broker process; stop it or choose another folder with --data (serve: storage.data_dir)", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be created, read or written.
    #[error("data folder {path} cannot be used: {what}: {source}; check its owner, its rights and the space on its disk", path = .path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("data folder {path} is not a data folder of StreamHouse: {reason}; choose an empty folder, or bring back what is missing", path = .path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A part of it is gone.
    #[error("data folder {path} lacks {part}, without which its records cannot be found; nothing was changed: bring {part} back as it was when the broker last ran, or choose an empty folder{}", without(part, path), path = .path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        part: &'static str,
    },
    /// Another release wrote it.
    #[error("data folder {path} has version {found}, this release knows version {VERSION}; start the release that wrote it", path = .path.display())]
    OtherVersion {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// What was accepted of the WAL's damage cannot be known.
    #[error("{file} of data folder {path} cannot be used: {reason}; remove that file, and accept what is damaged again with `streamhouse wal accept-loss --data {path}`", path = .path.display())]
    Losses {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It belongs to another cluster than the settings say.
    #[error("data folder {path} belongs to cluster {found}, broker.cluster_id is {wanted}; correct the setting or choose another folder", path = .path.display())]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Its cluster.
        found: String,
        /// The setting.
        wanted: String,
    },
}

impl DataDir {
    /// Opens or creates the folder and locks it.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(
        path: &Path,
        wanted: Option<&str>,
        chance: &dyn Chance,
    ) -> Result<Self, DataDirError> {
        let unusable = |what| {
            move |source| DataDirError::Unusable {
                path: path.to_path_buf(),
                what,
                source,
            }
        };
        create_durably(path).map_err(unusable("create it"))?;
        let lock = lock(path)?;
        let meta = path.join("meta.properties");
        match std::fs::read_to_string(&meta) {
            Ok(text) => Self::existing(path, &text, wanted, lock),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                refuse_foreign(path)?;
                let cluster_id = match wanted {
                    Some(wanted) => wanted.to_owned(),
                    None => URL_SAFE_NO_PAD.encode(chance.next_u128().to_be_bytes()),
                };
                let wal_dir = chance.next_u128();
                let opened = Self {
                    path: path.to_path_buf(),
                    cluster_id,
                    wal_dir,
                    wal_file: 0,
                    is_new: true,
                    _lock: lock,
                };
                opened.write().map_err(unusable("write meta.properties"))?;
                Ok(opened)
            }
            Err(error) => Err(unusable("read meta.properties")(error)),
        }
    }

    fn existing(
        path: &Path,
        text: &str,
        wanted: Option<&str>,
        lock: File,
    ) -> Result<Self, DataDirError> {
        let foreign = |reason: &str| DataDirError::Foreign {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
        };
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim())
        };
        let found = value("version").ok_or_else(|| foreign("meta.properties names no version"))?;
        if found != VERSION {
            return Err(DataDirError::OtherVersion {
                path: path.to_path_buf(),
                found: found.to_owned(),
            });
        }
        let cluster_id =
            value("cluster.id").ok_or_else(|| foreign("meta.properties names no cluster.id"))?;
        if let Some(wanted) = wanted
            && wanted != cluster_id
        {
            return Err(DataDirError::OtherCluster {
                path: path.to_path_buf(),
                found: cluster_id.to_owned(),
                wanted: wanted.to_owned(),
            });
        }
        let wal_dir = value("wal.dir.id").and_then(|id| u128::from_str_radix(id, 16).ok());
        let wal_dir = wal_dir.ok_or_else(|| foreign("meta.properties names no wal.dir.id"))?;
        // Folders of the first releases do not name one.
        let wal_file = value("wal.file").map_or(Some(0), |number| number.parse().ok());
        let wal_file = wal_file.filter(|number| *number < u64::MAX / 2);
        let wal_file =
            wal_file.ok_or_else(|| foreign("wal.file in meta.properties is no file's number"))?;
        let is_new = value("state") == Some("new");
        let missing = PARTS.iter().find(|part| !path.join(part).exists());
        if let Some(part) = missing.filter(|_| !is_new) {
            return Err(DataDirError::Incomplete {
                path: path.to_path_buf(),
                part,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            cluster_id: cluster_id.to_owned(),
            wal_dir,
            wal_file,
            is_new,
            _lock: lock,
        })
    }

    /// Whether nothing was ever acknowledged from it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Notes that all parts are there, and which file of the WAL is the newest: from now on one that is missing was lost.
    /// To be called before anything is acknowledged.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn complete(&mut self) -> Result<(), DataDirError> {
        let newest = newest_file(&self.path.join("wal"));
        let newest = newest.map_err(|error| self.unusable("list wal", error))?;
        if !self.is_new && self.wal_file == newest {
            return Ok(());
        }
        let was_new = std::mem::replace(&mut self.is_new, false);
        self.wal_file = newest;
        match self.write() {
            // A disk without room must not keep a broker down that may make some: the older number is true, too.
            Err(error) if !was_new => {
                tracing::warn!(%error, "cannot note the newest WAL file in meta.properties; if it is lost, that is noticed later or not at all");
                Ok(())
            }
            written => written.map_err(|error| self.unusable("write meta.properties", error)),
        }
    }

    fn unusable(&self, what: &'static str, source: std::io::Error) -> DataDirError {
        DataDirError::Unusable {
            path: self.path.clone(),
            what,
            source,
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let (cluster_id, wal_dir, wal_file) = (&self.cluster_id, self.wal_dir, self.wal_file);
        let state = if self.is_new { "state=new\n" } else { "" };
        let text = format!(
            "# A data folder of StreamHouse. Do not edit.\nversion={VERSION}\ncluster.id={cluster_id}\nwal.dir.id={wal_dir:032x}\nwal.file={wal_file}\n{state}"
        );
        write_durably(&self.path, &self.path.join("meta.properties"), &text)
    }
}

/// How a part can be done without, if it can.
fn without(part: &str, path: &Path) -> String {
    if part == "wal" {
        let path = path.display();
        format!(
            "; if it is gone for good, make an empty folder {path}/wal, and `streamhouse wal accept-loss --data {path}` says how to go on with what was uploaded"
        )
    } else {
        String::new()
    }
}

/// Creates a folder, and makes its name in the folder above it durable.
fn create_durably(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(".lock"));
    let unusable = |source| DataDirError::Unusable {
        path: path.to_path_buf(),
        what: "open its lock",
        source,
    };
    let file = opened.map_err(unusable)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse {
            path: path.to_path_buf(),
        }),
        Err(error) => Err(unusable(error.into())),
    }
}

/// A folder without `meta.properties` must be empty but for the lock: a start that died before writing it left no more.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let unusable = |source| DataDirError::Unusable {
        path: path.to_path_buf(),
        what: "list it",
        source,
    };
    for entry in std::fs::read_dir(path).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        let is_ours = name == ".lock" || name == "meta.properties.tmp" || name == "lost+found";
        if !is_ours {
            let reason = format!("it holds {} but no meta.properties", name.to_string_lossy());
            return Err(DataDirError::Foreign {
                path: path.to_path_buf(),
                reason,
            });
        }
    }
    Ok(())
}

fn write_durably(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
