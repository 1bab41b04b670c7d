//! The table of topic configs: Kafka's 33 keys with type, rule, default, the broker keys that give the default, what
//! they mean, and what they do here.

use Effect::{Honoured, Stored};

use super::rule::Rule;
use crate::kafka::ConfigType::{self, Boolean, Double, Int, List, Long, String as Text};

/// What a topic config does in StreamHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The broker acts upon it.
    Honoured,
    /// It is kept and shown, and changes nothing; the sentence says why.
    Stored(&'static str),
}

/// A broker key that gives the default of a topic config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synonym {
    /// The broker key.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigType,
    /// How many units of the topic config one unit of the broker key is; 1 for keys that are not numbers.
    pub factor: i64,
    /// Kafka's default of the broker key, when it has one.
    pub default: Option<&'static str>,
    /// Whether Kafka can change the broker key while it runs.
    pub is_dynamic: bool,
}

impl Synonym {
    /// What the broker key admits: the rule of the topic config, unless it counts in another unit.
    #[must_use]
    pub fn rule(&self, key: &TopicKey) -> Rule {
        match (self.factor, key.name) {
            (1, _) => key.rule,
            (_, "segment.ms") => Rule::AtLeast(1),
            (_, "segment.jitter.ms") => Rule::AtLeast(0),
            _ => Rule::Any,
        }
    }

    /// The value of the topic config that `value` of this key means.
    #[must_use]
    pub fn convert(&self, value: &str) -> String {
        match value.parse::<i64>() {
            Ok(number) if self.factor != 1 && number < 0 => "-1".to_owned(),
            Ok(number) if self.factor != 1 => number.saturating_mul(self.factor).to_string(),
            Ok(_) | Err(_) => value.to_owned(),
        }
    }
}

/// A topic config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: &'static str,
    /// The type of the value.
    pub kind: ConfigType,
    /// Kafka's default.
    pub default: &'static str,
    /// What is allowed.
    pub rule: Rule,
    /// The broker keys that give the default, the strongest first.
    pub synonyms: &'static [Synonym],
    /// What the key means.
    pub doc: &'static str,
    /// What it does here.
    pub effect: Effect,
}

impl TopicKey {
    /// The meaning and the effect, as DescribeConfigs shows them.
    #[must_use]
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Honoured => self.doc.to_owned(),
            Effect::Stored(why) => format!("{} No effect in StreamHouse: {why}", self.doc),
        }
    }
}

/// The row of a topic config.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

const MAX: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const NO_FILES: &str = "partitions are not kept as segment files.";
const NO_TIERS: &str = "all data moves to the object store, whatever this says.";
const NO_REPLICATION: &str =
    "records are not copied between brokers; the WAL and the object store keep them.";
const NO_RECOMPRESSION: &str = "batches are kept as their producer compressed them.";
const NO_COMPACTION: &str =
    "this release does not compact; nothing of a compacted topic is removed.";

const fn synonym(name: &'static str, kind: ConfigType, default: &'static str) -> Synonym {
    Synonym {
        name,
        kind,
        factor: 1,
        default: Some(default),
        is_dynamic: true,
    }
}

/// A key that Kafka leaves unset, because a key of a coarser unit has the default.
const fn finest(name: &'static str) -> Synonym {
    Synonym {
        name,
        kind: Long,
        factor: 1,
        default: None,
        is_dynamic: true,
    }
}

const fn coarser(name: &'static str, factor: i64, default: Option<&'static str>) -> Synonym {
    Synonym {
        name,
        kind: Int,
        factor,
        default,
        is_dynamic: false,
    }
}

/// Declares the rows: `name, type, default, rule, [synonyms], effect, documentation;`.
macro_rules! rows {
    ($($name:literal, $kind:expr, $default:expr, $rule:expr, [$($synonym:expr),*], $effect:expr, $doc:literal;)*) => {
        &[$(TopicKey {
            name: $name,
            kind: $kind,
            default: $default,
            rule: $rule,
            synonyms: &[$($synonym),*],
            doc: $doc,
            effect: $effect,
        }),*]
    };
}

