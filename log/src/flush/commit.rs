//! Committing: the manifests of a flush become facts, and the entries that they name are recorded.
//!
//! An answer that may have happened is never taken for "did not happen": the manifests are read, and the identical commit
//! is run again only if none of them is there. Until its outcome is known a commit stays *in doubt*, and no other one is
//! made: the numbers and offsets of its manifests may be facts already.

use std::cmp::Ordering as Comparison;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use streamhouse_metadata::store::{
    Commit, CommitError, CommitName, CommitOutcome, Lsn, ManifestCommit, NewObject, Outcome,
    StoreError,
};
use streamhouse_protocol::ids::LeaderEpoch;

use super::FlushError;
use super::write::{Sealed, SealedPart};
use crate::Log;
use crate::format::entry::Entry;
use crate::shard::{Inner, Shard};
use streamhouse_runtime::planted;

/// How often an unknown outcome is resolved and the identical commit repeated before the flush gives up for now.
const COMMIT_ATTEMPTS: u32 = 5;

/// How often a process that ends asks what became of a commit (`shared`).
const LAST_QUESTIONS: u32 = 5;

/// A commit, from before it is sent until its outcome is known.
#[derive(Debug)]
pub(crate) struct InDoubt {
    commit: Commit,
    parts: Vec<SealedPart>,
    /// Whether it was sent without an answer that says what happened.
    may_have_happened: AtomicBool,
}

impl InDoubt {
    fn new(object: Option<NewObject>, parts: Vec<SealedPart>) -> Self {
        let manifests = parts.iter().map(|part| part.commit.clone()).collect();
        Self {
            commit: Commit { object, manifests },
            parts,
            may_have_happened: AtomicBool::new(false),
        }
    }
}

