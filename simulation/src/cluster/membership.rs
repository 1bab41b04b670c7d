//! How a simulated broker belongs to its cluster: it registers its life, renews its lease, leads what is granted to it, takes
//! what expired, and hands over what it has too much of.
//!
//! The rules are those of the broker's own membership: what is handed over is served no more before the grant is asked for; a
//! grant with an unknown outcome is not led under; whoever hears of another timeline compares, and waits a whole lease before
//! it takes what seems expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_coordinator::service::Grant;
use streamhouse_log::leading::Drained;
use streamhouse_metadata::store::{
    AskedShard, Beat, BrokerRow, BrokerShelf, GrantOutcome, GrantRequest, HeartbeatError,
    Incarnation, MetadataStore, Outcome, RegisterError, ShardId, ShardRow, ShardShelf, StoreError,
};
use streamhouse_protocol::ids::{BrokerId, LeaderEpoch};
use streamhouse_runtime::{Chance, Clock, Monotonic, deadline, planted};
use streamhouse_storage::wal::crash::CrashStyle;

use crate::broker::Broker;
use crate::database::LifeStore;
use crate::encounters::Encounter;
use crate::world::{Life, World};

/// How long a lease lasts, and how often it is renewed: shorter than in earnest, so that a history sees many of them.
pub(crate) const LEASE: Duration = Duration::from_millis(1_000);
const BEAT: Duration = Duration::from_millis(250);

/// The clock of the database counts whole milliseconds: a lease may be over by up to one earlier than it says.
const MARGIN: Duration = Duration::from_millis(2);

/// How long a shard may take to record what was accepted, before it stays after all.
const DRAIN_MAX: Duration = Duration::from_millis(800);

/// One life of a broker among the others.
#[derive(Debug)]
pub(crate) struct Membership {
    world: World,
    life: Arc<Life>,
    store: LifeStore,
    number: BrokerId,
    pub(crate) incarnation: Incarnation,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lease_until: Option<Monotonic>,
    beat: Option<Beat>,
    timeline: Option<u32>,
    in_touch_since: Option<Monotonic>,
    /// Shards whose groups and log are loaded, and under which grant.
    served: BTreeMap<ShardId, LeaderEpoch>,
    /// Grants that are not led under, since nobody knew what became of the request for them.
    doubtful: BTreeMap<ShardId, LeaderEpoch>,
    /// What the database forgot.
    regression: bool,
    wants_to_move: bool,
}

impl Membership {
    pub(crate) fn new(world: &World, life: &Arc<Life>, store: LifeStore, number: i32) -> Self {
        Self {
            world: world.clone(),
            life: Arc::clone(life),
            store,
            number: BrokerId(number),
            incarnation: Incarnation(world.chance.next_u128()),
            state: Mutex::default(),
        }
    }

    fn now(&self) -> Monotonic {
        self.world.clock.monotonic()
    }

    /// Whether the lease holds, as this broker counts it.
    pub(crate) fn holds(&self) -> bool {
        let until = self.state.lock().lease_until;
        until.is_some_and(|until| self.now() < until)
    }

    /// Whether an answer that needs the lease may go out now. That a shard is led is for the log and the groups to know.
    pub(crate) fn may_state(&self) -> bool {
        self.holds() || planted::bug("lease_not_checked")
    }

    /// Whether it noticed that the database forgot something.
    pub(crate) fn has_regressed(&self) -> bool {
        self.state.lock().regression
    }

    /// Whether it answers for a shard.
    pub(crate) fn serves(&self, shard: ShardId) -> bool {
        self.holds() && self.state.lock().served.contains_key(&shard)
    }

    /// Shards that it serves.
    pub(crate) fn served(&self) -> Vec<ShardId> {
        self.state.lock().served.keys().copied().collect()
    }

    /// Its next look hands a shard over, if there is somebody to take it.
    pub(crate) fn want_to_move(&self) {
        self.state.lock().wants_to_move = true;
    }

