//! What a broker does about the shards, again and again: look at the facts, let go of what others hold, load what was granted
//! to it, and do its part of the placement.
//!
//! It looks after every heartbeat, and as soon as the database says that something changed. Work that takes long (a load, a
//! handover) runs beside it, one task a shard, and ends with a new look. What one look leaves undone, or an error prevents, is
//! found again by the next one: there is no list of things to do but the facts.
//!
//! Invariant: a shard is granted first, then loaded, then shown; backwards when it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use metrics::counter;
use parking_lot::Mutex;
use streamhouse_metadata::{
    AskedShard, GrantOutcome, GrantRequest, Incarnation, Lsn, Outcome, ShardId, ShardRow,
    StoreError,
};
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_runtime::{Monotonic, deadline};
use tokio::sync::{Semaphore, watch};

use super::placement::{Candidate, Holder, Own, Placed, View, decide};
use super::{Life, LifeOver, LivingById, Rooms, endpoints};
use crate::reach::ShardLeader;

/// How many shards are loaded at once: each reads a checkpoint and manifests.
const LOADS_MAX: usize = 8;

/// The least time between two looks, so that a storm of changes is seen as a few.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The shards of a broker.
pub(super) struct Shards {
    pub(super) life: Arc<Life>,
    pub(super) rooms: Rooms,
    /// Held for a decision, never across an await. The locks of the log and of the groups are taken under it, never the other
    /// way round.
    pub(super) own: Mutex<OwnShards>,
    /// Counts pieces of work that came to their end.
    pub(super) done: watch::Sender<u64>,
    pub(super) loads: Semaphore,
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards").finish_non_exhaustive()
    }
}

/// What a broker knows of its shards.
#[derive(Debug, Default)]
pub(super) struct OwnShards {
    /// Loaded, records and groups.
    pub(super) serving: BTreeMap<ShardId, Serving>,
    /// Being loaded or handed over.
    pub(super) busy: BTreeSet<ShardId>,
    /// Being handed over: one at a time.
    pub(super) moving: Option<ShardId>,
    /// Grants that are not led under, although they may be ours: the outcome of the request was unknown, or the shard was
    /// given up already. Another grant takes their place.
    pub(super) doubtful: BTreeMap<ShardId, LeaderEpoch>,
    /// Nothing is taken or loaded any more.
    pub(super) is_leaving: bool,
    facts: Facts,
}

/// A shard that this broker leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    pub(super) epoch: LeaderEpoch,
    /// When it came, or last refused to go.
    pub(super) since: Monotonic,
}

/// What the database said last.
#[derive(Debug, Default)]
struct Facts {
    living: LivingById,
    /// Lives that nobody declared dead.
    undead: BTreeSet<Incarnation>,
    rows: BTreeMap<ShardId, ShardRow>,
}

impl Facts {
    fn holder(&self, row: &ShardRow) -> Holder {
        match row.incarnation {
            Some(life) if self.living.contains_key(&life) => Holder::Living(life),
            Some(life) if self.undead.contains(&life) => Holder::Expired,
            Some(_) | None => Holder::Nobody,
        }
    }

    fn view(&self) -> View {
        let living = self.living.iter().map(|(incarnation, known)| Candidate {
            broker: known.broker,
            incarnation: *incarnation,
        });
        let shards = self.rows.values().map(|row| Placed {
            shard: row.shard,
            holder: self.holder(row),
            is_written: is_written(row),
        });
        View {
            living: living.collect(),
            shards: shards.collect(),
        }
    }
}

/// Whether a shard has a log at all.
fn is_written(row: &ShardRow) -> bool {
    row.next_lsn > Lsn(0)
}

impl Shards {
    pub(super) fn new(life: Arc<Life>, rooms: Rooms) -> Arc<Self> {
        Arc::new(Self {
            life,
            rooms,
            own: Mutex::default(),
            done: watch::Sender::new(0),
            loads: Semaphore::new(LOADS_MAX),
        })
    }

