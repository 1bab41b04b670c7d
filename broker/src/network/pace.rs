//! The least speed at which a peer must send what it announced, or take what it asked for.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use streamhouse_runtime::{Clock, Monotonic, deadline};

use crate::fetch_memory::FetchReader;

use super::limits::Limits;

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

/// A reader that does not take its answers as fast as they are there.
///
/// The bytes that count are those that the socket accepted: what the peer's system or ours keeps in buffers is out of our
/// memory. While others wait for memory that the reader's answers hold, a reader that takes no byte for a while is in
/// their way, and so is one that falls behind the rate at which frames must come in.
#[derive(Debug)]
pub(super) struct BlockedWrite {
    pace: Pace,
    /// The same for a reader that is in the way of others.
    contended: Pace,
    written: usize,
    /// When it is looked at next.
    look: Monotonic,
    written_at_last_look: usize,
    unserved_at_last_look: u64,
}

impl BlockedWrite {
    /// A write that was just found to block.
    pub(super) fn new(now: Monotonic, limits: &Limits, reader: &FetchReader) -> Self {
        let pace = |grace| Pace::new(now, grace, limits.bytes_per_second_min);
        Self {
            pace: pace(limits.write_grace),
            contended: pace(limits.frame_grace),
            written: 0,
            look: now + limits.frame_stall_contended,
            written_at_last_look: 0,
            unserved_at_last_look: reader.unserved_others(),
        }
    }

    /// The socket accepted `bytes`.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
    }

    /// When [`BlockedWrite::is_too_slow`] is to be asked.
    pub(super) fn next_look(&self) -> Monotonic {
        self.look.min(self.pace.deadline(self.written))
    }

    /// Whether the reader is to be given up, now that it is time to look.
    pub(super) fn is_too_slow(
        &mut self,
        now: Monotonic,
        limits: &Limits,
        reader: &FetchReader,
    ) -> bool {
        if now >= self.pace.deadline(self.written) {
            return true;
        }
        if now < self.look {
            return false;
        }
        let is_stalled = self.written == self.written_at_last_look;
        let is_behind = now >= self.contended.deadline(self.written);
        let is_in_the_way = reader.stands_in_the_way(self.unserved_at_last_look);
        self.look = now + limits.frame_stall_contended;
        self.written_at_last_look = self.written;
        self.unserved_at_last_look = reader.unserved_others();
        is_in_the_way && (is_stalled || is_behind)
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