/// What is known of a commit.
enum Settled {
    /// Its outcome: what was committed is recorded.
    Known(Result<(), FlushError>),
    /// It may have happened, or may still happen.
    InDoubt(FlushError),
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
        let Sealed { object, parts, .. } = sealed;
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
        // Before it is sent: a caller that goes away leaves it to the next flush.
        *self.in_doubt.lock() = Some(Arc::new(InDoubt::new(object, parts)));
        self.settle_commit().await
    }

    /// Finds out what became of the commit that is in doubt, if there is one, and records it.
    pub(crate) async fn settle_commit(&self) -> Result<(), FlushError> {
        let Some(doubt) = self.in_doubt.lock().clone() else {
            return Ok(());
        };
        match self.settle(&doubt).await {
            Settled::Known(outcome) => outcome,
            Settled::InDoubt(error) => {
                if planted::bug("commit_again_under_a_new_number") {
                    *self.in_doubt.lock() = None;
                    for part in &doubt.parts {
                        let mut inner = self.shard_of(part.manifest.shard).lock();
                        inner.recorded.next_lsn = Lsn(part.commit.lsn.0 + 1);
                    }
                }
                Err(error)
            }
        }
    }

    /// Commits the manifests of a flush with `shared` durability, in its turn. It ends when the outcome is known, or with the
    /// process: its numbers and offsets may be facts already, so nothing behind it in its shards is committed until then.
    pub(crate) async fn commit_shared(&self, sealed: Sealed) -> Result<(), FlushError> {
        let Sealed {
            object,
            parts,
            loser,
        } = sealed;
        let is_void = parts.is_empty();
        let (with_data, without): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .partition(|part| part.manifest.data.is_some());
        let mut outcome = Ok(());
        let unwanted = object.as_ref().filter(|_| with_data.is_empty());
        if let Some(object) = unwanted {
            self.abandon_later(object.id);
        }
        for (object, parts) in [(object, with_data), (None, without)] {
            if !parts.is_empty() {
                let done = self.commit_until_known(InDoubt::new(object, parts)).await;
                outcome = outcome.and(done);
            }
        }
        if let Some(loser) = loser {
            self.abandon_later(loser);
        }
        if is_void {
            return Err(FlushError::Void);
        }
        outcome
    }

    async fn commit_until_known(&self, doubt: InDoubt) -> Result<(), FlushError> {
        let mut failures = 0;
        loop {
            let error = match self.settle(&doubt).await {
                Settled::Known(outcome) => return outcome,
                Settled::InDoubt(error) => error,
            };
            failures += 1;
            tracing::warn!(%error, failures, "whether a commit happened is not known yet; its shards wait");
            if self.ambient.tasks.is_shutting_down() && failures > LAST_QUESTIONS {
                return Err(error);
            }
            self.ambient.clock.sleep(self.retry_pause(failures)).await;
        }
    }

    /// Makes a commit, or finds out what became of it, and records it.
    async fn settle(&self, doubt: &InDoubt) -> Settled {
        let object = doubt.commit.object.as_ref().map(|object| object.id);
        let outcomes = match self.commit_resolved(doubt).await {
            Ok(outcomes) => outcomes,
            Err(Unresolved::Unknown(error)) => return Settled::InDoubt(error),
            Err(Unresolved::DidNotHappen(error)) => {
                self.forget_doubt();
                if let Some(id) = object
                    && !planted::bug("not_found_taken_as_did_not_happen")
                {
                    self.abandon(id).await;
                }
                return Settled::Known(Err(error));
            }
        };
        let outcomes = undo_all_if_planted(outcomes);
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
        self.forget_doubt();
        let nobody_won = refused.len() == doubt.parts.len();
        if let Some(id) = object.filter(|_| nobody_won) {
            self.abandon(id).await;
        }
        for part in refused {
            failed = failed.or(Some(self.refused(part).await));
        }
        Settled::Known(failed.map_or(Ok(()), Err))
    }

    /// The outcome of the one commit that may be in doubt with `local` durability is known.
    fn forget_doubt(&self) {
        if self.shared.is_none() {
            *self.in_doubt.lock() = None;
        }
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
                if planted::bug("not_found_taken_as_did_not_happen") {
                    let reason = "it was not found".to_owned();
                    return Err(Unresolved::DidNotHappen(FlushError::Object(reason)));
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
            if planted::bug("unknown_commit_taken_as_success") {
                return Ok(vec![CommitOutcome::Committed; doubt.parts.len()]);
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

    /// What became of a commit whose outcome was unknown; `None` if nothing of it is there. The store waits for what is
    /// still under way, and answers for all shards at once: either some shard won, or it did not happen and may be repeated
    /// as it is.
    async fn read_back(&self, commit: &Commit) -> Result<Option<Vec<CommitOutcome>>, StoreError> {
        let names: Vec<CommitName> = commit.manifests.iter().map(name_of).collect();
        let resolved = self.store().resolve(names.clone()).await?;
        let outcomes: Vec<CommitOutcome> = names
            .iter()
            .zip(resolved)
            .map(|(name, found)| match found.happened(name) {
                true => CommitOutcome::Committed,
                false => CommitOutcome::Refused,
            })
            .collect();
        Ok(outcomes
            .contains(&CommitOutcome::Committed)
            .then_some(outcomes))
    }

    fn record(&self, part: &SealedPart) -> Result<(), FlushError> {
        let shard = self.shard_of(part.manifest.shard);
        let mut told = Vec::new();
        {
            let mut inner = shard.lock();
            if !inner.is_led_under(part.commit.epoch, part.commit.incarnation) {
                // It is led by somebody else by now, who finds the manifest in the database.
                return Ok(());
            }
            if self.shared.is_some() {
                if inner.place_in_flight(part.ticket) != Some(0) {
                    let reason = "a commit came out of turn".to_owned();
                    return Err(stop(shard, &mut inner, reason));
                }
                match self.publish_flushed(shard, &mut inner) {
                    Ok(published) => {
                        told = published;
                        inner.in_flight.pop_front();
                    }
                    Err(error) => return Err(stop(shard, &mut inner, error.to_string())),
                }
            }
            if let Err(reason) = inner.record(part) {
                return Err(stop(shard, &mut inner, reason));
            }
        }
        if self.shared.is_some() {
            self.tell(told);
        }
        Ok(())
    }

    /// The compare-and-set failed. Read the shard's row and its grants to learn whether we were fenced or the database went
    /// back.
    async fn refused(&self, part: &SealedPart) -> FlushError {
        let shard = self.shard_of(part.manifest.shard);
        let ours = part.commit.epoch;
        let reason = match self.why_refused(part).await {
            Ok(Refused::Regressed(reason) | Refused::Contradicted(reason)) => reason,
            Ok(Refused::Unfounded) => return FlushError::NotFenced(shard.id.0),
            Ok(Refused::Fenced(epoch)) => {
                let reason = format!("another grant leads it: epoch {epoch} instead of {ours}");
                if self.shared.is_some() {
                    tracing::info!(shard = shard.id.0, %reason, "the shard is led elsewhere");
                    self.cede(shard.id, ours);
                    return FlushError::Stopped {
                        shard: shard.id.0,
                        reason,
                    };
                }
                reason
            }
            Err(error) => return FlushError::Resolve(error),
        };
        stop(shard, &mut shard.lock(), reason)
    }

    async fn why_refused(&self, part: &SealedPart) -> Result<Refused, StoreError> {
        let (shard, saw, ours) = (part.commit.shard, part.commit.lsn, part.commit.epoch);
        let Some(row) = self.store().read_shard(shard).await? else {
            let reason = "metadata_regression: the database has lost the shard's row";
            return Ok(Refused::Regressed(reason.to_owned()));
        };
        // Whoever was granted the shard after us may have written since: what he began with says what we had written.
        let grants = self.store().grants(shard).await?;
        let mut later = grants.iter().filter(|grant| grant.epoch > ours);
        let found = later.next().map_or(row.next_lsn, |grant| grant.at_lsn);
        if found < saw && !planted::bug("regression_unnoticed") {
            return Ok(Refused::Regressed(format!(
                "metadata_regression: the database ends at manifest {found}, this broker saw {saw} committed"
            )));
        }
        // Under our own grant nobody fenced us, and nobody else would load the shard if it were ceded. With `local` durability
        // nothing is ceded: the shard stops in any case, and its WAL holds what is not recorded.
        let is_granted = row.epoch == ours && row.incarnation == Some(part.commit.incarnation);
        let is_ours = is_granted && self.shared.is_some();
        Ok(match found.cmp(&saw) {
            Comparison::Equal if is_ours => Refused::Unfounded,
            Comparison::Greater if is_ours => Refused::Contradicted(format!(
                "the database ends at manifest {found} under this broker's own grant, and manifest {saw} is not what this broker flushed"
            )),
            Comparison::Less | Comparison::Equal | Comparison::Greater => {
                Refused::Fenced(row.epoch)
            }
        })
    }
}

/// What must never happen: one shard that is led elsewhere undoes what the others of its flush did.
fn undo_all_if_planted(outcomes: Vec<CommitOutcome>) -> Vec<CommitOutcome> {
    let is_fenced = outcomes.contains(&CommitOutcome::Refused);
    if is_fenced && planted::bug("fenced_shard_undoes_the_others") {
        return vec![CommitOutcome::Refused; outcomes.len()];
    }
    outcomes
}

fn name_of(manifest: &ManifestCommit) -> CommitName {
    CommitName {
        shard: manifest.shard,
        lsn: manifest.lsn,
        epoch: manifest.epoch,
        incarnation: manifest.incarnation,
    }
}

/// Why a commit was refused.
enum Refused {
    /// The shard was granted to somebody else, under this epoch.
    Fenced(LeaderEpoch),
    /// The database holds less than it acknowledged.
    Regressed(String),
    /// For nothing that the database shows: it may be tried again.
    Unfounded,
    /// This life's own grant holds something else under the number.
    Contradicted(String),
}

fn stop(shard: &Shard, inner: &mut Inner, reason: String) -> FlushError {
    tracing::error!(shard = shard.id.0, %reason, "the shard stopped; what only the WAL holds of it is kept");
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
            flushing.flush_seq = flushing.flush_seq.max(part.manifest.flush_seq);
        }
        debug_assert_eq!(self.recorded.next_lsn, Lsn(part.manifest.lsn.0 + 1));
        Ok(())
    }
}
