//! Objects: immutable things in the object store (a folder, later S3). Everything that a broker keeps for long is one.
//!
//! [`Objects`] is the one concrete type through which the rooms see the store. Laws, kept by the conformance suite for
//! every store:
//! 1. An object that was put can be read at once, whole and by range, and is listed.
//! 2. An object becomes visible only when it is whole, and never changes; an upload that fails, is aborted or dropped
//!    leaves nothing visible.
//! 3. A put that succeeded survives a power cut, and so does a deletion.
//! 4. Deleting what is not there succeeds.
//! 5. A listing is in the order of keys.
//!
//! Callers must give each object a key of its own ([`ObjectId`]): the content under a key is the same for all time.
//! Errors of writes say whether the write did not happen or may have happened. Not promised: that a read sees a
//! deletion that runs at the same time, that a listing is one point in time.

mod again;
mod blocks;
mod class;
mod error;
#[cfg(any(test, feature = "test-support"))]
mod fault;
mod folder;
mod guard;
mod key;
#[cfg(test)]
pub(crate) mod rig;
mod writer;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload,
};
use streamhouse_runtime::Ambient;

pub use self::again::BlamesObject;
pub use self::class::ObjectClass;
pub use self::error::{DeleteError, GetError, ListError, OpenFolderError, PutError, StoreError};
#[cfg(any(test, feature = "test-support"))]
pub use self::fault::{Fault, FaultStore, Faults};
pub use self::guard::ObjectCounts;
pub use self::key::{KEY_SHARDS, ObjectId, ObjectKey, ObjectKind, ParseKeyError};
pub use self::writer::ObjectWriter;

use self::again::Condemned;
use self::class::Patience;
use self::folder::Folder;
use self::guard::{Cause, Failure, Guard, Repeat};
use streamhouse_runtime::planted;

/// The part size of uploads into a folder: large enough to be cheap, small enough to keep memory low.
const PART_BYTES_FOLDER: usize = 1024 * 1024;
/// The part size of uploads over a network: stores demand at least 5 MiB.
const PART_BYTES_REMOTE: usize = 8 * 1024 * 1024;
/// How much a page of a listing is taken to weigh when its time limit is computed.
const LIST_BYTES: u64 = 64 * 1024 * 1024;

/// The object store. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Objects {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    guard: Guard,
    folder: Option<Arc<Folder>>,
    part_bytes: usize,
    condemned: Condemned,
}

/// One object of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: ObjectKey,
    /// The size in bytes.
    pub bytes: u64,
    /// When it was stored, by the store's clock: milliseconds since 1970-01-01 UTC.
    pub modified_ms: i64,
}

