//! Orphans: objects of a life of the broker that ended between their upload and their commit. No row names them, so that
//! nothing else would ever delete them.
//!
//! Keys begin with the life that wrote the object, so the names of a dead life can be listed without those of all others.
//! What is there without a row becomes a tombstone; from then on it goes the way of all garbage. The tombstone makes a
//! commit that comes late fail whole, and is refused by the store if a shard needs the object after all.
//!
//! After a failover the database may lack commits, and their objects look like orphans. What a shard that may lack commits
//! could still be given back ([`crate::repair`]) stays; a later sweep looks at it again.
//!
//! Only dead lives are looked at: a life that goes on may be about to commit. The lives are taken from the grants; the
//! newest few suffice, since every start sweeps.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use streamhouse_metadata::store::{Incarnation, ObjectId, ShardRow, StoreError, TombstoneOutcome};
use streamhouse_storage::objects::ListError;

use crate::Log;
use crate::recovery::RecoverError;
use crate::recovery::lost_suffix::{flushes_in, may_lack};

/// Lives before this one that a sweep looks at: as many starts may end before their sweep did.
const LIVES: usize = 4;
/// Ids that are read or given up at once.
const IDS_AT_ONCE: usize = 1000;
/// How long after the start the sweep begins: it must not slow a start.
const BEGIN_AFTER: Duration = Duration::from_secs(10);
/// The pause before a sweep that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why the sweep for orphans was not finished. What was given up stays given up; the next sweep does the rest.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// The metadata store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store failed.
    #[error(transparent)]
    List(#[from] ListError),
    /// Whether an object must stay cannot be told now.
    #[error(transparent)]
    Probe(#[from] RecoverError),
}

impl Log {
    /// Sweeps once, a while after the start. Ends at shutdown.
    pub(crate) async fn sweep_orphans_later(self) {
        let mut pause = BEGIN_AFTER;
        loop {
            tokio::select! {
                // Both arms may be dropped: they hold nothing.
                biased;
                () = self.ambient.clock.sleep(pause) => {}
                () = self.ambient.tasks.shutdown_requested() => return,
            }
            match self.sweep_orphans().await {
                Ok(0) => return,
                Ok(objects) => {
                    tracing::info!(
                        objects,
                        "gave up objects that were stored and never committed"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the sweep for orphans failed; tried again");
                    pause = RETRY_AFTER;
                }
            }
        }
    }

    /// Gives up the objects of earlier lives that nobody committed, and says how many. Their bytes go after the grace, with
    /// [`Log::sweep`].
    ///
    /// # Errors
    /// See [`OrphanError`].
    pub async fn sweep_orphans(&self) -> Result<usize, OrphanError> {
        let mut given_up = 0;
        for life in self.dead_lives().await? {
            let known = self.objects_of(life).await?;
            let mut unknown = Vec::new();
            let mut listing = self.objects().list(Some(life.0));
            while let Some(object) = listing.try_next().await? {
                let id = object.key.id();
                let id = ObjectId {
                    incarnation: id.incarnation,
                    seq: id.seq,
                    attempt: id.attempt,
                };
                if !known.contains(&id) {
                    unknown.push((id, object.bytes));
                }
                if unknown.len() == IDS_AT_ONCE {
                    given_up += self.give_up(std::mem::take(&mut unknown)).await?;
                }
            }
            given_up += self.give_up(unknown).await?;
        }
        Ok(given_up)
    }

    async fn give_up(&self, unknown: Vec<(ObjectId, u64)>) -> Result<usize, OrphanError> {
        if unknown.is_empty() {
            return Ok(0);
        }
        // Read after the rows of objects: a server that takes over meanwhile is noticed.
        let lacking = self.shards_that_may_lack().await?;
        let mut ids = Vec::with_capacity(unknown.len());
        for (id, bytes) in unknown {
            if !self.may_be_missed(id, bytes, &lacking).await? {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return Ok(0);
        }
        let outcomes = self.store().tombstone(&ids, self.wall_ms()).await?;
        let gone = outcomes
            .iter()
            .filter(|outcome| **outcome == TombstoneOutcome::Tombstoned);
        Ok(gone.count())
    }

    /// Shards of which the database may lack commits.
    async fn shards_that_may_lack(&self) -> Result<Vec<ShardRow>, StoreError> {
        let mut lacking = Vec::new();
        for row in self.store().shards().await? {
            let grants = self.store().grants(row.shard).await?;
            if may_lack(&row, &grants, self.store().timeline()) {
                lacking.push(row);
            }
        }
        Ok(lacking)
    }

    /// Whether an object holds a flush that one of these shards may have lost.
    async fn may_be_missed(
        &self,
        id: ObjectId,
        bytes: u64,
        lacking: &[ShardRow],
    ) -> Result<bool, RecoverError> {
        if lacking.is_empty() {
            return Ok(false);
        }
        let flushes = flushes_in(self.objects(), id, bytes).await?;
        Ok(flushes.iter().any(|flush| {
            let manifest = &flush.manifest;
            let may_follow =
                |row: &ShardRow| row.shard == manifest.shard && manifest.lsn >= row.next_lsn;
            lacking.iter().any(may_follow)
        }))
    }

    /// The newest lives before this one that led a shard and are over.
    async fn dead_lives(&self) -> Result<BTreeSet<Incarnation>, StoreError> {
        let brokers = self.store().brokers().await?;
        let alive: BTreeSet<Incarnation> = brokers
            .into_iter()
            .map(|broker| broker.incarnation)
            .chain([self.incarnation])
            .collect();
        let mut dead = BTreeSet::new();
        for shard in self.shards() {
            let grants = self.store().grants(shard.id).await?;
            // Whoever took the shard after this life is not dead: this one is, and does not know.
            let own = shard.lock().epoch;
            let earlier = grants.iter().rev().filter(|grant| grant.epoch < own);
            let mut newest: Vec<Incarnation> = Vec::new();
            for grant in earlier {
                let life = grant.incarnation;
                if newest.len() < LIVES && !alive.contains(&life) && !newest.contains(&life) {
                    newest.push(life);
                }
            }
            dead.extend(newest);
        }
        Ok(dead)
    }

    /// The ids of a life's objects that the metadata store knows, needed or not.
    async fn objects_of(&self, life: Incarnation) -> Result<BTreeSet<ObjectId>, StoreError> {
        let mut known = BTreeSet::new();
        let mut after = ObjectId {
            incarnation: life.0,
            seq: 0,
            attempt: 0,
        };
        loop {
            let rows = self.store().objects(Some(after), IDS_AT_ONCE).await?;
            let is_last = rows.len() < IDS_AT_ONCE;
            let own = rows.into_iter().map(|row| row.id);
            let own: Vec<ObjectId> = own.filter(|id| id.incarnation == life.0).collect();
            match own.last() {
                Some(last) if !is_last => after = *last,
                Some(_) | None => {
                    known.extend(own);
                    return Ok(known);
                }
            }
            known.extend(own);
        }
    }
}