    /// Registers, and gets its first lease; waits for the end of the lease of the life before.
    pub(crate) async fn join(&self) {
        loop {
            let row = BrokerRow {
                broker: self.number,
                incarnation: self.incarnation,
                endpoints: Vec::new(),
                rack: None,
            };
            match self.store.register_broker(row, LEASE).await {
                Ok(()) => break,
                Err(RegisterError::Twin { .. } | RegisterError::Store(_)) => {}
                Err(RegisterError::Dead { .. }) => return self.life.die(CrashStyle::Kill),
            }
            let pause = self.world.chance.micros(20_000, 120_000);
            self.world.clock.sleep(pause).await;
        }
        self.state.lock().in_touch_since = Some(self.now());
        self.beat().await;
    }

    async fn beat(&self) {
        let sent = self.now();
        let beaten = self.store.heartbeat(self.incarnation, LEASE);
        // A heartbeat may be repeated, so it may be dropped.
        match deadline(&self.world.clock, sent + LEASE, beaten).await {
            Some(Ok(beat)) => self.beaten(sent, beat),
            Some(Err(HeartbeatError::Dead { .. })) if !self.has_regressed() => {
                self.life.die(CrashStyle::Kill);
            }
            Some(Err(HeartbeatError::Unknown { .. })) if !self.has_regressed() && !self.holds() => {
                self.life.die(CrashStyle::Kill);
            }
            Some(Err(_)) | None => {}
        }
    }

    fn beaten(&self, sent: Monotonic, beat: Beat) {
        let held = self.holds();
        let mut state = self.state.lock();
        if !held {
            state.in_touch_since = Some(sent);
        }
        let span = u64::try_from(beat.until_ms.saturating_sub(beat.now_ms)).unwrap_or(0);
        let span = Duration::from_millis(span).min(LEASE);
        state.lease_until = state
            .lease_until
            .max(Some(sent + span.saturating_sub(MARGIN)));
        state.beat = Some(beat);
    }

    /// Renews the lease as long as the process lives.
    pub(crate) async fn keep_alive(self: Arc<Self>) {
        loop {
            self.world.clock.sleep(BEAT).await;
            self.beat().await;
        }
    }

    /// Looks who lives and who leads, and does its part.
    pub(crate) async fn keep_placed(broker: Arc<Broker>, me: Arc<Self>) {
        loop {
            let pause = me.world.chance.micros(30_000, 200_000);
            me.world.clock.sleep(pause).await;
            if !me.has_regressed() {
                // The next look goes on.
                let _ = me.look(&broker).await;
            }
        }
    }

    async fn look(&self, broker: &Broker) -> Result<(), StoreError> {
        let Some(beat) = self.state.lock().beat else {
            return Ok(());
        };
        let led = broker.log.led();
        let living = self.store.living().await?;
        let rows = self.store.shards().await?;
        if self.store.timeline() != beat.timeline {
            // What was read is not what the heartbeat spoke of.
            return Ok(());
        }
        if !self.compare(broker, &beat, &led, &rows).await? {
            return Ok(());
        }
        self.cede_lost(broker, &led, &rows);
        let living: Vec<Incarnation> = living
            .brokers
            .iter()
            .map(|one| one.row.incarnation)
            .collect();
        for row in &rows {
            if row.incarnation == Some(self.incarnation) {
                self.load_granted(broker, row).await?;
            }
        }
        if self.holds() {
            self.take_expired(broker, &living, &rows).await?;
            self.even_out(broker, &living, &rows).await?;
        }
        broker.settle().await;
        Ok(())
    }

    /// Holds the database against what was seen of it. False if it forgot something: then nothing is served any more.
    async fn compare(
        &self,
        broker: &Broker,
        beat: &Beat,
        led: &[(ShardId, LeaderEpoch)],
        rows: &[ShardRow],
    ) -> Result<bool, StoreError> {
        let seen = self.state.lock().timeline;
        let row = |shard: ShardId| rows.iter().find(|row| row.shard == shard);
        let lost_grant = led
            .iter()
            .any(|(shard, epoch)| row(*shard).is_some_and(|row| row.epoch < *epoch));
        let mut stopped = 0;
        if lost_grant || seen.is_some_and(|seen| seen != beat.timeline) {
            self.state.lock().in_touch_since = Some(self.now());
            stopped = broker.log.check_recorded().await?;
        }
        if stopped > 0 || (lost_grant && !planted::bug("regression_unnoticed")) {
            self.regress(broker).await?;
            return Ok(false);
        }
        self.state.lock().timeline = Some(beat.timeline);
        Ok(true)
    }

