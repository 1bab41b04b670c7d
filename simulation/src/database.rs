//! The database as one life of the broker sees it: slow, sometimes without a clear answer, and at every call a place to
//! die.
//!
//! The facts are in the real [`MemoryStore`], which outlives every broker. A [`Ledger`] beside it hears of everything
//! that really happened, late or not, and judges it: fencing, commits with one effect, objects that exist.

mod mishaps;
mod servers;
mod shelves;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::*;

use streamhouse_runtime::{Ambient, Chance, Clock};

use crate::encounters::Encounter;
use crate::executor::CLIENTS;
use crate::ledger::Ledger;
use crate::machine::{Machine, Reach};
use crate::objects::Bucket;
use crate::sites::{Moment, Site};
use crate::world::{Life, World};

pub(crate) use servers::{Lost, Replica};

use mishaps::Mishaps;
use servers::Servers;

/// What really is in the database, and who watches it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) truth: MemoryStore,
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    mishaps: Arc<Mutex<Mishaps>>,
    servers: Arc<Mutex<Servers>>,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// It is refused and says so.
    Refused,
    /// It did not happen, but the answer does not say so.
    Before,
    /// It happened, but the answer does not say so.
    After,
    /// It happens some time later, and the answer does not say so.
    Late,
}

impl Database {
    pub(crate) fn new(world: &World, machine: &Machine) -> Self {
        let ambient = Ambient {
            clock: Arc::new(machine.clock(&world.clock)),
            ..world.ambient(CLIENTS)
        };
        Self {
            truth: MemoryStore::new(ambient),
            world: world.clone(),
            ledger: Ledger::new(world.clone()),
            mishaps: Arc::default(),
            servers: Arc::default(),
        }
    }

    /// The database as a process uses it.
    pub(crate) fn for_life(&self, life: &Arc<Life>, bucket: &Bucket) -> LifeStore {
        LifeStore {
            database: self.clone(),
            life: Arc::clone(life),
            bucket: bucket.clone(),
        }
    }

    /// Somebody deletes the bytes of an object.
    pub(crate) fn bytes_deleted(&self, key: &str) {
        self.note_deletion();
        let rows = self.truth.objects(None, usize::MAX).now_or_never();
        if let Some(Ok(rows)) = rows {
            self.ledger.bytes_deleted(key, &rows);
        }
    }

    async fn commit(
        &self,
        commit: Commit,
        bucket: &Bucket,
        known_before: &[ShardId],
    ) -> Result<Vec<CommitOutcome>, CommitError> {
        let outcomes = self.truth.commit(commit.clone()).await?;
        self.judge_committer(known_before, &commit, &outcomes);
        self.ledger.committed(&commit, &outcomes, bucket);
        Ok(outcomes)
    }

    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        let outcomes = self.truth.write_groups(writes.clone()).await?;
        self.ledger.groups_written(&writes, &outcomes);
        Ok(outcomes)
    }
}

/// The store of one process.
#[derive(Clone, Debug)]
pub(crate) struct LifeStore {
    database: Database,
    life: Arc<Life>,
    bucket: Bucket,
}

fn unavailable(operation: &'static str, outcome: Outcome) -> StoreError {
    StoreError::Unavailable {
        operation,
        outcome,
        reason: "on purpose".to_owned(),
    }
}

impl LifeStore {
    fn world(&self) -> &World {
        &self.database.world
    }

    /// Whether what this life commits may be forgotten: it is judged at the start after its own.
    fn may_be_forgotten(&self) -> bool {
        !self.life.is_zombie() && !self.life.is_opening()
    }

    /// Counts what a zombie met.
    fn zombie(&self, has_met: bool, encounter: Encounter) {
        if has_met && self.life.is_zombie() {
            self.world().met(encounter);
        }
    }

    fn pick(&self, running: Site, recovering: Site) -> Site {
        if self.life.is_opening() {
            recovering
        } else {
            running
        }
    }

    /// Begins a call; a dead process hears no answer.
    async fn enter(&self, site: Site) {
        if !self.begins(site).await {
            std::future::pending().await
        }
    }

