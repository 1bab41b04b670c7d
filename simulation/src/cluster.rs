//! Several brokers with `shared` durability over one database and one object store: their machines, which start them again
//! whenever they died, and the way of clients to them.

pub(crate) mod disruption;
mod failover;
mod life;
pub(crate) mod membership;
pub(crate) mod plan;
mod repair;
pub(crate) mod run;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_metadata::store::{ShardId, ShardShelf};
use streamhouse_runtime::{Chance, Clock, Monotonic};
use streamhouse_storage::wal::crash::CrashStyle;

use crate::audit::now;
use crate::broker::{Broker, Ground, address};
use crate::clients::member::group_id;
use crate::executor::{Polled, ProcessId};
use crate::invariant::Invariant;
use crate::machine::Machine;
use crate::model::Model;
use crate::model::groups::GroupModel;
use crate::network::{Network, Whom};
use crate::world::{Life, World};
use failover::Failover;
use repair::Repair;

/// How many brokers there are.
pub(crate) const BROKERS: usize = 3;

/// All brokers. Clones are the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) ground: Ground,
    model: Arc<Mutex<Model>>,
    groups: Arc<Mutex<GroupModel>>,
    /// The machine of the database: its clock counts the leases.
    database: Machine,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    seats: Vec<Seat>,
    /// Lives so far.
    lives: u64,
    failover: Failover,
    repair: Repair,
    /// Until when leases may be over earlier than their holders count: the clock of the database jumped.
    leases_uncertain_until: Option<Monotonic>,
    /// Until when the database may lack a lease that it gave, since another server took over.
    leases_lost_until: Option<Monotonic>,
}

/// A place for a broker: its number, its machine, and the life that is there.
#[derive(Debug)]
struct Seat {
    machine: Machine,
    life: Arc<Life>,
    running: Option<Arc<Broker>>,
    /// Nobody starts it again for now.
    is_off: bool,
}

impl Cluster {
    pub(crate) fn new(
        ground: Ground,
        database: Machine,
        model: Arc<Mutex<Model>>,
        groups: Arc<Mutex<GroupModel>>,
    ) -> Self {
        let mut seats = Vec::with_capacity(BROKERS);
        for number in 1..=BROKERS as u64 {
            let machine = Machine::default();
            seats.push(Seat {
                life: Arc::new(Life::on(ProcessId(number), machine.clone())),
                machine,
                running: None,
                is_off: false,
            });
        }
        let inner = Inner {
            seats,
            lives: BROKERS as u64,
            failover: Failover::default(),
            repair: Repair::default(),
            leases_uncertain_until: None,
            leases_lost_until: None,
        };
        let cluster = Self {
            ground,
            model,
            groups,
            database,
            inner: Arc::new(Mutex::new(inner)),
        };
        for seat in 0..BROKERS {
            cluster.start(seat, Duration::ZERO);
        }
        cluster
    }

    pub(crate) fn life(&self, seat: usize) -> Arc<Life> {
        Arc::clone(&self.inner.lock().seats[seat].life)
    }

    pub(crate) fn machine(&self, seat: usize) -> Machine {
        self.inner.lock().seats[seat].machine.clone()
    }

    pub(crate) fn machines(&self) -> Vec<Machine> {
        (0..BROKERS).map(|seat| self.machine(seat)).collect()
    }

    /// The broker of a seat, if it serves.
    pub(crate) fn broker(&self, seat: usize) -> Option<Arc<Broker>> {
        self.inner.lock().seats[seat].running.clone()
    }

    /// All that serve.
    pub(crate) fn brokers(&self) -> Vec<Arc<Broker>> {
        (0..BROKERS).filter_map(|seat| self.broker(seat)).collect()
    }

    fn start(&self, seat: usize, pause: Duration) {
        let (cluster, life) = (self.clone(), self.life(seat));
        let process = life.process;
        let starting = async move {
            let world = cluster.world().clone();
            world.clock.sleep(pause).await;
            let number = i32::try_from(seat).unwrap_or(0) + 1;
            let broker = life::start(cluster.ground.clone(), Arc::clone(&life), number).await;
            if life.is_dead() {
                return;
            }
            world.tell(|| format!("broker {} serves in seat {seat}", life.process.0));
            world.count(|counts| counts.starts += 1);
            cluster.inner.lock().seats[seat].running = Some(broker);
        };
        self.world()
            .executor
            .spawn(process, "start", Box::pin(starting));
    }

    /// Lets the world go on for `duration`.
    pub(crate) fn run_for(&self, duration: Duration) {
        let world = self.world();
        let until = world.clock.monotonic() + duration;
        loop {
            while let Some(polled) = world.executor.step() {
                self.after_poll(polled);
            }
            if !world.executor.pass_to_next_timer(until) {
                return;
            }
        }
    }