impl Objects {
    /// Opens a local folder as object store, with fsync. Creates it if it does not exist, and removes what unfinished
    /// uploads of earlier processes left. Waits for the disk. One process at a time: the caller holds the lock of the
    /// data directory.
    ///
    /// # Errors
    /// The folder cannot be created, read or made durable.
    pub fn open_folder(path: &Path, ambient: Ambient) -> Result<Self, OpenFolderError> {
        let (folder, store) = Folder::open(path)?;
        let guard = Guard::new(ambient, Patience::Folder);
        let inner = Inner {
            store,
            guard,
            folder: Some(folder),
            part_bytes: PART_BYTES_FOLDER,
            condemned: Condemned::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The objects of `store`, whose own retries must be off.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, ambient: Ambient) -> Self {
        Self::with_parts(store, ambient, PART_BYTES_REMOTE)
    }

    /// As [`Objects::new`], with parts of `part_bytes`: a simulation sees small objects go up in pieces.
    #[cfg(any(test, feature = "test-support"))]
    #[must_use]
    pub fn in_parts(store: Arc<dyn ObjectStore>, ambient: Ambient, part_bytes: usize) -> Self {
        Self::with_parts(store, ambient, part_bytes)
    }

    fn with_parts(store: Arc<dyn ObjectStore>, ambient: Ambient, part_bytes: usize) -> Self {
        let guard = Guard::new(ambient, Patience::Remote);
        let inner = Inner {
            store,
            guard,
            folder: None,
            part_bytes,
            condemned: Condemned::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// An empty store in memory.
    #[cfg(any(test, feature = "test-support"))]
    #[must_use]
    pub fn in_memory(ambient: Ambient) -> Self {
        Self::new(Arc::new(object_store::memory::InMemory::new()), ambient)
    }

    /// What was asked of the store for `class` so far.
    #[must_use]
    pub fn counts(&self, class: ObjectClass) -> ObjectCounts {
        self.inner.guard.counts(class)
    }

    /// Stores an object whole. `body` is kept in memory until the store has it; see [`Objects::writer`] for more than
    /// a few megabytes.
    ///
    /// # Errors
    /// Says whether the object may exist.
    pub async fn put(
        &self,
        key: &ObjectKey,
        class: ObjectClass,
        body: Vec<Bytes>,
    ) -> Result<(), PutError> {
        let payload: PutPayload = body.into_iter().collect();
        let bytes = payload.content_length() as u64;
        self.make_parents(key).await?;
        let path = key.path();
        if planted::bug("commit_before_upload") && class == ObjectClass::Flush {
            let store = Arc::clone(&self.inner.store);
            let put =
                async move { drop(store.put_opts(&path, payload, PutOptions::default()).await) };
            drop(self.inner.guard.ambient().tasks.spawn("put", put));
            return Ok(());
        }
        let put = || {
            self.inner
                .store
                .put_opts(&path, payload.clone(), PutOptions::default())
        };
        match self
            .inner
            .guard
            .run(class, bytes, Repeat::NotReached, put)
            .await
        {
            Ok(_) => Ok(()),
            Err(failure) => Err(put_error(*key, failure)),
        }
    }

    /// Stores an object in pieces, in bounded memory. Nothing is visible before [`ObjectWriter::finish`].
    #[must_use]
    pub fn writer(&self, key: &ObjectKey, class: ObjectClass) -> ObjectWriter {
        ObjectWriter::new(self.clone(), *key, class)
    }

    /// Reads exactly `range` of an object.
    ///
    /// # Errors
    /// See [`GetError`]; a range that does not lie inside the object is [`GetError::Short`].
    pub async fn get_range(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        class: ObjectClass,
    ) -> Result<Bytes, GetError> {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let path = key.path();
        let get = || async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                ..GetOptions::default()
            };
            let answer = self.inner.store.get_opts(&path, options).await?;
            let starts_right = answer.range.start == range.start;
            let bytes = answer.bytes().await?;
            Ok((starts_right, bytes))
        };
        match self
            .inner
            .guard
            .run(class, wanted, Repeat::Always, get)
            .await
        {
            Ok((true, bytes)) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok((_, bytes)) => Err(GetError::Short {
                key: *key,
                wanted,
                got: bytes.len() as u64,
            }),
            Err(Failure {
                cause: Cause::NotFound,
                ..
            }) => Err(GetError::NotFound { key: *key }),
            Err(failure) => Err(self.why_unreadable(key, &range, class, failure).await),
        }
    }

    /// Stores differ in how they refuse a range behind the end; the size tells it from a store that is down.
    async fn why_unreadable(
        &self,
        key: &ObjectKey,
        range: &Range<u64>,
        class: ObjectClass,
        failure: Failure,
    ) -> GetError {
        let path = key.path();
        match self
            .inner
            .guard
            .run(class, 0, Repeat::Never, || self.inner.store.head(&path))
            .await
        {
            Ok(meta) if meta.size < range.end => GetError::Short {
                key: *key,
                wanted: range.end - range.start,
                got: meta.size.saturating_sub(range.start),
            },
            Ok(_) | Err(_) => GetError::Unavailable {
                key: *key,
                source: failure.source,
            },
        }
    }

    /// The size of an object in bytes.
    ///
    /// # Errors
    /// Not found, or the store is unavailable.
    pub async fn size(&self, key: &ObjectKey, class: ObjectClass) -> Result<u64, GetError> {
        let path = key.path();
        match self
            .inner
            .guard
            .run(class, 0, Repeat::Always, || self.inner.store.head(&path))
            .await
        {
            Ok(meta) => Ok(meta.size),
            Err(Failure {
                cause: Cause::NotFound,
                ..
            }) => Err(GetError::NotFound { key: *key }),
            Err(failure) => Err(GetError::Unavailable {
                key: *key,
                source: failure.source,
            }),
        }
    }

    /// Deletes an object. Deleting what is not there succeeds.
    ///
    /// # Errors
    /// The object may still exist; delete it again.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), DeleteError> {
        let path = key.path();
        let delete = || self.inner.store.delete(&path);
        match self
            .inner
            .guard
            .run(ObjectClass::Garbage, 0, Repeat::Always, delete)
            .await
        {
            Ok(())
            | Err(Failure {
                cause: Cause::NotFound,
                ..
            }) => {}
            Err(failure) => {
                return Err(DeleteError {
                    key: *key,
                    source: failure.source,
                });
            }
        }
        let synced = self
            .in_folder(*key, |folder, key| folder.sync_deletion(&key))
            .await;
        synced.map_err(|source| DeleteError {
            key: *key,
            source: Arc::new(source),
        })
    }

