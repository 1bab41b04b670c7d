//! What happens to what is stored, what the broker must make of it, and what its operator does then.
//!
//! - An object, a checkpoint or a manifest is damaged for good. A read that meets a damaged object is refused; a shard whose
//!   checkpoint or manifest is damaged stops, alone, until the operator has brought back what was there.
//! - The database forgets a commit that it had taken. Its shards stop, as soon as they commit again or start again, unless
//!   the WAL still holds what was forgotten; the operator accepts the loss that they name.
//! - A copy of the database from before the last start comes back. The broker refuses to start; the operator finds the
//!   newest one.
//! - The broker is taken for dead while it goes on: a zombie, whose clients are gone and whose calls to database and object
//!   store still arrive.

use std::collections::BTreeSet;
use std::sync::Arc;

use streamhouse_log::recovery::loss::AcceptedLoss;
use streamhouse_metadata::store::{ObjectShelf, ObjectState, ShardId, ShardShelf};
use streamhouse_runtime::Clock;
use streamhouse_storage::objects::ObjectKind;
use streamhouse_storage::wal::crash::CrashStyle;
use streamhouse_storage::wal::{WalLoss, WalPosition};

use super::{Copy, Host};
use crate::audit::{key, now};
use crate::broker::{AcceptError, Broker, SHARDS, address};
use crate::encounters::Encounter;
use crate::executor::{CLIENTS, ProcessId};
use crate::invariant::Invariant;
use crate::world::Life;

/// How long a zombie goes on at most.
const ZOMBIE_MICROS_MAX: u64 = 1_500_000;

/// The positions that a stopped shard names for `accept-loss`.
fn positions_in(reason: &str) -> Option<WalLoss> {
    let (_, range) = reason.split_once("--range ")?;
    let (from, to) = range.trim_end_matches('`').split_once("..")?;
    Some(WalLoss {
        from: WalPosition(from.parse().ok()?),
        to: WalPosition(to.parse().ok()?),
    })
}

impl Host {
    /// Damages an object that a shard needs, or one of its checkpoints, if there is one.
    pub(crate) fn damage_object(&self) {
        let rows = now(self.ground.database.truth.objects(None, usize::MAX));
        let is_needed = |state: &ObjectState| match state {
            ObjectState::Live { shards } => !shards.is_empty(),
            ObjectState::Tombstone { .. } | ObjectState::Deleted => false,
        };
        let needed = rows.into_iter().filter(|row| is_needed(&row.state));
        let keys: Vec<String> = needed.filter_map(|row| row.key).collect();
        let keys: Vec<String> = keys
            .into_iter()
            .filter(|key| key.ends_with(".l0"))
            .collect();
        if keys.is_empty() {
            return;
        }
        let chance = &self.world().chance;
        let key = &keys[chance.place(keys.len())];
        if self.ground.bucket.rot(key, &**chance) {
            self.world().tell(|| format!("{key} is damaged"));
        }
    }

    /// Kills the broker and damages what one shard starts from.
    pub(crate) fn damage_shard(&self, shard: u8, is_checkpoint: bool, style: CrashStyle) {
        let database = &self.ground.database;
        if database.is_older() || database.forgotten().is_some() {
            return;
        }
        self.kill(style);
        let chance = &self.world().chance;
        let shard = ShardId(u32::from(shard) % SHARDS);
        let is_damaged = if is_checkpoint {
            let rows = now(database.truth.shards());
            let mut rows = rows.iter().filter(|row| row.shard == shard);
            let pointer = rows.next().and_then(|row| row.checkpoint);
            pointer.is_some_and(|pointer| {
                let key = key(pointer.object, ObjectKind::Checkpoint);
                self.ground.bucket.rot(&key, &**chance)
            })
        } else {
            database.damage_manifest(shard, chance.place(64))
        };
        self.world()
            .tell(|| format!("damage of shard {shard}: {is_damaged}"));
    }

    /// Shards that cannot start from what is stored of them.
    fn damaged_shards(&self) -> BTreeSet<(ShardId, Encounter)> {
        let database = &self.ground.database;
        let manifest = database.damaged_shard();
        let mut damaged: BTreeSet<_> = manifest
            .map(|shard| (shard, Encounter::ManifestDamaged))
            .into_iter()
            .collect();
        for row in now(database.truth.shards()) {
            let pointer = row.checkpoint;
            let key = pointer.map(|pointer| key(pointer.object, ObjectKind::Checkpoint));
            if key.is_some_and(|key| self.ground.bucket.is_rotten(&key)) {
                damaged.insert((row.shard, Encounter::CheckpointDamaged));
            }
        }
        damaged
    }