    /// The database forgot something: nothing is served any more.
    async fn regress(&self, broker: &Broker) -> Result<(), StoreError> {
        self.state.lock().regression = true;
        self.world
            .tell(|| format!("broker {} sees a regression", self.life.process.0));
        // Shards of which something is gone stop, and keep what they know of it.
        let checked = broker.log.check_recorded().await;
        let stopped = broker.log.stopped_shards();
        for (shard, epoch) in broker.log.led() {
            if !stopped.iter().any(|(stopped, _)| *stopped == shard) {
                broker.log.cede(shard, epoch);
            }
            broker.groups.unload(shard);
        }
        self.state.lock().served.clear();
        checked.map(|_| ())
    }

    fn cede_lost(&self, broker: &Broker, led: &[(ShardId, LeaderEpoch)], rows: &[ShardRow]) {
        for (shard, epoch) in led {
            let lost = |row: &&ShardRow| row.shard == *shard && row.epoch > *epoch;
            if rows.iter().any(|row| lost(&row)) {
                self.let_go(broker, *shard, *epoch);
            }
        }
    }

    fn let_go(&self, broker: &Broker, shard: ShardId, epoch: LeaderEpoch) {
        self.state.lock().served.remove(&shard);
        broker.log.cede(shard, epoch);
        broker.groups.unload(shard);
    }

    /// Leads what was granted to this life and is not served.
    async fn load_granted(&self, broker: &Broker, row: &ShardRow) -> Result<(), StoreError> {
        let (is_served, is_doubtful) = {
            let state = self.state.lock();
            let is = |known: &BTreeMap<ShardId, LeaderEpoch>| {
                known
                    .get(&row.shard)
                    .is_some_and(|epoch| *epoch >= row.epoch)
            };
            (is(&state.served), is(&state.doubtful))
        };
        if is_served {
            return Ok(());
        }
        if is_doubtful {
            self.world.met(Encounter::LateGrant);
            return self.take(broker, &[*row]).await;
        }
        self.load(broker, row).await;
        Ok(())
    }

    async fn load(&self, broker: &Broker, row: &ShardRow) {
        if let Err(error) = broker.log.lead(row).await {
            // The next look tries again.
            let (life, shard) = (self.life.process.0, row.shard);
            let told = || format!("broker {life} does not load shard {shard}: {error}");
            return self.world.tell(told);
        }
        let grant = Grant {
            shard: row.shard,
            epoch: row.epoch,
            incarnation: self.incarnation,
        };
        if broker.groups.load(grant).await.is_ok() {
            self.state.lock().served.insert(row.shard, row.epoch);
            self.world.tell(|| {
                let (life, shard, epoch) = (self.life.process.0, row.shard, row.epoch);
                format!("broker {life} leads shard {shard} under {epoch}")
            });
        }
    }