    /// How many shards this broker serves.
    pub(super) fn serving(&self) -> usize {
        self.own.lock().serving.len()
    }

    /// Looks once, so that the brokers are known.
    pub(super) async fn first_round(self: &Arc<Self>) {
        if let Err(error) = self.round().await {
            tracing::warn!(%error, "the other brokers are not known yet");
        }
    }

    /// Looks until the life ends; then lets go of everything.
    pub(super) async fn run(self: Arc<Self>) {
        let mut changes = self.life.store.watch_changes();
        let mut beats = self.life.beat.subscribe();
        let mut done = self.done.subscribe();
        let mut is_failing = false;
        while !self.life.is_over() && !self.life.ambient.tasks.is_shutting_down() {
            match self.life.while_alive(self.round()).await {
                Some(Err(error)) if !is_failing => {
                    is_failing = true;
                    tracing::warn!(%error, "the metadata database does not tell who leads; what is led is led on");
                }
                Some(Ok(())) => is_failing = false,
                Some(Err(_)) | None => {}
            }
            let pause = self.life.ambient.clock.sleep(LOOK_PAUSE);
            self.life.while_alive(pause).await;
            // Every arm only looks; none is drawn, so that a simulation repeats itself. An error of a channel says that
            // nothing comes from it any more, and must not wake anybody again and again.
            tokio::select! {
                biased;
                () = self.life.ended() => {}
                Ok(()) = done.changed() => {}
                Ok(()) = changes.changed() => {}
                Ok(()) = beats.changed() => {}
            }
        }
        self.abandon_all();
    }

    /// One look, and what follows from it.
    async fn round(self: &Arc<Self>) -> Result<(), StoreError> {
        let Some(beat) = *self.life.beat.borrow() else {
            return Ok(());
        };
        let store = &self.life.store;
        self.rooms.log.saw(beat.timeline, beat.revision);
        let led = self.rooms.log.led();
        let living = store.living().await?;
        let rows = store.shards().await?;
        let living: LivingById = living
            .brokers
            .iter()
            .map(|one| (one.row.incarnation, endpoints::known(&one.row)))
            .collect();
        let is_known = |row: &ShardRow| row.incarnation.is_none_or(|it| living.contains_key(&it));
        let undead = if rows.iter().all(is_known) {
            BTreeSet::new()
        } else {
            let undead = store.brokers().await?;
            undead.into_iter().map(|row| row.incarnation).collect()
        };
        self.look_back(&beat, &led, &rows).await?;
        self.rooms.catalogue.refresh(&**store).await?;
        self.life.show(&living);
        self.own.lock().facts = Facts {
            living,
            undead,
            rows: rows.iter().map(|row| (row.shard, *row)).collect(),
        };
        if self.life.regression().is_none() {
            self.cede_lost(&led, &rows);
            self.load_granted(&rows).await?;
            self.place().await?;
        }
        self.publish();
        Ok(())
    }

    /// Lets go of what others hold.
    fn cede_lost(&self, led: &[(ShardId, LeaderEpoch)], rows: &[ShardRow]) {
        for (shard, epoch) in led {
            let Some(row) = rows.iter().find(|row| row.shard == *shard) else {
                continue;
            };
            if row.epoch > *epoch {
                if self.own.lock().serving.remove(shard).is_some()
                    && row.incarnation != Some(self.life.incarnation)
                {
                    tracing::info!(
                        shard = shard.0,
                        epoch = row.epoch.0,
                        "another broker leads the shard"
                    );
                }
                self.rooms.log.cede(*shard, *epoch);
                self.rooms.groups.unload(*shard);
            }
        }
    }

