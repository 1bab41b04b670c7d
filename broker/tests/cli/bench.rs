//! Benchmarks against a broker: what they count, what they watch, what they refuse.

use serde_json::Value;

use crate::broker::{Dev, complained, said};

fn report(broker: &Dev, arguments: &[&str]) -> Value {
    let arguments = [&["bench"], arguments, &["--json"]].concat();
    serde_json::from_str(&said(&broker.tool(&arguments))).unwrap()
}

#[test]
fn every_record_arrives_once_and_from_many_producers() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let short = ["--seconds", "1", "--warm-up", "0", "--rate", "200"];
    let shape = ["--batch-size", "1000", "--record-size", "100"];
    let many = ["--partitions", "3", "--connections", "2"];
    let measured = report(&broker, &[&["e2e"][..], &short, &shape, &many].concat());
    let numbers = |name: &str| measured[name].as_u64().unwrap();
    assert_eq!((numbers("requests"), numbers("records")), (200, 1600));
    assert_eq!(numbers("payload_bytes"), 160_000);
    assert!(measured["latency_us"]["max"].as_u64().unwrap() > 0);
}

#[test]
fn a_budget_ends_a_run_and_idempotent_producers_share_a_partition() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let produced = report(
        &broker,
        &[
            "produce",
            "--idempotent",
            "--partitions",
            "1",
            "--connections",
            "7",
            "--bytes",
            "500000",
            "--batch-size",
            "10000",
            "--warm-up",
            "0",
        ],
    );
    let sent = produced["batch_bytes"].as_u64().unwrap();
    assert!((500_000..510_000).contains(&sent), "{sent}");
    let consumed = report(&broker, &["consume"]);
    assert_eq!(consumed["records"], produced["records"]);
}

#[test]
fn intervals_and_the_broker_are_reported_when_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let id = broker.id().to_string();
    let measured = report(
        &broker,
        &[
            "produce",
            "--seconds",
            "2",
            "--warm-up",
            "0",
            "--interval",
            "1",
            "--broker-pid",
            &id,
        ],
    );
    assert_eq!(measured["intervals"].as_array().unwrap().len(), 2);
    let used = &measured["broker"];
    // A folder in memory is not written to a disk, so that the number itself says nothing here.
    assert!(used["written_bytes"].is_u64() && used["read_bytes"].is_u64());
    assert!(used["memory_peak_bytes"].as_u64().unwrap() > 1_000_000);
    assert!(used["cpu_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_follower_begins_at_the_end() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    report(&broker, &["produce", "--bytes", "100000"]);
    let followed = report(&broker, &["consume", "--follow", "--seconds", "1"]);
    assert_eq!(followed["records"], 0);
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let refused = |arguments: &[&str], code: i32| {
        let arguments = [&["bench"], arguments].concat();
        complained(&broker.tool(&arguments), code)
    };
    let many = ["produce", "--idempotent", "--in-flight", "6"];
    assert!(refused(&many, 2).contains("--in-flight"));
    let gone = ["produce", "--seconds", "1", "--broker-pid", "4294967295"];
    assert!(refused(&gone, 65).contains("--broker-pid"));
    assert!(refused(&["consume", "--follow"], 2).contains("--seconds"));
}
