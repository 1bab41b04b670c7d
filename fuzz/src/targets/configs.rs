//! Configs of a topic, as CreateTopics and AlterConfigs bring them and as the database holds them.
//!
//! What is accepted is accepted again as it was written, and means the same; what is refused says which key; stored values
//! that no rule allows count as not set.

use streamhouse_config::topic::{AlterOp, TOPIC_KEYS, check_overrides};
use streamhouse_config::{TopicConfigs, TopicDefaults, TopicOverrides};

use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "topic_configs",
    reads: "configs of a topic",
    executions: 100_000,
    length_max: 2 << 10,
    memory: Memory {
        per_byte: 512,
        free: 64 << 10,
    },
    words: &[
        "=",
        "\n",
        "-1",
        "0",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "true",
        "delete",
        "compact",
        "compact,delete",
        ",",
        " ",
        "1.0",
        "0.5",
        "1e-400",
        "NaN",
        "inf",
        "zstd",
        "producer",
        "CreateTime",
        "LogAppendTime",
        "cleanup.policy",
        "retention.ms",
        "retention.bytes",
        "segment.bytes",
        "min.compaction.lag.ms",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "compression.type",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "follower.replication.throttled.replicas",
        "*",
        "é",
    ],
    seeds,
    repair: None,
    check,
};

/// A line is `key=value`.
fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<String> = TOPIC_KEYS
        .iter()
        .map(|key| format!("{}={}", key.name, key.default))
        .collect();
    let mut seeds = vec![all.join("\n")];
    seeds.extend(all);
    seeds.push("cleanup.policy=compact,delete\nretention.ms=-1\n".to_owned());
    seeds.into_iter().map(String::into_bytes).collect()
}

fn check(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else {
        return Verdict::Refused;
    };
    let given = || text.lines().filter_map(|line| line.split_once('='));
    let defaults = TopicDefaults::default();
    // As a database could hold them.
    let stored: TopicOverrides = given()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let in_effect = TopicConfigs::resolve(&stored, &defaults);
    for (name, value) in given() {
        let mut changed = stored.clone();
        for change in [
            AlterOp::Set(value),
            AlterOp::Append(value),
            AlterOp::Subtract(value),
            AlterOp::Delete,
        ] {
            if change.apply(name, &mut changed, &defaults).is_err() {
                assert_eq!(changed, stored, "a refused change changes nothing");
            }
            changed.clone_from(&stored);
        }
    }
    match check_overrides(given(), &defaults) {
        Ok(overrides) => {
            let pairs = overrides
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let again = check_overrides(pairs, &defaults);
            assert_eq!(
                again.as_ref(),
                Ok(&overrides),
                "what Kafka would show is taken"
            );
            assert_eq!(TopicConfigs::resolve(&overrides, &defaults), in_effect);
            Verdict::Accepted
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Verdict::Refused
        }
    }
}
