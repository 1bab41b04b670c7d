//! Committing: the manifests of a flush become facts, and the entries that they name are recorded.
//!
//! An answer that may have happened is never taken for "did not happen": the shard's row and its manifest are read, and
//! the identical commit is run again only if neither shows it.

use streamhouse_metadata::store::{Commit, CommitError, CommitOutcome, Lsn, Outcome, StoreError};
use streamhouse_storage::wal::WalPosition;

use super::FlushError;
use super::write::{Sealed, SealedPart};
use crate::Log;
use crate::format::entry::Entry;
use crate::shard::{Inner, Shard};

/// How often an unknown outcome is resolved and the identical commit repeated before the flush gives up for now.
const COMMIT_ATTEMPTS: u32 = 5;

impl Log {
    pub(crate) async fn commit_flush(&self, sealed: Sealed) -> Result<(), FlushError> {
        // With an object every manifest of a commit makes its shard one that needs the object, so shards without data in
        // it are committed by themselves.
        let (with_data, without): (Vec<_>, Vec<_>) = sealed
            .parts
            .into_iter()
            .partition(|part| part.manifest.data.is_some());
        let mut failed = None;
        for (object, parts) in [(sealed.object, with_data), (None, without)] {
            if parts.is_empty() {
                continue;
            }
            let manifests = parts.iter().map(|part| part.commit.clone()).collect();
            let id = object.as_ref().map(|object| object.id);
            let outcomes = match (self.commit_resolved(Commit { object, manifests }).await, id) {
                (Ok(outcomes), _) => outcomes,
                (Err(error), None) => return Err(error),
                (Err(error), Some(id)) => {
                    self.abandon(id).await;
                    return Err(error);
                }
            };
            for (part, outcome) in parts.into_iter().zip(outcomes) {
                let recorded = match outcome {
                    CommitOutcome::Committed => self.record(part, sealed.cut),
                    CommitOutcome::Refused => Err(self.refused(&part).await),
                };
                failed = failed.or(recorded.err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Commits, and finds out what happened when the store cannot say.
    async fn commit_resolved(&self, commit: Commit) -> Result<Vec<CommitOutcome>, FlushError> {
        let mut attempt = 1;
        loop {
            let error = match self.store().commit(commit.clone()).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => error,
            };
            let resolved = match (&error, error.outcome()) {
                // A row with this id can only be our own: the commit before this one went through.
                (CommitError::ObjectExists { .. }, _) if attempt > 1 => {
                    self.read_back(&commit).await?
                }
                (_, Outcome::DidNotHappen) => return Err(error.into()),
                (_, Outcome::MayHaveHappened) => self.read_back(&commit).await?,
            };
            if let Some(outcomes) = resolved {
                return Ok(outcomes);
            }
            if attempt == COMMIT_ATTEMPTS {
                return Err(error.into());
            }
            attempt += 1;
        }
    }

    /// The outcomes as the rows show them; `None` if nothing of the commit is there.
    async fn read_back(&self, commit: &Commit) -> Result<Option<Vec<CommitOutcome>>, StoreError> {
        let mut outcomes = Vec::with_capacity(commit.manifests.len());
        for manifest in &commit.manifests {
            let rows = self
                .store()
                .manifests(manifest.shard, manifest.lsn, 1)
                .await?;
            let ours = rows.first().is_some_and(|row| {
                row.lsn == manifest.lsn
                    && row.epoch == manifest.epoch
                    && row.incarnation == manifest.incarnation
            });
            outcomes.push(if ours {
                CommitOutcome::Committed
            } else {
                CommitOutcome::Refused
            });
        }
        // One transaction: either some shard won, or it did not happen and may be repeated as it is.
        Ok(outcomes
            .contains(&CommitOutcome::Committed)
            .then_some(outcomes))
    }

    fn record(&self, part: SealedPart, cut: WalPosition) -> Result<(), FlushError> {
        let shard = self.shard_of(part.manifest.shard);
        let mut inner = shard.lock();
        match inner.record(&part, cut) {
            Ok(()) => Ok(()),
            Err(reason) => Err(stop(shard, &mut inner, reason)),
        }
    }

    /// The compare-and-set failed. Read the shard's row to learn whether we were fenced or the database went back.
    async fn refused(&self, part: &SealedPart) -> FlushError {
        let shard = self.shard_of(part.manifest.shard);
        let row = match self.store().read_shard(shard.id).await {
            Ok(row) => row,
            Err(error) => return FlushError::Resolve(error),
        };
        let ours = part.commit.epoch;
        let reason = match row {
            None => "metadata_regression: the database has lost the shard's row".to_owned(),
            Some(row) if row.next_lsn < part.commit.lsn => format!(
                "metadata_regression: the database ends at manifest {}, this broker saw {} committed",
                row.next_lsn, part.commit.lsn
            ),
            Some(row) => format!(
                "another grant leads it: epoch {} instead of {ours}",
                row.epoch
            ),
        };
        stop(shard, &mut shard.lock(), reason)
    }
}

fn stop(shard: &Shard, inner: &mut Inner, reason: String) -> FlushError {
    tracing::error!(shard = shard.id.0, %reason, "the shard stopped; its unrecorded entries stay in the WAL");
    inner.stopped = Some(reason.clone());
    FlushError::Stopped {
        shard: shard.id.0,
        reason,
    }
}

impl Inner {
    /// Moves the entries of a committed manifest behind the recorded line.
    fn record(&mut self, part: &SealedPart, cut: WalPosition) -> Result<(), String> {
        self.recorded
            .apply(&part.manifest)
            .map_err(|error| error.to_string())?;
        for partition in self.partitions.values_mut() {
            while partition
                .unrecorded
                .front()
                .is_some_and(|entry| entry.location.position < cut)
            {
                partition.unrecorded.pop_front();
            }
        }
        for entry in &part.manifest.entries {
            if let Entry::DropPartition { at } = entry {
                self.partitions.remove(at);
            }
        }
        let flushing = &mut self.flushing;
        flushing
            .released
            .retain(|object| !part.commit.released.contains(object));
        flushing.manifests += 1;
        flushing.body_bytes += part.commit.body.len() as u64;
        match part.manifest.object() {
            Some(object) => {
                flushing.flush_seq = part.manifest.flush_seq;
                flushing.bodiless.clear();
                // Everything that the object held for this shard was trimmed in the same flush.
                if !self.recorded.locations.objects().any(|used| used == object) {
                    flushing.released.push(object);
                }
            }
            None => flushing.bodiless.push(part.commit.body.clone()),
        }
        debug_assert_eq!(self.recorded.next_lsn, Lsn(part.manifest.lsn.0 + 1));
        Ok(())
    }
}
