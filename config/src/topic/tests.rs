//! Topic configs against what Apache Kafka 4.3.1 answered, recorded from a running broker and from
//! `LogConfig.validate`.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::kafka::{ConfigSource, ConfigType};

fn defaults(pairs: &[(&str, &str)]) -> TopicDefaults {
    let mut defaults = TopicDefaults::default();
    for (name, value) in pairs {
        defaults.set(name, value).unwrap();
    }
    defaults
}

fn overrides(pairs: &[(&str, &str)]) -> TopicOverrides {
    check_overrides(pairs.iter().copied(), &TopicDefaults::default()).unwrap()
}

fn effective(pairs: &[(&str, &str)]) -> TopicConfigs {
    TopicConfigs::resolve(&overrides(pairs), &TopicDefaults::default())
}

/// One line per key: name, type, value, source, synonyms; recorded from a broker with `log.retention.hours=1` and
/// `compression.type=zstd`, for a topic with `max.message.bytes=2000`.
const DESCRIBED_BY_KAFKA: &str = include_str!("golden/describe.tsv");

#[test]
fn every_config_is_described_as_kafka_does() {
    let source = |source: ConfigSource| match source {
        ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
        ConfigSource::BrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
    };
    let of_broker = defaults(&[("log.retention.hours", "1"), ("compression.type", "zstd")]);
    let found = describe_topic(&overrides(&[("max.message.bytes", "2000")]), &of_broker);
    let found: Vec<String> = found
        .into_iter()
        .map(|entry| {
            let synonyms: Vec<String> = entry
                .synonyms
                .iter()
                .map(|one| {
                    format!(
                        "{}={}/{}",
                        one.name,
                        one.value.as_deref().unwrap(),
                        source(one.source)
                    )
                })
                .collect();
            let value = entry.value.unwrap();
            let place = source(entry.source);
            format!(
                "{}\t{}\t{value}\t{place}\t{}",
                entry.name,
                entry.kind.name(),
                synonyms.join(", ")
            )
        })
        .collect();
    // A Kafka cluster sets min.insync.replicas by itself when it elects eligible leaders (KIP-966); ours does not.
    let is_comparable = |line: &&str| !line.starts_with("min.insync.replicas\t");
    let recorded: Vec<&str> = DESCRIBED_BY_KAFKA.lines().filter(is_comparable).collect();
    let found: Vec<&str> = found
        .iter()
        .map(String::as_str)
        .filter(is_comparable)
        .collect();
    assert_eq!(found.len(), 32);
    assert_eq!(found, recorded);
}

#[track_caller]
fn refuses(name: &str, value: &str, expect: &str) {
    let error = check_overrides([(name, value)], &TopicDefaults::default()).unwrap_err();
    assert_eq!(error.to_string(), expect);
}

/// As [`refuses`], for texts of the usual form.
#[track_caller]
fn refuses_value(name: &str, value: &str, shown: &str, reason: &str) {
    refuses(
        name,
        value,
        &format!("Invalid value {shown} for configuration {name}: {reason}"),
    );
}

#[test]
fn numbers_are_refused_in_kafkas_words() {
    let not_long = "Not a number of type LONG";
    refuses_value("retention.ms", "x", "x", not_long);
    refuses_value("retention.ms", "", "", not_long);
    refuses_value("retention.ms", "1.5", "1.5", not_long);
    refuses_value(
        "retention.ms",
        "99999999999999999999",
        "99999999999999999999",
        not_long,
    );
    refuses_value("retention.ms", "-2", "-2", "Value must be at least -1");
    refuses_value(
        "segment.bytes",
        "10",
        "10",
        "Value must be at least 1048576",
    );
    refuses_value(
        "segment.bytes",
        "3000000000",
        "3000000000",
        "Not a number of type INT",
    );
    refuses_value(
        "compression.lz4.level",
        "18",
        "18",
        "Value must be no more than 17",
    );
    refuses_value(
        "compression.zstd.level",
        "-131073",
        "-131073",
        "Value must be at least -131072",
    );
    let gzip = "Value must be between 1 and 9 or equal to -1";
    refuses_value("compression.gzip.level", "0", "0", gzip);
    refuses_value("compression.gzip.level", "10", "10", gzip);
    refuses_value(
        "max.compaction.lag.ms",
        "0",
        "0",
        "Value must be at least 1",
    );
    refuses_value(
        "local.retention.ms",
        "-3",
        "-3",
        "Value must be at least -2",
    );
    let ratio = "min.cleanable.dirty.ratio";
    refuses_value(ratio, "2", "2.0", "Value must be no more than 1");
    refuses_value(ratio, "-0.1", "-0.1", "Value must be at least 0");
    refuses_value(ratio, "x", "x", "Not a number of type DOUBLE");
}

