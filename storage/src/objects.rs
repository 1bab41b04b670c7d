//! Objects: immutable things in the object store (a folder, or a bucket of S3). Everything that a broker keeps for long
//! is one.
//!
//! [`Objects`] is the one concrete type through which the rooms see the store. Laws, kept by the conformance suite for
//! every store:
//! 1. An object that was put can be read at once, whole and by range, and is listed.
//! 2. An object becomes visible only when it is whole, and never changes; an upload that fails, is aborted or dropped
//!    leaves nothing visible.
//! 3. A put that succeeded survives a power cut, and so does a deletion.
//! 4. Deleting what is not there succeeds.
//! 5. A listing is in the order of keys.
//! 6. Of all that create an object under one key, exactly one succeeds.
//!
//! Callers must give each object a key of its own ([`ObjectId`]): the content under a key is the same for all time.
//! Errors of writes say whether the write did not happen or may have happened. Not promised: that a read sees a
//! deletion that runs at the same time, that a listing is one point in time.

mod again;
mod blocks;
mod claim;
mod class;
mod create;
mod error;
#[cfg(any(test, feature = "test-support"))]
mod fault;
mod folder;
mod guard;
mod key;
mod lives;
mod open;
mod probe;
mod race;
#[cfg(test)]
pub(crate) mod rig;
mod s3;
mod writer;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload,
};

pub use self::again::BlamesObject;
pub use self::claim::ClaimError;
pub use self::class::ObjectClass;
pub use self::error::{
    CreateError, DeleteError, GetError, ListError, OpenFolderError, PutError, StoreError,
};
#[cfg(any(test, feature = "test-support"))]
pub use self::fault::{Fault, FaultStore, Faults};
pub use self::guard::{ObjectCounts, StoreHealth};
pub use self::key::{KEY_SHARDS, ObjectId, ObjectKey, ObjectKind, ParseKeyError};
pub use self::lives::MarkedLife;
pub use self::open::OpenObjectsError;
pub use self::probe::ProbeError;
pub use self::race::RaceError;
pub use self::s3::{OpenS3Error, ParseS3PlaceError, S3Limits, S3Place, WireCounts};
pub use self::writer::ObjectWriter;

use self::again::Condemned;
use self::folder::Folder;
use self::guard::{Cause, Failure, Guard, Operation, Repeat, Request};
use self::s3::wire::Wire;
use streamhouse_runtime::planted;

/// The part size of uploads into a folder: large enough to be cheap, small enough to keep memory low.
const PART_BYTES_FOLDER: usize = 1024 * 1024;
/// The part size of uploads over a network: stores demand at least 5 MiB.
const PART_BYTES_REMOTE: usize = 8 * 1024 * 1024;
/// How much a page of a listing is taken to weigh when its time limit is computed.
const LIST_BYTES: u64 = 64 * 1024 * 1024;
/// Key shards that are listed at once: 256 answers one after another would take seconds.
const LISTINGS: usize = 16;

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
    wire: Option<Arc<Wire>>,
    /// Where the objects are, for humans.
    place: String,
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

/// The last bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectTail {
    /// How large the object is, in bytes.
    pub object_bytes: u64,
    /// The bytes up to its end.
    pub bytes: Bytes,
}

impl ObjectTail {
    /// Where they begin in the object.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.object_bytes.saturating_sub(self.bytes.len() as u64)
    }
}

impl Objects {
    /// What was asked of the store for `class` so far.
    #[must_use]
    pub fn counts(&self, class: ObjectClass) -> ObjectCounts {
        self.inner.guard.counts(class)
    }

    /// What went over the wire for `class` so far, as the store's owner is billed for it; none for a store without one.
    #[must_use]
    pub fn wire_counts(&self, class: ObjectClass) -> Option<WireCounts> {
        self.inner.wire.as_ref().map(|wire| wire.counts(class))
    }