    /// Begins a call; false if the process died before.
    async fn begins(&self, site: Site) -> bool {
        self.world().dawdle().await;
        self.world().pass(&self.life, site, Moment::Before).await
    }

    /// Begins a write that may be on its way already when the process dies: then it happens without it.
    async fn send(&self, site: Site, write: impl Future<Output = ()> + Send + 'static) {
        if !self.begins(site).await {
            if self.world().chance.below(2) == 0 {
                self.happen_late(write);
            }
            std::future::pending().await
        }
    }

    async fn leave(&self, site: Site) {
        if !self.world().pass(&self.life, site, Moment::After).await {
            return std::future::pending().await;
        }
        self.world().dawdle().await;
    }

    /// What goes wrong with a write; nothing, mostly.
    fn doubt(&self, operation: &'static str) -> Option<Doubt> {
        let world = self.world();
        match self.reach() {
            Reach::Refused => return Some(Doubt::Refused),
            Reach::Silent => return Some(Doubt::Before),
            // What waits for its replica is not there for anybody.
            Reach::Fine | Reach::NoAnswers if self.is_on_old() => return Some(Doubt::Before),
            Reach::NoAnswers => return Some(Doubt::After),
            Reach::Fine => {}
        }
        if !world.chance.hits(world.weather().database_per_mille) {
            return None;
        }
        world.count(|counts| counts.unknown_outcomes += 1);
        let all = [Doubt::Refused, Doubt::Before, Doubt::After, Doubt::Late];
        let doubt = all[world.chance.place(all.len())];
        world.tell(|| format!("  {operation}: {doubt:?}"));
        Some(doubt)
    }

    /// Whether a read fails.
    fn is_blind(&self) -> bool {
        let world = self.world();
        self.reach() != Reach::Fine || world.chance.hits(world.weather().database_per_mille / 2)
    }

    /// Who hears nothing waits until it gives up.
    async fn wait_in_vain(&self) {
        let waits = match self.reach() {
            Reach::Silent | Reach::NoAnswers => true,
            Reach::Fine | Reach::Refused => self.is_on_old(),
        };
        if waits {
            let pause = self.world().chance.micros(20_000, 300_000);
            self.world().clock.sleep(pause).await;
        }
    }

    async fn read<T>(
        &self,
        site: Site,
        operation: &'static str,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.enter(site).await;
        let answer = if self.is_blind() {
            self.world().tell(|| format!("  {operation}: blind"));
            self.wait_in_vain().await;
            Err(unavailable(operation, Outcome::DidNotHappen))
        } else {
            read.await
        };
        self.leave(site).await;
        answer
    }

    /// A read that locks rows ends with a commit, and an old primary's never return.
    async fn locks_in_vain<T>(&self, site: Site, operation: &'static str) -> Result<T, StoreError> {
        let never = std::future::ready(Err(unavailable(operation, Outcome::MayHaveHappened)));
        self.write(site, operation, never).await
    }

    async fn write<T, E: From<StoreError>>(
        &self,
        site: Site,
        operation: &'static str,
        write: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.enter(site).await;
        let answer = match self.doubt(operation) {
            None => write.await,
            Some(Doubt::Refused) => Err(unavailable(operation, Outcome::DidNotHappen).into()),
            Some(Doubt::Before | Doubt::Late) => {
                self.wait_in_vain().await;
                Err(unavailable(operation, Outcome::MayHaveHappened).into())
            }
            Some(Doubt::After) => {
                // Nobody hears what became of it.
                let _ = write.await;
                self.wait_in_vain().await;
                Err(unavailable(operation, Outcome::MayHaveHappened).into())
            }
        };
        self.leave(site).await;
        answer
    }

    /// Lets a write happen when its sender may be long gone.
    fn happen_late(&self, write: impl Future<Output = ()> + Send + 'static) {
        let world = self.world().clone();
        let pause = match world.chance.below(3) {
            0 => world.chance.micros(1, 2_000),
            1 => world.chance.micros(2_000, 100_000),
            _ => world.chance.micros(100_000, 3_000_000),
        };
        let (truth, timeline) = (self.database.truth.clone(), self.server().timeline());
        let late = async move {
            world.clock.sleep(pause).await;
            // What an old primary has not done when another one takes over is not done.
            if truth.timeline() == timeline {
                write.await;
            }
        };
        self.world()
            .executor
            .spawn(CLIENTS, "late write", Box::pin(late));
    }
}

