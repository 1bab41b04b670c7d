//! An upload into a folder: parts go past the page cache where the file system lets them, into a staging file that gets
//! its name when it is whole and durable.
//!
//! Past the page cache, because an object is written once and seldom read soon: its pages would cost more time than its
//! bytes, drive out what readers need, and fill the disk's queue when they are synced, in front of the WAL's small syncs,
//! for which producers wait. Where the file system refuses (tmpfs does), each part is synced for the last reason.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use parking_lot::Mutex;
use rustix::fs::OFlags;
use streamhouse_runtime::Tasks;

use super::sync_folder;

/// What a direct write must be a multiple of, in memory and in the file. No disk asks for more.
const ALIGNMENT: usize = 4096;
/// Staging names that are tried: more than one exist only if the same key was begun more often.
const NAMES_MAX: u32 = 1000;

#[derive(Debug)]
pub(in crate::objects) struct FolderUpload {
    tasks: Tasks,
    staged: Arc<Mutex<Staged>>,
    is_over: bool,
}

/// The staging file.
#[derive(Debug)]
struct Staged {
    path: PathBuf,
    becomes: PathBuf,
    file: File,
    is_direct: bool,
    bytes: u64,
    /// Holds a part where a direct write can take it from; kept between parts.
    buffer: Vec<u8>,
}

impl FolderUpload {
    /// Begins an upload of `becomes`, whose folder exists. Waits for the disk.
    pub(super) fn begin(becomes: PathBuf, tasks: Tasks) -> io::Result<Self> {
        let (path, file, is_direct) = create(&becomes)?;
        Ok(Self {
            tasks,
            staged: Arc::new(Mutex::new(Staged {
                path,
                becomes,
                file,
                is_direct,
                bytes: 0,
                buffer: Vec::new(),
            })),
            is_over: false,
        })
    }

    async fn finish(&mut self) -> io::Result<()> {
        let staged = Arc::clone(&self.staged);
        let finishing = self.tasks.blocking(move || staged.lock().finish());
        finishing
            .await
            .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))?;
        self.is_over = true;
        Ok(())
    }

    /// Removes the staging file, if it is still there.
    async fn remove(&mut self) -> io::Result<()> {
        self.is_over = true;
        let staged = Arc::clone(&self.staged);
        let removing = self
            .tasks
            .blocking(move || super::remove_file(&staged.lock().path));
        removing
            .await
            .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }
}

#[async_trait::async_trait]
impl MultipartUpload for FolderUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let staged = Arc::clone(&self.staged);
        let writing = self.tasks.blocking(move || staged.lock().append(&data));
        async move {
            let written = writing.await;
            let written = written.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
            written.map_err(store_error)
        }
        .boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.finish().await.map_err(store_error)?;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.remove().await.map_err(store_error)
    }
}

impl Drop for FolderUpload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let staged = Arc::clone(&self.staged);
        let remove = move || {
            // The next start removes what stays.
            let _ = super::remove_file(&staged.lock().path);
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(self.tasks.blocking(remove));
        } else {
            remove();
        }
    }
}

impl Staged {
    fn append(&mut self, part: &PutPayload) -> io::Result<()> {
        let bytes = part.content_length();
        if !self.is_direct {
            let mut at = self.bytes;
            for piece in part {
                self.file.write_all_at(piece, at)?;
                at += piece.len() as u64;
            }
            self.bytes = at;
            // Not `File::sync_data`: that one repeats the call when it was interrupted, and a repeated sync may lie.
            return Ok(rustix::fs::fdatasync(&self.file)?);
        }
        if !self.bytes.is_multiple_of(ALIGNMENT as u64) {
            // Only the last part may be of any size.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let padded = bytes.next_multiple_of(ALIGNMENT);
        self.buffer.clear();
        self.buffer.reserve(padded + ALIGNMENT);
        let skipped = self.buffer.as_ptr().align_offset(ALIGNMENT);
        self.buffer.resize(skipped, 0);
        for piece in part {
            self.buffer.extend_from_slice(piece);
        }
        self.buffer.resize(skipped + padded, 0);
        self.file
            .write_all_at(&self.buffer[skipped..], self.bytes)?;
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Gives the file its size and its name, and makes both last.
    fn finish(&mut self) -> io::Result<()> {
        if self.is_direct {
            self.file.set_len(self.bytes)?;
        }
        rustix::fs::fsync(&self.file)?;
        std::fs::rename(&self.path, &self.becomes)?;
        self.becomes.parent().map_or(Ok(()), sync_folder)
    }
}

/// Creates a staging file beside `becomes`, past the page cache if that can be.
fn create(becomes: &Path) -> io::Result<(PathBuf, File, bool)> {
    for number in 1..=NAMES_MAX {
        let mut name = becomes.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        let direct = OFlags::DIRECT.bits().cast_signed();
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(direct)
            .open(&path);
        return Ok(match opened {
            Ok(direct) => (path, direct, true),
            Err(_) => (path, file, false),
        });
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// As the store itself would say it.
pub(in crate::objects) fn store_error(source: io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "folder",
        source: Box::new(source),
    }
}
