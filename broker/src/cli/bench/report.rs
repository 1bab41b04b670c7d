//! The result of a benchmark: counts, rates and percentiles, for people and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::Together;
use super::measured::Interval;
use super::process::Used;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

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
    /// Absent unless they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    intervals: Vec<IntervalReport>,
    #[serde(flatten)]
    used: Used,
}

/// What was finished in one interval.
#[derive(Debug, Serialize)]
struct IntervalReport {
    /// When it ended, counted from the beginning of the window.
    until_second: f64,
    requests_per_second: f64,
    records_per_second: f64,
    megabytes_per_second: f64,
    latency_max_us: u64,
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
    /// The report of what all connections did.
    pub(super) fn new(
        benchmark: &'static str,
        parameters: serde_json::Value,
        all: Together,
    ) -> Self {
        let measured = &all.measured;
        let seconds = all.took.as_secs_f64().max(f64::MIN_POSITIVE);
        let per_second = |count: u64| rounded(as_f64(count) / seconds);
        let size = &measured.size;
        let at = |quantile: f64| measured.latencies.value_at_quantile(quantile);
        Self {
            benchmark,
            parameters,
            seconds: rounded(seconds),
            requests: size.requests,
            records: size.records,
            payload_bytes: size.payload_bytes,
            batch_bytes: size.batch_bytes,
            requests_per_second: per_second(size.requests),
            records_per_second: per_second(size.records),
            megabytes_per_second: rounded(as_f64(size.batch_bytes) / seconds / 1e6),
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
            intervals: intervals(&measured.intervals),
            used: all.used,
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
        let mut text: String = rows.iter().map(|(name, value)| row(name, value)).collect();
        for interval in &self.intervals {
            text.push_str(&row(
                &format!("to second {}", interval.until_second),
                &format!(
                    "{:.2} MB/s, {:.0} requests/s, latency max {}",
                    interval.megabytes_per_second,
                    interval.requests_per_second,
                    ms(interval.latency_max_us)
                ),
            ));
        }
        text.push_str(&usage(&self.used));
        text
    }
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<14} {value}\n")
}

fn usage(used: &Used) -> String {
    let mut text = String::new();
    if let Some(seconds) = used.client_cpu_seconds {
        text.push_str(&row("client CPU", &format!("{seconds:.2} s")));
    }
    if let Some(broker) = &used.broker {
        let per_gigabyte = broker
            .cpu_seconds_per_gigabyte
            .map(|seconds| format!(" ({seconds:.2} s/GB)"));
        let memory = format!("{:.1} MB", as_f64(broker.memory_peak_bytes) / 1e6);
        let cpu = format!(
            "{:.2} s{}",
            broker.cpu_seconds,
            per_gigabyte.unwrap_or_default()
        );
        text.push_str(&row("broker CPU", &cpu));
        text.push_str(&row("broker memory", &memory));
    }
    text
}

fn intervals(intervals: &[Interval]) -> Vec<IntervalReport> {
    let mut until = Duration::ZERO;
    let report = |interval: &Interval| {
        until += interval.length;
        let seconds = interval.length.as_secs_f64().max(f64::MIN_POSITIVE);
        let per_second = |count: u64| rounded(as_f64(count) / seconds);
        IntervalReport {
            until_second: rounded(until.as_secs_f64()),
            requests_per_second: per_second(interval.size.requests),
            records_per_second: per_second(interval.size.records),
            megabytes_per_second: rounded(as_f64(interval.size.batch_bytes) / seconds / 1e6),
            latency_max_us: interval.latency_max_us,
        }
    };
    intervals.iter().map(report).collect()
}

/// Counts of a run are far below 2^52, where this would begin to round.
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Three decimals: more would pretend to a precision that no run has.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