    /// Loads what was granted to this life and is not served: the holder handed it over, or a load failed.
    async fn load_granted(self: &Arc<Self>, rows: &[ShardRow]) -> Result<(), StoreError> {
        let mut doubtful = Vec::new();
        for row in rows {
            if row.incarnation != Some(self.life.incarnation) {
                continue;
            }
            let is_doubtful = {
                let own = self.own.lock();
                let serves = own.serving.get(&row.shard);
                if own.is_leaving
                    || own.busy.contains(&row.shard)
                    || serves.is_some_and(|serving| serving.epoch == row.epoch)
                {
                    continue;
                }
                own.doubtful.get(&row.shard) == Some(&row.epoch)
            };
            if is_doubtful {
                doubtful.push(row);
            } else {
                tracing::info!(
                    shard = row.shard.0,
                    epoch = row.epoch.0,
                    "the shard was granted to this broker"
                );
                self.begin_load(*row);
            }
        }
        if doubtful.is_empty() {
            return Ok(());
        }
        self.take(&doubtful).await
    }

    /// Does this broker's part of the placement.
    async fn place(self: &Arc<Self>) -> Result<(), StoreError> {
        if !self.life.lease.holds() {
            return Ok(());
        }
        let (actions, taken, moved) = {
            let own = self.own.lock();
            if own.is_leaving {
                return Ok(());
            }
            let actions = decide(&own.facts.view(), &self.own_part(&own));
            let row = |shard: &ShardId| own.facts.rows.get(shard).copied();
            let taken: Vec<ShardRow> = actions.take.iter().filter_map(row).collect();
            let moved = actions.hand_over.and_then(|(shard, _)| row(&shard));
            (actions, taken, moved)
        };
        if let (Some((_, heir)), Some(row)) = (actions.hand_over, moved) {
            self.begin_handover(row, heir);
        }
        if taken.is_empty() {
            return Ok(());
        }
        let taken: Vec<&ShardRow> = taken.iter().collect();
        self.take(&taken).await
    }

    fn own_part(&self, own: &OwnShards) -> Own {
        let now = self.life.ambient.clock.monotonic();
        let stopped: BTreeSet<ShardId> = {
            let stopped = self.rooms.log.stopped_shards();
            stopped.into_iter().map(|(shard, _)| shard).collect()
        };
        let stay_min = self.life.settings.shard_stay_min;
        // Brokers that start one after the other share what the first of them found without a leader, as soon as they come.
        let is_new = now - self.life.began < stay_min;
        let may_move = |shard: &ShardId, serving: &Serving| {
            let is_empty = own
                .facts
                .rows
                .get(shard)
                .is_some_and(|row| !is_written(row))
                && !self.rooms.groups.has_groups(*shard);
            let has_stayed = now - serving.since >= stay_min;
            (is_empty || is_new || has_stayed)
                && !own.busy.contains(shard)
                && !stopped.contains(shard)
        };
        let movable = own
            .serving
            .iter()
            .filter(|(shard, serving)| may_move(shard, serving));
        Own {
            incarnation: self.life.incarnation,
            may_take_expired: self.life.in_touch_for() >= self.life.settings.lease,
            movable: match own.moving {
                None => movable.map(|(shard, _)| *shard).collect(),
                Some(_) => BTreeSet::new(),
            },
        }
    }

