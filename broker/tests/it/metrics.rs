//! What operators see of object reads, and the table of metrics.

use std::collections::BTreeSet;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use streamhouse_broker::ops::metric::METRICS;
use streamhouse_log::LogSettings;
use streamhouse_protocol::StrBytes;

use crate::bench::{Bench, Wanted};
use crate::groups::{commit, group, joined};
use crate::records::{append, batch, fetched};
use crate::topics::create;

struct Scrape {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Scrape {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    fn text(&self, bench: &Bench) -> String {
        metrics::with_local_recorder(&self.recorder, || bench.watched.observe());
        self.handle.render()
    }
}

/// The value of a series in Prometheus text.
fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.expect(series).trim().parse().unwrap()
}

#[tokio::test]
async fn reads_of_objects_and_hits_of_the_cache_are_counted() {
    let log = LogSettings {
        tail_bytes: 0,
        ..LogSettings::default()
    };
    let bench = Bench::with(Wanted {
        log,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["x"])).await;
    let scrape = Scrape::new();
    const READS: &str = "streamhouse_storage_object_requests_total{class=\"catch_up_read\"}";
    const BYTES: &str = "streamhouse_storage_object_bytes_total{class=\"catch_up_read\"}";
    const HITS: &str = "streamhouse_storage_cache_hits_total";
    const MISSES: &str = "streamhouse_storage_cache_misses_total";
    // Out of the WAL.
    bench.turning(fetched(&mut client, "a", 0, 0)).await;
    assert_eq!(value(&scrape.text(&bench), READS), 0);
    bench.turning(bench.log.flush()).await.unwrap();
    bench.turning(fetched(&mut client, "a", 0, 0)).await;
    let text = scrape.text(&bench);
    let reads = value(&text, READS);
    assert!(
        reads > 0 && value(&text, BYTES) > 0 && value(&text, MISSES) > 0,
        "{text}"
    );
    let hits = value(&text, HITS);
    bench.turning(fetched(&mut client, "a", 0, 0)).await;
    let text = scrape.text(&bench);
    assert_eq!(value(&text, READS), reads, "it is in the cache");
    assert!(value(&text, HITS) > hits, "{text}");
}

#[tokio::test]
async fn the_lag_of_groups_is_shown_under_the_names_of_kafka_exporter() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 2).await;
    append(&mut client, "t", 0, &batch(&["a", "b", "c"])).await;
    let nobody = StrBytes::default();
    let mut request = commit(&nobody, -1, &[("t", 0), ("t", 1)]);
    for (topic, offset) in request.topics.iter_mut().zip([1, i64::MAX]) {
        topic.partitions[0].committed_offset = offset;
    }
    client.call(8, &request).await;
    let hostile = request.with_group_id(group("\"}\n\\"));
    client.call(8, &hostile).await;
    joined(&mut client, 3).await;
    let text = bench.lag.text();
    for line in [
        "# TYPE kafka_consumergroup_lag gauge",
        "kafka_consumergroup_members{consumergroup=\"g\"} 1",
        "kafka_consumergroup_current_offset{consumergroup=\"g\",topic=\"t\",partition=\"0\"} 1",
        "kafka_consumergroup_lag{consumergroup=\"g\",topic=\"t\",partition=\"0\"} 2",
        "kafka_consumergroup_lag{consumergroup=\"g\",topic=\"t\",partition=\"1\"} 0",
        "kafka_consumergroup_current_offset_sum{consumergroup=\"g\",topic=\"t\"} 9223372036854775807",
        "kafka_consumergroup_lag_sum{consumergroup=\"g\",topic=\"t\"} 2",
        "kafka_consumergroup_members{consumergroup=\"\\\"}\\n\\\\\"} 0",
        "kafka_topic_partition_current_offset{topic=\"t\",partition=\"0\"} 3",
        "kafka_topic_partition_oldest_offset{topic=\"t\",partition=\"1\"} 0",
        "streamhouse_broker_lag_left_out{of=\"groups\"} 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn every_metric_that_is_shown_stands_in_the_table() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    let nobody = StrBytes::default();
    client.call(8, &commit(&nobody, -1, &[("t", 0)])).await;
    let text = Scrape::new().text(&bench) + &bench.lag.text();
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let shown = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let shown: BTreeSet<&str> = shown
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    assert!(shown.len() > 10, "{text}");
    let unknown: Vec<_> = shown.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