    /// Takes what nobody holds, mostly only what is meant for this broker.
    async fn take_expired(
        &self,
        broker: &Broker,
        living: &[Incarnation],
        rows: &[ShardRow],
    ) -> Result<(), StoreError> {
        let is_held = |row: &ShardRow| {
            let holder = row.incarnation;
            holder.is_some_and(|holder| {
                living.contains(&holder)
                    && !(planted::bug("take_from_the_living") && holder != self.incarnation)
            })
        };
        let since = self.state.lock().in_touch_since;
        let may_take = since.is_some_and(|since| self.now() - since >= LEASE);
        let has_holder = |row: &ShardRow| row.incarnation.is_some();
        let mut wanted = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            let heir = living.get(place % living.len().max(1));
            let is_meant = heir == Some(&self.incarnation) || self.world.chance.below(16) == 0;
            if !is_held(row) && is_meant && (may_take || !has_holder(row)) {
                wanted.push(*row);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if self.world.chance.below(2) == 0 {
            // The others at a later beat: whoever led them all and wakes up in between has lost a part of a flush.
            wanted.truncate(1 + self.world.chance.place(wanted.len()));
        }
        self.take(broker, &wanted).await
    }

    /// Asks for shards as they were read, and leads what is granted.
    async fn take(&self, broker: &Broker, rows: &[ShardRow]) -> Result<(), StoreError> {
        let asked = rows.iter().map(|row| AskedShard {
            shard: row.shard,
            expecting: Some((row.epoch, row.incarnation)),
        });
        let request = GrantRequest {
            incarnation: self.incarnation,
            by: self.incarnation,
            wal_dir: None,
            shards: asked.collect(),
        };
        let outcomes = match self.store.grant(request).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                if error.outcome() == Outcome::MayHaveHappened {
                    let doubtful = rows
                        .iter()
                        .map(|row| (row.shard, LeaderEpoch(row.epoch.0 + 1)));
                    self.state.lock().doubtful.extend(doubtful);
                }
                return Err(error);
            }
        };
        for outcome in outcomes {
            match outcome {
                GrantOutcome::Granted(row) => {
                    self.state.lock().doubtful.remove(&row.shard);
                    self.load(broker, &row).await;
                }
                GrantOutcome::Dead { incarnation } if incarnation == self.incarnation => {
                    self.life.die(CrashStyle::Kill);
                }
                GrantOutcome::Dead { .. }
                | GrantOutcome::Changed { .. }
                | GrantOutcome::Held { .. }
                | GrantOutcome::WalElsewhere { .. }
                | GrantOutcome::UnknownShard => {}
            }
        }
        Ok(())
    }

    /// Hands a shard over if it has more than others, or if it was asked to.
    async fn even_out(
        &self,
        broker: &Broker,
        living: &[Incarnation],
        rows: &[ShardRow],
    ) -> Result<(), StoreError> {
        let count = |life: &Incarnation| {
            let held = rows.iter().filter(|row| row.incarnation == Some(*life));
            held.count()
        };
        let others = living.iter().filter(|life| **life != self.incarnation);
        let Some(heir) = others.min_by_key(|life| count(life)) else {
            return Ok(());
        };
        let is_asked = std::mem::take(&mut self.state.lock().wants_to_move);
        // Only much, and not at once, so that flushes are of several shards.
        let is_uneven = count(&self.incarnation) >= count(heir) + 3;
        if !(is_asked || is_uneven && self.world.chance.below(12) == 0) {
            return Ok(());
        }
        let served = self.served();
        let mine = rows.iter().filter(|row| served.contains(&row.shard));
        let mine: Vec<&ShardRow> = mine
            .filter(|row| row.incarnation == Some(self.incarnation))
            .collect();
        match mine.get(self.world.chance.place(mine.len())) {
            Some(row) => self.hand_over(broker, row, *heir).await,
            None => Ok(()),
        }
    }

    async fn hand_over(
        &self,
        broker: &Broker,
        row: &ShardRow,
        heir: Incarnation,
    ) -> Result<(), StoreError> {
        let shard = row.shard;
        let until = self.now() + DRAIN_MAX;
        let draining = broker.log.drain(shard);
        if deadline(&self.world.clock, until, draining)
            .await
            .flatten()
            .is_none()
        {
            let drained = Drained {
                shard,
                epoch: row.epoch,
                incarnation: self.incarnation,
            };
            broker.log.resume(drained);
            return Ok(());
        }
        // The heir may serve as soon as it is asked for.
        self.let_go(broker, shard, row.epoch);
        let asked = AskedShard {
            shard,
            expecting: Some((row.epoch, Some(self.incarnation))),
        };
        let request = GrantRequest {
            incarnation: heir,
            by: self.incarnation,
            wal_dir: None,
            shards: vec![asked],
        };
        // Whatever comes of it, this grant is not led under any more.
        self.state.lock().doubtful.insert(shard, row.epoch);
        let outcome = self.store.grant(request).await;
        self.world.tell(|| {
            let life = self.life.process.0;
            format!("broker {life} hands shard {shard} over: {outcome:?}")
        });
        outcome.map(|_| ())
    }

    /// Records what was accepted, and leaves.
    pub(crate) async fn leave(&self, broker: &Broker) {
        for (shard, epoch) in broker.log.led() {
            let until = self.now() + DRAIN_MAX;
            let draining = broker.log.drain(shard);
            let _ = deadline(&self.world.clock, until, draining).await;
            self.let_go(broker, shard, epoch);
        }
        let _ = self.store.leave(self.incarnation).await;
        self.life.die(CrashStyle::Kill);
    }
}