    /// The operator brings back what was damaged, and starts the broker again if a shard has stopped.
    pub(crate) fn mend(&self) {
        let was_damaged = !self.damaged_shards().is_empty();
        self.ground.bucket.mend();
        self.ground.database.mend();
        let has_stopped = match self.running() {
            Some(broker) => !broker.log.stopped_shards().is_empty(),
            // It may have read what was damaged already.
            None => was_damaged,
        };
        if has_stopped {
            self.kill(CrashStyle::Kill);
        }
    }

    /// Keeps a copy of the database as it is.
    pub(crate) fn copy_database(&self) {
        if self.ground.database.is_older() {
            return;
        }
        let mut inner = self.inner.lock();
        inner.copy = Some(Copy {
            facts: self.ground.database.truth.copy(),
            taken_in: inner.life.process,
        });
    }

    /// Kills the broker and brings the copy of the database back, if a broker has started since.
    pub(crate) fn bring_copy_back(&self, style: CrashStyle) {
        let database = &self.ground.database;
        if database.is_older() || database.forgotten().is_some() {
            return;
        }
        let copy = {
            let mut inner = self.inner.lock();
            let served = inner.served;
            inner.copy.take_if(|copy| copy.taken_in < served)
        };
        let Some(copy) = copy else { return };
        self.kill(style);
        self.end_zombies();
        database.bring_back(&copy.facts);
        self.world()
            .tell(|| "an older database came back".to_owned());
    }

    /// The database takes the next commit of records, and forgets it.
    pub(crate) fn let_a_flush_be_forgotten(&self) {
        let database = &self.ground.database;
        let is_well = self.damaged_shards().is_empty() && self.inner.lock().zombies.is_empty();
        if is_well && !database.is_older() {
            database.forget_next();
        }
    }

    /// Judges a broker that serves. False if the operator ends it again.
    pub(super) fn judge_start(&self, broker: &Broker) -> bool {
        let world = self.world();
        if self.ground.database.is_older() {
            let what = "the broker serves from a database that is older than its last start";
            world.breach(Invariant::Regression, what);
        }
        let stopped = broker.log.stopped_shards();
        let damaged = self.damaged_shards();
        for (shard, encounter) in &damaged {
            if stopped.iter().any(|(other, _)| other == shard) {
                world.met(*encounter);
            } else {
                let what = format!("shard {shard} serves, though {encounter} was due");
                world.breach(Invariant::NoDangling, what);
            }
        }
        let mut inner = self.inner.lock();
        inner.excused = damaged.into_iter().map(|(shard, _)| shard).collect();
        if inner.had_aside {
            world.met(if stopped.is_empty() {
                Encounter::CameBack
            } else {
                Encounter::SetAside
            });
        }
        drop(inner);
        self.judge_forgotten(broker)
    }

    /// What became of a flush that the database forgot. False if there is a loss to be accepted.
    fn judge_forgotten(&self, broker: &Broker) -> bool {
        let stopped = broker.log.stopped_shards();
        for shard in self.ground.database.forgotten().into_iter().flatten() {
            let (shard, _) = shard;
            let Some((_, reason)) = stopped.iter().find(|(other, _)| *other == shard) else {
                self.settle_forgotten(broker, shard);
                continue;
            };
            let Some(positions) = positions_in(reason) else {
                let what = format!("shard {shard} stopped without a loss to accept: {reason}");
                self.world().breach(Invariant::Serves, what);
                continue;
            };
            self.world().met(Encounter::LossNamed);
            let mut inner = self.inner.lock();
            inner.excused.insert(shard);
            inner.accepting = Some(AcceptedLoss::Shard { shard, positions });
            return false;
        }
        true
    }

