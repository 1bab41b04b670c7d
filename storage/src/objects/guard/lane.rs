//! The lane of one class: how many of its requests run at once, how many wait, what it may still repeat, and whether
//! the store answers it at all. One class never waits for another's lane.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, Monotonic};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::{Breaker, Passage};
use super::budget::Budget;
use super::counters::{Counters, count};
use crate::objects::ObjectClass;
use crate::objects::class::AtOnce;

#[derive(Debug)]
pub(super) struct Lane {
    at_once: Semaphore,
    /// Those that wait for `at_once`; who would be one more than `waiting_max` is sent away.
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Both are held for a look only, and no other lock under them.
    pub(super) budget: Mutex<Budget>,
    breaker: Mutex<Breaker>,
    pub(super) counters: Counters,
}

impl Lane {
    pub(super) fn new(class: ObjectClass, at_once: AtOnce) -> Self {
        Self {
            at_once: Semaphore::new(class.requests_at_once(at_once)),
            waiting: AtomicUsize::new(0),
            waiting_max: class.waiting_max(),
            budget: Mutex::new(Budget::full()),
            breaker: Mutex::new(Breaker::closed()),
            counters: Counters::default(),
        }
    }

    /// Waits for room; none if too many wait already.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.at_once.try_acquire() {
            return Some(permit);
        }
        let _waiting = Waiting::begin(self)?;
        let permit = self.at_once.acquire().await;
        Some(permit.expect("the semaphore is never closed"))
    }

    /// Whether requests fail at once because the store has stopped answering.
    pub(super) fn is_open(&self) -> bool {
        self.breaker.lock().is_open()
    }

    /// Lets a request pass to the store, unless the store has stopped answering.
    pub(super) fn pass<'a>(&'a self, ambient: &'a Ambient) -> Option<Passing<'a>> {
        let now = ambient.clock.monotonic();
        let passage = self.breaker.lock().pass(now)?;
        Some(Passing {
            lane: self,
            ambient,
            passage: Some(passage),
        })
    }
}

/// One place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(lane: &'a Lane) -> Option<Self> {
        let place = Self(&lane.waiting);
        let before = lane.waiting.fetch_add(1, Ordering::Relaxed);
        (before < lane.waiting_max).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request on its way to the store. Dropped without an outcome, it says that nobody waits for one.
pub(super) struct Passing<'a> {
    lane: &'a Lane,
    ambient: &'a Ambient,
    passage: Option<Passage>,
}

impl Passing<'_> {
    pub(super) fn answered(mut self) {
        if let Some(passage) = self.passage.take() {
            let now = self.now();
            self.lane.breaker.lock().answered(now, passage);
        }
    }

    pub(super) fn failed(mut self, class: ObjectClass) {
        let Some(passage) = self.passage.take() else {
            return;
        };
        let now = self.now();
        let has_opened = self.lane.breaker.lock().failed(now, passage);
        if has_opened {
            count(&self.lane.counters.opened);
            tracing::warn!(
                class = class.label(),
                "the object store does not answer; requests fail at once until a probe succeeds"
            );
        }
    }

    fn now(&self) -> Monotonic {
        self.ambient.clock.monotonic()
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.take() {
            let now = self.now();
            self.lane.breaker.lock().gave_up(now, passage);
        }
    }
}
