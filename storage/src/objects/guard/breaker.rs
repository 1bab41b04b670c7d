//! The circuit breaker: while a store does not answer, requests fail at once instead of waiting for their deadlines,
//! and one at a time asks whether it is back.
//!
//! It opens when at least half of at least twenty requests of the last ten seconds got no answer or an internal error.
//! "Slow down" and "no such object" are answers: they never open it. Open for a second, it lets one request pass as a
//! probe; if that fails it opens again, each time for twice as long, up to half a minute.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

const SECONDS: usize = 10;
const REQUESTS_MIN: u32 = 20;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How a request was let pass; its outcome is told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// With all others.
    Free,
    /// Alone, to see whether the store is back.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration, pause: Duration },
    Probing { pause: Duration },
}

/// The breaker of one class of requests.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    state: State,
    /// Answers and failures of the last seconds, by second.
    counts: [(u32, u32); SECONDS],
    second: u64,
}

impl Breaker {
    pub(super) fn closed() -> Self {
        Self {
            state: State::Closed,
            counts: [(0, 0); SECONDS],
            second: 0,
        }
    }

    /// Whether a request may pass now. Whoever passes tells its outcome, or that it gave up.
    pub(super) fn pass(&mut self, now: Monotonic) -> Option<Passage> {
        match self.state {
            State::Closed => Some(Passage::Free),
            State::Open { until, pause } if until <= now.0 => {
                self.state = State::Probing { pause };
                Some(Passage::Probe)
            }
            State::Open { .. } | State::Probing { .. } => None,
        }
    }

    /// Whether it is open, or asks whether the store is back.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// The store answered.
    pub(super) fn answered(&mut self, now: Monotonic, passage: Passage) {
        match (self.state, passage) {
            (State::Closed, Passage::Free) => self.count(now, (1, 0)),
            (State::Probing { .. }, Passage::Probe) => {
                self.state = State::Closed;
                self.counts = [(0, 0); SECONDS];
            }
            // Those that left before it opened say nothing new.
            (State::Open { .. } | State::Probing { .. }, Passage::Free)
            | (State::Closed | State::Open { .. }, Passage::Probe) => {}
        }
    }

    /// The store did not answer, or failed. Says whether that opened the breaker.
    pub(super) fn failed(&mut self, now: Monotonic, passage: Passage) -> bool {
        let pause = match (self.state, passage) {
            (State::Closed, Passage::Free) => {
                self.count(now, (0, 1));
                if !self.is_too_much() {
                    return false;
                }
                PAUSE_FIRST
            }
            (State::Probing { pause }, Passage::Probe) => (pause * 2).min(PAUSE_MAX),
            (State::Open { .. } | State::Probing { .. }, Passage::Free)
            | (State::Closed | State::Open { .. }, Passage::Probe) => return false,
        };
        self.state = State::Open {
            until: now.0.saturating_add(pause),
            pause,
        };
        true
    }

    /// Nobody waits for the outcome any more: the next request may probe.
    pub(super) fn gave_up(&mut self, now: Monotonic, passage: Passage) {
        if let (State::Probing { pause }, Passage::Probe) = (self.state, passage) {
            self.state = State::Open {
                until: now.0,
                pause,
            };
        }
    }

    fn count(&mut self, now: Monotonic, (answers, failures): (u32, u32)) {
        let second = now.0.as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for back in 0..passed {
            self.counts[slot(second.saturating_sub(back))] = (0, 0);
        }
        self.second = self.second.max(second);
        let count = &mut self.counts[slot(second)];
        *count = (
            count.0.saturating_add(answers),
            count.1.saturating_add(failures),
        );
    }

    fn is_too_much(&self) -> bool {
        let sum = |(answers, failures): (u32, u32), count: &(u32, u32)| {
            (
                answers.saturating_add(count.0),
                failures.saturating_add(count.1),
            )
        };
        let (answers, failures) = self.counts.iter().fold((0, 0), sum);
        answers.saturating_add(failures) >= REQUESTS_MIN && failures >= answers
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
