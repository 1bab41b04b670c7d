//! Lets a history happen, and looks for the first thing that is wrong.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use streamhouse_log::append::Acks;
use streamhouse_metadata::store::{ClusterShelf, Durability, NewCluster, TopicShelf};
use streamhouse_storage::wal::crash::{CrashStyle, IoCall, IoFault};

use crate::audit;
use crate::broker::{CLUSTER, Ground, SHARDS, Setup};
use crate::clients::admin::{Admin, new_topic, trim};
use crate::clients::consumer::{Consumer, look, park};
use crate::clients::member::Member;
use crate::clients::producer::{Producer, produce_plain};
use crate::clients::{PARTITIONS, RETAINED, Sky, TOPIC, partition};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::executor::CLIENTS;
use crate::invariant::Invariant;
use crate::model::Model;
use crate::objects::Bucket;
use crate::plan::{
    Action, CONSUMERS, Disturbance, GROUPS, MEMBERS, Members, Operation, PRODUCERS, PlannedTrigger,
    Records, Stored, Upkeep,
};
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

/// Lets `operations` happen in the world of `seed`.
#[must_use]
pub fn run(seed: u64, operations: &[Operation], is_logged: bool) -> Outcome {
    let world = World::new(seed, is_logged);
    let witness = world.clone();
    world.plan_patient_death(patient_death(seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&world, operations)));
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

/// The clients, each of which does one thing at a time.
struct Clients {
    producers: Vec<Arc<tokio::sync::Mutex<Producer>>>,
    consumers: Vec<Arc<tokio::sync::Mutex<Consumer>>>,
    members: BTreeMap<(usize, usize), Arc<tokio::sync::Mutex<Member>>>,
    simple: Vec<Arc<tokio::sync::Mutex<Member>>>,
    admin: Arc<tokio::sync::Mutex<Admin>>,
}

impl Clients {
    fn new() -> Self {
        let members = (0..GROUPS).flat_map(|group| (0..MEMBERS).map(move |member| (group, member)));
        let producers = (1..).take(PRODUCERS).map(Producer::new);
        Self {
            producers: producers.map(shared).collect(),
            consumers: (0..CONSUMERS)
                .map(|_| shared(Consumer::default()))
                .collect(),
            members: members
                .map(|(group, member)| ((group, member), shared(Member::new(group))))
                .collect(),
            simple: (0..GROUPS)
                .map(|group| shared(Member::new(GROUPS + group)))
                .collect(),
            admin: shared(Admin::default()),
        }
    }
}

fn shared<T>(client: T) -> Arc<tokio::sync::Mutex<T>> {
    Arc::new(tokio::sync::Mutex::new(client))
}

struct Run {
    sky: Sky,
    clients: Clients,
}

