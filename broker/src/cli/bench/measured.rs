//! What is counted while a benchmark runs: requests, records, bytes, latencies; also by interval, to see a broker that
//! slows down.

use std::time::Duration;

use hdrhistogram::Histogram;
use streamhouse_runtime::Monotonic;

/// The longest latency that is told apart: ten minutes. Longer ones count as this.
const LATENCY_MAX_US: u64 = 600_000_000;

/// The time that is measured. What was due before it warms up and does not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When measuring begins.
    pub(super) from: Monotonic,
    /// When no further request is due.
    pub(super) until: Monotonic,
    /// How long the intervals are that are counted apart; above zero.
    pub(super) every: Option<Duration>,
}

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) requests: u64,
    pub(super) records: u64,
    /// Bytes of keys and values.
    pub(super) payload_bytes: u64,
    /// Bytes of record batches as they are sent.
    pub(super) batch_bytes: u64,
}

impl Size {
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.payload_bytes += other.payload_bytes;
        self.batch_bytes += other.batch_bytes;
    }
}

/// What was finished in one interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    pub(super) length: Duration,
    pub(super) size: Size,
    pub(super) latency_max_us: u64,
}

/// Latencies and counts of one connection, or of all.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    window: Window,
    pub(super) latencies: Histogram<u64>,
    pub(super) size: Size,
    pub(super) intervals: Vec<Interval>,
}

impl Measured {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .expect("these bounds are within what the histogram allows"),
            size: Size::default(),
            intervals: intervals(&window),
        }
    }

    /// Whether what was due at `due` counts.
    pub(super) fn counts(&self, due: Monotonic) -> bool {
        due >= self.window.from
    }

    /// Enters work that was due at `due` and is done now.
    pub(super) fn finished(&mut self, due: Monotonic, now: Monotonic, size: &Size) {
        if !self.counts(due) {
            return;
        }
        let us = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(us.max(1));
        self.size.add(size);
        if let Some(interval) = self.interval(now) {
            interval.size.add(size);
            interval.latency_max_us = interval.latency_max_us.max(us);
        }
    }

    /// The interval of this time; what comes after the last one belongs to that.
    fn interval(&mut self, now: Monotonic) -> Option<&mut Interval> {
        let every = self.window.every?;
        let index = (now - self.window.from).as_nanos() / every.as_nanos().max(1);
        let last = self.intervals.len().checked_sub(1)?;
        let index = usize::try_from(index).map_or(last, |index| index.min(last));
        self.intervals.get_mut(index)
    }

    /// Adds what another connection measured in the same window.
    pub(super) fn add(&mut self, other: &Self) {
        self.latencies
            .add(&other.latencies)
            .expect("all histograms have the same bounds");
        self.size.add(&other.size);
        for (own, other) in self.intervals.iter_mut().zip(&other.intervals) {
            own.size.add(&other.size);
            own.latency_max_us = own.latency_max_us.max(other.latency_max_us);
        }
    }
}

fn intervals(window: &Window) -> Vec<Interval> {
    let mut intervals = Vec::new();
    let mut left = window.until - window.from;
    while let Some(every) = window.every
        && !left.is_zero()
        && !every.is_zero()
    {
        intervals.push(Interval {
            length: left.min(every),
            ..Interval::default()
        });
        left = left.saturating_sub(every);
    }
    intervals
}

#[cfg(test)]
mod tests;
