//! What can go wrong with an object, one enum per operation. Every variant says what to do next; for writes, whether
//! the object may exist.

use std::sync::Arc;

use super::ObjectKey;

/// The reason a store gave, shared so that every waiter of one request can have it.
pub type StoreError = Arc<dyn std::error::Error + Send + Sync>;

/// An object was not stored, or nobody knows whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PutError {
    /// The object does not exist and will not appear. Try again, under the same key or another.
    #[error("object {key} was not stored (did not happen)")]
    DidNotHappen {
        /// The key.
        key: ObjectKey,
        /// What the store said.
        source: StoreError,
    },
    /// The object may exist, or may still appear. Try again under a new attempt number and leave the old key to
    /// garbage collection.
    #[error("object {key} may or may not have been stored (may have happened)")]
    MayHaveHappened {
        /// The key.
        key: ObjectKey,
        /// What the store said last.
        source: StoreError,
    },
}

/// An object was not created, or nobody knows whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// There is an object of somebody else under the key: whoever wrote it was first. Ours was not stored.
    #[error("object {key} exists already; somebody else was first (did not happen)")]
    Exists {
        /// The key.
        key: ObjectKey,
    },
    /// The object does not exist and will not appear. Try again.
    #[error("object {key} was not created (did not happen)")]
    DidNotHappen {
        /// The key.
        key: ObjectKey,
        /// What the store said.
        source: StoreError,
    },
    /// The object may exist, or may still appear. Try again under another key, or read this one later.
    #[error("object {key} may or may not have been created (may have happened)")]
    MayHaveHappened {
        /// The key.
        key: ObjectKey,
        /// What the store said last.
        source: StoreError,
    },
}

/// An object could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GetError {
    /// No such object. Refresh the state that named it; if it still does, data is missing.
    #[error("object {key} not found")]
    NotFound {
        /// The key.
        key: ObjectKey,
    },
    /// The store did not answer in time, or refused. Try again later.
    #[error("object {key} could not be read; the store is unavailable")]
    Unavailable {
        /// The key.
        key: ObjectKey,
        /// What the store said last.
        source: StoreError,
    },
    /// The object ends before the range, or the store sent fewer bytes than it has. The object is damaged, or its
    /// size is not what the caller believes.
    #[error("object {key} gave {got} bytes where {wanted} were asked for")]
    Short {
        /// The key.
        key: ObjectKey,
        /// How many bytes were asked for.
        wanted: u64,
        /// How many came.
        got: u64,
    },
}

/// An object was not deleted, or nobody knows. Delete it again: deleting what is gone succeeds.
#[derive(Clone, Debug, thiserror::Error)]
#[error("object {key} may or may not have been deleted (may have happened)")]
pub struct DeleteError {
    /// The key.
    pub key: ObjectKey,
    /// What the store said last.
    pub source: StoreError,
}

/// The objects could not be listed. What came before the error is right; start again at the shard that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("objects under {prefix:?} could not be listed; the store is unavailable")]
pub struct ListError {
    /// The prefix that was being listed.
    pub prefix: String,
    /// What the store said last.
    pub source: StoreError,
}

/// The folder cannot be an object store.
#[derive(Debug, thiserror::Error)]
pub enum OpenFolderError {
    /// The folder cannot be created, read or made durable. Check the path, its rights and the disk.
    #[error("object folder {path:?} cannot be {what}; check the path, its owner and the disk")]
    Folder {
        /// The path that failed.
        path: std::path::PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder was found but the store cannot work in it.
    #[error("object folder {path:?} cannot be opened; choose another folder")]
    Store {
        /// The path that failed.
        path: std::path::PathBuf,
        /// What the store said.
        source: StoreError,
    },
}
