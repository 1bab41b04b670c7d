//! What the guard counts, class by class, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the store has done for one class since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Attempts, repetitions included.
    pub requests: u64,
    /// Repetitions alone.
    pub repeated: u64,
    /// Requests that failed for good.
    pub failed: u64,
    /// Bytes of bodies sent or received by requests that succeeded.
    pub bytes: u64,
    /// Answers that said that an object is gone or damaged, and were asked for once more.
    pub doubted: u64,
    /// Second answers that said so, too: objects, or parts of them, that are lost.
    pub condemned: u64,
    /// Attempts that the store answered with "slow down".
    pub throttled: u64,
    /// Attempts without an answer in time.
    pub timed_out: u64,
    /// Requests sent away without asking the store, since too many waited or their turn was too far away.
    pub shed: u64,
    /// Requests that failed at once because the store had stopped answering.
    pub cut_short: u64,
    /// How often the store was found to have stopped answering.
    pub opened: u64,
    /// Repetitions that were not made, since too many were made already.
    pub unaffordable: u64,
    /// Conditional writes whose outcome was settled by looking at the object.
    pub verified: u64,
}

/// One number per field of [`ObjectCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) doubted: AtomicU64,
    pub(super) condemned: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) shed: AtomicU64,
    pub(super) cut_short: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) unaffordable: AtomicU64,
    pub(super) verified: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> ObjectCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ObjectCounts {
            requests: read(&self.requests),
            repeated: read(&self.repeated),
            failed: read(&self.failed),
            bytes: read(&self.bytes),
            doubted: read(&self.doubted),
            condemned: read(&self.condemned),
            throttled: read(&self.throttled),
            timed_out: read(&self.timed_out),
            shed: read(&self.shed),
            cut_short: read(&self.cut_short),
            opened: read(&self.opened),
            unaffordable: read(&self.unaffordable),
            verified: read(&self.verified),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
