//! Settings that do not fit together.

use super::*;
use crate::load::{Loader, Profile};

fn problems(assignments: &[&str]) -> Vec<String> {
    let loader = assignments
        .iter()
        .fold(Loader::new(Profile::Serve), |loader, one| loader.set(one));
    match loader.load() {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn check_one(assignments: &[&str], expect: &[&str]) {
    let found = problems(assignments);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in expect {
        assert!(found[0].contains(part), "{part:?} not in {found:?}");
    }
}

#[test]
fn the_defaults_fit_together() {
    assert_eq!(check(&Settings::default()), []);
}

#[test]
fn limits_that_could_never_be_met_name_both_settings() {
    check_one(
        &["message.max.bytes=40000000"],
        &[
            "message.max.bytes plus 4KiB of headers: 40004096",
            "listener.socket_request_max_bytes (32MiB)",
        ],
    );
    check_one(
        &["message.max.bytes=20000000", "listener.fetch_memory=19MiB"],
        &["message.max.bytes", "listener.fetch_memory (19MiB)"],
    );
    check_one(
        &["message.max.bytes=5000000", "wal.file_bytes=4MiB"],
        &["message.max.bytes", "wal.file_bytes (4MiB)"],
    );
    check_one(
        &[
            "socket.request.max.bytes=50000000",
            "listener.large_request_memory=32MiB",
        ],
        &[
            "listener.socket_request_max_bytes: 50000000",
            "listener.large_request_memory (32MiB)",
        ],
    );
    check_one(
        &["wal.max_bytes=100MiB"],
        &["twice wal.file_bytes", "wal.max_bytes (100MiB)"],
    );
    check_one(
        &[
            "group.min.session.timeout.ms=5000",
            "group.max.session.timeout.ms=4000",
        ],
        &["group_min_session_timeout", "group_max_session_timeout"],
    );
    check_one(
        &["group.consumer.session.timeout.ms=44000"],
        &[
            "group_consumer_session_timeout",
            "group_consumer_min_session_timeout",
        ],
    );
    check_one(
        &[
            "group.consumer.min.session.timeout.ms=4000",
            "group.consumer.session.timeout.ms=5000",
        ],
        &["group_consumer_heartbeat_interval", "is not shorter"],
    );
    check_one(
        &["metadata.request_timeout=10s"],
        &["metadata.request_timeout", "metadata.statement_timeout"],
    );
    check_one(
        &[
            "log.cleaner.min.compaction.lag.ms=10",
            "log.cleaner.max.compaction.lag.ms=5",
        ],
        &["min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"],
    );
}

#[test]
fn listeners_must_be_distinct() {
    check_one(&["listeners="], &["no address is given"]);
    check_one(
        &[
            "listeners=A://localhost:1,A://localhost:2",
            "listener.protocols=A:PLAINTEXT",
        ],
        &["A is named twice"],
    );
    let map = "listener.protocols=A:PLAINTEXT,B:PLAINTEXT";
    check_one(
        &["listeners=A://localhost:1,B://127.0.0.1:1", map],
        &["another port"],
    );
    assert!(problems(&["listeners=A://localhost:0,B://127.0.0.1:0", map]).is_empty());
    check_one(
        &["listeners=PLAINTEXT://localhost:9644"],
        &[
            "telemetry.metrics_address",
            "127.0.0.1:9644",
            "another port",
        ],
    );
    assert!(
        problems(&[
            "listeners=PLAINTEXT://localhost:9644",
            "telemetry.metrics_address=none"
        ])
        .is_empty()
    );
}

#[test]
fn advertised_addresses_must_be_reachable() {
    check_one(
        &["advertised.listeners=OTHER://host:1"],
        &["belongs to no listener"],
    );
    check_one(
        &["advertised.listeners=PLAINTEXT://0.0.0.0:1"],
        &["means all interfaces"],
    );
    check_one(
        &["advertised.listeners=PLAINTEXT://a:1,PLAINTEXT://b:1"],
        &["PLAINTEXT is advertised twice"],
    );
    assert!(problems(&["advertised.listeners=PLAINTEXT://host:1"]).is_empty());
}

#[test]
fn plaintext_stays_on_this_machine_unless_allowed() {
    for host in ["", "0.0.0.0", "[::]", "192.0.2.1", "example.org"] {
        let listeners = format!("listeners=PLAINTEXT://{host}:9092");
        check_one(
            &[&listeners],
            &["listener.allow_plaintext_beyond_loopback = true"],
        );
        assert!(
            problems(&[&listeners, "listener.allow_plaintext_beyond_loopback=true"]).is_empty()
        );
    }
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"] {
        assert!(
            problems(&[&format!("listeners=PLAINTEXT://{host}:9092")]).is_empty(),
            "{host}"
        );
    }
}

#[test]
fn a_lease_lasts_longer_than_two_heartbeats() {
    check_one(
        &[
            "broker.session.timeout.ms=2000",
            "broker.heartbeat.interval.ms=1001",
        ],
        &["membership.heartbeat_interval", "membership.lease"],
    );
    assert!(problems(&["membership.lease=2s", "membership.heartbeat_interval=1s"]).is_empty());
}

#[test]
fn cluster_ids_are_words_that_clients_can_print() {
    assert!(problems(&["broker.cluster_id=4L6g3nShT-eMCtK--X86sw"]).is_empty());
    check_one(
        &["broker.cluster_id=a b"],
        &["broker.cluster_id", "\"a b\""],
    );
}

#[test]
fn memory_at_defaults_stays_below_256_mb() {
    let shares = Settings::default().memory_shares();
    let sum: u64 = shares.iter().map(|share| share.bytes.bytes()).sum();
    let rest = 40_000_000;
    assert!(sum + rest < 256_000_000, "{sum} bytes: {shares:?}");
}
