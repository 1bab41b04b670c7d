//! What all parts of a simulated world share: time, chance, the planned death of the broker, the trace, the counters and
//! the first breach of an invariant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, Chance, Clock, Tasks};
use streamhouse_storage::wal::crash::CrashStyle;

use crate::chance::{WorldChance, mix};
use crate::encounters::{Encounter, EncounterCounts};
use crate::executor::{CLIENTS, Executor, ProcessId, SimulatedClock};
use crate::invariant::{Invariant, Violation};
use crate::machine::Machine;
use crate::sites::{Moment, Site, SiteCounts};

/// One world. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) executor: Executor,
    pub(crate) clock: SimulatedClock,
    pub(crate) chance: Arc<WorldChance>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    doom: Option<Doom>,
    /// A death at a place that may be rare: it waits as long as the world lasts.
    patient: Option<Doom>,
    /// When a broker is to stand still, and for how long.
    pause: Option<(Trigger, Duration)>,
    counts: Counts,
    trace: u64,
    operation: usize,
    breach: Option<Breach>,
    weather: Weather,
    /// How often a process began to stand still.
    pauses: u64,
    log: Option<Vec<String>>,
}

/// What happened in a world, for its report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Crash sites.
    pub sites: SiteCounts,
    /// Starts of the broker that served.
    pub starts: u64,
    /// Crashes.
    pub crashes: u64,
    /// Crashes inside a recovery.
    pub crashes_in_recovery: u64,
    /// Batches acknowledged.
    pub acknowledged: u64,
    /// Batches, commits and group writes whose outcome nobody was told.
    pub unknown_outcomes: u64,
    /// Batches that were sent again and had been appended before.
    pub duplicates: u64,
    /// Records that consumers read.
    pub records_read: u64,
    /// Flushes that committed.
    pub commits: u64,
    /// Checkpoints set.
    pub checkpoints: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Offsets of groups committed.
    pub offsets_committed: u64,
    /// Generations of groups that were seen.
    pub generations: u64,
    /// Rare faults and what followed.
    pub encounters: EncounterCounts,
}

impl Counts {
    /// Adds what another world counted.
    pub fn add(&mut self, other: &Self) {
        self.sites.add(&other.sites);
        self.starts += other.starts;
        self.crashes += other.crashes;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.acknowledged += other.acknowledged;
        self.unknown_outcomes += other.unknown_outcomes;
        self.duplicates += other.duplicates;
        self.records_read += other.records_read;
        self.commits += other.commits;
        self.checkpoints += other.checkpoints;
        self.deleted += other.deleted;
        self.offsets_committed += other.offsets_committed;
        self.generations += other.generations;
        self.encounters.add(&other.encounters);
    }
}

/// The first breach of an invariant, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The number of the operation that was begun last.
    pub operation: usize,
    /// What is wrong.
    pub violation: Violation,
}

/// How ill the world is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Of a thousand calls to the database, this many have no clear answer.
    pub(crate) database_per_mille: u64,
    /// Of a thousand messages between clients and broker, this many are lost.
    pub(crate) network_per_mille: u64,
}

/// How the broker will die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doom {
    pub(crate) style: CrashStyle,
    pub(crate) trigger: Trigger,
}

/// When it will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// At the n-th crossing of any site, from 1.
    Crossing(u64),
    /// After the n-th poll of one of its tasks, from 1.
    Poll(u64),
    /// At this site.
    At(Site, Moment),
}

impl Trigger {
    /// Whether it is met by passing this site now.
    fn is_met_at(&mut self, site: Site, moment: Moment) -> bool {
        match self {
            Self::Crossing(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Self::At(wanted, at) => *wanted == site && *at == moment,
            Self::Poll(_) => false,
        }
    }
}

/// One life of the broker process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) process: ProcessId,
    pub(crate) machine: Machine,
    is_dead: AtomicBool,
    is_opening: AtomicBool,
    is_zombie: AtomicBool,
    death: Mutex<Option<CrashStyle>>,
}

impl Life {
    pub(crate) fn new(process: ProcessId) -> Self {
        Self::on(process, Machine::default())
    }

