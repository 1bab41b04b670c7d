//! A race for keys: whether the store really lets only one of many writers create an object. Some stores that claim to
//! speak S3 ignore `If-None-Match`, or check it before they write and not while; no fence may rest on such a store.

use futures::future::join_all;
use object_store::PutPayload;
use object_store::path::Path;

use super::create::Creation;
use super::guard::Failure;
use super::{ObjectClass, Objects, StoreError};

/// Under this folder, which is no key shard, the objects of races come and go.
const FOLDER: &str = "race";
/// The class with room for all sixteen writers at once.
const CLASS: ObjectClass = ObjectClass::Flush;

/// The store failed the race, or could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RaceError {
    /// Several writers were told that they created one object. Use another store: this one cannot fence a broker.
    #[error(
        "the object store let {winners} of {writers} writers create one object; it does not keep If-None-Match, use another store"
    )]
    Several {
        /// How many were told so.
        winners: usize,
        /// How many there were.
        writers: u16,
    },
    /// Nobody could create an object that was not there. The store does not support If-None-Match.
    #[error(
        "the object store let nobody create an object that was not there; use a store that keeps If-None-Match"
    )]
    Nobody,
    /// The object is not the one of the writer that was told it had won. Use another store.
    #[error(
        "the object store kept another object than that of the writer it let win; use another store"
    )]
    Another,
    /// The store refused or did not answer: check endpoint, bucket, credentials and their rights to read, write and
    /// delete objects.
    #[error(
        "the object store cannot be used; check endpoint, bucket, credentials and the rights to read, write and delete: {source}"
    )]
    Unavailable {
        /// What the store said.
        source: StoreError,
    },
}

impl Objects {
    /// Lets `writers` (at least two, up to sixteen at once) race for a key, `rounds` times, and deletes what they wrote.
    ///
    /// # Errors
    /// See [`RaceError`].
    pub async fn race_for_keys(&self, writers: u16, rounds: u16) -> Result<(), RaceError> {
        for _ in 0..rounds {
            let number = self.inner.guard.ambient().chance.next_u128();
            let path = Path::from(format!("{FOLDER}/{number:032x}"));
            let outcome = self.race(&path, writers.max(2)).await;
            let deleted = self.delete_at(&path, CLASS).await;
            outcome?;
            deleted.map_err(unavailable)?;
        }
        Ok(())
    }

    async fn race(&self, path: &Path, writers: u16) -> Result<(), RaceError> {
        let bodies: Vec<PutPayload> = (0..writers)
            .map(|writer| PutPayload::from(format!("{path} {writer}").into_bytes()))
            .collect();
        let runs = bodies
            .iter()
            .map(|body| self.create_at(path, 0, CLASS, body.clone()));
        let mut winners = Vec::new();
        let mut failed = None;
        for (body, outcome) in bodies.iter().zip(join_all(runs).await) {
            match outcome {
                Creation::Ours => winners.push(body),
                Creation::Theirs => {}
                Creation::MayHaveHappened(source) | Creation::DidNotHappen(source) => {
                    failed = Some(source);
                }
            }
        }
        match (winners.as_slice(), failed) {
            ([winner], _) => self.is_there(path, winner).await,
            ([], None) => Err(RaceError::Nobody),
            ([], Some(source)) => Err(RaceError::Unavailable { source }),
            (several, _) => Err(RaceError::Several {
                winners: several.len(),
                writers,
            }),
        }
    }

    async fn is_there(&self, path: &Path, winner: &PutPayload) -> Result<(), RaceError> {
        let bytes = self.read_at(path, CLASS).await.map_err(unavailable)?;
        if winner.iter().flatten().eq(bytes.iter()) {
            Ok(())
        } else {
            Err(RaceError::Another)
        }
    }
}

fn unavailable(failure: Failure) -> RaceError {
    RaceError::Unavailable {
        source: failure.source,
    }
}

#[cfg(test)]
mod tests;