    fn after_poll(&self, polled: Polled) {
        let world = self.world();
        world.note(polled.process.0 ^ (polled.name.len() as u64) << 32);
        self.look_after_command();
        for seat in 0..BROKERS {
            let life = self.life(seat);
            if polled.process == life.process {
                world.polled(&life);
            }
            if life.death().is_some() {
                self.bury(seat);
            }
        }
    }

    /// Ends a dead process, and starts the next one of its seat.
    fn bury(&self, seat: usize) {
        let world = self.world();
        let life = self.life(seat);
        // Other threads may have sent answers while the one that died was inside its call.
        for _ in 0..world.chance.below(6) {
            if world.executor.step_of(life.process).is_none() {
                break;
            }
        }
        let broker = self.inner.lock().seats[seat].running.take();
        drop(broker);
        world.executor.kill(life.process);
        self.ground.database.forget_process(life.process);
        self.gone(life.process);
        let is_off = {
            let mut inner = self.inner.lock();
            inner.lives += 1;
            let process = ProcessId(inner.lives);
            let place = &mut inner.seats[seat];
            place.life = Arc::new(Life::on(process, place.machine.clone()));
            place.is_off
        };
        let pause = match world.chance.below(4) {
            0 => world.chance.micros(500_000, 4_000_000),
            _ => world.chance.micros(1_000, 400_000),
        };
        if !is_off {
            self.start(seat, pause);
        }
    }

    /// Kills the broker of a seat now.
    pub(crate) fn kill(&self, seat: usize) {
        self.life(seat).die(CrashStyle::Kill);
        self.world().count(|counts| counts.crashes += 1);
        self.bury(seat);
    }

    /// The clock of the database jumps: leases end earlier or later than their holders count.
    pub(crate) fn jump_database(&self, by_ms: i64) {
        self.database.jump_wall(by_ms);
        let until = self.world().clock.monotonic() + 2 * membership::LEASE;
        self.inner.lock().leases_uncertain_until = Some(until);
    }

    fn are_leases_certain(&self) -> bool {
        let until = self.inner.lock().leases_uncertain_until;
        until.is_none_or(|until| self.world().clock.monotonic() >= until)
    }

    /// Whether the database knows every lease that it gave.
    fn are_leases_known(&self) -> bool {
        let until = self.inner.lock().leases_lost_until;
        until.is_none_or(|until| self.world().clock.monotonic() >= until)
    }

    /// Whether the leader of a shard answers for it.
    pub(crate) fn serves(&self, shard: ShardId) -> bool {
        let leader = self.leader(shard);
        let membership = leader.and_then(|leader| leader.membership.clone());
        membership.is_some_and(|membership| membership.serves(shard))
    }

    /// The broker that the database says leads a shard.
    fn leader(&self, shard: ShardId) -> Option<Arc<Broker>> {
        let row = now(self.ground.database.truth.read_shard(shard))?;
        let leads = |broker: &Arc<Broker>| {
            let membership = broker.membership.as_ref();
            membership.map(|membership| membership.incarnation) == row.incarnation
        };
        self.brokers().into_iter().find(leads)
    }
}

impl Network for Cluster {
    fn world(&self) -> &World {
        &self.ground.world
    }

    fn find(&self, whom: Whom) -> Option<Arc<Broker>> {
        let brokers = self.brokers();
        let any = brokers.get(self.world().chance.place(brokers.len()))?;
        let shard = match whom {
            Whom::Leader(at) => address(at).shard,
            Whom::Coordinator(group) => any.groups.coordinator_of(&group_id(group)).shard,
            Whom::Anyone => return Some(Arc::clone(any)),
        };
        if self.world().chance.below(8) == 0 {
            // What the client knows is old.
            return Some(Arc::clone(any));
        }
        self.leader(shard)
    }

    fn has_rot(&self) -> bool {
        false
    }

    fn leads(&self, broker: &Broker, shard: ShardId) -> bool {
        let row = now(self.ground.database.truth.read_shard(shard));
        let leader = row.and_then(|row| row.incarnation);
        let membership = broker.membership.as_ref();
        membership.is_some_and(|membership| leader == Some(membership.incarnation))
    }

    fn stated(&self, broker: &Broker, shard: ShardId) {
        if !self.are_leases_certain() || self.is_unsettled() {
            return;
        }
        let what = format!(
            "broker {} answers for shard {shard} with a lease, and leads it neither when it is asked nor when it answers",
            broker.life.process.0
        );
        self.world().breach(Invariant::OneLeader, what);
    }
}
