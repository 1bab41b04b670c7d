//! What a report says.

use std::time::Duration;

use super::{Measured, Report};

fn measured() -> Measured {
    let mut measured = Measured::new();
    for ms in 1..=100 {
        measured.latency(Duration::from_millis(ms));
    }
    measured.records = 1000;
    measured.payload_bytes = 100_000;
    measured.batch_bytes = 4_000_000;
    measured
}

#[test]
fn rates_and_percentiles_follow_from_what_was_measured() {
    let report = Report::new(
        "produce",
        serde_json::json!({"connections": 1}),
        &measured(),
        Duration::from_secs(2),
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["requests"], 100);
    assert_eq!(json["records_per_second"], 500.0);
    assert_eq!(json["megabytes_per_second"], 2.0);
    assert_eq!(json["parameters"]["connections"], 1);
    let p99 = json["latency_us"]["p99"].as_u64().unwrap();
    // Three significant digits.
    assert!((99_000..99_200).contains(&p99), "{p99}");
    assert!(report.text().contains("records        1000 (500/s)\n"));
}

#[test]
fn measurements_of_connections_add_up_and_extremes_are_kept() {
    let mut all = measured();
    let mut slow = Measured::new();
    slow.latency(Duration::from_secs(7200));
    slow.latency(Duration::ZERO);
    all.add(&slow);
    let report = Report::new("produce", serde_json::Value::Null, &all, Duration::ZERO);
    assert_eq!(report.requests, 102);
    assert_eq!(report.latency_us.min, 1);
    assert!(report.latency_us.max >= 600_000_000);
}