    /// Whether the store serves us, all classes together.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.inner.guard.health()
    }

    /// Whether requests of `class` fail at once now, because the store had stopped answering them; one at a time still
    /// asks whether it is back.
    #[must_use]
    pub fn is_cut_off(&self, class: ObjectClass) -> bool {
        self.inner.guard.is_cut_off(class)
    }

    /// For how many pairs of operation (put, get, list, delete) and key shard the store gets fewer requests now than it
    /// is asked for, because it complained; at most 1,024.
    #[must_use]
    pub fn slowed_down(&self) -> usize {
        self.inner.guard.limited()
    }

    /// Where the objects are: the folder, or `s3://bucket/prefix`.
    #[must_use]
    pub fn place(&self) -> String {
        self.inner.place.clone()
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
        let request = Request {
            class,
            operation: Operation::Put,
            shard: key.id().key_shard(),
            bytes,
            repeat: Repeat::NotReached,
        };
        match self.inner.guard.run(request, put).await {
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
        let request = reading(key, class, wanted, Repeat::Always);
        match self.inner.guard.run(request, get).await {
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

    /// Reads the last `wanted` bytes of an object, all of it if it is shorter, and learns its size.
    ///
    /// # Errors
    /// See [`GetError`]; an object without any byte is [`GetError::Short`].
    pub async fn get_tail(
        &self,
        key: &ObjectKey,
        wanted: u64,
        class: ObjectClass,
    ) -> Result<ObjectTail, GetError> {
        let path = key.path();
        let get = || async {
            let options = GetOptions {
                range: Some(GetRange::Suffix(wanted)),
                ..GetOptions::default()
            };
            let answer = self.inner.store.get_opts(&path, options).await?;
            let (range, object_bytes) = (answer.range.clone(), answer.meta.size);
            Ok((range, object_bytes, answer.bytes().await?))
        };
        let request = reading(key, class, wanted, Repeat::Always);
        match self.inner.guard.run(request, get).await {
            Ok((range, object_bytes, bytes)) => {
                let wanted = wanted.min(object_bytes);
                let is_it = range == (object_bytes - wanted..object_bytes);
                // Stores differ in what they say of one that is empty.
                if is_it && bytes.len() as u64 == wanted && wanted > 0 {
                    return Ok(ObjectTail {
                        object_bytes,
                        bytes,
                    });
                }
                Err(GetError::Short {
                    key: *key,
                    wanted,
                    got: bytes.len() as u64,
                })
            }
            Err(Failure {
                cause: Cause::NotFound,
                ..
            }) => Err(GetError::NotFound { key: *key }),
            Err(failure) => Err(self.why_unreadable(key, &(0..1), class, failure).await),
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
        if failure.cause == Cause::SentAway {
            return GetError::Unavailable {
                key: *key,
                source: failure.source,
            };
        }
        let path = key.path();
        let request = reading(key, class, 0, Repeat::Never);
        let head = || self.inner.store.head(&path);
        match self.inner.guard.run(request, head).await {
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
        let request = reading(key, class, 0, Repeat::Always);
        let head = || self.inner.store.head(&path);
        match self.inner.guard.run(request, head).await {
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
        let request = Request {
            class: ObjectClass::Garbage,
            operation: Operation::Delete,
            shard: key.id().key_shard(),
            bytes: 0,
            repeat: Repeat::Always,
        };
        match self.inner.guard.run(request, delete).await {
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

    /// Lists all objects, or those of one incarnation, in the order of their keys. Other files are left out. Holds a
    /// few key shards (each a 256th of all objects) in memory at a time. `class` says who waits for it: a takeover must not
    /// be sent away for want of patience as the clean-up is. Between two reads of the stream requests of this class may be under
    /// way, and none of them ends: whoever asks for more meanwhile asks as another class.
    #[must_use]
    pub fn list(
        &self,
        incarnation: Option<u128>,
        class: ObjectClass,
    ) -> BoxStream<'static, Result<ListedObject, ListError>> {
        let objects = self.clone();
        stream::iter(0..=u8::MAX)
            .map(move |shard| {
                let objects = objects.clone();
                async move {
                    match objects.list_shard(shard, incarnation, class).await {
                        Ok(found) => found.into_iter().map(Ok).collect(),
                        Err(error) => vec![Err(error)],
                    }
                }
            })
            .buffered(LISTINGS)
            .flat_map(stream::iter)
            .boxed()
    }

    async fn list_shard(
        &self,
        shard: u8,
        incarnation: Option<u128>,
        class: ObjectClass,
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
        let request = Request {
            class,
            operation: Operation::List,
            shard,
            bytes: LIST_BYTES,
            repeat: Repeat::Always,
        };
        match self.inner.guard.run(request, list).await {
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

/// A request for bytes of an object, or for its size.
fn reading(key: &ObjectKey, class: ObjectClass, bytes: u64, repeat: Repeat) -> Request {
    Request {
        class,
        operation: Operation::Get,
        shard: key.id().key_shard(),
        bytes,
        repeat,
    }
}

fn put_error(key: ObjectKey, failure: Failure) -> PutError {
    let source = failure.source;
    if failure.cause.may_have_happened() {
        PutError::MayHaveHappened { key, source }
    } else {
        PutError::DidNotHappen { key, source }
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;
