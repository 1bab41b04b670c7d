//! The table of metrics is in order, and its page is what it is.

use std::path::PathBuf;

use super::{METRICS, MetricKind, page};

#[test]
fn the_page_of_metrics_is_fresh() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    if std::env::var_os("STREAMHOUSE_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page(),
        "{} is stale: run STREAMHOUSE_BLESS=1 cargo test -p streamhouse-broker --lib metric",
        path.display()
    );
}

#[test]
fn names_rise_and_say_what_they_count() {
    assert!(METRICS.is_sorted_by(|a, b| a.name < b.name));
    for metric in METRICS {
        let is_ours = metric.name.starts_with("streamhouse_");
        let is_exporters = metric.name.starts_with("kafka_");
        assert!(is_ours || is_exporters, "{}", metric.name);
        let counts = metric.kind == MetricKind::Counter;
        assert_eq!(metric.name.ends_with("_total"), counts, "{}", metric.name);
    }
}
