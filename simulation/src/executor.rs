//! The only thread of a simulated world: it decides which task goes on next and what time it is.
//!
//! Every task of the broker and of its clients is polled here, one at a time. Which of the woken tasks is next is drawn
//! from the world's chance, so other seeds show other interleavings, and the same seed always the same one. When nobody
//! is awake, time jumps to the next timer.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use streamhouse_runtime::{Clock, Monotonic, Scheduler};

use crate::chance::WorldChance;

/// A process of the world. Its tasks die with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// The clients' machines: they do not die.
pub const CLIENTS: ProcessId = ProcessId(0);

/// Runs the tasks of one world. Clones share it.
#[derive(Clone, Debug)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    chance: Arc<WorldChance>,
    awake: Arc<Mutex<Vec<usize>>>,
    tasks: Mutex<Tasks>,
    time: Arc<Mutex<Time>>,
    /// Processes that are not scheduled, while time goes on.
    paused: Mutex<BTreeSet<ProcessId>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
}

struct Slot {
    process: ProcessId,
    name: &'static str,
    /// Out while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
    bell: Arc<Bell>,
}

/// Wakes one task. It is rung at most once between two polls.
struct Bell {
    slot: usize,
    is_rung: AtomicBool,
    awake: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            let mut awake = self.awake.lock();
            // In the order of slots: in which order somebody wakes several tasks is not ours to repeat (tokio's `watch`
            // draws it), who is awake is.
            let place = awake.partition_point(|slot| *slot < self.slot);
            if awake.get(place) != Some(&self.slot) {
                awake.insert(place, self.slot);
            }
        }
    }
}

/// What was polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Whose task it was.
    pub process: ProcessId,
    /// What the task is called.
    pub name: &'static str,
}

impl Executor {
    /// A world without tasks, at time zero.
    #[must_use]
    pub fn new(chance: Arc<WorldChance>) -> Self {
        Self {
            shared: Arc::new(Shared {
                chance,
                awake: Arc::default(),
                tasks: Mutex::default(),
                time: Arc::default(),
                paused: Mutex::default(),
            }),
        }
    }

    /// The clock of the world.
    #[must_use]
    pub fn clock(&self) -> SimulatedClock {
        SimulatedClock {
            time: Arc::clone(&self.shared.time),
        }
    }

    /// Where tasks of `process` are started.
    #[must_use]
    pub fn tasks_of(&self, process: ProcessId) -> Arc<ProcessTasks> {
        Arc::new(ProcessTasks {
            executor: self.clone(),
            process,
        })
    }

    /// Starts a task.
    pub fn spawn(&self, process: ProcessId, name: &'static str, future: BoxFuture<'static, ()>) {
        let mut tasks = self.shared.tasks.lock();
        let slot = tasks.free.pop().unwrap_or(tasks.slots.len());
        let bell = Arc::new(Bell {
            slot,
            is_rung: AtomicBool::new(false),
            awake: Arc::clone(&self.shared.awake),
        });
        let task = Slot {
            process,
            name,
            future: Some(future),
            waker: Waker::from(Arc::clone(&bell)),
            bell: Arc::clone(&bell),
        };
        if slot == tasks.slots.len() {
            tasks.slots.push(Some(task));
        } else {
            tasks.slots[slot] = Some(task);
        }
        drop(tasks);
        bell.wake();
    }

    /// Polls one task that is awake; none says that all sleep.
    pub fn step(&self) -> Option<Polled> {
        loop {
            let slot = {
                let mut awake = self.shared.awake.lock();
                let paused = self.shared.paused.lock();
                if awake.is_empty() {
                    return None;
                }
                let place = if paused.is_empty() {
                    self.shared.chance.place(awake.len())
                } else {
                    self.place_of_unpaused(&awake, &paused)?
                };
                awake.remove(place)
            };
            if let Some(polled) = self.poll(slot) {
                return Some(polled);
            }
        }
    }

    /// Where one of the tasks that may go on stands among those that are awake.
    fn place_of_unpaused(&self, awake: &[usize], paused: &BTreeSet<ProcessId>) -> Option<usize> {
        let tasks = self.shared.tasks.lock();
        let may_go_on = |slot: &usize| {
            let task = tasks.slots.get(*slot).and_then(Option::as_ref);
            task.is_none_or(|task| !paused.contains(&task.process))
        };
        let places: Vec<usize> = (0..awake.len())
            .filter(|place| may_go_on(&awake[*place]))
            .collect();
        let drawn = self.shared.chance.place(places.len());
        places.get(drawn).copied()
    }

    /// Schedules no task of `process` any more, while time goes on: its timers ring, and nobody hears them.
    pub fn pause(&self, process: ProcessId) {
        self.shared.paused.lock().insert(process);
    }

    /// Lets a paused process go on.
    pub fn resume(&self, process: ProcessId) {
        self.shared.paused.lock().remove(&process);
    }

    /// Whether a process is paused.
    #[must_use]
    pub fn is_paused(&self, process: ProcessId) -> bool {
        self.shared.paused.lock().contains(&process)
    }

    /// Whether any process is paused.
    #[must_use]
    pub fn is_any_paused(&self) -> bool {
        !self.shared.paused.lock().is_empty()
    }

    /// Polls one task of `process` that is awake; none says that all of its tasks sleep.
    pub fn step_of(&self, process: ProcessId) -> Option<Polled> {
        let slot = {
            let mut awake = self.shared.awake.lock();
            let tasks = self.shared.tasks.lock();
            let is_of = |slot: &usize| {
                let task = tasks.slots.get(*slot).and_then(Option::as_ref);
                task.is_some_and(|task| task.process == process)
            };
            let place = awake.iter().position(is_of)?;
            awake.remove(place)
        };
        self.poll(slot)
    }