#[test]
fn words_and_lists_are_refused_in_kafkas_words() {
    refuses("foo", "1", "Unknown topic config name: foo");
    refuses(
        "message.downconversion.enable",
        "true",
        "Unknown topic config name: message.downconversion.enable",
    );
    let codecs = "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer";
    refuses_value("compression.type", "ZSTD", "ZSTD", codecs);
    refuses_value("compression.type", "none", "none", codecs);
    let types = "String must be one of: CreateTime, LogAppendTime";
    refuses_value("message.timestamp.type", "create", "create", types);
    refuses_value(
        "cleanup.policy",
        "delete,foo",
        "foo",
        "String must be one of: compact, delete",
    );
    refuses(
        "cleanup.policy",
        "delete,",
        "Configuration 'cleanup.policy' values must not be empty.",
    );
    refuses(
        "cleanup.policy",
        ",",
        "Configuration 'cleanup.policy' values must not be empty.",
    );
    refuses_value(
        "preallocate",
        "yes",
        "yes",
        "Expected value to be either true or false",
    );
    let name = "leader.replication.throttled.replicas";
    refuses_value(
        name,
        "x",
        "[x]",
        "leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],...",
    );
}

#[test]
fn values_are_kept_as_kafka_writes_them() {
    for (name, given, kept) in [
        ("retention.ms", " 7 ", "7"),
        ("retention.bytes", "-5", "-5"),
        ("cleanup.policy", " compact , delete ", "compact,delete"),
        ("cleanup.policy", "compact,compact", "compact"),
        ("cleanup.policy", "", ""),
        ("preallocate", "TRUE", "true"),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("compression.gzip.level", "-1", "-1"),
        ("leader.replication.throttled.replicas", "*", "*"),
        (
            "leader.replication.throttled.replicas",
            "0:1,1:2",
            "0:1,1:2",
        ),
        ("remote.storage.enable", "true", "true"),
    ] {
        assert_eq!(overrides(&[(name, given)])[name], kept, "{name}");
    }
}

#[test]
fn lists_are_appended_to_and_subtracted_from_as_in_kafka() {
    let mut topic = TopicOverrides::new();
    let none = TopicDefaults::default();
    for (op, expect) in [
        (AlterOp::Append("compact"), "delete,compact"),
        (AlterOp::Append("delete"), "delete,compact"),
        (AlterOp::Subtract("delete"), "compact"),
        (AlterOp::Subtract("compact"), ""),
        (AlterOp::Subtract("nope"), ""),
        (AlterOp::Append("compact,delete"), "compact,delete"),
        (AlterOp::Set("delete"), "delete"),
    ] {
        op.apply("cleanup.policy", &mut topic, &none).unwrap();
        assert_eq!(topic["cleanup.policy"], expect, "{op:?}");
    }
    AlterOp::Delete
        .apply("cleanup.policy", &mut topic, &none)
        .unwrap();
    assert!(topic.is_empty());
}

#[test]
fn appending_starts_from_the_brokers_default() {
    let mut topic = TopicOverrides::new();
    let of_broker = defaults(&[("log.cleanup.policy", "compact")]);
    AlterOp::Append("delete")
        .apply("cleanup.policy", &mut topic, &of_broker)
        .unwrap();
    assert_eq!(topic["cleanup.policy"], "compact,delete");
}

