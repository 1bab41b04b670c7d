//! Every metric of the broker, in one table. What is not in it does not exist: the page `docs/reference/metrics.md` is
//! this table, and a test asks that every name that is served stands here.
//!
//! Names are an interface: dashboards and alerts break when one changes. They follow Prometheus: base units, `_total`
//! for what only grows.

use std::fmt::Write;

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket, with a sum.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// The labels that tell its series apart.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

const fn metric(
    kind: MetricKind,
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        meaning,
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    metric(MetricKind::Counter, name, labels, meaning)
}

const fn gauge(name: &'static str, meaning: &'static str) -> Metric {
    metric(MetricKind::Gauge, name, &[], meaning)
}

const fn gauge_by(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    metric(MetricKind::Gauge, name, labels, meaning)
}

const fn class_gauge(name: &'static str, meaning: &'static str) -> Metric {
    metric(MetricKind::Gauge, name, &["class"], meaning)
}

/// All metrics, by name. Those that begin with `kafka_` have the names of kafka_exporter.
pub const METRICS: &[Metric] = &[
    gauge_by(
        "kafka_consumergroup_current_offset",
        &["consumergroup", "topic", "partition"],
        "the committed offset of a group that this broker coordinates",
    ),
    gauge_by(
        "kafka_consumergroup_current_offset_sum",
        &["consumergroup", "topic"],
        "the committed offsets of a group in all partitions of a topic, added up",
    ),
    gauge_by(
        "kafka_consumergroup_lag",
        &["consumergroup", "topic", "partition"],
        "records that a group has not read yet; shown where this broker leads the partition, too",
    ),
    gauge_by(
        "kafka_consumergroup_lag_sum",
        &["consumergroup", "topic"],
        "records of a topic that a group has not read yet; shown where this broker leads all partitions that the group reads",
    ),
    gauge_by(
        "kafka_consumergroup_members",
        &["consumergroup"],
        "members of a group that this broker coordinates",
    ),
    gauge_by(
        "kafka_topic_partition_current_offset",
        &["topic", "partition"],
        "the offset behind the last record of a partition that this broker leads",
    ),
    gauge_by(
        "kafka_topic_partition_oldest_offset",
        &["topic", "partition"],
        "the offset of the first record that is kept of a partition that this broker leads",
    ),
    gauge(
        "streamhouse_broker_connections",
        "connections that are open",
    ),
    counter(
        "streamhouse_broker_connections_closed_total",
        &["reason"],
        "connections that were closed, by why",
    ),
    gauge_by(
        "streamhouse_broker_lag_left_out",
        &["of"],
        "groups and partitions that the metrics beginning with kafka_ leave out, since there are more than 10,000 of them and of offsets of groups",
    ),
    metric(
        MetricKind::Histogram,
        "streamhouse_broker_request_seconds",
        &["api"],
        "time from the start of a request until its answer is complete, waiting included",
    ),
    counter(
        "streamhouse_broker_requests_total",
        &["api"],
        "requests that were started",
    ),
    counter(
        "streamhouse_log_hedged_uploads_total",
        &[],
        "Uploads that were made a second time because they were slow (`shared` durability).",
    ),
    counter(
        "streamhouse_log_hedged_uploads_won_total",
        &[],
        "Those of them that were there before the first.",
    ),
    gauge(
        "streamhouse_log_partitions",
        "partitions that hold something",
    ),
    gauge(
        "streamhouse_log_staged_bytes",
        "Bytes that are staged in memory and not recorded (`shared` durability).",
    ),
    gauge(
        "streamhouse_log_staged_cap_bytes",
        "The limit of them: above it producers wait, then are refused.",
    ),
    gauge(
        "streamhouse_log_tail_bytes",
        "bytes of the newest record batches in memory",
    ),
    gauge(
        "streamhouse_membership_brokers_living",
        "brokers of the cluster whose leases hold, this one included; not there for a broker that is alone",
    ),
    counter(
        "streamhouse_membership_handovers_total",
        &[],
        "shards that this broker handed over to another one, to even out their number",
    ),
    counter(
        "streamhouse_membership_heartbeats_failed_total",
        &[],
        "heartbeats that did not renew the lease of this broker",
    ),
    gauge(
        "streamhouse_membership_lease_remaining_seconds",
        "how long the lease of this broker holds without another heartbeat; at 0 nothing that needs it is answered",
    ),
    gauge(
        "streamhouse_membership_regression",
        "1 when the metadata database forgot what this broker saw in it: it serves nothing until a person has looked",
    ),
    gauge(
        "streamhouse_membership_shards_led",
        "shards whose records and groups this broker serves",
    ),
    counter(
        "streamhouse_membership_takeovers_total",
        &[],
        "shards that this broker took because their leader was gone",
    ),
    counter(
        "streamhouse_storage_cache_corrupt_total",
        &[],
        "blocks and indexes of objects that were wrong when they were read; wrong bytes are never served",
    ),
    counter(
        "streamhouse_storage_cache_fetched_bytes_total",
        &[],
        "bytes of blocks that were read from objects",
    ),
    counter(
        "streamhouse_storage_cache_gets_total",
        &[],
        "reads of blocks from objects; one read may bring several blocks",
    ),
    gauge(
        "streamhouse_storage_cache_held_bytes",
        "memory that the block cache uses",
    ),
    counter(
        "streamhouse_storage_cache_hits_total",
        &[],
        "blocks that a reader found in memory",
    ),
    counter(
        "streamhouse_storage_cache_misses_total",
        &[],
        "blocks that had to be read from objects",
    ),
    counter(
        "streamhouse_storage_cache_read_aheads_total",
        &[],
        "reads that were begun before anybody asked",
    ),
    class_gauge(
        "streamhouse_storage_object_breaker_open",
        "1 while requests to the object store fail at once, since it has stopped answering",
    ),
    counter(
        "streamhouse_storage_object_breaker_opened_total",
        &["class"],
        "how often the object store was found to have stopped answering",
    ),
    counter(
        "streamhouse_storage_object_bytes_total",
        &["class"],
        "bytes of objects that were written or read, by who asked; catch_up_read and tail_read are what consumers read",
    ),
    counter(
        "streamhouse_storage_object_creates_verified_total",
        &["class"],
        "conditional writes whose outcome was settled by looking at the object",
    ),
    gauge(
        "streamhouse_storage_object_failing_seconds",
        "for how long every request to the object store has failed; 0 when the last one was answered in order",
    ),
    counter(
        "streamhouse_storage_object_reads_condemned_total",
        &["class"],
        "answers of the object store that an object, or a part of it, is gone or damaged, given twice: it is lost",
    ),
    counter(
        "streamhouse_storage_object_reads_doubted_total",
        &["class"],
        "answers of the object store that an object is gone or damaged, which were not believed but asked for once more",
    ),
    counter(
        "streamhouse_storage_object_requests_cut_short_total",
        &["class"],
        "requests that failed at once, since the object store had stopped answering",
    ),
    counter(
        "streamhouse_storage_object_requests_failed_total",
        &["class"],
        "requests to the object store that failed for good",
    ),
    counter(
        "streamhouse_storage_object_requests_repeated_total",
        &["class"],
        "requests to the object store that were tried again",
    ),
    counter(
        "streamhouse_storage_object_requests_shed_total",
        &["class"],
        "requests that were sent away without asking the object store, since too many waited or others went first",
    ),
    counter(
        "streamhouse_storage_object_requests_throttled_total",
        &["class"],
        "requests that the object store answered with slow down",
    ),
    counter(
        "streamhouse_storage_object_requests_timed_out_total",
        &["class"],
        "requests to the object store without an answer in time",
    ),
    counter(
        "streamhouse_storage_object_requests_total",
        &["class"],
        "requests to the object store, repetitions included, by who asked; all of catch_up_read and tail_read are reads",
    ),
    counter(
        "streamhouse_storage_object_requests_unaffordable_total",
        &["class"],
        "repetitions of requests to the object store that were not made, since too many were made already",
    ),
    gauge(
        "streamhouse_storage_object_slowed_shards",
        "pairs of operation and key shard that get fewer requests than they are asked for, since the object store complained",
    ),
    counter(
        "streamhouse_storage_s3_bytes_total",
        &["class", "direction"],
        "bytes of objects that went to and came from the bucket, repetitions included; direction is sent or received",
    ),
    counter(
        "streamhouse_storage_s3_requests_total",
        &["class", "operation"],
        "requests that the bucket's owner is billed for; operation is put (parts, too), get, head, list, delete or post",
    ),
    gauge(
        "streamhouse_wal_bytes",
        "bytes in the WAL that are not recycled yet",
    ),
    gauge(
        "streamhouse_wal_cap_bytes",
        "the most bytes that the WAL may hold",
    ),
    gauge(
        "streamhouse_wal_entries",
        "record batches in the WAL that are not recycled yet",
    ),
];

/// Tells the recorder what each metric says.
pub(super) fn describe_all() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, metric.meaning),
            MetricKind::Gauge => describe_gauge!(metric.name, metric.meaning),
            MetricKind::Histogram => describe_histogram!(metric.name, metric.meaning),
        }
    }
}

/// The page `docs/reference/metrics.md`.
#[must_use]
pub fn page() -> String {
    let mut page = "# Metrics\n\n\
         <!-- Generated from broker/src/ops/metric.rs; do not edit. -->\n\n\
         Served as Prometheus text at `/metrics` of `telemetry.metrics_address`. Counters begin at 0 when the process\n\
         starts. Histograms have buckets from 0.1 ms to 10 s.\n\n\
         | Name | Kind | Labels | Meaning |\n|---|---|---|---|\n"
        .to_owned();
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.meaning
        );
    }
    page
}

#[cfg(test)]
mod tests;