    fn poll(&self, slot: usize) -> Option<Polled> {
        let (mut future, waker, polled) = {
            let mut tasks = self.shared.tasks.lock();
            // A task that has ended may still be rung.
            let task = tasks.slots.get_mut(slot)?.as_mut()?;
            task.bell.is_rung.store(false, Ordering::Release);
            let polled = Polled {
                process: task.process,
                name: task.name,
            };
            (task.future.take()?, task.waker.clone(), polled)
        };
        let is_done = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut tasks = self.shared.tasks.lock();
        if is_done {
            tasks.slots[slot] = None;
            tasks.free.push(slot);
            drop(tasks);
            drop(future);
        } else if let Some(Some(task)) = tasks.slots.get_mut(slot) {
            task.future = Some(future);
        }
        Some(polled)
    }

    /// Lets time pass to the next timer, if that is due by `until`; else to `until`. Says whether a timer rang.
    pub fn pass_to_next_timer(&self, until: Monotonic) -> bool {
        let mut time = self.shared.time.lock();
        time.forget_dropped();
        match time.timers.peek() {
            Some(Reverse(next)) if next.at <= until => {
                let at = next.at;
                time.advance_to(at);
                let due = time.take_due();
                drop(time);
                due.into_iter().for_each(Waker::wake);
                true
            }
            Some(_) | None => {
                time.advance_to(until);
                false
            }
        }
    }

    /// Stops the whole world for `pause`: every timer that was due meanwhile rings at its end.
    pub fn freeze(&self, pause: Duration) {
        let mut time = self.shared.time.lock();
        let until = time.now + pause;
        time.advance_to(until);
        let due = time.take_due();
        drop(time);
        due.into_iter().for_each(Waker::wake);
    }

    /// Drops every task of `process`.
    pub fn kill(&self, process: ProcessId) {
        self.resume(process);
        let mut dropped = Vec::new();
        let mut tasks = self.shared.tasks.lock();
        for slot in 0..tasks.slots.len() {
            if tasks.slots[slot]
                .as_ref()
                .is_some_and(|task| task.process == process)
            {
                dropped.extend(tasks.slots[slot].take());
                tasks.free.push(slot);
            }
        }
        drop(tasks);
        // Without the lock: what a task holds may wake others.
        drop(dropped);
        let tasks = self.shared.tasks.lock();
        self.shared
            .awake
            .lock()
            .retain(|slot| tasks.slots.get(*slot).is_some_and(Option::is_some));
    }

    /// Drops every task of every process: the end of the world.
    pub fn clear(&self) {
        let slots = std::mem::take(&mut *self.shared.tasks.lock());
        drop(slots);
        self.shared.awake.lock().clear();
    }
}

/// Starts tasks that die with one process.
#[derive(Debug)]
pub struct ProcessTasks {
    executor: Executor,
    process: ProcessId,
}

impl Scheduler for ProcessTasks {
    fn schedule(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.executor.spawn(self.process, name, task);
    }
}

#[derive(Debug)]
struct Time {
    now: Monotonic,
    wall_offset_ms: i64,
    timers: BinaryHeap<Reverse<Timer>>,
    set: u64,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            now: Monotonic(Duration::ZERO),
            // Any moment of a century with phones.
            wall_offset_ms: 1_700_000_000_000,
            timers: BinaryHeap::new(),
            set: 0,
        }
    }
}

#[derive(Debug)]
struct Timer {
    at: Monotonic,
    /// Timers of one moment ring in the order in which they were set.
    number: u64,
    sleeper: Arc<Sleeper>,
}

#[derive(Debug, Default)]
struct Sleeper {
    is_over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Time {
    fn advance_to(&mut self, at: Monotonic) {
        self.now = self.now.max(at);
    }

    /// Timers whose sleeper is gone do not move time.
    fn forget_dropped(&mut self) {
        while let Some(Reverse(next)) = self.timers.peek() {
            if Arc::strong_count(&next.sleeper) > 1 {
                return;
            }
            self.timers.pop();
        }
    }

    fn take_due(&mut self) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(Reverse(next)) = self.timers.peek() {
            if next.at > self.now {
                break;
            }
            if let Some(Reverse(timer)) = self.timers.pop() {
                timer.sleeper.is_over.store(true, Ordering::Release);
                due.extend(timer.sleeper.waker.lock().take());
            }
        }
        due
    }
}

/// The clock of a simulated world.
#[derive(Clone, Debug)]
pub struct SimulatedClock {
    time: Arc<Mutex<Time>>,
}

impl SimulatedClock {
    /// Moves the wall clock alone, in either direction.
    pub fn jump_wall(&self, by_ms: i64) {
        let mut time = self.time.lock();
        time.wall_offset_ms = time.wall_offset_ms.saturating_add(by_ms);
    }
}

impl Clock for SimulatedClock {
    fn monotonic(&self) -> Monotonic {
        self.time.lock().now
    }

    fn wall_ms(&self) -> i64 {
        let time = self.time.lock();
        let passed = i64::try_from(time.now.0.as_millis()).unwrap_or(i64::MAX);
        time.wall_offset_ms.saturating_add(passed)
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut time = self.time.lock();
        if deadline <= time.now {
            return Box::pin(std::future::ready(()));
        }
        let sleeper = Arc::new(Sleeper::default());
        time.set += 1;
        let timer = Timer {
            at: deadline,
            number: time.set,
            sleeper: Arc::clone(&sleeper),
        };
        time.timers.push(Reverse(timer));
        Box::pin(std::future::poll_fn(move |context| {
            if sleeper.is_over.load(Ordering::Acquire) {
                return std::task::Poll::Ready(());
            }
            *sleeper.waker.lock() = Some(context.waker().clone());
            std::task::Poll::Pending
        }))
    }
}
