//! What administrators see of the broker.

use std::collections::BTreeSet;

use super::*;
use crate::kafka::ConfigType;
use crate::load::{Loader, Profile};

fn described(assignments: &[&str]) -> Vec<ConfigEntry> {
    let loader = assignments
        .iter()
        .fold(Loader::new(Profile::Serve), |loader, one| loader.set(one));
    let loaded = loader.load().unwrap();
    describe_broker(&loaded.settings, &loaded.provenance)
}

fn entry(assignments: &[&str], name: &str) -> ConfigEntry {
    described(assignments)
        .into_iter()
        .find(|entry| entry.name == name)
        .unwrap()
}

fn synonyms(entry: &ConfigEntry) -> Vec<(&str, Option<&str>, ConfigSource)> {
    entry
        .synonyms
        .iter()
        .map(|one| (one.name, one.value.as_deref(), one.source))
        .collect()
}

#[test]
fn keys_are_unique_and_sorted() {
    let names: Vec<_> = broker_keys().iter().map(|key| key.name).collect();
    let unique: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names, unique.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_default_is_shown_in_kafkas_unit() {
    for (name, value) in [
        ("offsets.retention.minutes", "10080"),
        ("connections.max.idle.ms", "600000"),
        ("group.initial.rebalance.delay.ms", "3000"),
        ("message.max.bytes", "1048588"),
        ("fetch.max.bytes", "57671680"),
        ("log.retention.hours", "168"),
        ("num.io.threads", "8"),
        ("num.partitions", "1"),
        ("auto.create.topics.enable", "true"),
        ("listeners", "PLAINTEXT://localhost:9092"),
    ] {
        let entry = entry(&[], name);
        assert_eq!(entry.value.as_deref(), Some(value), "{name}");
        assert_eq!(entry.source, ConfigSource::Default, "{name}");
        assert_eq!(
            synonyms(&entry),
            [(name, Some(value), ConfigSource::Default)]
        );
    }
}

#[test]
fn a_set_value_shows_the_default_behind_it() {
    for assignment in ["num.partitions=4", "broker.num_partitions=4"] {
        let entry = entry(&[assignment], "num.partitions");
        assert_eq!(entry.value.as_deref(), Some("4"));
        assert_eq!(entry.source, ConfigSource::StaticBroker);
        assert_eq!(
            synonyms(&entry),
            [
                ("num.partitions", Some("4"), ConfigSource::StaticBroker),
                ("num.partitions", Some("1"), ConfigSource::Default),
            ]
        );
    }
    let entry = entry(
        &["coordinator.offsets_retention=2h"],
        "offsets.retention.minutes",
    );
    assert_eq!(entry.value.as_deref(), Some("120"));
}

#[test]
fn keys_without_default_have_no_value_until_set() {
    let unset = entry(&[], "log.retention.ms");
    assert_eq!((unset.value, unset.source), (None, ConfigSource::Default));
    let set = entry(&["log.retention.ms=5"], "log.retention.ms");
    assert_eq!(
        (set.value.as_deref(), set.source),
        (Some("5"), ConfigSource::StaticBroker)
    );
    assert_eq!(entry(&[], "broker.rack").value, None);
}

#[test]
fn secrets_are_never_shown() {
    let entry = entry(&["ssl.key.password=hush"], "ssl.key.password");
    assert_eq!(entry.kind, ConfigType::Password);
    assert!(entry.is_sensitive);
    assert_eq!(entry.value, None);
    assert_eq!(
        synonyms(&entry),
        [("ssl.key.password", None, ConfigSource::StaticBroker)]
    );
}

#[test]
fn every_key_is_documented() {
    for entry in described(&[]) {
        assert!(
            entry.documentation.len() > 30,
            "{}: {:?}",
            entry.name,
            entry.documentation
        );
    }
}

#[test]
fn what_a_running_broker_takes_over_is_not_read_only() {
    for name in ["log.retention.ms", "max.connections", "num.io.threads"] {
        assert!(!entry(&[], name).is_read_only, "{name}");
    }
    for name in [
        "log.retention.hours",
        "num.partitions",
        "listeners",
        "ssl.keystore.location",
    ] {
        assert!(entry(&[], name).is_read_only, "{name}");
    }
}