    pub(crate) fn on(process: ProcessId, machine: Machine) -> Self {
        Self {
            process,
            machine,
            is_dead: AtomicBool::new(false),
            is_opening: AtomicBool::new(true),
            is_zombie: AtomicBool::new(false),
            death: Mutex::new(None),
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }

    pub(crate) fn is_opening(&self) -> bool {
        self.is_opening.load(Ordering::Acquire)
    }

    pub(crate) fn opened(&self) {
        self.is_opening.store(false, Ordering::Release);
    }

    /// Whether another life has taken its place while it goes on: its clients cannot reach it, its database and its
    /// object store can.
    pub(crate) fn is_zombie(&self) -> bool {
        self.is_zombie.load(Ordering::Acquire)
    }

    pub(crate) fn become_zombie(&self) {
        self.is_zombie.store(true, Ordering::Release);
    }

    /// From now on nothing that the process does reaches anything.
    pub(crate) fn die(&self, style: CrashStyle) {
        if !self.is_dead.swap(true, Ordering::AcqRel) {
            *self.death.lock() = Some(style);
        }
    }

    /// How it died.
    pub(crate) fn death(&self) -> Option<CrashStyle> {
        *self.death.lock()
    }
}

impl World {
    pub(crate) fn new(seed: u64, is_logged: bool) -> Self {
        let chance = Arc::new(WorldChance::new(seed));
        let executor = Executor::new(Arc::clone(&chance));
        let shared = Shared {
            log: is_logged.then(Vec::new),
            ..Shared::default()
        };
        Self {
            clock: executor.clock(),
            executor,
            chance,
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// The ambient world of a process.
    pub(crate) fn ambient(&self, process: ProcessId) -> Ambient {
        Ambient {
            clock: Arc::new(self.clock.clone()),
            chance: Arc::clone(&self.chance) as Arc<dyn Chance>,
            tasks: Tasks::on(self.executor.tasks_of(process)),
        }
    }

    /// The ambient world of one life of a broker.
    pub(crate) fn ambient_of(&self, life: &Life) -> Ambient {
        Ambient {
            clock: Arc::new(life.machine.clock(&self.clock)),
            ..self.ambient(life.process)
        }
    }

    /// A pause that is mostly short.
    pub(crate) async fn dawdle(&self) {
        let pause = match self.chance.below(100) {
            0..60 => return,
            60..95 => self.chance.micros(5, 300),
            95..99 => self.chance.micros(300, 3_000),
            _ => self.chance.micros(3_000, 30_000),
        };
        self.clock.sleep(pause).await;
    }

    /// Passes a site. False: the process is dead, and whatever it was about to do does not happen.
    pub(crate) fn cross(&self, life: &Life, site: Site, moment: Moment) -> bool {
        if life.is_dead() {
            return false;
        }
        if life.is_zombie() {
            // Deaths are planned for the life that serves.
            return true;
        }
        let mut shared = self.shared.lock();
        if moment == Moment::Before {
            shared.counts.sites.passed(site);
        }
        let is_at = |doom: &mut Doom| doom.trigger == Trigger::At(site, moment);
        if let Some(doom) = shared.patient.take_if(is_at) {
            self.strike(&mut shared, life, site, doom);
            return false;
        }
        let pause = shared
            .pause
            .take_if(|(trigger, _)| trigger.is_met_at(site, moment));
        if let Some((_, pause)) = pause {
            drop(shared);
            self.tell(|| format!("broker {} stands still at {site}", life.process.0));
            self.pause(life, pause);
            return true;
        }
        let is_due = |doom: &mut Doom| doom.trigger.is_met_at(site, moment);
        let Some(doom) = shared.doom.take_if(is_due) else {
            return true;
        };
        self.strike(&mut shared, life, site, doom);
        false
    }

    /// Passes a site, and stands still there if that was planned.
    pub(crate) async fn pass(&self, life: &Life, site: Site, moment: Moment) -> bool {
        let is_alive = self.cross(life, site, moment);
        if self.executor.is_paused(life.process) {
            let mut was_polled = false;
            std::future::poll_fn(|context| {
                if std::mem::replace(&mut was_polled, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        }
        is_alive
    }

    /// The process stands still from now on, for a while.
    pub(crate) fn pause(&self, life: &Life, pause: Duration) {
        let (executor, clock, process) = (self.executor.clone(), self.clock.clone(), life.process);
        executor.pause(process);
        self.shared.lock().pauses += 1;
        let resume = async move {
            clock.sleep(pause).await;
            executor.resume(process);
        };
        self.executor
            .spawn(CLIENTS, "end of a pause", Box::pin(resume));
    }

    /// How often a process has stood still so far; none while one does.
    pub(crate) fn pauses(&self) -> Option<u64> {
        let pauses = self.shared.lock().pauses;
        (!self.executor.is_any_paused()).then_some(pauses)
    }

    /// Plans that a broker stands still; a plan that did not come to pass is forgotten.
    pub(crate) fn plan_pause(&self, trigger: Trigger, pause: Duration) {
        self.shared.lock().pause = Some((trigger, pause));
    }

    /// One of the process's tasks was polled.
    pub(crate) fn polled(&self, life: &Life) {
        let mut shared = self.shared.lock();
        shared.counts.sites.passed(Site::Await);
        let is_due = |doom: &mut Doom| match &mut doom.trigger {
            Trigger::Poll(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Trigger::At(site, _) => *site == Site::Await,
            Trigger::Crossing(_) => false,
        };
        if let Some(doom) = shared.doom.take_if(is_due) {
            self.strike(&mut shared, life, Site::Await, doom);
        }
    }

    fn strike(&self, shared: &mut Shared, life: &Life, site: Site, doom: Doom) {
        shared.counts.sites.struck(site);
        shared.counts.crashes += 1;
        shared.counts.crashes_in_recovery += u64::from(life.is_opening());
        shared.note(0xdead ^ site as u64);
        if let Some(log) = &mut shared.log {
            log.push(format!(
                "{:>12?} broker {} dies at {site} ({:?})",
                self.clock.monotonic().0,
                life.process.0,
                doom.style
            ));
        }
        life.die(doom.style);
    }

    /// Plans a death; one that was planned before and did not come is forgotten.
    pub(crate) fn plan_death(&self, doom: Doom) {
        self.shared.lock().doom = Some(doom);
    }

    /// Plans a death that comes whenever its place is passed.
    pub(crate) fn plan_patient_death(&self, doom: Doom) {
        self.shared.lock().patient = Some(doom);
    }

    pub(crate) fn forget_death(&self) {
        let mut shared = self.shared.lock();
        shared.doom = None;
        shared.patient = None;
        shared.pause = None;
    }

    pub(crate) fn weather(&self) -> Weather {
        self.shared.lock().weather
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.shared.lock().weather = weather;
    }

    /// Adds to the trace: two runs of one seed must have added the same.
    pub(crate) fn note(&self, what: u64) {
        self.shared.lock().note(what);
    }

    /// Adds to the trace, and to the printed history if there is one.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        let mut shared = self.shared.lock();
        if let Some(log) = &mut shared.log {
            let now = self.clock.monotonic().0;
            log.push(format!("{now:>12?} {}", what()));
        }
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.shared.lock().counts);
    }

    pub(crate) fn met(&self, encounter: Encounter) {
        self.tell(|| format!("# {encounter}"));
        self.count(|counts| counts.encounters.met(encounter));
    }

    pub(crate) fn begin_operation(&self, number: usize) {
        let mut shared = self.shared.lock();
        shared.operation = number;
        drop(shared);
        self.chance.begin(number as u64);
    }

    /// Remembers a breach, if it is the first.
    pub(crate) fn breach(&self, invariant: Invariant, what: impl Into<String>) {
        let violation = Violation::new(invariant, what);
        self.tell(|| format!("BREACH {violation}"));
        let mut shared = self.shared.lock();
        let operation = shared.operation;
        shared.breach.get_or_insert(Breach {
            operation,
            violation,
        });
    }

    pub(crate) fn judge(&self, judged: Result<(), Violation>) {
        if let Err(violation) = judged {
            self.breach(violation.invariant, violation.what);
        }
    }

    pub(crate) fn first_breach(&self) -> Option<Breach> {
        self.shared.lock().breach.clone()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.shared.lock().trace
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shared.lock().counts.clone()
    }

    pub(crate) fn take_log(&self) -> Vec<String> {
        self.shared.lock().log.take().unwrap_or_default()
    }
}

impl Shared {
    fn note(&mut self, what: u64) {
        self.trace = mix(self.trace.rotate_left(5) ^ what);
    }
}
