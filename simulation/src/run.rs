//! Lets a history happen, and looks for the first thing that is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use streamhouse_metadata::store::{ClusterShelf, Durability, NewCluster, TopicShelf};
use streamhouse_storage::wal::crash::{CrashStyle, IoCall, IoFault};

use crate::audit;
use crate::broker::{CLUSTER, Ground, SHARDS, Setup};
use crate::clients::admin::new_topic;
use crate::clients::crowd::Crowd;
use crate::clients::{PARTITIONS, RETAINED, Sky, TOPIC, partition};
use crate::database::Database;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::machine::Machine;
use crate::model::Model;
use crate::objects::Bucket;
use crate::plan::{Action, Disturbance, GROUPS, Operation, PlannedTrigger, Stored, Upkeep};
use crate::scenario::Scenario;
use crate::sites::{Moment, Site};
use crate::world::{Breach, Counts, Doom, Trigger, Weather, World};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What came of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The first breach, if there was one.
    pub breach: Option<Breach>,
    /// A number that two runs of one history share.
    pub trace: u64,
    /// What happened.
    pub counts: Counts,
    /// Every step in words, if that was asked for.
    pub log: Vec<String>,
}

/// Lets something happen in the world of `seed`.
pub(crate) fn run_with(
    scenario: Scenario,
    seed: u64,
    is_logged: bool,
    live: impl FnOnce(&World),
) -> Outcome {
    let world = World::new(seed, is_logged);
    let witness = world.clone();
    world.plan_patient_death(patient_death(scenario, seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&world)));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = format!("a task panicked: {}", text.unwrap_or_default());
        witness.breach(Invariant::Serves, what);
    }
    witness.executor.clear();
    Outcome {
        breach: witness.first_breach(),
        trace: witness.trace(),
        counts: witness.counts(),
        log: witness.take_log(),
    }
}

struct Run {
    host: Host,
    crowd: Crowd,
}

pub(crate) fn live(world: &World, operations: &[Operation]) {
    let database = Database::new(world, &Machine::default());
    let bucket = Bucket::new(world);
    lay_ground(&database, Durability::Local);
    let setup = Setup::drawn(&*world.chance, RETAINED);
    world.tell(|| format!("{setup:?}"));
    let ground = Ground {
        world: world.clone(),
        database,
        bucket,
        setup,
    };
    let model = Arc::new(Mutex::new(Model::default()));
    for number in 0..=u8::try_from(PARTITIONS).unwrap_or(0) {
        let at = partition(number);
        let mut model = model.lock();
        model.partitions.entry(at).or_default().is_retained = at.topic == RETAINED;
    }
    let host = Host::new(ground, Arc::clone(&model));
    let run = Run {
        crowd: Crowd::new(Sky {
            net: Arc::new(host.clone()),
            model,
            groups: Arc::default(),
        }),
        host,
    };
    run.pass(Duration::from_millis(20));
    for operation in operations {
        world.begin_operation(operation.number);
        world.tell(|| format!("# {} {:?}", operation.number, operation.action));
        run.begin(operation.action);
        run.pass(Duration::from_micros(operation.gap_us));
        run.check();
        if world.first_breach().is_some() {
            return;
        }
    }
    world.begin_operation(operations.last().map_or(0, |last| last.number + 1));
    run.end();
}

/// Each world waits for a death at one place of its own, so that rare places have their turn.
fn patient_death(scenario: Scenario, seed: u64) -> Doom {
    let all = Site::of(scenario);
    let sites = all.len() as u64;
    let site = all[usize::try_from(seed % sites).unwrap_or(0)];
    let turn = seed / sites;
    let moment = match turn % 3 {
        0 => Moment::Before,
        1 if site.has_half() => Moment::Half,
        _ => Moment::After,
    };
    let styles = CrashStyle::ALL;
    Doom {
        style: styles[usize::try_from(turn % 4).unwrap_or(0)],
        trigger: Trigger::At(site, moment),
    }
}

/// The cluster and its topics, before anything can fail.
pub(crate) fn lay_ground(database: &Database, durability: Durability) {
    let cluster = NewCluster {
        cluster_id: CLUSTER,
        shards: SHARDS,
        durability,
    };
    let truth = &database.truth;
    let initialised = truth.initialise(cluster).now_or_never();
    initialised
        .expect("memory does not wait")
        .expect("an empty store takes a cluster");
    for (topic, partitions) in [(TOPIC, PARTITIONS), (RETAINED, 1)] {
        let created = truth
            .create_topic(new_topic(topic, partitions))
            .now_or_never();
        created
            .expect("memory does not wait")
            .expect("an empty store takes a topic");
    }
}

impl Run {
    fn world(&self) -> &World {
        &self.host.ground.world
    }

    fn pass(&self, duration: Duration) {
        self.host.run_for(duration);
    }

    fn begin(&self, action: Action) {
        match action {
            Action::Records(records) => self.crowd.records(records),
            Action::Members(members) => self.crowd.members(members),
            Action::Upkeep(upkeep) => self.upkeep(upkeep),
            Action::Disturbance(disturbance) => self.disturb(disturbance),
            Action::Disruption(_) => {}
        }
    }

