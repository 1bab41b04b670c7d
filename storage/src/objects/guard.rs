//! The one guard between the rooms and the store: a limit on each attempt, a bounded number of repetitions with
//! jitter, a bound on requests at once per class, and the counters.
//!
//! A write is repeated only if it is known not to have happened. The store's own retries are off: they would hide
//! throttling and turn our own writes into conflicts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamhouse_runtime::{Ambient, deadline};
use tokio::sync::Semaphore;

use super::class::Patience;
use super::{ObjectClass, StoreError};

/// The first pause is drawn from `0..50 ms`, the bound doubles each time, up to 5 s.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What an error says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The object does not exist.
    NotFound,
    /// The store refused for good: the request did not happen and would be refused again.
    Refused,
    /// The request did not reach the store: it did not happen and may be repeated.
    NotReached,
    /// Anything else: it may have happened.
    Unknown,
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

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct TimedOut(Duration);

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
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    repeated: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    doubted: AtomicU64,
    condemned: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Guard {
    ambient: Ambient,
    patience: Patience,
    at_once: [Semaphore; ObjectClass::ALL.len()],
    counters: [Counters; ObjectClass::ALL.len()],
}

impl Guard {
    pub(super) fn new(ambient: Ambient, patience: Patience) -> Self {
        Self {
            ambient,
            patience,
            at_once: ObjectClass::ALL.map(|class| Semaphore::new(class.requests_at_once())),
            counters: std::array::from_fn(|_| Counters::default()),
        }
    }

    pub(super) fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    pub(super) fn counts(&self, class: ObjectClass) -> ObjectCounts {
        let counters = &self.counters[class.index()];
        ObjectCounts {
            requests: counters.requests.load(Ordering::Relaxed),
            repeated: counters.repeated.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            doubted: counters.doubted.load(Ordering::Relaxed),
            condemned: counters.condemned.load(Ordering::Relaxed),
        }
    }

    pub(super) fn doubted(&self, class: ObjectClass) {
        let counters = &self.counters[class.index()];
        counters.doubted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn condemned(&self, class: ObjectClass) {
        let counters = &self.counters[class.index()];
        counters.condemned.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `request` until it succeeds or may not be repeated any more. `bytes` is what it moves.
    pub(super) async fn run<T, F, R>(
        &self,
        class: ObjectClass,
        bytes: u64,
        repeat: Repeat,
        mut request: R,
    ) -> Result<T, Failure>
    where
        R: FnMut() -> F,
        F: Future<Output = object_store::Result<T>>,
    {
        let counters = &self.counters[class.index()];
        let mut attempt = 0;
        loop {
            counters.requests.fetch_add(1, Ordering::Relaxed);
            let failure = match self.attempt(class, bytes, attempt, request()).await {
                Ok(answer) => {
                    counters.bytes.fetch_add(bytes, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            attempt += 1;
            if attempt >= class.attempts_max() || !may_repeat(repeat, failure.cause) {
                if failure.cause != Cause::NotFound {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                }
                return Err(failure);
            }
            counters.repeated.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(class = class.label(), attempt, error = %failure.source, "repeating a request to the object store");
            self.ambient.clock.sleep(self.pause(attempt)).await;
        }
    }

    /// One attempt. A dropped attempt may still happen inside the store.
    async fn attempt<T>(
        &self,
        class: ObjectClass,
        bytes: u64,
        attempt: u32,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failure> {
        // The permit is held for one attempt and never while waiting for another permit.
        let _permit = self.at_once[class.index()]
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let limit = self.patience.limit(attempt, bytes);
        let clock = self.ambient.clock.as_ref();
        match deadline(clock, clock.monotonic() + limit, request).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Failure {
                cause: cause(&error),
                source: Arc::new(error),
            }),
            None => Err(Failure {
                cause: Cause::Unknown,
                source: Arc::new(TimedOut(limit)),
            }),
        }
    }

    /// Full jitter: a pause anywhere below the bound, so that brokers that failed together do not return together.
    fn pause(&self, attempt: u32) -> Duration {
        let doubled = PAUSE_FIRST
            .saturating_mul(1 << attempt.saturating_sub(1).min(16))
            .min(PAUSE_MAX);
        let bound = u64::try_from(doubled.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.ambient.chance.below(bound))
    }
}

fn may_repeat(repeat: Repeat, cause: Cause) -> bool {
    match (repeat, cause) {
        (Repeat::Never, _) | (_, Cause::NotFound | Cause::Refused) => false,
        (Repeat::Always, Cause::NotReached | Cause::Unknown) => true,
        (Repeat::NotReached, Cause::NotReached) => true,
        (Repeat::NotReached, Cause::Unknown) => false,
    }
}

pub(super) fn cause(error: &object_store::Error) -> Cause {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => Cause::NotFound,
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::AlreadyExists { .. }
        | Error::Precondition { .. }
        | Error::NotModified { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. } => Cause::Refused,
        Error::Generic { .. } if was_not_reached(error) => Cause::NotReached,
        Error::Generic { .. } | Error::JoinError { .. } => Cause::Unknown,
        // The enum may grow; what we do not know may have happened.
        _ => Cause::Unknown,
    }
}

/// Whether the connection was refused: then no byte of the request was sent.
fn was_not_reached(error: &object_store::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        source = error.source();
    }
    false
}