#[test]
fn a_refused_change_changes_nothing() {
    let none = TopicDefaults::default();
    let before = overrides(&[("retention.ms", "5")]);
    for (name, op, expect) in [
        (
            "retention.ms",
            AlterOp::Append("5"),
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            "retention.ms",
            AlterOp::Subtract("5"),
            "Can't SUBTRACT to key retention.ms because its type is not LIST.",
        ),
        (
            "retention.ms",
            AlterOp::Set("x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        ("foo", AlterOp::Delete, "Unknown topic config name: foo"),
        (
            "cleanup.policy",
            AlterOp::Append("foo"),
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
    ] {
        let mut topic = before.clone();
        assert_eq!(
            op.apply(name, &mut topic, &none).unwrap_err().to_string(),
            expect
        );
        assert_eq!(topic, before);
    }
}

#[test]
fn compaction_lags_must_leave_room() {
    let pairs = [
        ("min.compaction.lag.ms", "9"),
        ("max.compaction.lag.ms", "5"),
    ];
    let error = check_overrides(pairs, &TopicDefaults::default()).unwrap_err();
    let expect =
        "conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (5)";
    assert_eq!(error.to_string(), expect);
    let of_broker = defaults(&[("log.cleaner.min.compaction.lag.ms", "9")]);
    assert!(check_overrides([("max.compaction.lag.ms", "5")], &of_broker).is_err());
}

#[test]
fn unlimited_and_limited_retention_are_told_apart() {
    assert_eq!(
        TopicConfigs::default().retention,
        Some(Duration::from_secs(7 * 86_400))
    );
    assert_eq!(TopicConfigs::default().retention_bytes, None);
    let limited = effective(&[("retention.ms", "0"), ("retention.bytes", "0")]);
    assert_eq!(
        (limited.retention, limited.retention_bytes),
        (Some(Duration::ZERO), Some(0))
    );
    assert_eq!(effective(&[("retention.ms", "-1")]).retention, None);
}

#[test]
fn the_effective_values_follow_topic_then_broker_then_kafka() {
    let of_broker = defaults(&[
        ("message.max.bytes", "5000"),
        ("log.message.timestamp.type", "LogAppendTime"),
    ]);
    let found = TopicConfigs::resolve(&overrides(&[("max.message.bytes", "6000")]), &of_broker);
    assert_eq!(found.max_message_bytes, 6000);
    assert_eq!(found.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(found.compression_type, CompressionType::Producer);
    assert_eq!(
        found.cleanup_policy,
        CleanupPolicy {
            is_delete: true,
            is_compact: false
        }
    );
    assert_eq!(
        effective(&[("cleanup.policy", "")]).cleanup_policy,
        CleanupPolicy::default()
    );
    let both = CleanupPolicy {
        is_delete: true,
        is_compact: true,
    };
    assert_eq!(
        effective(&[("cleanup.policy", "compact,delete")]).cleanup_policy,
        both
    );
    for (name, codec) in [
        ("uncompressed", CompressionType::Uncompressed),
        ("gzip", CompressionType::Gzip),
        ("snappy", CompressionType::Snappy),
        ("lz4", CompressionType::Lz4),
        ("zstd", CompressionType::Zstd),
        ("producer", CompressionType::Producer),
    ] {
        assert_eq!(
            effective(&[("compression.type", name)]).compression_type,
            codec
        );
    }
}

#[test]
fn a_stored_value_that_is_no_longer_allowed_counts_as_not_set() {
    let mut topic = TopicOverrides::new();
    topic.insert("max.message.bytes".to_owned(), "many".to_owned());
    topic.insert("not.a.key".to_owned(), "1".to_owned());
    assert_eq!(
        TopicConfigs::resolve(&topic, &TopicDefaults::default()),
        TopicConfigs::default()
    );
}

#[test]
fn every_default_of_the_table_satisfies_its_rule() {
    assert_eq!(TOPIC_KEYS.len(), 33);
    for key in TOPIC_KEYS {
        let kept = key.rule.check(key.name, key.kind, key.default).unwrap();
        assert_eq!(kept, key.default, "{}", key.name);
    }
}

proptest! {
    #![proptest_config(crate::test_scale::cases())]

    #[test]
    fn whatever_is_accepted_can_be_resolved_and_is_stable(
        index in 0..TOPIC_KEYS.len(),
        value in any::<i64>(),
        text in "\\PC{0,12}",
    ) {
        let key = &TOPIC_KEYS[index];
        for given in [value.to_string(), text] {
            let Ok(kept) = check_overrides([(key.name, given.as_str())], &TopicDefaults::default()) else { continue };
            let again = kept.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            prop_assert_eq!(check_overrides(again, &TopicDefaults::default()).unwrap(), kept.clone());
            let resolved = TopicConfigs::resolve(&kept, &TopicDefaults::default());
            prop_assert_eq!(resolved.check(), Ok(()));
            let shown = describe_topic(&kept, &TopicDefaults::default());
            prop_assert_eq!(shown[index].value.as_ref(), kept.get(key.name));
            prop_assert_eq!(shown[index].source, ConfigSource::Topic);
        }
    }

    #[test]
    fn any_default_of_the_broker_can_be_resolved(index in 0..TOPIC_KEYS.len(), value in any::<i64>()) {
        let key = &TOPIC_KEYS[index];
        let mut of_broker = TopicDefaults::default();
        for synonym in key.synonyms {
            let small = value >> if synonym.kind == ConfigType::Int { 33 } else { 0 };
            let is_set = of_broker.set(synonym.name, &small.to_string()).is_ok();
            prop_assert_eq!(is_set, of_broker.get(synonym.name).is_some());
        }
        let resolved = TopicConfigs::resolve(&TopicOverrides::new(), &of_broker);
        let shown = describe_topic(&TopicOverrides::new(), &of_broker);
        let shown = |name: &str| shown.iter().find(|entry| entry.name == name).unwrap().value.clone().unwrap();
        prop_assert_eq!(resolved.max_message_bytes.to_string(), shown("max.message.bytes"));
        let retention = resolved.retention.map_or("-1".to_owned(), |span| span.as_millis().to_string());
        prop_assert_eq!(retention, shown("retention.ms"));
    }
}