#[async_trait]
impl ManifestShelf for LifeStore {
    async fn commit(&self, commit: Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        let (database, bucket) = (self.database.clone(), self.bucket.clone());
        let known = self.database.known_before(self.life.process, &commit);
        let (known_too, on_the_wire) = (known.clone(), commit.clone());
        let happens = async move { database.commit(on_the_wire, &bucket, &known_too).await };
        let (database, bucket) = (self.database.clone(), self.bucket.clone());
        let on_the_wire = commit.clone();
        let late = async move { drop(database.commit(on_the_wire, &bucket, &known).await) };
        self.send(Site::Commit, late).await;
        let unknown = || unavailable("commit manifests", Outcome::MayHaveHappened).into();
        let answer = match self.doubt("commit") {
            None if self.may_be_forgotten() && self.database.forgets(&commit) => {
                self.world().met(Encounter::FlushForgotten);
                Ok(vec![CommitOutcome::Committed; commit.manifests.len()])
            }
            None => {
                let done = happens.await;
                if let Ok(outcomes) = &done {
                    self.met_by_commit(&commit, outcomes);
                }
                let is_refused = |done: &Vec<_>| done.contains(&CommitOutcome::Refused);
                self.zombie(done.as_ref().is_ok_and(is_refused), Encounter::ZombieCommit);
                done
            }
            Some(Doubt::Refused) => {
                Err(unavailable("commit manifests", Outcome::DidNotHappen).into())
            }
            Some(Doubt::Before) => Err(unknown()),
            Some(Doubt::After) => {
                let _ = happens.await;
                Err(unknown())
            }
            Some(Doubt::Late) => {
                let world = self.world().clone();
                self.happen_late(async move {
                    world.met(match happens.await {
                        Ok(outcomes) if outcomes.contains(&CommitOutcome::Committed) => {
                            Encounter::LateCommitHappened
                        }
                        Ok(_) | Err(_) => Encounter::LateCommitRefused,
                    });
                });
                Err(unknown())
            }
        };
        if answer.is_err() {
            self.wait_in_vain().await;
        }
        self.leave(Site::Commit).await;
        if let Ok(outcomes) = &answer {
            self.told_outcomes(&commit, outcomes);
        }
        answer
    }

    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        let site = self.pick(Site::ReadBack, Site::RecoveryManifests);
        let read = async { self.server().manifests(shard, from, limit).await };
        let mut rows = self.read(site, "read manifests", read).await?;
        let damaged = self.database.mishaps.lock().damaged;
        let damaged = rows
            .iter_mut()
            .find(|row| damaged == Some((shard, row.lsn)));
        if let Some(row) = damaged {
            row.body.truncate(row.body.len() / 2);
        }
        Ok(rows)
    }

    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError> {
        if self.is_on_old() {
            return self.locks_in_vain(Site::ReadBack, "resolve commits").await;
        }
        let read = async { self.server().resolve(names.clone()).await };
        let resolved = self.read(Site::ReadBack, "resolve commits", read).await?;
        self.told_resolved(&names, &resolved);
        Ok(resolved)
    }

    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError> {
        let set = async {
            let set = self.database.truth.set_checkpoint(request.clone()).await;
            let is_fenced = matches!(set, Err(CheckpointError::Fenced { .. }));
            self.zombie(is_fenced, Encounter::ZombieCheckpoint);
            set?;
            self.database.ledger.checkpoint_set(&request);
            self.world().count(|counts| counts.checkpoints += 1);
            Ok(())
        };
        self.write(Site::CheckpointSet, "set a checkpoint", set)
            .await
    }
}

#[async_trait]
impl MetadataStore for LifeStore {
    fn timeline(&self) -> u32 {
        self.server().timeline()
    }

    fn watch_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.database.truth.watch_changes()
    }

    async fn close(&self) {}
}