    /// Asks for shards, each as it was read, and loads what is granted.
    async fn take(self: &Arc<Self>, rows: &[&ShardRow]) -> Result<(), StoreError> {
        let me = self.life.incarnation;
        let asked = rows.iter().map(|row| AskedShard {
            shard: row.shard,
            expecting: Some((row.epoch, row.incarnation)),
        });
        let request = GrantRequest {
            incarnation: me,
            by: me,
            wal_dir: None,
            shards: asked.collect(),
        };
        let outcomes = match self.life.store.grant(request).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                if error.outcome() == Outcome::MayHaveHappened {
                    let mut own = self.own.lock();
                    let doubtful = rows
                        .iter()
                        .map(|row| (row.shard, LeaderEpoch(row.epoch.0 + 1)));
                    own.doubtful.extend(doubtful);
                }
                return Err(error);
            }
        };
        let (mut granted, mut taken) = (0_u64, 0);
        for (before, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                GrantOutcome::Granted(row) => {
                    self.own.lock().doubtful.remove(&row.shard);
                    granted += 1;
                    taken += u64::from(before.incarnation.is_some_and(|life| life != me));
                    self.begin_load(row);
                }
                // Somebody was faster, or lives after all: the next look finds out.
                GrantOutcome::Changed { .. } | GrantOutcome::Held { .. } => {}
                GrantOutcome::Dead { incarnation } if incarnation == me => {
                    self.life.end(LifeOver::Dead)
                }
                GrantOutcome::Dead { .. } => {}
                GrantOutcome::WalElsewhere { .. } | GrantOutcome::UnknownShard => {
                    tracing::error!(shard = before.shard.0, ?outcome, "a shard cannot be taken");
                }
            }
        }
        counter!("streamhouse_membership_takeovers_total").increment(taken);
        if granted > 0 {
            tracing::info!(
                shards = granted,
                taken_over = taken,
                "took shards that nobody led"
            );
        }
        Ok(())
    }

    /// Shows who leads: for others what the database says, for this broker what it has loaded.
    pub(super) fn publish(&self) {
        let own = self.own.lock();
        let leader = |row: &ShardRow| {
            let holder = row.incarnation?;
            let broker = if holder == self.life.incarnation {
                let serving = own.serving.get(&row.shard)?;
                (serving.epoch == row.epoch).then_some(self.life.own.broker)?
            } else {
                own.facts.living.get(&holder)?.broker
            };
            let leader = ShardLeader {
                broker,
                epoch: row.epoch,
            };
            Some((row.shard, leader))
        };
        // Replaced under the lock: an older picture never replaces a newer one.
        let leaders = own.facts.rows.values().filter_map(leader).collect();
        self.life.leaders.replace(leaders);
    }

    /// Takes a row that is newer than the one that was read.
    pub(super) fn note_row(&self, row: ShardRow) {
        let mut own = self.own.lock();
        let known = own.facts.rows.entry(row.shard).or_insert(row);
        if known.epoch < row.epoch {
            *known = row;
        }
    }

    /// Serves nothing any more, at once and for good. A shard that stopped keeps what it knows.
    pub(super) fn abandon_all(&self) {
        // A load that comes to its end finds this.
        self.own.lock().is_leaving = true;
        let stopped = self.rooms.log.stopped_shards();
        for (shard, epoch) in self.rooms.log.led() {
            if !stopped.iter().any(|(stopped, _)| *stopped == shard) {
                self.rooms.log.cede(shard, epoch);
            }
            self.rooms.groups.unload(shard);
        }
        self.own.lock().serving.clear();
        self.publish();
    }

    /// Records what is staged in all shards, at most until `until`, and serves nothing any more.
    pub(super) async fn give_up_all(&self, until: Monotonic) {
        let shards: Vec<ShardId> = {
            let mut own = self.own.lock();
            own.is_leaving = true;
            let idle = own.serving.keys().filter(|shard| !own.busy.contains(shard));
            idle.copied().collect()
        };
        let mut done = self.done.subscribe();
        let clock = &*self.life.ambient.clock;
        let given = async {
            let drains = shards.iter().map(|shard| self.drain(*shard));
            let drained = join_all(drains).await;
            // What is on the move goes where it goes.
            let _ = done.wait_for(|_| self.own.lock().busy.is_empty()).await;
            drained.into_iter().flatten().count()
        };
        match deadline(clock, until, given).await {
            Some(shards) => tracing::info!(
                shards,
                "all that was accepted is recorded; others take over"
            ),
            None => tracing::warn!(
                "not all that was accepted was recorded in time; who waits for it hears that it may be lost"
            ),
        }
        self.abandon_all();
    }
}

impl Life {
    /// Tells clients of the brokers that live. Of this one they are told in any case: they are talking to it.
    fn show(&self, living: &LivingById) {
        let mut brokers: BTreeMap<_, _> = living
            .values()
            .map(|known| (known.broker, known.clone()))
            .collect();
        brokers.insert(self.own.broker, self.own.clone());
        self.brokers.replace(brokers.into_values().collect());
    }
}
