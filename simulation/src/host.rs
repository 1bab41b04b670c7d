//! The host of a broker that is alone: starts it again whenever it died.

mod operator;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use streamhouse_log::recovery::loss::AcceptedLoss;
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::ShardId;
use streamhouse_runtime::{Chance, Clock};
use streamhouse_storage::wal::crash::{CrashIo, CrashStyle};

use crate::broker::{Broker, Ground, StartError};
use crate::encounters::Encounter;
use crate::executor::{Polled, ProcessId};
use crate::invariant::Invariant;
use crate::model::Model;
use crate::network::{Network, Whom};
use crate::world::{Life, World};

/// Starts that fail one after the other while nothing is wrong.
const FAILED_STARTS_MAX: u32 = 8;

fn is_aside(name: &str) -> bool {
    name.starts_with("aside-") && name.ends_with(".wal")
}

/// The broker, whichever life of it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) ground: Ground,
    model: Arc<Mutex<Model>>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    life: Arc<Life>,
    disk: CrashIo,
    running: Option<Arc<Broker>>,
    failed_starts: u32,
    /// The next power cut spoils a bit.
    will_rot: bool,
    /// The bit that is wrong: which file, and where.
    rotten: Option<(String, usize)>,
    /// The last life that served.
    served: ProcessId,
    /// Lives that go on while another one has taken their place.
    zombies: Vec<Arc<Life>>,
    /// A copy of the database.
    copy: Option<Copy>,
    /// The last start found records that had been set aside.
    had_aside: bool,
    /// Shards that stand still, and rightly so.
    excused: BTreeSet<ShardId>,
    /// The loss that the operator accepts before the broker starts again.
    accepting: Option<AcceptedLoss>,
    /// Shards whose loss was accepted and that have not started since.
    accepted: BTreeSet<ShardId>,
}

/// A copy of the database, and the life that served or was starting when it was taken.
#[derive(Debug)]
struct Copy {
    facts: MemoryStore,
    taken_in: ProcessId,
}

impl Inner {
    /// The operator brings the damaged file of the log back.
    fn bring_bit_back(&mut self) {
        if let Some((file, bit)) = self.rotten.take() {
            self.disk.flip_bit(&file, bit);
        }
    }
}

impl Host {
    pub(crate) fn new(ground: Ground, model: Arc<Mutex<Model>>) -> Self {
        let inner = Inner {
            life: Arc::new(Life::new(ProcessId(1))),
            disk: CrashIo::new(),
            running: None,
            failed_starts: 0,
            will_rot: false,
            rotten: None,
            served: ProcessId(0),
            zombies: Vec::new(),
            copy: None,
            had_aside: false,
            excused: BTreeSet::new(),
            accepting: None,
            accepted: BTreeSet::new(),
        };
        let cluster = Self {
            ground,
            model,
            inner: Arc::new(Mutex::new(inner)),
        };
        cluster.start(Duration::ZERO);
        cluster
    }

    pub(crate) fn world(&self) -> &World {
        &self.ground.world
    }

    pub(crate) fn life(&self) -> Arc<Life> {
        Arc::clone(&self.inner.lock().life)
    }

    pub(crate) fn disk(&self) -> CrashIo {
        self.inner.lock().disk.clone()
    }

    /// The broker, if it serves.
    pub(crate) fn running(&self) -> Option<Arc<Broker>> {
        self.inner.lock().running.clone()
    }

    /// Starts the broker after a pause, in the life that was prepared for it.
    fn start(&self, pause: Duration) {
        let (life, disk, accepting) = {
            let mut inner = self.inner.lock();
            let mut names = inner.disk.names().into_iter();
            inner.had_aside = names.any(|name| is_aside(&name));
            (Arc::clone(&inner.life), inner.disk.clone(), inner.accepting)
        };
        let cluster = self.clone();
        let process = life.process;
        let starting = async move {
            cluster.world().clock.sleep(pause).await;
            let ground = cluster.ground.clone();
            if let Some(loss) = accepting {
                let done = Broker::accept_loss(ground, &life, disk, loss).await;
                return cluster.accepted(&life, done);
            }
            let started = Broker::start(ground, Arc::clone(&life), disk).await;
            cluster.started(&life, started);
        };
        self.world()
            .executor
            .spawn(process, "start", starting.boxed());
    }

