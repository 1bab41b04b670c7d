//! When requests are due.
//!
//! In an open loop, a thread of its own wakes up for every request that is due and hands its time over: the timers of the
//! runtime have a resolution of a millisecond, which would be most of the latency that is measured.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use streamhouse_runtime::{Ambient, Clock, Monotonic};
use tokio::sync::mpsc;

use crate::cli::failure::Failure;

/// Requests that may be due and not yet sent. When the broker falls behind further, the schedule waits; the requests
/// keep the times at which they were due.
const DUE_MAX: usize = 65_536;

/// The times at which the requests of one connection are due.
#[derive(Debug)]
pub(super) enum Schedule {
    /// As soon as the one before it is answered, until this time.
    Closed { until: Monotonic },
    /// At these times.
    Open { due: mpsc::Receiver<Monotonic> },
}

impl Schedule {
    /// Requests every `interval` from `first` on until `until`.
    pub(super) fn open(
        ambient: &Ambient,
        first: Monotonic,
        interval: Duration,
        until: Monotonic,
    ) -> Result<Self, Failure> {
        let (sender, due) = mpsc::channel(DUE_MAX);
        let clock = Arc::clone(&ambient.clock);
        let pace = move || pace(&*clock, first, interval, until, &sender);
        let started = ambient.tasks.thread("bench-pace", pace);
        started
            .map(|_| Self::Open { due })
            .map_err(|source| Failure::Io {
                what: "a thread cannot be started",
                source,
            })
    }
}

fn pace(
    clock: &dyn Clock,
    first: Monotonic,
    interval: Duration,
    until: Monotonic,
    due: &mpsc::Sender<Monotonic>,
) {
    // Nobody ever sends on this channel: waiting for it is waiting for time to pass.
    let (_never, nothing) = sync_channel::<()>(0);
    let mut next = first;
    while next < until {
        let wait = next - clock.monotonic();
        if !wait.is_zero() && nothing.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        if due.blocking_send(next).is_err() {
            return;
        }
        next = next + interval;
    }
}
