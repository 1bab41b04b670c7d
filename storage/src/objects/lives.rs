//! Which lives of brokers may have written objects, told by the store itself: a database that lost its last commits may
//! not know the newest of them any more.
//!
//! A life leaves its mark before it first writes, and whoever is sure that nothing of it can be missing takes the mark away.
//!
//! On disk: never rename, never reformat. The object `lives/<incarnation>` (32 hex digits) holds one line:
//!
//! ```text
//! streamhouse-life 1
//! ```

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;

use super::create::Creation;
use super::guard::{Operation, Repeat, Request};
use super::{LIST_BYTES, ListError, ObjectClass, Objects, StoreError};

const FOLDER: &str = "lives";
const BODY: &[u8] = b"streamhouse-life 1\n";
/// Shards wait for it.
const CLASS: ObjectClass = ObjectClass::Checkpoint;

/// A life that left its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedLife {
    /// The life.
    pub incarnation: u128,
    /// When it left the mark, by the store's clock, in milliseconds since 1970.
    pub modified_ms: i64,
}

impl Objects {
    /// Leaves the mark of a life. Leaving it again changes nothing.
    ///
    /// # Errors
    /// The mark may be there or not: leave it again.
    pub async fn mark_life(&self, incarnation: u128) -> Result<(), StoreError> {
        let body = Bytes::from_static(BODY);
        match self
            .create_at(&path(incarnation), 0, CLASS, body.into())
            .await
        {
            // Nobody else has the number.
            Creation::Ours | Creation::Theirs => Ok(()),
            Creation::DidNotHappen(source) | Creation::MayHaveHappened(source) => Err(source),
        }
    }

    /// The lives whose marks are there, in the order of their numbers.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn marked_lives(&self) -> Result<Vec<MarkedLife>, ListError> {
        let folder = Path::from(FOLDER);
        let list = || async {
            let mut found = Vec::new();
            let mut listing = self.inner.store.list(Some(&folder));
            while let Some(meta) = listing.next().await {
                let meta = meta?;
                if let Some(incarnation) = parse(meta.location.as_ref()) {
                    found.push(MarkedLife {
                        incarnation,
                        modified_ms: meta.last_modified.timestamp_millis(),
                    });
                }
            }
            Ok(found)
        };
        let request = Request {
            class: CLASS,
            operation: Operation::List,
            shard: 0,
            bytes: LIST_BYTES,
            repeat: Repeat::Always,
        };
        match self.inner.guard.run(request, list).await {
            Ok(mut found) => {
                found.sort_unstable_by_key(|life| life.incarnation);
                Ok(found)
            }
            Err(failure) => Err(ListError {
                prefix: FOLDER.to_owned(),
                source: failure.source,
            }),
        }
    }

    /// Takes the mark of a life away; one that is not there is away.
    ///
    /// # Errors
    /// The mark may be there still.
    pub async fn unmark_life(&self, incarnation: u128) -> Result<(), StoreError> {
        let path = path(incarnation);
        let deleted = self.delete_at(&path, ObjectClass::Garbage).await;
        deleted.map_err(|failure| failure.source)
    }
}

fn path(incarnation: u128) -> Path {
    Path::from(format!("{FOLDER}/{incarnation:032x}"))
}

fn parse(path: &str) -> Option<u128> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let incarnation = u128::from_str_radix(name, 16).ok()?;
    (name == format!("{incarnation:032x}")).then_some(incarnation)
}

#[cfg(test)]
mod tests;
