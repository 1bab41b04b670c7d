//! Committing: the manifests of a flush become facts, and the entries that they name are recorded.
//!
//! An answer that may have happened is never taken for "did not happen": the manifests are read, and the identical commit
//! is run again only if none of them is there. Until its outcome is known a commit stays *in doubt*, and no other one is
//! made: the numbers and offsets of its manifests may be facts already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use streamhouse_metadata::store::{
    Commit, CommitError, CommitOutcome, Lsn, NewObject, Outcome, StoreError,
};

use super::FlushError;
use super::write::{Sealed, SealedPart};
use crate::Log;
use crate::format::entry::Entry;
use crate::shard::{Inner, Shard};
use streamhouse_runtime::planted;

/// How often an unknown outcome is resolved and the identical commit repeated before the flush gives up for now.
const COMMIT_ATTEMPTS: u32 = 5;

/// A commit, from before it is sent until its outcome is known.
#[derive(Debug)]
pub(crate) struct InDoubt {
    commit: Commit,
    parts: Vec<SealedPart>,
    /// Whether it was sent without an answer that says what happened.
    may_have_happened: AtomicBool,
}

/// Why a commit has no outcome.
enum Unresolved {
    /// It did not happen and never will.
    DidNotHappen(FlushError),
    /// It may have happened, or may still happen.
    Unknown(FlushError),
}

impl Log {
    pub(crate) async fn commit_flush(&self, sealed: Sealed) -> Result<(), FlushError> {
        let Sealed { object, parts } = sealed;
        // With an object every manifest of a commit makes its shard one that needs the object, so shards without data in
        // it are committed by themselves.
        let (with_data, without): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .partition(|part| part.manifest.data.is_some());
        let with_data = self.commit_parts(object, with_data).await;
        if self.in_doubt.lock().is_some() {
            return with_data;
        }
        let without = self.commit_parts(None, without).await;
        with_data.and(without)
    }

    async fn commit_parts(
        &self,
        object: Option<NewObject>,
        parts: Vec<SealedPart>,
    ) -> Result<(), FlushError> {
        if parts.is_empty() {
            return Ok(());
        }
        let manifests = parts.iter().map(|part| part.commit.clone()).collect();
        // Before it is sent: a caller that goes away leaves it to the next flush.
        *self.in_doubt.lock() = Some(Arc::new(InDoubt {
            commit: Commit { object, manifests },
            parts,
            may_have_happened: AtomicBool::new(false),
        }));
        self.settle_commit().await
    }

    /// Finds out what became of the commit that is in doubt, if there is one, and records it.
    pub(crate) async fn settle_commit(&self) -> Result<(), FlushError> {
        let Some(doubt) = self.in_doubt.lock().clone() else {
            return Ok(());
        };
        let object = doubt.commit.object.as_ref().map(|object| object.id);
        let outcomes = match self.commit_resolved(&doubt).await {
            Ok(outcomes) => outcomes,
            Err(Unresolved::Unknown(error)) => {
                if planted::bug("commit_again_under_a_new_number") {
                    *self.in_doubt.lock() = None;
                    for part in &doubt.parts {
                        let mut inner = self.shard_of(part.manifest.shard).lock();
                        inner.recorded.next_lsn = Lsn(part.commit.lsn.0 + 1);
                    }
                }
                return Err(error);
            }
            Err(Unresolved::DidNotHappen(error)) => {
                *self.in_doubt.lock() = None;
                if let Some(id) = object {
                    self.abandon(id).await;
                }
                return Err(error);
            }
        };
        let mut failed = None;
        let mut refused = Vec::new();
        for (part, outcome) in doubt.parts.iter().zip(outcomes) {
            match outcome {
                CommitOutcome::Committed => {
                    failed = failed.or(self.record(part).err());
                }
                CommitOutcome::Refused => refused.push(part),
            }
        }
        *self.in_doubt.lock() = None;
        let nobody_won = refused.len() == doubt.parts.len();
        if let Some(id) = object.filter(|_| nobody_won) {
            self.abandon(id).await;
        }
        for part in refused {
            failed = failed.or(Some(self.refused(part).await));
        }
        failed.map_or(Ok(()), Err)
    }