/// Every topic config of Kafka 4.3, by name.
pub const TOPIC_KEYS: &[TopicKey] = rows! {
    "cleanup.policy", List, "delete", Rule::ListOf(&["compact", "delete"]),
        [synonym("log.cleanup.policy", List, "delete")], Honoured,
        "What happens to old records: `delete` removes them when retention.ms or retention.bytes is exceeded, \
         `compact` keeps the latest record of each key, both do both, and an empty list keeps everything. Until \
         compaction exists, nothing of a topic whose policy contains `compact` is removed.";
    "compression.gzip.level", Int, "-1", Rule::BetweenOr(1, 9, -1),
        [synonym("compression.gzip.level", Int, "-1")], Stored(NO_RECOMPRESSION),
        "The level when compression.type is gzip: 1 is fastest, 9 is smallest, -1 is the library's choice.";
    "compression.lz4.level", Int, "9", Rule::Between(1, 17),
        [synonym("compression.lz4.level", Int, "9")],
        Stored(NO_RECOMPRESSION),
        "The level when compression.type is lz4.";
    "compression.type", Text, "producer", Rule::OneOf(CODECS),
        [synonym("compression.type", Text, "producer")], Stored(NO_RECOMPRESSION),
        "How batches are compressed where they are kept. `producer` keeps every batch as it was sent, which costs the \
         broker nothing; any other value makes Kafka compress batches again that came differently.";
    "compression.zstd.level", Int, "3", Rule::Between(-131_072, 22),
        [synonym("compression.zstd.level", Int, "3")], Stored(NO_RECOMPRESSION),
        "The level when compression.type is zstd: negative is fastest, 22 is smallest.";
    "delete.retention.ms", Long, "86400000", Rule::AtLeast(0),
        [synonym("log.cleaner.delete.retention.ms", Long, "86400000")], Stored(NO_COMPACTION),
        "How long the mark of a deleted key stays in a compacted topic, so that a consumer that began at the start \
         sees it.";
    "file.delete.delay.ms", Long, "60000", Rule::AtLeast(0),
        [synonym("log.segment.delete.delay.ms", Long, "60000")],
        Stored("unused objects are deleted after the setting storage.object_grace."),
        "How long Kafka keeps a removed segment file before it deletes it.";
    "flush.messages", Long, MAX, Rule::AtLeast(1),
        [synonym("log.flush.interval.messages", Long, MAX)],
        Stored("every acknowledged record is already on stable storage."),
        "After how many records Kafka forces an fsync.";
    "flush.ms", Long, MAX, Rule::AtLeast(0),
        [finest("log.flush.interval.ms"), Synonym {
            name: "log.flush.scheduler.interval.ms", kind: Long, factor: 1, default: Some(MAX), is_dynamic: false,
        }],
        Stored("every acknowledged record is already on stable storage."),
        "After how many milliseconds Kafka forces an fsync.";
    "follower.replication.throttled.replicas", List, "", Rule::Replicas, [], Stored(NO_REPLICATION),
        "Replicas whose copying is throttled on the follower: `partition:broker,...`, or `*` for all.";
    "index.interval.bytes", Int, "4096", Rule::AtLeast(0),
        [synonym("log.index.interval.bytes", Int, "4096")], Stored(NO_FILES),
        "After how many bytes Kafka adds an entry to a segment's offset index.";
    "leader.replication.throttled.replicas", List, "", Rule::Replicas, [], Stored(NO_REPLICATION),
        "Replicas whose copying is throttled on the leader: `partition:broker,...`, or `*` for all.";
    "local.retention.bytes", Long, "-2", Rule::AtLeast(-2),
        [synonym("log.local.retention.bytes", Long, "-2")], Stored(NO_TIERS),
        "How many bytes of a partition Kafka keeps on local disks when tiered storage is on; -2 means retention.bytes.";
    "local.retention.ms", Long, "-2", Rule::AtLeast(-2),
        [synonym("log.local.retention.ms", Long, "-2")], Stored(NO_TIERS),
        "How long Kafka keeps records on local disks when tiered storage is on; -2 means retention.ms.";
    "max.compaction.lag.ms", Long, MAX, Rule::AtLeast(1),
        [synonym("log.cleaner.max.compaction.lag.ms", Long, MAX)], Stored(NO_COMPACTION),
        "After how long a record of a compacted topic must have been considered for compaction.";
    "max.message.bytes", Int, "1048588", Rule::AtLeast(0),
        [synonym("message.max.bytes", Int, "1048588")], Honoured,
        "The largest record batch that is accepted, after compression. A batch must also fit into a request \
         (socket.request.max.bytes).";
    "message.timestamp.after.max.ms", Long, "3600000", Rule::AtLeast(0),
        [synonym("log.message.timestamp.after.max.ms", Long, "3600000")], Honoured,
        "How far the timestamp of a record may lie after the broker's clock before the record is refused. Ignored \
         when message.timestamp.type is LogAppendTime.";
    "message.timestamp.before.max.ms", Long, MAX, Rule::AtLeast(0),
        [synonym("log.message.timestamp.before.max.ms", Long, MAX)], Honoured,
        "How far the timestamp of a record may lie before the broker's clock before the record is refused. Ignored \
         when message.timestamp.type is LogAppendTime.";
    "message.timestamp.type", Text, "CreateTime", Rule::OneOf(&["CreateTime", "LogAppendTime"]),
        [synonym("log.message.timestamp.type", Text, "CreateTime")], Honoured,
        "Whether records keep the producer's timestamp (CreateTime) or get the broker's time when they are appended \
         (LogAppendTime).";
    "min.cleanable.dirty.ratio", Double, "0.5", Rule::Fraction(0.0, 1.0),
        [synonym("log.cleaner.min.cleanable.ratio", Double, "0.5")], Stored(NO_COMPACTION),
        "Which share of a log must be uncompacted before it is compacted again.";
    "min.compaction.lag.ms", Long, "0", Rule::AtLeast(0),
        [synonym("log.cleaner.min.compaction.lag.ms", Long, "0")], Stored(NO_COMPACTION),
        "How long a record of a compacted topic is at least kept uncompacted.";
    "min.insync.replicas", Int, "1", Rule::AtLeast(1),
        [synonym("min.insync.replicas", Int, "1")],
        Stored("records are as durable as the cluster's durability mode says, so it always counts as satisfied."),
        "How many replicas must have a record before acks=all is answered.";
    "preallocate", Boolean, "false", Rule::Any,
        [synonym("log.preallocate", Boolean, "false")], Stored(NO_FILES),
        "Whether Kafka allocates the space of a new segment file in advance.";
    "remote.log.copy.disable", Boolean, "false", Rule::Any, [], Stored(NO_TIERS),
        "Whether Kafka stops copying the topic to remote storage.";
    "remote.log.delete.on.disable", Boolean, "false", Rule::Any, [], Stored(NO_TIERS),
        "Whether Kafka deletes the remote data of a topic when tiered storage is switched off for it.";
    "remote.storage.enable", Boolean, "false", Rule::Any, [], Stored(NO_TIERS),
        "Whether Kafka copies the topic to remote storage.";
    "retention.bytes", Long, "-1", Rule::Any,
        [synonym("log.retention.bytes", Long, "-1")], Honoured,
        "How many bytes a partition may have before its oldest records are removed, when cleanup.policy contains \
         `delete`. It counts per partition; -1 is unlimited.";
    "retention.ms", Long, "604800000", Rule::AtLeast(-1),
        [finest("log.retention.ms"), coarser("log.retention.minutes", 60_000, None),
         coarser("log.retention.hours", 3_600_000, Some("168"))], Honoured,
        "How long records are kept when cleanup.policy contains `delete`; -1 is without limit. Records go in groups, \
         so some stay a little longer.";
    "segment.bytes", Int, "1073741824", Rule::AtLeast(1_048_576),
        [synonym("log.segment.bytes", Int, "1073741824")], Stored(NO_FILES),
        "The size of a segment file in Kafka.";
    "segment.index.bytes", Int, "10485760", Rule::AtLeast(4),
        [synonym("log.index.size.max.bytes", Int, "10485760")], Stored(NO_FILES),
        "The size of the index of a segment file in Kafka.";
    "segment.jitter.ms", Long, "0", Rule::AtLeast(0),
        [finest("log.roll.jitter.ms"), coarser("log.roll.jitter.hours", 3_600_000, Some("0"))], Stored(NO_FILES),
        "The random time that Kafka subtracts from segment.ms, so that segments do not end all at once.";
    "segment.ms", Long, "604800000", Rule::AtLeast(1),
        [finest("log.roll.ms"), coarser("log.roll.hours", 3_600_000, Some("168"))], Stored(NO_FILES),
        "After how long Kafka begins another segment file, even if the current one is not full.";
    "unclean.leader.election.enable", Boolean, "false", Rule::Any,
        [synonym("unclean.leader.election.enable", Boolean, "false")], Stored(NO_REPLICATION),
        "Whether a replica that lacks records may become leader when no other is alive, which loses those records.";
};