    /// A shard serves after the database forgot a flush of it: with all of it, or without what was accepted.
    fn settle_forgotten(&self, broker: &Broker, shard: ShardId) {
        let world = self.world();
        let forgotten = self.ground.database.forgotten().unwrap_or_default();
        let partitions = forgotten.get(&shard).cloned().unwrap_or_default();
        let was_accepted = self.inner.lock().accepted.remove(&shard);
        let mut model = self.model.lock();
        let mut is_whole = true;
        for (at, flush) in partitions {
            let Ok(offsets) = broker.log.offsets(address(at)) else {
                continue;
            };
            let (end, known) = (offsets.high_watermark, model.known_end(at));
            // Whoever wrote behind the flush left a record in the WAL that does not follow; else there is no trace of it.
            let leaves_a_trace = model.acked_end(at) > flush.end;
            is_whole &= end >= known;
            if end < flush.start.min(known) {
                let what = format!(
                    "{at} ended at {known}, offsets from {} on were lost, and it ends at {end}",
                    flush.start
                );
                world.breach(Invariant::Acknowledged, what);
            }
            if end < known && leaves_a_trace && !was_accepted {
                let what = format!(
                    "the database forgot offsets {flush:?} of {at}, known up to {known}; it ends at {end}, and nobody said so"
                );
                world.breach(Invariant::Regression, what);
            }
            model.lost(at, end);
        }
        drop(model);
        self.ground.database.settled(shard);
        if was_accepted {
            world.met(Encounter::LossAccepted);
        } else if is_whole {
            world.met(Encounter::FlushCameBack);
        }
    }

    /// Accepting a loss has ended.
    pub(super) fn accepted(&self, life: &Life, done: Result<(), AcceptError>) {
        if life.is_dead() {
            return;
        }
        let mut inner = self.inner.lock();
        match done {
            // Refused: it was recorded by a life that died before it could say so.
            Ok(()) | Err(AcceptError::NotAccepted) => match inner.accepting.take() {
                Some(AcceptedLoss::Shard { shard, .. }) => {
                    inner.accepted.insert(shard);
                }
                Some(AcceptedLoss::Database) => self.world().met(Encounter::DatabaseAccepted),
                None => {}
            },
            Err(AcceptError::Damaged(_)) if inner.rotten.is_some() => {
                self.world().met(Encounter::WalDamaged);
                inner.bring_bit_back();
            }
            Err(AcceptError::TryAgain(reason) | AcceptError::Damaged(reason)) => {
                self.world()
                    .tell(|| format!("the loss was not accepted: {reason}"));
            }
        }
        drop(inner);
        life.die(CrashStyle::Kill);
    }

    /// Whether a shard may stand still now, for this reason.
    pub(crate) fn is_excused(&self, shard: ShardId, reason: &str) -> bool {
        let is_forgotten = || {
            let forgotten = self.ground.database.forgotten();
            let of_shard = forgotten.is_some_and(|forgotten| forgotten.contains_key(&shard));
            of_shard && reason.contains("metadata_regression")
        };
        let is_damaged = self.inner.lock().excused.contains(&shard);
        if !is_damaged && is_forgotten() {
            self.inner.lock().excused.insert(shard);
            self.world().met(Encounter::StoppedRunning);
            return true;
        }
        is_damaged
    }

    /// The broker is taken for dead, and another one starts from its disk; it goes on for a while.
    pub(crate) fn make_a_zombie(&self) {
        let world = self.world();
        let database = &self.ground.database;
        let life = self.life();
        let Some(broker) = self.running() else { return };
        if life.is_dead() || database.is_older() || database.forgotten().is_some() {
            return;
        }
        life.become_zombie();
        world.tell(|| format!("broker {} is a zombie", life.process.0));
        let disk = self.disk().after_kill();
        {
            let mut inner = self.inner.lock();
            inner.running = None;
            inner.zombies.push(Arc::clone(&life));
            inner.disk = disk;
            inner.life = Arc::new(Life::new(ProcessId(life.process.0 + 1)));
        }
        let work = broker.upkeep_as_zombie();
        world.executor.spawn(life.process, "zombie", work);
        let (cluster, until) = (self.clone(), world.chance.micros(1_000, ZOMBIE_MICROS_MAX));
        let ends = async move {
            cluster.world().clock.sleep(until).await;
            cluster.end_zombie(&life);
        };
        world
            .executor
            .spawn(CLIENTS, "end of a zombie", Box::pin(ends));
        self.start(world.chance.micros(100, 20_000));
    }

    fn end_zombie(&self, life: &Arc<Life>) {
        life.die(CrashStyle::Kill);
        self.world().executor.kill(life.process);
        let mut inner = self.inner.lock();
        inner.zombies.retain(|other| !Arc::ptr_eq(other, life));
    }

    /// Ends all zombies now.
    pub(crate) fn end_zombies(&self) {
        let zombies = std::mem::take(&mut self.inner.lock().zombies);
        for life in zombies {
            self.end_zombie(&life);
        }
    }
}
