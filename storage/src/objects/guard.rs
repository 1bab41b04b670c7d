//! The one guard between the rooms and the store. Each request passes, in this order: its turn (a rate per operation
//! and key shard, learnt from the store's complaints), its lane (a bound on requests at once and on those that wait,
//! per class), the circuit breaker, and a deadline by size. A failed one is repeated after a pause with full jitter,
//! if what failed may be repeated and the class can still afford it.
//!
//! A write is repeated only if it is known not to have happened. The store's own retries are off: they would hide
//! throttling and turn our own writes into conflicts.
//!
//! Time and chance are the ambient ones and no task is started, so the same seed gives the same run.

mod breaker;
mod budget;
mod cause;
mod counters;
mod lane;
mod pulse;
mod rate;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, deadline};
use tokio::sync::SemaphorePermit;

pub(super) use self::cause::{Cause, cause};
pub use self::counters::ObjectCounts;
use self::counters::count;
use self::lane::{Lane, Passing};
use self::pulse::Pulse;
pub use self::pulse::StoreHealth;
use self::rate::Rate;
use super::class::{AtOnce, Patience};
use super::s3::wire::on_behalf_of;
use super::{KEY_SHARDS, ObjectClass, StoreError};

/// The first pause is drawn from `0..50 ms`, the bound doubles each time, up to 5 s.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is asked of the store: stores grant a rate to each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Put,
    Get,
    List,
    Delete,
}

impl Operation {
    const COUNT: usize = 4;
}

/// A request that failed for good.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) source: StoreError,
}

/// Which failures of a request may be answered by repeating it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Reads and deletions: the outcome of one attempt does not change that of the next.
    Always,
    /// Writes: only what is known not to have happened.
    NotReached,
    /// Parts of an upload: the store has counted the part, so the upload starts again as a whole.
    Never,
}

/// One request, before it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) class: ObjectClass,
    pub(super) operation: Operation,
    /// The shard of the key.
    pub(super) shard: u8,
    /// What it moves.
    pub(super) bytes: u64,
    pub(super) repeat: Repeat,
}

/// The store does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("no answer within {0:?}")]
    Within(Duration),
    #[error("the object store does not answer")]
    Known,
}

/// Others go first.
#[derive(Debug, thiserror::Error)]
enum SentAway {
    #[error("the object store asked for fewer requests, and others go first")]
    NoTurn,
    #[error("too many requests wait for the object store")]
    QueueFull,
    #[error("requests to the object store take so long that this one had no turn")]
    TooLate,
}

#[derive(Debug)]
pub(super) struct Guard {
    ambient: Ambient,
    patience: Patience,
    lanes: [Lane; ObjectClass::ALL.len()],
    /// By operation, then by key shard. Held for a look only.
    rates: [Mutex<Vec<Rate>>; Operation::COUNT],
    pulse: Pulse,
}

impl Guard {
    pub(super) fn new(ambient: Ambient, patience: Patience, at_once: AtOnce) -> Self {
        let shards = usize::from(KEY_SHARDS);
        Self {
            ambient,
            patience,
            lanes: ObjectClass::ALL.map(|class| Lane::new(class, at_once)),
            rates: std::array::from_fn(|_| Mutex::new(vec![Rate::default(); shards])),
            pulse: Pulse::default(),
        }
    }

    pub(super) fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    pub(super) fn counts(&self, class: ObjectClass) -> ObjectCounts {
        self.lane(class).counters.read()
    }

    /// Whether the store serves us, all classes together.
    pub(super) fn health(&self) -> StoreHealth {
        self.pulse.read(self.ambient.clock.monotonic())
    }

    /// Whether requests of `class` fail at once because the store has stopped answering them.
    pub(super) fn is_cut_off(&self, class: ObjectClass) -> bool {
        self.lane(class).is_open()
    }