    fn started(&self, life: &Arc<Life>, started: Result<Arc<Broker>, StartError>) {
        if life.is_dead() {
            return;
        }
        let world = self.world();
        if let Ok(broker) = &started
            && !self.judge_start(broker)
        {
            return life.die(CrashStyle::Kill);
        }
        let mut inner = self.inner.lock();
        match started {
            Ok(broker) => {
                world.tell(|| format!("broker {} serves", life.process.0));
                world.count(|counts| counts.starts += 1);
                inner.failed_starts = 0;
                inner.served = life.process;
                // The bit lies where no record is.
                inner.rotten = None;
                inner.running = Some(broker);
            }
            Err(StartError::Damaged(reason)) if inner.rotten.is_some() => {
                // As it should be: the damage was noticed. The operator brings the file back.
                world.tell(|| format!("damage was noticed: {reason}"));
                world.met(Encounter::WalDamaged);
                inner.bring_bit_back();
                life.die(CrashStyle::Kill);
            }
            Err(StartError::OlderDatabase(reason)) if self.ground.database.is_older() => {
                // As it should be. The operator finds the newest one.
                world.tell(|| format!("the older database was noticed: {reason}"));
                world.met(Encounter::OlderDatabase);
                self.ground.database.bring_newest_back();
                life.die(CrashStyle::Kill);
            }
            Err(StartError::OlderDatabase(reason))
                if self.ground.database.forgotten().is_some() =>
            {
                // The objects tell of what the database forgot. There is no newer one.
                world.tell(|| format!("what is gone was noticed: {reason}"));
                inner.accepting = Some(AcceptedLoss::Database);
                life.die(CrashStyle::Kill);
            }
            Err(
                StartError::Regression(reason)
                | StartError::Damaged(reason)
                | StartError::OlderDatabase(reason),
            ) => {
                let what = format!("the broker does not start again: {reason}");
                world.breach(Invariant::Acknowledged, what);
                life.die(CrashStyle::Kill);
            }
            Err(StartError::Transient(reason)) => {
                world.tell(|| format!("broker {} did not start: {reason}", life.process.0));
                inner.failed_starts += 1;
                if inner.failed_starts > FAILED_STARTS_MAX {
                    // Faults that last for ever show nothing more.
                    self.ground.bucket.set_ill(0);
                    self.ground.bucket.set_down(false);
                    inner.disk.set_room(None);
                    world.set_weather(crate::world::Weather::default());
                }
                if inner.failed_starts > 2 * FAILED_STARTS_MAX {
                    let what = format!("the broker does not start, though nothing fails: {reason}");
                    world.breach(Invariant::Serves, what);
                }
                life.die(CrashStyle::Kill);
            }
        }
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
        let life = self.life();
        if polled.process == life.process {
            world.polled(&life);
        }
        if let Some(style) = life.death() {
            self.bury(&life, style);
        }
    }

    /// Ends a dead process, leaves what a crash of this style may leave, and starts the next one.
    fn bury(&self, life: &Life, style: CrashStyle) {
        let world = self.world();
        // Other threads may have sent answers while the one that died was inside its call.
        for _ in 0..world.chance.below(6) {
            if world.executor.step_of(life.process).is_none() {
                break;
            }
        }
        let broker = self.inner.lock().running.take();
        drop(broker);
        world.executor.kill(life.process);
        let disk = self.disk();
        disk.clear_fault();
        let disk = match style {
            CrashStyle::Kill => disk,
            CrashStyle::Forget | CrashStyle::Torn | CrashStyle::Sectors => {
                self.model.lock().power_cut(life.process);
                let history = disk.history();
                history.crash_at(history.len(), style, &*world.chance)
            }
        };
        self.rot(&disk);
        {
            let mut inner = self.inner.lock();
            inner.disk = disk;
            inner.life = Arc::new(Life::new(ProcessId(life.process.0 + 1)));
        }
        let pause = match world.chance.below(8) {
            0 => world.chance.micros(5_000, 60_000),
            _ => world.chance.micros(100, 5_000),
        };
        self.start(pause);
    }

    /// The next power cut leaves a wrong bit behind.
    pub(crate) fn let_rot(&self) {
        self.inner.lock().will_rot = true;
    }

    /// Spoils a bit of a file of the log that has a successor, so that all of its records are durable.
    fn rot(&self, disk: &CrashIo) {
        let mut inner = self.inner.lock();
        if !std::mem::take(&mut inner.will_rot) || inner.rotten.is_some() {
            return;
        }
        let mut files = disk.names();
        files.retain(|name| !name.starts_with("spare-") && name.ends_with(".wal"));
        files.sort_unstable();
        let asides = files.iter().filter(|name| is_aside(name)).cloned();
        let asides: Vec<String> = asides.collect();
        files.retain(|name| !is_aside(name));
        files.pop();
        files.extend(asides);
        let chance = &self.world().chance;
        if files.is_empty() {
            return;
        }
        let file = files.swap_remove(chance.place(files.len()));
        let bit = chance.place(disk.contents(&file).len() * 8);
        self.world()
            .tell(|| format!("bit {bit} of {file} is wrong"));
        disk.flip_bit(&file, bit);
        inner.rotten = Some((file, bit));
    }

    /// Kills the broker now.
    pub(crate) fn kill(&self, style: CrashStyle) {
        let life = self.life();
        life.die(style);
        self.world().count(|counts| counts.crashes += 1);
        self.bury(&life, style);
    }
}

impl Network for Host {
    fn world(&self) -> &World {
        &self.ground.world
    }

    fn find(&self, _whom: Whom) -> Option<Arc<Broker>> {
        self.running()
    }

    fn has_rot(&self) -> bool {
        self.ground.bucket.has_rot()
    }

    fn leads(&self, _broker: &Broker, _shard: ShardId) -> bool {
        true
    }

    fn stated(&self, _broker: &Broker, _shard: ShardId) {}
}
