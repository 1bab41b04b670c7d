//! What a report says.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

use super::super::Together;
use super::super::measured::{Measured, Size, Window};
use super::super::process::{BrokerUsed, Used};
use super::Report;

fn at_ms(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn measured(every: Option<Duration>) -> Measured {
    let mut measured = Measured::new(Window {
        from: at_ms(0),
        until: at_ms(2000),
        every,
    });
    let size = Size {
        requests: 1,
        records: 10,
        payload_bytes: 1000,
        batch_bytes: 40_000,
    };
    for ms in 1..=100 {
        measured.finished(at_ms(0), at_ms(ms), &size);
    }
    measured
}

fn report_of(measured: Measured, broker: Option<BrokerUsed>) -> Report {
    let all = Together {
        measured,
        took: Duration::from_secs(2),
        used: Used {
            client_cpu_seconds: Some(0.5),
            broker,
        },
    };
    Report::new("produce", serde_json::json!({"connections": 1}), all)
}

#[test]
fn rates_and_percentiles_follow_from_what_was_measured() {
    let report = report_of(measured(None), None);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["requests"], 100);
    assert_eq!(json["records_per_second"], 500.0);
    assert_eq!(json["megabytes_per_second"], 2.0);
    assert_eq!(json["parameters"]["connections"], 1);
    let p99 = json["latency_us"]["p99"].as_u64().unwrap();
    // Three significant digits.
    assert!((99_000..99_200).contains(&p99), "{p99}");
    assert!(report.text().contains("records        1000 (500/s)\n"));
    assert!(json.get("intervals").is_none() && json.get("broker").is_none());
}

#[test]
fn measurements_of_connections_add_up_and_extremes_are_kept() {
    let mut all = measured(None);
    let mut slow = Measured::new(Window {
        from: at_ms(0),
        until: at_ms(2000),
        every: None,
    });
    let one = Size {
        requests: 1,
        ..Size::default()
    };
    slow.finished(at_ms(0), at_ms(7_200_000), &one);
    slow.finished(at_ms(0), at_ms(0), &one);
    all.add(&slow);
    let report = report_of(all, None);
    assert_eq!(report.requests, 102);
    assert_eq!(report.latency_us.min, 1);
    assert!(report.latency_us.max >= 600_000_000);
}

#[test]
fn intervals_have_rates_of_their_own() {
    let report = report_of(measured(Some(Duration::from_secs(1))), None);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["intervals"][0]["megabytes_per_second"], 4.0);
    assert_eq!(json["intervals"][0]["latency_max_us"], 100_000);
    assert_eq!(json["intervals"][1]["until_second"], 2.0);
    assert_eq!(json["intervals"][1]["requests_per_second"], 0.0);
    assert!(
        report
            .text()
            .contains("to second 1    4.00 MB/s, 100 requests/s, latency max 100.00 ms\n")
    );
}

#[test]
fn what_client_and_broker_used_stands_beside_the_rates() {
    let used = BrokerUsed {
        cpu_seconds: 1.5,
        cpu_seconds_per_gigabyte: Some(3.0),
        memory_peak_bytes: 64_000_000,
        written_bytes: 9_000_000,
        read_bytes: 0,
    };
    let report = report_of(measured(None), Some(used));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["client_cpu_seconds"], 0.5);
    assert_eq!(json["broker"]["memory_peak_bytes"], 64_000_000);
    assert!(
        report
            .text()
            .contains("broker CPU     1.50 s (3.00 s/GB)\n")
    );
    assert!(report.text().contains("broker memory  64.0 MB\n"));
}
