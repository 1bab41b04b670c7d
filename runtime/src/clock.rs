//! Time: a monotonic reading for durations and deadlines, a wall reading for timestamps, and sleeping.
//!
//! Safety never depends on the wall clock (it jumps); deadlines are always monotonic, and a machine that slept finds that
//! time went on: a lease that was counted on a clock that stops with the machine would seem to hold when it is long over.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use parking_lot::Mutex;

/// A reading of a monotonic clock: the time since that clock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Add<Duration> for Monotonic {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub for Monotonic {
    type Output = Duration;
    /// The time from `earlier` to `self`, zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Tells the time and wakes sleepers.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time since this clock was made. Never goes back.
    fn monotonic(&self) -> Monotonic;

    /// Milliseconds since 1970-01-01 UTC. May jump in either direction.
    fn wall_ms(&self) -> i64;

    /// Completes when [`Clock::monotonic`] has reached `deadline`.
    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()>;

    /// Completes when `duration` has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.monotonic() + duration)
    }
}

/// Runs `future` until it completes or `limit` has passed; `None` says that the limit came first and `future` was
/// dropped. Never put a commit in here: a dropped commit has an unknown outcome.
pub async fn deadline<F: Future>(
    clock: &dyn Clock,
    limit: Monotonic,
    future: F,
) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match select(future, clock.sleep_until(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}

/// The system's clocks and tokio's timer. The monotonic reading goes on while the machine sleeps.
#[derive(Debug)]
pub struct SystemClock {
    start: Duration,
}

/// The clock that counts the time in which the machine sleeps, too. Elsewhere than on Linux `CLOCK_MONOTONIC` is that one.
#[cfg(target_os = "linux")]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(SINCE_BOOT);
    // The time since boot is neither negative nor has it more than a billion nanoseconds in a second.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

impl SystemClock {
    /// A clock whose monotonic reading starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: since_boot(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(since_boot().saturating_sub(self.start))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    fn wall_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that sleeps"
    )]
    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let until = self.start.saturating_add(deadline.0);
        Box::pin(async move {
            // The timer counts on a clock of its own: whether the time has come is asked of ours.
            loop {
                let left = until.saturating_sub(since_boot());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left).await;
            }
        })
    }
}

/// A clock that moves only when told to. For tests.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

#[derive(Debug, Default)]
struct Manual {
    monotonic: Duration,
    wall_ms: i64,
    sleepers: Vec<(Duration, tokio::sync::oneshot::Sender<()>)>,
}

impl ManualClock {
    /// A clock that shows zero and `wall_ms`.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        let clock = Self::default();
        clock.inner.lock().wall_ms = wall_ms;
        clock
    }

    /// Moves both readings forward and wakes whoever is due.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.inner.lock();
        inner.monotonic += by;
        inner.wall_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let now = inner.monotonic;
        let (due, waiting) = inner.sleepers.drain(..).partition(|(at, _)| *at <= now);
        inner.sleepers = waiting;
        drop(inner);
        let due: Vec<(Duration, tokio::sync::oneshot::Sender<()>)> = due;
        for (_, wake) in due {
            // A sleeper that was dropped no longer wants to know.
            let _ = wake.send(());
        }
    }

    /// Sets the wall reading alone: a jump.
    pub fn jump_to(&self, wall_ms: i64) {
        self.inner.lock().wall_ms = wall_ms;
    }

    /// How many sleepers wait. Tests use it to know that a task has come to rest.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.inner
            .lock()
            .sleepers
            .iter()
            .filter(|(_, wake)| !wake.is_closed())
            .count()
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(self.inner.lock().monotonic)
    }

    fn wall_ms(&self) -> i64 {
        self.inner.lock().wall_ms
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let mut inner = self.inner.lock();
        if deadline.0 <= inner.monotonic {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = tokio::sync::oneshot::channel();
        inner.sleepers.push((deadline.0, wake));
        Box::pin(async move {
            // An error says that the clock is gone; then nobody is left to wait for.
            let _ = woken.await;
        })
    }
}

#[cfg(test)]
mod tests;