    /// Lists all objects, or those of one incarnation, in the order of their keys. Other files are left out. Holds one
    /// key shard (a 256th of all objects) in memory at a time.
    #[must_use]
    pub fn list(
        &self,
        incarnation: Option<u128>,
    ) -> BoxStream<'static, Result<ListedObject, ListError>> {
        let objects = self.clone();
        stream::iter(0..KEY_SHARDS)
            .then(move |shard| {
                let objects = objects.clone();
                async move {
                    match objects.list_shard(shard, incarnation).await {
                        Ok(found) => found.into_iter().map(Ok).collect(),
                        Err(error) => vec![Err(error)],
                    }
                }
            })
            .flat_map(stream::iter)
            .boxed()
    }

    async fn list_shard(
        &self,
        shard: u16,
        incarnation: Option<u128>,
    ) -> Result<Vec<ListedObject>, ListError> {
        let prefix = match incarnation {
            Some(incarnation) => format!("{shard:02x}/{incarnation:032x}"),
            None => format!("{shard:02x}"),
        };
        let path = object_store::path::Path::from(prefix.as_str());
        let list = || async {
            let mut found = Vec::new();
            let mut listing = self.inner.store.list(Some(&path));
            while let Some(meta) = listing.next().await {
                let meta = meta?;
                if let Ok(key) = ObjectKey::parse(meta.location.as_ref()) {
                    let modified_ms = meta.last_modified.timestamp_millis();
                    found.push(ListedObject {
                        key,
                        bytes: meta.size,
                        modified_ms,
                    });
                }
            }
            Ok(found)
        };
        let listed = self
            .inner
            .guard
            .run(ObjectClass::Garbage, LIST_BYTES, Repeat::Always, list)
            .await;
        match listed {
            Ok(mut found) => {
                found.sort_unstable_by_key(|object| {
                    let id = object.key.id();
                    (
                        id.incarnation,
                        id.seq,
                        id.attempt,
                        object.key.kind().ending(),
                    )
                });
                Ok(found)
            }
            Err(failure) => Err(ListError {
                prefix,
                source: failure.source,
            }),
        }
    }

    async fn make_parents(&self, key: &ObjectKey) -> Result<(), PutError> {
        if self
            .inner
            .folder
            .as_ref()
            .is_none_or(|folder| !folder.needs_parents(key))
        {
            return Ok(());
        }
        let made = self
            .in_folder(*key, |folder, key| folder.make_parents(&key))
            .await;
        made.map_err(|source| PutError::DidNotHappen {
            key: *key,
            source: Arc::new(source),
        })
    }

    async fn begin_upload(&self, key: ObjectKey) -> object_store::Result<Box<dyn MultipartUpload>> {
        let Some(folder) = self.inner.folder.clone() else {
            let options = PutMultipartOptions::default();
            let path = key.path();
            return self.inner.store.put_multipart_opts(&path, options).await;
        };
        let tasks = self.inner.guard.ambient().tasks.clone();
        let beginning = self
            .inner
            .guard
            .ambient()
            .tasks
            .blocking(move || folder.begin_upload(&key, tasks));
        let begun = beginning.await;
        let begun = begun.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        Ok(Box::new(begun.map_err(folder::store_error)?))
    }

    /// Runs `work` where waiting for the disk is allowed; nothing to do for a store that is not a folder.
    async fn in_folder(
        &self,
        key: ObjectKey,
        work: impl FnOnce(&Folder, ObjectKey) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let Some(folder) = self.inner.folder.clone() else {
            return Ok(());
        };
        let done = self
            .inner
            .guard
            .ambient()
            .tasks
            .blocking(move || work(&folder, key))
            .await;
        done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }
}

fn put_error(key: ObjectKey, failure: Failure) -> PutError {
    match failure.cause {
        Cause::NotFound | Cause::Refused | Cause::NotReached => PutError::DidNotHappen {
            key,
            source: failure.source,
        },
        Cause::Unknown => PutError::MayHaveHappened {
            key,
            source: failure.source,
        },
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