    /// How many pairs of operation and key shard have a limit now, because the store complained about them.
    pub(super) fn limited(&self) -> usize {
        let now = self.ambient.clock.monotonic();
        let limited = |rates: &Mutex<Vec<Rate>>| {
            let mut rates = rates.lock();
            rates.iter_mut().filter_map(|rate| rate.limit(now)).count()
        };
        self.rates.iter().map(limited).sum()
    }

    pub(super) fn doubted(&self, class: ObjectClass) {
        count(&self.lane(class).counters.doubted);
    }

    pub(super) fn condemned(&self, class: ObjectClass) {
        count(&self.lane(class).counters.condemned);
    }

    pub(super) fn verified(&self, class: ObjectClass) {
        count(&self.lane(class).counters.verified);
    }

    /// Makes a request until it succeeds or may not be repeated any more.
    pub(super) async fn run<T, F, R>(&self, request: Request, mut make: R) -> Result<T, Failure>
    where
        R: FnMut() -> F,
        F: Future<Output = object_store::Result<T>>,
    {
        let Request { class, repeat, .. } = request;
        let lane = self.lane(class);
        let mut attempt = 0;
        let mut is_unsure = false;
        loop {
            let mut failure = match self.attempt(request, attempt, &mut make).await {
                Ok(answer) => {
                    let bytes = &lane.counters.bytes;
                    bytes.fetch_add(request.bytes, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            attempt += 1;
            is_unsure |= failure.cause.may_have_happened();
            let may_repeat = attempt < class.attempts_max() && may_repeat(repeat, failure.cause);
            if !may_repeat || !self.can_afford(class) {
                if failure.cause != Cause::NotFound {
                    count(&lane.counters.failed);
                }
                if is_unsure && matches!(failure.cause, Cause::NotReached | Cause::SentAway) {
                    // This attempt did not happen; an earlier one may have.
                    failure.cause = Cause::Unknown;
                }
                return Err(failure);
            }
            count(&lane.counters.repeated);
            tracing::debug!(class = class.label(), attempt, error = %failure.source, "repeating a request to the object store");
            self.ambient.clock.sleep(self.pause(attempt)).await;
        }
    }

    /// One attempt. A dropped attempt may still happen inside the store.
    async fn attempt<T, F, R>(
        &self,
        request: Request,
        attempt: u32,
        make: &mut R,
    ) -> Result<T, Failure>
    where
        R: FnMut() -> F,
        F: Future<Output = object_store::Result<T>>,
    {
        let lane = self.lane(request.class);
        if !self.wait_for_turn(request).await {
            count(&lane.counters.shed);
            return Err(sent_away(SentAway::NoTurn));
        }
        // The permit is held for one attempt and never while waiting for another permit.
        let _permit = match self.enter(request).await {
            Ok(permit) => permit,
            Err(why) => {
                count(&lane.counters.shed);
                return Err(sent_away(why));
            }
        };
        let passing = match self.patience {
            // A folder that fails says so at once.
            Patience::Folder => None,
            Patience::Remote(_) => match lane.pass(&self.ambient) {
                Some(passing) => Some(passing),
                None => {
                    count(&lane.counters.cut_short);
                    return Err(Failure {
                        cause: Cause::SentAway,
                        source: Arc::new(NoAnswer::Known),
                    });
                }
            },
        };
        count(&lane.counters.requests);
        let limit = self.patience.limit(attempt, request.bytes);
        let clock = self.ambient.clock.as_ref();
        let asked = on_behalf_of(request.class, make());
        let answer = deadline(clock, clock.monotonic() + limit, asked).await;
        let answer = match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Failure {
                cause: cause(&error),
                source: Arc::new(error),
            }),
            None => Err(Failure {
                cause: Cause::TimedOut,
                source: Arc::new(NoAnswer::Within(limit)),
            }),
        };
        let failure = answer.as_ref().err();
        self.learn(request, passing, failure.map(|failure| failure.cause));
        let now = clock.monotonic();
        match failure {
            Some(failure) if !failure.cause.is_in_order() => {
                self.pulse.failed(now, &failure.source);
            }
            Some(_) | None => self.pulse.answered(),
        }
        answer
    }

    /// Waits for room in the lane, as long as any request may.
    async fn enter(&self, request: Request) -> Result<SemaphorePermit<'_>, SentAway> {
        let clock = self.ambient.clock.as_ref();
        let limit = clock.monotonic() + self.patience.lane_limit();
        let entering = self.lane(request.class).enter();
        match deadline(clock, limit, entering).await {
            Some(Some(permit)) => Ok(permit),
            Some(None) => Err(SentAway::QueueFull),
            None => Err(SentAway::TooLate),
        }
    }

