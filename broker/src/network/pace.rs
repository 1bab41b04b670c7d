//! The least speed at which a peer must send what it announced, or take what it asked for.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use streamhouse_runtime::{Clock, Monotonic, deadline};

/// Runs `future` until `limit`; `None` says that the limit came first. Makes no timer if `future` is ready at once.
pub(super) async fn patiently<F: Future>(
    clock: &dyn Clock,
    limit: Monotonic,
    future: F,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    if let Poll::Ready(output) = futures::poll!(future.as_mut()) {
        return Some(output);
    }
    deadline(clock, limit, future).await
}

/// A transfer that has to keep a minimum rate after a grace.
///
/// A peer that stalls, or that drips one byte a second, runs out of time whatever the size of its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    start: Monotonic,
    grace: Duration,
    bytes_per_second: u64,
}

impl Pace {
    /// A transfer that starts at `start`.
    #[must_use]
    pub(super) fn new(start: Monotonic, grace: Duration, bytes_per_second: u64) -> Self {
        Self {
            start,
            grace,
            bytes_per_second: bytes_per_second.max(1),
        }
    }

    /// When a transfer that has moved `bytes` so far is too slow if nothing more moves.
    #[must_use]
    pub(super) fn deadline(&self, bytes: usize) -> Monotonic {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let micros = bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        self.start + self.grace + Duration::from_micros(micros)
    }

    /// The time that the transfer had to wait for us does not count against the peer.
    pub(super) fn pause(&mut self, waited: Duration) {
        self.start = self.start + waited;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use streamhouse_runtime::Monotonic;

    use super::Pace;

    #[test]
    fn bytes_buy_time_at_the_minimum_rate() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(Monotonic(second), 10 * second, 1000);
        assert_eq!(pace.deadline(0), Monotonic(11 * second));
        assert_eq!(pace.deadline(5000), Monotonic(16 * second));
        pace.pause(3 * second);
        assert_eq!(pace.deadline(0), Monotonic(14 * second));
    }
}
