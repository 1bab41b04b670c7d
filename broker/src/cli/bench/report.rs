//! What was measured: counts, rates and percentiles, for people and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// The longest latency that is told apart: ten minutes. Longer ones count as this.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Latencies and counts of one connection, or of all.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    latencies: Histogram<u64>,
    pub(super) requests: u64,
    pub(super) records: u64,
    /// Bytes of keys and values.
    pub(super) payload_bytes: u64,
    /// Bytes of record batches as they were sent.
    pub(super) batch_bytes: u64,
}

impl Measured {
    pub(super) fn new() -> Self {
        Self {
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .expect("these bounds are within what the histogram allows"),
            requests: 0,
            records: 0,
            payload_bytes: 0,
            batch_bytes: 0,
        }
    }

    /// Enters the latency of one request.
    pub(super) fn latency(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(us.max(1));
        self.requests += 1;
    }

    /// Adds what another connection measured.
    pub(super) fn add(&mut self, other: &Self) {
        self.latencies
            .add(&other.latencies)
            .expect("all histograms have the same bounds");
        self.requests += other.requests;
        self.records += other.records;
        self.payload_bytes += other.payload_bytes;
        self.batch_bytes += other.batch_bytes;
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    benchmark: &'static str,
    parameters: serde_json::Value,
    seconds: f64,
    requests: u64,
    records: u64,
    payload_bytes: u64,
    batch_bytes: u64,
    requests_per_second: f64,
    records_per_second: f64,
    /// Millions of bytes of record batches a second.
    megabytes_per_second: f64,
    latency_us: Latency,
}

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    #[serde(rename = "p99.9")]
    p999: u64,
    #[serde(rename = "p99.99")]
    p9999: u64,
    max: u64,
}

impl Report {
    /// The report of a run that took `took`.
    pub(super) fn new(
        benchmark: &'static str,
        parameters: serde_json::Value,
        measured: &Measured,
        took: Duration,
    ) -> Self {
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        let per_second = |count: u64| rounded(as_f64(count) / seconds);
        let at = |quantile: f64| measured.latencies.value_at_quantile(quantile);
        Self {
            benchmark,
            parameters,
            seconds: rounded(seconds),
            requests: measured.requests,
            records: measured.records,
            payload_bytes: measured.payload_bytes,
            batch_bytes: measured.batch_bytes,
            requests_per_second: per_second(measured.requests),
            records_per_second: per_second(measured.records),
            megabytes_per_second: rounded(as_f64(measured.batch_bytes) / seconds / 1e6),
            latency_us: Latency {
                min: measured.latencies.min(),
                mean: rounded(measured.latencies.mean()),
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                p9999: at(0.9999),
                max: measured.latencies.max(),
            },
        }
    }

    /// Writes the report.
    pub(super) fn show(&self, json: bool, output: &mut Output) -> Result<(), Failure> {
        if json {
            output.json(self)
        } else {
            output.bytes(self.text().as_bytes())
        }
    }

    fn text(&self) -> String {
        let latency = &self.latency_us;
        let ms = |us: u64| format!("{:.2} ms", as_f64(us) / 1000.0);
        let rows = [
            ("seconds", format!("{:.2}", self.seconds)),
            (
                "requests",
                format!("{} ({:.0}/s)", self.requests, self.requests_per_second),
            ),
            (
                "records",
                format!("{} ({:.0}/s)", self.records, self.records_per_second),
            ),
            ("batches", format!("{:.2} MB/s", self.megabytes_per_second)),
            ("latency p50", ms(latency.p50)),
            ("latency p90", ms(latency.p90)),
            ("latency p99", ms(latency.p99)),
            ("latency p99.9", ms(latency.p999)),
            ("latency max", ms(latency.max)),
        ];
        rows.iter()
            .map(|(name, value)| format!("{name:<14} {value}\n"))
            .collect()
    }
}

/// Counts of a run are far below 2^52, where this would begin to round.
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Three decimals: more would pretend to a precision that no run has.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
