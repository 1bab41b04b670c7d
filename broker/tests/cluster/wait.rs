//! Waiting for what other processes do: they tell nobody, so that they are asked again and again, until a deadline.

use std::time::Duration;

use streamhouse_runtime::{Clock, Monotonic, SystemClock};

/// The longest wait for anything that must come; builds may run beside the tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two questions.
const BETWEEN: Duration = Duration::from_millis(20);

/// One clock for the whole process, so that its times compare.
pub(crate) fn now() -> Monotonic {
    static CLOCK: std::sync::LazyLock<SystemClock> = std::sync::LazyLock::new(SystemClock::new);
    CLOCK.monotonic()
}

/// The time since `then`.
pub(crate) fn since(then: Monotonic) -> Duration {
    now() - then
}

/// Gives way to other processes before the same is asked again.
pub(crate) fn pause() {
    std::thread::park_timeout(BETWEEN);
}

/// Asks until there is an answer, and gives it with the time that it took.
///
/// # Panics
/// After [`PATIENCE`], saying `what` did not come.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let began = now();
    loop {
        if let Some(answer) = ask() {
            return (answer, since(began));
        }
        assert!(since(began) < PATIENCE, "not within {PATIENCE:?}: {what}");
        pause();
    }
}

/// Lets so much time pass: an outage lasts, a broker stands still.
pub(crate) fn lasts(length: Duration) {
    let began = now();
    while since(began) < length {
        pause();
    }
}
