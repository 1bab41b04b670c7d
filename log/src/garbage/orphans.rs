//! Orphans: objects of a life of the broker that ended between their upload and their commit. No row names them, so that
//! nothing else would ever delete them.
//!
//! Keys begin with the life that wrote the object, so the names of a dead life can be listed without those of all others.
//! What is there without a row becomes a tombstone; from then on it goes the way of all garbage. The tombstone makes a
//! commit that comes late fail whole, and is refused by the store if a shard needs the object after all.
//!
//! An object that holds what another database server forgot when it took over is no orphan, although no row names it
//! any more: [`crate::repair`] commits it again.
//!
//! Only dead lives are looked at: a life that goes on may be about to commit. The lives are taken from the grants; the
//! newest few suffice, since every start and every takeover sweeps. Of several brokers those look at a dead life that lead a
//! shard of it now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::TryStreamExt;
use streamhouse_metadata::store::{Incarnation, Lsn, ShardId, StoreError, TombstoneOutcome};
use streamhouse_runtime::planted;
use streamhouse_storage::objects::{ListError, ListedObject, ObjectClass, ObjectKind};

use crate::Log;
use crate::recovery::RecoverError;
use crate::recovery::lives::unmark_old;
use crate::recovery::lost_suffix::{flushes_in, listed_id, may_lack, objects_of};

/// Lives before the leader's own that a sweep looks at: as many may end before their sweep did.
const LIVES: usize = 4;
/// Objects that are given up at once.
const IDS_AT_ONCE: usize = 1000;
/// How long after a start or a takeover the sweep begins: it must not slow either.
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
    /// Sweeps a while after the start and after every takeover. Ends at shutdown.
    pub(crate) async fn sweep_orphans_later(self) {
        let mut swept = BTreeSet::new();
        loop {
            tokio::select! {
                // Both arms may be dropped: they hold nothing.
                biased;
                () = self.ambient.tasks.shutdown_requested() => return,
                () = self.orphans_due.notified() => {}
            }
            let mut pause = BEGIN_AFTER;
            loop {
                tokio::select! {
                    biased;
                    () = self.ambient.clock.sleep(pause) => {}
                    () = self.ambient.tasks.shutdown_requested() => return,
                }
                match self.sweep_lives(&mut swept).await {
                    Ok(0) => break,
                    Ok(objects) => {
                        tracing::info!(
                            objects,
                            "gave up objects that were stored and never committed"
                        );
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the sweep for orphans failed; tried again");
                        pause = RETRY_AFTER;
                    }
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
        self.sweep_lives(&mut BTreeSet::new()).await
    }

    /// Looks at the dead lives that are not among `swept`, and takes them in.
    async fn sweep_lives(&self, swept: &mut BTreeSet<Incarnation>) -> Result<usize, OrphanError> {
        let dead = self.dead_lives().await?;
        swept.retain(|life| dead.contains(life));
        let mut given_up = 0;
        for life in dead {
            if !swept.contains(&life) {
                given_up += self.sweep_life(life).await?;
                swept.insert(life);
            }
        }
        if self.shared.is_some() {
            let grace_ms =
                i64::try_from(self.settings.object_grace.as_millis()).unwrap_or(i64::MAX);
            let before_ms = self.wall_ms().saturating_sub(grace_ms);
            unmark_old(self.store(), self.objects(), self.incarnation, before_ms).await?;
        }
        Ok(given_up)
    }

    async fn sweep_life(&self, life: Incarnation) -> Result<usize, OrphanError> {
        let mut given_up = 0;
        let known = objects_of(self.store(), life).await?;
        let mut unknown = Vec::new();
        let mut listing = self.objects().list(Some(life.0), ObjectClass::Garbage);
        while let Some(object) = listing.try_next().await? {
            if !known.contains(&listed_id(&object)) {
                unknown.push(object);
            }
            if unknown.len() == IDS_AT_ONCE {
                given_up += self.give_up(std::mem::take(&mut unknown)).await?;
            }
        }
        given_up += self.give_up(unknown).await?;
        Ok(given_up)
    }

    async fn give_up(&self, unknown: Vec<ListedObject>) -> Result<usize, OrphanError> {
        if unknown.is_empty() {
            return Ok(0);
        }
        // Asked after the rows of objects: if these are of a server that has taken over, this is, too.
        let doubtful = self.doubtful_shards().await?;
        let mut ids = Vec::with_capacity(unknown.len());
        for object in unknown {
            if self.may_be_lost(&object, &doubtful).await? {
                tracing::warn!(key = %object.key, "an object may hold records that the database lost; it is kept for `streamhouse repair metadata`");
            } else {
                ids.push(listed_id(&object));
            }
        }
        let outcomes = self.store().tombstone(&ids, self.wall_ms()).await?;
        let gone = outcomes
            .iter()
            .filter(|outcome| **outcome == TombstoneOutcome::Tombstoned);
        Ok(gone.count())
    }

    /// The shards of which the database may lack the last commits, with the number of the first one that it may lack.
    async fn doubtful_shards(&self) -> Result<BTreeMap<ShardId, Lsn>, StoreError> {
        let mut doubtful = BTreeMap::new();
        for row in self.store().shards().await? {
            let grants = self.store().grants(row.shard).await?;
            if may_lack(&row, &grants, self.store().timeline()) {
                doubtful.insert(row.shard, row.next_lsn);
            }
        }
        Ok(doubtful)
    }

    /// Whether the object may hold a flush that was committed and that the database lost.
    async fn may_be_lost(
        &self,
        object: &ListedObject,
        doubtful: &BTreeMap<ShardId, Lsn>,
    ) -> Result<bool, RecoverError> {
        let has_flushes = object.key.kind() == ObjectKind::L0;
        if doubtful.is_empty() || !has_flushes || planted::bug("lost_commits_given_up") {
            return Ok(false);
        }
        let flushes = flushes_in(self.objects(), listed_id(object), object.bytes).await?;
        let mut manifests = flushes.iter().map(|flush| &flush.manifest);
        Ok(manifests.any(|manifest| {
            let first = doubtful.get(&manifest.shard);
            first.is_some_and(|first| manifest.lsn >= *first)
        }))
    }

    /// The newest lives that led a shard of this broker and are over.
    async fn dead_lives(&self) -> Result<BTreeSet<Incarnation>, StoreError> {
        let brokers = self.store().brokers().await?;
        let alive: BTreeSet<Incarnation> = brokers
            .into_iter()
            .map(|broker| broker.incarnation)
            .chain([self.incarnation])
            .collect();
        let mut dead = BTreeSet::new();
        // Whoever took a shard after this life is not dead: this one is, and does not know. So the rows are asked.
        let rows = self.store().shards().await?;
        let own = rows
            .iter()
            .filter(|row| row.incarnation == Some(self.incarnation));
        for row in own {
            let grants = self.store().grants(row.shard).await?;
            let earlier = grants.iter().rev().filter(|grant| grant.epoch < row.epoch);
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
}