    /// Waits as long as the store's last complaint about this operation and key shard asks for; false if that is too
    /// long for this class.
    async fn wait_for_turn(&self, request: Request) -> bool {
        let now = self.ambient.clock.monotonic();
        let turn = self.with_rate(request, |rate| {
            rate.reserve(now, request.class.turn_within())
        });
        match turn {
            Some(Duration::ZERO) => true,
            Some(wait) => {
                self.ambient.clock.sleep(wait).await;
                true
            }
            None => false,
        }
    }

    /// Tells rate, breaker and budget how an attempt ended; `failed` is why, if it failed.
    fn learn(&self, request: Request, passing: Option<Passing<'_>>, failed: Option<Cause>) {
        let Some(passing) = passing else {
            return;
        };
        let lane = self.lane(request.class);
        let now = self.ambient.clock.monotonic();
        match failed {
            None => {
                self.with_rate(request, |rate| rate.succeeded(now));
                lane.budget.lock().earn();
            }
            Some(Cause::Throttled) => {
                count(&lane.counters.throttled);
                self.with_rate(request, |rate| rate.throttled(now));
            }
            Some(Cause::TimedOut) => count(&lane.counters.timed_out),
            Some(_) => {}
        }
        if failed.is_none_or(Cause::is_answer) {
            passing.answered();
        } else {
            passing.failed(request.class);
        }
    }

    /// Whether one more repetition is within the budget. A folder has none: nobody else uses it.
    fn can_afford(&self, class: ObjectClass) -> bool {
        let lane = self.lane(class);
        match self.patience {
            Patience::Folder => true,
            Patience::Remote(_) if lane.budget.lock().pay() => true,
            Patience::Remote(_) => {
                count(&lane.counters.unaffordable);
                false
            }
        }
    }

    fn with_rate<T>(&self, request: Request, work: impl FnOnce(&mut Rate) -> T) -> T {
        let rates = &self.rates[match request.operation {
            Operation::Put => 0,
            Operation::Get => 1,
            Operation::List => 2,
            Operation::Delete => 3,
        }];
        work(&mut rates.lock()[usize::from(request.shard)])
    }

    fn lane(&self, class: ObjectClass) -> &Lane {
        &self.lanes[class.index()]
    }

    /// Full jitter: a pause anywhere below the bound, so that brokers that failed together do not return together.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = PAUSE_FIRST
            .saturating_mul(1 << attempt.saturating_sub(1).min(16))
            .min(PAUSE_MAX);
        let bound = u64::try_from(doubled.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.ambient.chance.below(bound))
    }
}

fn sent_away(why: SentAway) -> Failure {
    Failure {
        cause: Cause::SentAway,
        source: Arc::new(why),
    }
}

fn may_repeat(repeat: Repeat, cause: Cause) -> bool {
    match (repeat, cause) {
        (Repeat::Never, _)
        | (_, Cause::NotFound | Cause::Exists | Cause::Refused | Cause::SentAway) => false,
        (Repeat::Always | Repeat::NotReached, Cause::NotReached) => true,
        (Repeat::Always, Cause::Throttled | Cause::TimedOut | Cause::Unknown) => true,
        (Repeat::NotReached, Cause::Throttled | Cause::TimedOut | Cause::Unknown) => false,
    }
}

#[cfg(test)]
mod tests;
