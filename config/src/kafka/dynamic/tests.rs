//! What is set on brokers while they run.

use super::*;
use crate::kafka::describe_broker;
use crate::load::{Loaded, Loader, Profile};

fn overrides(pairs: &[(&str, &str)]) -> BrokerOverrides {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

fn loaded(assignments: &[&str]) -> Loaded {
    let loader = assignments
        .iter()
        .fold(Loader::new(Profile::Serve), |loader, one| loader.set(one));
    loader.load().unwrap()
}

/// Value, source and synonyms of a key of a broker with these configs.
fn shown(
    assignments: &[&str],
    own: &[(&str, &str)],
    cluster: &[(&str, &str)],
    name: &str,
) -> Option<ConfigEntry> {
    let loaded = loaded(assignments);
    let (own, cluster) = (overrides(own), overrides(cluster));
    let dynamic = DynamicConfigs {
        own: &own,
        cluster: &cluster,
    };
    let entries = describe_broker(&loaded.settings, &loaded.provenance);
    let defaults = dynamic.applied_to_topics(&loaded.settings.topic_defaults);
    let mut shown = dynamic.shown(&entries, &defaults).into_iter();
    shown.find(|entry| entry.name == name)
}

fn synonyms(entry: &ConfigEntry) -> Vec<(&str, &str, i8)> {
    let synonym = |it: &'_ ConfigSynonym| (it.name, it.value.clone().unwrap(), it.source.wire_id());
    let synonyms: Vec<_> = entry.synonyms.iter().map(synonym).collect();
    let leak = |(name, value, id): (&'static str, String, i8)| (name, &*value.leak(), id);
    synonyms.into_iter().map(leak).collect()
}

#[test]
fn one_broker_wins_over_all_brokers_which_win_over_files() {
    let key = "max.connections";
    let entry = shown(&["max.connections=7"], &[(key, "9")], &[(key, "8")], key).unwrap();
    assert_eq!(entry.value.as_deref(), Some("9"));
    assert_eq!(
        synonyms(&entry),
        [
            (key, "9", 2),
            (key, "8", 3),
            (key, "7", 4),
            (key, "20000", 5)
        ]
    );
    let entry = shown(&["max.connections=7"], &[], &[(key, "8")], key).unwrap();
    assert_eq!(
        (entry.value.as_deref(), entry.source.wire_id()),
        (Some("8"), 3)
    );
    assert!(!entry.is_read_only);
}

#[test]
fn coarser_keys_stand_behind_a_retention_as_kafka_lists_them() {
    let key = "log.retention.ms";
    let unset = shown(&[], &[], &[], key).unwrap();
    assert_eq!((unset.value.as_deref(), unset.synonyms.len()), (None, 0));
    let set = shown(&[], &[(key, "3600000")], &[], key).unwrap();
    assert_eq!(set.value.as_deref(), Some("3600000"));
    assert_eq!(
        synonyms(&set),
        [(key, "3600000", 2), ("log.retention.hours", "168", 5)]
    );
    let hours = shown(&[], &[(key, "3600000")], &[], "log.retention.hours").unwrap();
    assert_eq!(synonyms(&hours), [("log.retention.hours", "168", 5)]);
}

#[test]
fn topics_get_their_defaults_from_what_is_set_while_the_broker_runs() {
    let (own, cluster) = (
        overrides(&[("log.retention.ms", "5000")]),
        overrides(&[("log.retention.ms", "6000"), ("message.max.bytes", "4096")]),
    );
    let dynamic = DynamicConfigs {
        own: &own,
        cluster: &cluster,
    };
    let settings = loaded(&["log.retention.hours=2", "message.max.bytes=1000"]).settings;
    let defaults = dynamic.applied_to(&settings).topic_defaults;
    let value = |name: &str| defaults.value(topic_key(name).unwrap());
    assert_eq!(
        (value("retention.ms"), value("max.message.bytes")),
        ("5000".into(), "4096".into())
    );
    let synonyms = defaults.synonyms(topic_key("retention.ms").unwrap());
    let synonyms: Vec<_> = synonyms
        .iter()
        .map(|it| (it.name, it.source.wire_id()))
        .collect();
    assert_eq!(
        synonyms,
        [
            ("log.retention.ms", 2),
            ("log.retention.ms", 3),
            ("log.retention.hours", 4),
            ("log.retention.hours", 5)
        ]
    );
}

#[test]
fn settings_change_and_values_of_another_release_count_as_not_set() {
    let own = overrides(&[
        ("max.connections", "33"),
        ("max.connections.per.ip", "many"),
        ("producer.id.expiration.ms", "60000"),
        ("of.another.release", "1"),
        ("log.retention.ms", "soon"),
    ]);
    let dynamic = DynamicConfigs {
        own: &own,
        cluster: &BrokerOverrides::new(),
    };
    let before = loaded(&[]).settings;
    let after = dynamic.applied_to(&before);
    assert_eq!(after.listener.max_connections, 33);
    assert_eq!(
        after.listener.max_connections_per_ip,
        before.listener.max_connections_per_ip
    );
    assert_eq!(after.log.producer_id_expiration.as_secs(), 60);
    assert_eq!(after.topic_defaults, before.topic_defaults);
}

#[test]
fn a_key_that_exists_only_while_brokers_run_is_shown_when_it_is_set() {
    let key = "leader.replication.throttled.rate";
    assert_eq!(shown(&[], &[], &[], key), None);
    let set = shown(&[], &[(key, "1000")], &[], key).unwrap();
    assert_eq!(
        (set.value.as_deref(), set.is_read_only),
        (Some("1000"), false)
    );
}

#[test]
fn the_default_entity_shows_what_is_set_for_all() {
    let cluster = overrides(&[
        ("message.max.bytes", "2000000"),
        ("of.another.release", "1"),
    ]);
    let [entry] = describe_all_brokers(&cluster).try_into().unwrap();
    assert_eq!(
        (entry.name, entry.value.as_deref()),
        ("message.max.bytes", Some("2000000"))
    );
    assert_eq!(synonyms(&entry), [("message.max.bytes", "2000000", 3)]);
}

#[test]
fn refusals_are_kafkas() {
    let refused = |pairs: &[(&'static str, &'static str)]| {
        check_broker_overrides(pairs.iter().copied())
            .unwrap_err()
            .to_string()
    };
    for (pairs, text) in [
        (
            &[
                ("node.id", "3"),
                ("log.retention.ms", "x"),
                ("num.partitions", "2"),
            ][..],
            "Cannot update these configs dynamically: [node.id, num.partitions]",
        ),
        (
            &[("listeners", "PLAINTEXT://:1")],
            "Cannot update these configs dynamically: [listeners]",
        ),
        (
            &[("log.retention.ms", "x")],
            "Invalid value x for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            &[("message.max.bytes", "-1")],
            "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
        ),
        (
            &[("log.message.timestamp.type", "nope")],
            "Invalid value nope for configuration log.message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
        ),
        (
            &[("num.io.threads", "many")],
            "Invalid value many for configuration num.io.threads: Not a number of type INT",
        ),
        (&[("no.such", "1")], "Unknown config name: no.such"),
    ] {
        assert_eq!(refused(pairs), text);
    }
    assert!(
        refused(&[("max.connections", "-3")]).starts_with("Invalid value -3 for configuration")
    );
    let good = [("log.retention.ms", " 5 "), ("log.preallocate", "TRUE")];
    let written = overrides(&[("log.retention.ms", "5"), ("log.preallocate", "true")]);
    assert_eq!(check_broker_overrides(good), Ok(written));
}

#[test]
fn lists_are_extended_from_what_is_set_or_the_default() {
    let mut set = BrokerOverrides::new();
    let mut alter = |operation, name| alter_broker_overrides(operation, name, &mut set);
    let key = "log.cleanup.policy";
    alter(AlterOp::Append("compact"), key).unwrap();
    alter(AlterOp::Subtract("delete"), key).unwrap();
    alter(AlterOp::Append("compact"), key).unwrap();
    // What is not set may be unset, whatever it is.
    for name in ["node.id", "no.such", "log.retention.ms"] {
        alter(AlterOp::Delete, name).unwrap();
    }
    let refused = alter(AlterOp::Append("1"), "log.retention.ms").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Config value append is not allowed for config key: log.retention.ms"
    );
    let refused = alter(AlterOp::Subtract("1"), "no.such").unwrap_err();
    assert_eq!(refused.to_string(), "Unknown config name: no.such");
    assert_eq!(set, overrides(&[(key, "compact")]));
}