fn live(world: &World, operations: &[Operation]) {
    let database = Database::new(world);
    let bucket = Bucket::new(world);
    lay_ground(&database);
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
    let run = Run {
        sky: Sky {
            cluster: Cluster::new(ground, Arc::clone(&model)),
            model,
            groups: Arc::default(),
        },
        clients: Clients::new(),
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
fn patient_death(seed: u64) -> Doom {
    let sites = Site::ALL.len() as u64;
    let site = Site::ALL[usize::try_from(seed % sites).unwrap_or(0)];
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
fn lay_ground(database: &Database) {
    let cluster = NewCluster {
        cluster_id: CLUSTER,
        shards: SHARDS,
        durability: Durability::Local,
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
        self.sky.world()
    }

    fn pass(&self, duration: Duration) {
        self.sky.cluster.run_for(duration);
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world().executor.spawn(CLIENTS, "client", task);
    }

    /// Begins what a client does, unless it is still busy.
    fn client<T, F>(&self, client: &Arc<tokio::sync::Mutex<T>>, act: F)
    where
        T: Send + 'static,
        F: for<'a> FnOnce(Sky, &'a mut T) -> BoxFuture<'a, ()> + Send + 'static,
    {
        let Ok(mut client) = Arc::clone(client).try_lock_owned() else {
            return;
        };
        let sky = self.sky.clone();
        self.spawn(
            async move {
                act(sky, &mut client).await;
            }
            .boxed(),
        );
    }

    fn begin(&self, action: Action) {
        match action {
            Action::Records(records) => self.records(records),
            Action::Members(members) => self.members(members),
            Action::Upkeep(upkeep) => self.upkeep(upkeep),
            Action::Disturbance(disturbance) => self.disturb(disturbance),
        }
    }

    fn records(&self, records: Records) {
        match records {
            Records::Produce {
                producer,
                partition: number,
                records,
                burst,
            } => {
                let (at, records) = (partition(number), u64::from(records));
                self.client(self.producer(producer), move |sky, producer| {
                    async move { producer.produce(&sky, at, records, burst).await }.boxed()
                });
            }
            Records::Resend {
                producer,
                partition: number,
            } => {
                let at = partition(number);
                self.client(self.producer(producer), move |sky, producer| {
                    async move { producer.resend(&sky, at).await }.boxed()
                });
            }
            Records::ProducePlain {
                partition: number,
                records,
                acks,
            } => {
                let (sky, at) = (self.sky.clone(), partition(number));
                let acks = [Acks::None, Acks::Leader, Acks::All][usize::from(acks) % 3];
                let produce =
                    async move { produce_plain(&sky, at, u64::from(records), acks).await };
                self.spawn(produce.boxed());
            }
            Records::Fetch { .. }
            | Records::Rewind { .. }
            | Records::Look { .. }
            | Records::Park { .. }
            | Records::Trim { .. }
            | Records::TurnOverTopic { .. } => self.readers(records),
        }
    }

    fn producer(&self, number: u8) -> &Arc<tokio::sync::Mutex<Producer>> {
        &self.clients.producers[usize::from(number)]
    }

    fn consumer(&self, number: u8) -> &Arc<tokio::sync::Mutex<Consumer>> {
        &self.clients.consumers[usize::from(number)]
    }

    fn readers(&self, records: Records) {
        match records {
            Records::Fetch {
                consumer,
                partition: number,
                bytes,
            } => {
                let at = partition(number);
                self.client(self.consumer(consumer), move |sky, consumer| {
                    async move {
                        consumer.fetch(&sky, at, bytes as usize).await;
                    }
                    .boxed()
                });
            }
            Records::Rewind {
                consumer,
                partition: number,
            } => {
                let at = partition(number);
                self.client(self.consumer(consumer), move |_, consumer| {
                    async move { consumer.rewind(at) }.boxed()
                });
            }
            Records::Look { partition: number } => {
                let (sky, at) = (self.sky.clone(), partition(number));
                self.spawn(async move { look(&sky, at).await }.boxed());
            }
            Records::Park { partition: number } => {
                let (sky, at) = (self.sky.clone(), partition(number));
                self.spawn(async move { park(&sky, at).await }.boxed());
            }
            Records::Trim {
                partition: number,
                per_mille,
            } => {
                let at = partition(number);
                self.client(&self.clients.admin, move |sky, _| {
                    async move { trim(&sky, at, u64::from(per_mille)).await }.boxed()
                });
            }
            Records::TurnOverTopic { slot } => {
                self.client(&self.clients.admin, move |sky, admin| {
                    async move { admin.turn_over(&sky, slot).await }.boxed()
                });
            }
            Records::Produce { .. } | Records::ProducePlain { .. } | Records::Resend { .. } => {}
        }
    }

    fn members(&self, members: Members) {
        match members {
            Members::Act {
                group,
                member,
                step,
            } => {
                let key = (usize::from(group), usize::from(member));
                self.client(&self.clients.members[&key], move |sky, member| {
                    async move { member.act(&sky, step).await }.boxed()
                });
            }
            Members::SimpleCommit { group, pick } => {
                self.client(
                    &self.clients.simple[usize::from(group)],
                    move |sky, member| async move { member.commit(&sky, pick).await }.boxed(),
                );
            }
            Members::SimpleFetch { group, pick } => {
                self.client(
                    &self.clients.simple[usize::from(group)],
                    move |sky, member| async move { member.fetch(&sky, pick).await }.boxed(),
                );
            }
        }
    }

    /// What the broker does by itself, earlier than it would.
    fn upkeep(&self, upkeep: Upkeep) {
        let Some(broker) = self.sky.cluster.running() else {
            return;
        };
        if upkeep == Upkeep::EvictProducers && !self.may_evict() {
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

    /// A producer that still tries again must not be forgotten: it would be taken for a new one.
    fn may_evict(&self) -> bool {
        let mut producers = Vec::new();
        for producer in &self.clients.producers {
            match Arc::clone(producer).try_lock_owned() {
                Ok(producer) if !producer.has_open() => producers.push(producer),
                Ok(_) | Err(_) => return false,
            }
        }
        for mut producer in producers {
            producer.forget_done();
        }
        true
    }

    fn disturb(&self, disturbance: Disturbance) {
        let world = self.world();
        let cluster = &self.sky.cluster;
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
                cluster.ground.bucket.set_ill(u64::from(objects));
                world.set_weather(Weather {
                    database_per_mille: u64::from(database),
                    network_per_mille: u64::from(network),
                });
            }
            Disturbance::StoreDown { is_down } => cluster.ground.bucket.set_down(is_down),
            Disturbance::DiskError { call, n } => self.disk_error(call, u64::from(n)),
            Disturbance::DiskFull { is_full } => cluster.disk().set_room(is_full.then_some(0)),
            Disturbance::BitRot => {
                cluster.let_rot();
                cluster.kill(CrashStyle::Forget);
            }
            Disturbance::Stored(stored) => self.disturb_stored(stored),
            Disturbance::Zombie => cluster.make_a_zombie(),
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
        let cluster = &self.sky.cluster;
        match stored {
            Stored::DamageObject => cluster.damage_object(),
            Stored::DamageShard {
                shard,
                is_checkpoint,
                style,
            } => cluster.damage_shard(shard, is_checkpoint, style),
            Stored::Mend => cluster.mend(),
            Stored::CopyDatabase => cluster.copy_database(),
            Stored::BringCopyBack { style } => cluster.bring_copy_back(style),
            Stored::ForgetFlush => cluster.let_a_flush_be_forgotten(),
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
        self.sky.cluster.disk().plan_fault(Some(call), n, fault);
    }

    fn crash(&self, style: CrashStyle, trigger: PlannedTrigger) {
        match trigger {
            PlannedTrigger::Now => self.sky.cluster.kill(style),
            PlannedTrigger::Later(trigger) => self.world().plan_death(Doom { style, trigger }),
        }
    }

    /// What must hold between any two operations.
    fn check(&self) {
        let Some(broker) = self.sky.cluster.running() else {
            return;
        };
        if !broker.life.is_dead() {
            audit::check_bounds(self.world(), &broker);
            audit::check_shards(&self.sky.cluster, &broker, 2 * GROUPS);
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
            self.sky.cluster.kill(style);
            self.heal();
            self.pass(Duration::from_secs(5));
        }
        self.audit();
        let database = &self.sky.cluster.ground.database;
        let judged = audit::check_shelves(database, &self.sky.cluster.ground.bucket);
        world.judge(judged);
    }

    fn heal(&self) {
        let cluster = &self.sky.cluster;
        self.world().forget_death();
        self.world().set_weather(Weather::default());
        cluster.ground.bucket.set_ill(0);
        cluster.ground.bucket.set_down(false);
        cluster.disk().clear_fault();
        cluster.disk().set_room(None);
        cluster.end_zombies();
        cluster.mend();
        if cluster.ground.database.forgotten().is_some() {
            // What the database forgot comes to light at the next start at the latest.
            cluster.kill(CrashStyle::Kill);
        }
    }

    fn audit(&self) {
        let done = Arc::new(Mutex::new(false));
        let (sky, mark) = (self.sky.clone(), Arc::clone(&done));
        self.spawn(
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