    /// Commits, and finds out what happened when the store cannot say.
    async fn commit_resolved(&self, doubt: &InDoubt) -> Result<Vec<CommitOutcome>, Unresolved> {
        let mut attempt = 1;
        loop {
            // Set for the time of the call, too: it may be dropped on its way.
            let is_first = !doubt.may_have_happened.swap(true, Ordering::AcqRel);
            if !is_first {
                let found = self.read_back(&doubt.commit).await;
                let found = found.map_err(|error| Unresolved::Unknown(error.into()))?;
                if let Some(outcomes) = found {
                    return Ok(outcomes);
                }
            }
            let error = match self.store().commit(doubt.commit.clone()).await {
                Ok(outcomes) if is_first || !outcomes.contains(&CommitOutcome::Refused) => {
                    return Ok(outcomes);
                }
                // An earlier attempt may have come through since, and stands in the way of its own repetition.
                Ok(outcomes) => {
                    let found = self.read_back(&doubt.commit).await;
                    let found = found.map_err(|error| Unresolved::Unknown(error.into()))?;
                    return Ok(found.unwrap_or(outcomes));
                }
                Err(error) => error,
            };
            if let CommitError::ObjectExists { .. } = error {
                // The row is that of our own commit, or a tombstone, which no commit of this object passes any more.
                let found = self.read_back(&doubt.commit).await;
                let found = found.map_err(|error| Unresolved::Unknown(error.into()))?;
                return found.ok_or(Unresolved::DidNotHappen(error.into()));
            }
            if error.outcome() == Outcome::DidNotHappen && is_first {
                return Err(Unresolved::DidNotHappen(error.into()));
            }
            if attempt == COMMIT_ATTEMPTS {
                return Err(Unresolved::Unknown(error.into()));
            }
            attempt += 1;
        }
    }

    /// The outcomes as the rows show them; `None` if nothing of the commit is there.
    async fn read_back(&self, commit: &Commit) -> Result<Option<Vec<CommitOutcome>>, StoreError> {
        let mut outcomes = self.rows_of(commit).await?;
        if outcomes.contains(&CommitOutcome::Committed)
            && outcomes.contains(&CommitOutcome::Refused)
        {
            // The shards were read one after the other, and the commit may have come through in between. Now that some of
            // it is there, all of it is.
            outcomes = self.rows_of(commit).await?;
        }
        // One transaction: either some shard won, or it did not happen and may be repeated as it is.
        Ok(outcomes
            .contains(&CommitOutcome::Committed)
            .then_some(outcomes))
    }

    /// Which manifests of a commit are there, shard by shard.
    async fn rows_of(&self, commit: &Commit) -> Result<Vec<CommitOutcome>, StoreError> {
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
        Ok(outcomes)
    }

    fn record(&self, part: &SealedPart) -> Result<(), FlushError> {
        let shard = self.shard_of(part.manifest.shard);
        let mut inner = shard.lock();
        match inner.record(part) {
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
    inner.stop(reason.clone());
    FlushError::Stopped {
        shard: shard.id.0,
        reason,
    }
}

impl Inner {
    /// Moves the entries of a committed manifest behind the recorded line.
    fn record(&mut self, part: &SealedPart) -> Result<(), String> {
        self.recorded
            .apply(&part.manifest)
            .map_err(|error| error.to_string())?;
        for taken in &part.taken {
            if let Some(partition) = self.partitions.get_mut(&taken.at) {
                partition.unrecorded.recorded(taken.entries, taken.batches);
            }
        }
        for entry in &part.manifest.entries {
            if let Entry::DropPartition { at } = entry {
                self.forget_partition(*at);
            }
        }
        let flushing = &mut self.flushing;
        flushing.note(&part.manifest, &part.commit.body);
        if part.manifest.data.is_some() {
            flushing.flush_seq = part.manifest.flush_seq;
        }
        debug_assert_eq!(self.recorded.next_lsn, Lsn(part.manifest.lsn.0 + 1));
        Ok(())
    }
}
