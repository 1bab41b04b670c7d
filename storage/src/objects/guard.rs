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
mod rate;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, deadline};

pub(super) use self::cause::{Cause, cause};
pub use self::counters::ObjectCounts;
use self::counters::count;
use self::lane::{Lane, Passing};
use self::rate::Rate;
use super::class::Patience;
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

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct TimedOut(Duration);

#[derive(Debug, thiserror::Error)]
enum SentAway {
    #[error("the object store asked for fewer requests, and others go first")]
    NoTurn,
    #[error("too many requests wait for the object store")]
    QueueFull,
    #[error("the object store does not answer")]
    NoAnswer,
}

#[derive(Debug)]
pub(super) struct Guard {
    ambient: Ambient,
    patience: Patience,
    lanes: [Lane; ObjectClass::ALL.len()],
    /// By operation, then by key shard. Held for a look only.
    rates: [Mutex<Vec<Rate>>; Operation::COUNT],
}

impl Guard {
    pub(super) fn new(ambient: Ambient, patience: Patience) -> Self {
        let shards = usize::from(KEY_SHARDS);
        Self {
            ambient,
            patience,
            lanes: ObjectClass::ALL.map(Lane::new),
            rates: std::array::from_fn(|_| Mutex::new(vec![Rate::default(); shards])),
        }
    }

    pub(super) fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    pub(super) fn counts(&self, class: ObjectClass) -> ObjectCounts {
        self.lane(class).counters.read()
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
        let Some(_permit) = lane.enter().await else {
            count(&lane.counters.shed);
            return Err(sent_away(SentAway::QueueFull));
        };
        let passing = match self.patience {
            // A folder that fails says so at once.
            Patience::Folder => None,
            Patience::Remote => match lane.pass(&self.ambient) {
                Some(passing) => Some(passing),
                None => {
                    count(&lane.counters.cut_short);
                    return Err(sent_away(SentAway::NoAnswer));
                }
            },
        };
        count(&lane.counters.requests);
        let limit = self.patience.limit(attempt, request.bytes);
        let clock = self.ambient.clock.as_ref();
        let answer = deadline(clock, clock.monotonic() + limit, make()).await;
        let answer = match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Failure {
                cause: cause(&error),
                source: Arc::new(error),
            }),
            None => Err(Failure {
                cause: Cause::TimedOut,
                source: Arc::new(TimedOut(limit)),
            }),
        };
        self.learn(
            request,
            passing,
            answer.as_ref().err().map(|failure| failure.cause),
        );
        answer
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
            Patience::Remote if lane.budget.lock().pay() => true,
            Patience::Remote => {
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
