//! Whose objects these are: one cluster per folder or prefix.
//!
//! Two clusters under one prefix would take each other's objects for orphans and delete them. So the first broker of a
//! cluster leaves the cluster's id there, and every broker looks for it at its start.
//!
//! On disk: never rename, never reformat. The object `cluster` beside the key shards holds two lines:
//!
//! ```text
//! streamhouse-cluster 1
//! MkU3OEVBNTcwNTJENDM2Qk
//! ```

use bytes::Bytes;
use object_store::path::Path;

use super::create::Creation;
use super::guard::Cause;
use super::{ObjectClass, Objects, StoreError};

const NAME: &str = "cluster";
const FIRST_LINE: &str = "streamhouse-cluster 1";
const CLASS: ObjectClass = ObjectClass::Checkpoint;
/// Cluster ids have 22 letters; nothing near this length is one.
const ID_CHARS_MAX: usize = 64;

/// The objects are not this cluster's, or nobody knows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClaimError {
    /// The objects of another cluster lie there.
    #[error(
        "the objects under {place} belong to cluster {theirs}, and the metadata store to cluster {ours}; give each cluster a folder or prefix of its own (storage.url), or use the metadata store of that cluster"
    )]
    Taken {
        /// The folder, or the bucket and prefix.
        place: String,
        /// The cluster that was there first.
        theirs: String,
        /// The cluster of this broker.
        ours: String,
    },
    /// Something is there that does not name a cluster.
    #[error(
        "object \"cluster\" under {place} does not name a cluster; use another folder or prefix (storage.url), or restore that object"
    )]
    NotOurs {
        /// The folder, or the bucket and prefix.
        place: String,
    },
    /// The id cannot be written: it is empty, too long or has letters that ids do not have.
    #[error("{id:?} is not the id of a cluster")]
    NoId {
        /// The id.
        id: String,
    },
    /// The store refused or did not answer; the object may have been written. Start again.
    #[error("the object store does not say whose objects it holds; check that it can be reached")]
    Unavailable {
        /// What the store said.
        source: StoreError,
    },
}

impl Objects {
    /// Makes sure that these are the objects of cluster `cluster_id`: leaves the id if nobody has, compares it else. Of
    /// several clusters that try at once, one succeeds.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub async fn claim(&self, cluster_id: &str) -> Result<(), ClaimError> {
        if !is_id(cluster_id) {
            let id = cluster_id.chars().take(ID_CHARS_MAX).collect();
            return Err(ClaimError::NoId { id });
        }
        if let Some(found) = self.claimed().await? {
            return self.compare(&found, cluster_id);
        }
        let body = Bytes::from(format!("{FIRST_LINE}\n{cluster_id}\n"));
        match self.create_at(&path(), 0, CLASS, body.into()).await {
            Creation::Ours => Ok(()),
            Creation::Theirs => match self.claimed().await? {
                Some(found) => self.compare(&found, cluster_id),
                None => Err(ClaimError::NotOurs {
                    place: self.place(),
                }),
            },
            Creation::DidNotHappen(source) | Creation::MayHaveHappened(source) => {
                Err(ClaimError::Unavailable { source })
            }
        }
    }

    /// The cluster whose objects these are; none if nobody has claimed them.
    async fn claimed(&self) -> Result<Option<String>, ClaimError> {
        match self.read_at(&path(), CLASS).await {
            Ok(bytes) => match parse(&bytes) {
                Some(id) => Ok(Some(id.to_owned())),
                None => Err(ClaimError::NotOurs {
                    place: self.place(),
                }),
            },
            Err(failure) if failure.cause == Cause::NotFound => Ok(None),
            Err(failure) => Err(ClaimError::Unavailable {
                source: failure.source,
            }),
        }
    }

    fn compare(&self, found: &str, ours: &str) -> Result<(), ClaimError> {
        if found == ours {
            return Ok(());
        }
        Err(ClaimError::Taken {
            place: self.place(),
            theirs: found.to_owned(),
            ours: ours.to_owned(),
        })
    }
}

fn path() -> Path {
    Path::from(NAME)
}

fn parse(bytes: &[u8]) -> Option<&str> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    let (first, id, rest) = (lines.next()?, lines.next()?, lines.next());
    (first == FIRST_LINE && rest.is_none() && is_id(id)).then_some(id)
}

/// Base64 as in addresses, as Kafka writes ids.
fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests;