    /// What the broker does by itself, earlier than it would.
    fn upkeep(&self, upkeep: Upkeep) {
        let Some(broker) = self.host.running() else {
            return;
        };
        if upkeep == Upkeep::EvictProducers && !self.crowd.may_evict() {
            return;
        }
        let process = broker.life.process;
        let work = async move {
            match upkeep {
                // A failure is no news: it loses nothing, and what it leaves is judged.
                Upkeep::Flush => drop(broker.log.flush().await),
                Upkeep::Checkpoint => drop(broker.log.checkpoint_all().await),
                Upkeep::Sweep => drop(broker.log.sweep().await),
                Upkeep::SweepOrphans => drop(broker.log.sweep_orphans().await),
                Upkeep::Retain => broker.retain(),
                Upkeep::EvictProducers => broker.evict_producers(),
            }
        };
        self.world().executor.spawn(process, "upkeep", work.boxed());
    }

    fn disturb(&self, disturbance: Disturbance) {
        let world = self.world();
        let host = &self.host;
        match disturbance {
            Disturbance::Freeze { ms } => {
                world.executor.freeze(Duration::from_millis(u64::from(ms)))
            }
            Disturbance::JumpWall { ms } => world.clock.jump_wall(ms),
            Disturbance::Weather {
                objects,
                database,
                network,
            } => {
                host.ground.bucket.set_ill(u64::from(objects));
                world.set_weather(Weather {
                    database_per_mille: u64::from(database),
                    network_per_mille: u64::from(network),
                });
            }
            Disturbance::StoreDown { is_down } => host.ground.bucket.set_down(is_down),
            Disturbance::DiskError { call, n } => self.disk_error(call, u64::from(n)),
            Disturbance::DiskFull { is_full } => host.disk().set_room(is_full.then_some(0)),
            Disturbance::BitRot => {
                host.let_rot();
                host.kill(CrashStyle::Forget);
            }
            Disturbance::Stored(stored) => self.disturb_stored(stored),
            Disturbance::Zombie => host.make_a_zombie(),
            Disturbance::Crash { style, trigger } => self.crash(style, trigger),
            Disturbance::CrashTwice {
                style,
                trigger,
                second,
                after,
            } => {
                self.crash(style, trigger);
                self.pass(Duration::from_millis(30));
                let trigger = Trigger::Crossing(u64::from(after));
                world.plan_death(Doom {
                    style: second,
                    trigger,
                });
            }
        }
    }

    fn disturb_stored(&self, stored: Stored) {
        let host = &self.host;
        match stored {
            Stored::DamageObject => host.damage_object(),
            Stored::DamageShard {
                shard,
                is_checkpoint,
                style,
            } => host.damage_shard(shard, is_checkpoint, style),
            Stored::Mend => host.mend(),
            Stored::CopyDatabase => host.copy_database(),
            Stored::BringCopyBack { style } => host.bring_copy_back(style),
            Stored::ForgetFlush => host.let_a_flush_be_forgotten(),
        }
    }

    fn disk_error(&self, call: u8, n: u64) {
        let calls = [
            IoCall::Create,
            IoCall::Write,
            IoCall::Reserve,
            IoCall::Sync,
            IoCall::Rename,
            IoCall::Remove,
            IoCall::SyncDir,
        ];
        let call = calls[usize::from(call) % calls.len()];
        let fault = match call {
            IoCall::Write if n.is_multiple_of(2) => IoFault::Short,
            IoCall::Reserve => IoFault::Once(ENOSPC),
            IoCall::Create
            | IoCall::Write
            | IoCall::Sync
            | IoCall::Rename
            | IoCall::Remove
            | IoCall::SyncDir => IoFault::Once(EIO),
        };
        self.host.disk().plan_fault(Some(call), n, fault);
    }

    fn crash(&self, style: CrashStyle, trigger: PlannedTrigger) {
        match trigger {
            PlannedTrigger::Now => self.host.kill(style),
            PlannedTrigger::Later(trigger) => self.world().plan_death(Doom { style, trigger }),
        }
    }

    /// What must hold between any two operations.
    fn check(&self) {
        let Some(broker) = self.host.running() else {
            return;
        };
        if !broker.life.is_dead() {
            audit::check_bounds(self.world(), &broker);
            audit::check_shards(&self.host, &broker, 2 * GROUPS);
        }
    }

    /// The faults are over: everything must come to rest, and everything that was acknowledged must be there, before and
    /// after the power is cut once more.
    fn end(&self) {
        let world = self.world();
        self.heal();
        self.pass(Duration::from_secs(12));
        for style in [CrashStyle::Kill, CrashStyle::Forget] {
            self.audit();
            if world.first_breach().is_some() {
                return;
            }
            self.host.kill(style);
            self.heal();
            self.pass(Duration::from_secs(5));
        }
        self.audit();
        let database = &self.host.ground.database;
        let judged = audit::check_shelves(database, &self.host.ground.bucket);
        world.judge(judged);
    }

    fn heal(&self) {
        let host = &self.host;
        self.world().forget_death();
        self.world().set_weather(Weather::default());
        host.ground.bucket.set_ill(0);
        host.ground.bucket.set_down(false);
        host.disk().clear_fault();
        host.disk().set_room(None);
        host.end_zombies();
        host.mend();
        if host.ground.database.forgotten().is_some() {
            // What the database forgot comes to light at the next start at the latest.
            host.kill(CrashStyle::Kill);
        }
    }

    fn audit(&self) {
        let done = Arc::new(Mutex::new(false));
        let (sky, mark) = (self.crowd.sky.clone(), Arc::clone(&done));
        self.crowd.spawn(
            async move {
                audit::read_everything(&sky).await;
                *mark.lock() = true;
            }
            .boxed(),
        );
        for _ in 0..40 {
            self.pass(Duration::from_millis(500));
            if *done.lock() {
                return self.check();
            }
        }
        let what = "an audit of all partitions does not end, though nothing fails";
        self.world().breach(Invariant::Serves, what);
    }
}
