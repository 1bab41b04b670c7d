//! Variables as Kafka's image reads them.

use super::*;
use crate::load::{Loader, Profile};

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn variables_follow_the_rules_of_kafkas_image() {
    // The mapping was recorded from KafkaDockerWrapper.
    let variables = env(&[
        ("KAFKA_A_B", "2"),
        ("KAFKA_X___Y", "3"),
        ("KAFKA_P__Q", "4"),
        ("KAFKA_R____S", "5"),
        ("KAFKA_LOWER_cAse", "6"),
        ("KAFKA_KAFKA_M", "7"),
        ("KAFKA_BS", "a\\tb"),
        ("KAFKA_OPTS", "x"),
        ("KAFKA_VERSION", "9"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
        ("PATH", "/bin"),
    ]);
    let mut gathered = Gathered::default();
    gather(variables, &mut gathered);
    let mut found: Vec<_> = gathered
        .kafka
        .iter()
        .map(|a| (a.key.as_str(), a.value.as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("a.b", "2"),
            ("bs", "a\tb"),
            ("kafka.m", "7"),
            ("lower.case", "6"),
            ("p_q", "4"),
            ("r-.s", "5"),
            ("x-y", "3"),
        ]
    );
}

#[test]
fn listeners_follow_from_the_advertised_ones_as_in_kafkas_image() {
    let advertised = (
        "KAFKA_ADVERTISED_LISTENERS",
        "PLAINTEXT://localhost:9092,B://host:19092",
    );
    let map = (
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
        "PLAINTEXT:PLAINTEXT,B:PLAINTEXT",
    );
    let allow = (
        "STREAMHOUSE_LISTENER__ALLOW_PLAINTEXT_BEYOND_LOOPBACK",
        "true",
    );
    let id = ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw");
    let loaded = Loader::new(Profile::Serve)
        .environment(env(&[advertised, map, allow, id]))
        .load()
        .unwrap();
    let bound: Vec<String> = loaded
        .settings
        .listener
        .listeners
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(bound, ["PLAINTEXT://0.0.0.0:9092", "B://0.0.0.0:19092"]);
    assert_eq!(loaded.settings.broker.cluster_id.as_deref(), Some(id.1));
    let given = (
        "KAFKA_LISTENERS",
        "PLAINTEXT://127.0.0.1:9092,B://127.0.0.1:19092",
    );
    let variables = env(&[advertised, map, given]);
    let loaded = Loader::new(Profile::Serve)
        .environment(variables)
        .load()
        .unwrap();
    assert_eq!(
        loaded.settings.listener.listeners[1].to_string(),
        "B://127.0.0.1:19092"
    );
}

#[test]
fn a_variable_with_a_single_underscore_is_told_how_it_is_written() {
    let variables = env(&[
        ("STREAMHOUSE_LOG_FLUSH_BYTES", "1MiB"),
        ("STREAMHOUSE_CONFIG", "x"),
    ]);
    let loaded = Loader::new(Profile::Serve)
        .environment(variables)
        .load()
        .unwrap();
    assert_eq!(loaded.notes.len(), 1);
    assert_eq!(loaded.notes[0].level, NoteLevel::Warning);
    assert!(loaded.notes[0].text.contains("STREAMHOUSE_SECTION__FIELD"));
}

#[test]
fn a_compose_file_written_for_kafkas_image_starts_one_broker() {
    let variables = env(&[
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
        ("KAFKA_NODE_ID", "3"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        (
            "KAFKA_LISTENERS",
            "PLAINTEXT://:19092,CONTROLLER://:9093,PLAINTEXT_HOST://:9092",
        ),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "PLAINTEXT://broker:19092,PLAINTEXT_HOST://localhost:9092",
        ),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
        ),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "3@broker:9093"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
        ("KAFKA_LOG_DIRS", "/tmp/kraft-combined-logs"),
        (
            "STREAMHOUSE_LISTENER__ALLOW_PLAINTEXT_BEYOND_LOOPBACK",
            "true",
        ),
    ]);
    let loaded = Loader::new(Profile::Serve)
        .environment(variables)
        .load()
        .unwrap();
    assert!(
        loaded
            .notes
            .iter()
            .all(|note| note.level == NoteLevel::Note),
        "{:?}",
        loaded.notes
    );
    let names: Vec<_> = loaded
        .settings
        .listener
        .listeners
        .iter()
        .map(|l| l.name.as_str())
        .collect();
    assert_eq!(names, ["PLAINTEXT", "PLAINTEXT_HOST"]);
    assert_eq!(loaded.settings.broker.node_id, 3);
}
