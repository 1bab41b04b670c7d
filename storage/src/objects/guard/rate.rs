//! How fast requests of one kind may go to one part of the key space, learnt from the store's own complaints.
//!
//! There is no limit until the store says "slow down" (503, 429). Then the rate falls to seven tenths of what the store
//! really carried out, stays there for two seconds, and grows by a twentieth each second until it is above what stores
//! grant to any prefix; then the limit is gone. Complaints about requests that were under way when the rate fell do not
//! lower it again.
//!
//! Requests are not queued here: each takes the next free slot of a timetable and is told how long to wait for it, or
//! that the wait is longer than it may take. So the queue is bounded by time, and those who may wait longer (uploads of
//! produce requests) keep getting slots when others (the clean-up) are sent away.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

/// Rates are in thousandths of a request per second.
const PER_SECOND: u64 = 1_000;
/// A limit is never lower: who asks less often than this has not caused the trouble.
const FLOOR: u64 = 2 * PER_SECOND;
/// A limit above this is dropped. The providers' own limit is 3,500 writes or 5,500 reads per second and prefix.
const CEILING: u64 = 6_000 * PER_SECOND;
/// How long a lowered rate stays as it is.
const HOLD: Duration = Duration::from_secs(2);
/// From the floor to the ceiling takes fewer seconds of growth than this.
const GROWTHS_MAX: u64 = 256;

/// The rate of one operation in one shard of the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    limit: Option<u64>,
    /// Growth up to here has been given; ahead of now while the rate is held.
    grown_to: Duration,
    held_to: Duration,
    next_slot: Duration,
    /// Which second `this` counts.
    second: u64,
    /// Successes in that second and in the one before.
    this: u64,
    last: u64,
}

impl Rate {
    /// Takes a slot and says how long to wait for it; none if that is longer than `patience`.
    pub(super) fn reserve(&mut self, now: Monotonic, patience: Duration) -> Option<Duration> {
        self.grow(now);
        let Some(limit) = self.limit else {
            return Some(Duration::ZERO);
        };
        let slot = self.next_slot.max(now.0);
        let wait = slot.saturating_sub(now.0);
        if wait > patience {
            return None;
        }
        self.next_slot = slot.saturating_add(interval(limit));
        Some(wait)
    }

    /// The store carried out a request.
    pub(super) fn succeeded(&mut self, now: Monotonic) {
        self.turn_to(now);
        self.this += 1;
    }

    /// The store said "slow down".
    pub(super) fn throttled(&mut self, now: Monotonic) {
        self.grow(now);
        self.turn_to(now);
        if self.limit.is_some() && now.0 < self.held_to {
            return;
        }
        let carried_out = self.this.max(self.last).saturating_mul(PER_SECOND);
        let basis = match self.limit {
            Some(limit) if carried_out == 0 => limit,
            Some(limit) => limit.min(carried_out),
            None => carried_out,
        };
        self.limit = Some((basis.min(CEILING) / 10 * 7).max(FLOOR));
        self.held_to = now.0.saturating_add(HOLD);
        self.grown_to = self.held_to;
    }

    /// The limit, in thousandths of a request per second; none if there is none now.
    pub(super) fn limit(&mut self, now: Monotonic) -> Option<u64> {
        self.grow(now);
        self.limit
    }

    fn grow(&mut self, now: Monotonic) {
        let Some(mut limit) = self.limit else {
            return;
        };
        let seconds = now.0.saturating_sub(self.grown_to).as_secs();
        for _ in 0..seconds.min(GROWTHS_MAX) {
            limit += limit / 20;
        }
        self.grown_to = self.grown_to.saturating_add(Duration::from_secs(seconds));
        self.limit = (limit < CEILING).then_some(limit);
    }

    fn turn_to(&mut self, now: Monotonic) {
        let second = now.0.as_secs();
        if second == self.second {
            return;
        }
        self.last = if second == self.second + 1 {
            self.this
        } else {
            0
        };
        self.this = 0;
        self.second = second;
    }
}

/// The time between two requests at `limit`.
fn interval(limit: u64) -> Duration {
    Duration::from_micros(1_000_000 * PER_SECOND / limit)
}

#[cfg(test)]
mod tests;
