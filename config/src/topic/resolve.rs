//! Which values of a topic's configs are in effect: what is set on the topic, else what the broker's settings say,
//! else Kafka's default.

use std::collections::BTreeMap;
use std::time::Duration;

use super::TopicConfigError;
use super::alter::TopicOverrides;
use super::keys::{TOPIC_KEYS, TopicKey, topic_key};
use super::rule::split_list;
use crate::kafka::{ConfigSource, ConfigSynonym};

/// What the broker's settings say about topics that do not say otherwise: the values of Kafka's broker keys such as
/// `log.retention.hours`. Only keys that somebody set are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicDefaults {
    set: BTreeMap<&'static str, String>,
    /// What is set while brokers run, for all of them.
    set_for_all: BTreeMap<&'static str, String>,
    /// What is set while this broker runs, for it alone.
    set_for_one: BTreeMap<&'static str, String>,
}

impl TopicDefaults {
    /// Sets a broker key such as `log.retention.hours` from text.
    ///
    /// # Errors
    /// [`TopicConfigError::Unknown`] when no topic config has that broker key, else what the rule says.
    pub fn set(&mut self, broker_key: &str, value: &str) -> Result<(), TopicConfigError> {
        let (name, value) = checked(broker_key, value)?;
        self.set.insert(name, value);
        Ok(())
    }

    /// Sets a broker key while the broker runs, for all brokers or for this one as `source` says. What the rules refuse
    /// (another release stored it) counts as not set.
    pub(crate) fn set_dynamically(&mut self, broker_key: &str, value: &str, source: ConfigSource) {
        let Ok((name, value)) = checked(broker_key, value) else {
            return;
        };
        let place = match source {
            ConfigSource::DynamicBroker => &mut self.set_for_one,
            ConfigSource::DynamicDefaultBroker => &mut self.set_for_all,
            ConfigSource::StaticBroker
            | ConfigSource::Topic
            | ConfigSource::Group
            | ConfigSource::BrokerLogger
            | ConfigSource::Default => &mut self.set,
        };
        place.insert(name, value);
    }

    /// The value of a broker key, when its settings say one.
    #[must_use]
    pub fn get(&self, broker_key: &str) -> Option<&str> {
        self.set.get(broker_key).map(String::as_str)
    }

    /// The places that may set a broker key, the strongest first.
    fn places(&self) -> [(&BTreeMap<&'static str, String>, ConfigSource); 3] {
        [
            (&self.set_for_one, ConfigSource::DynamicBroker),
            (&self.set_for_all, ConfigSource::DynamicDefaultBroker),
            (&self.set, ConfigSource::StaticBroker),
        ]
    }

    /// What applies to topics that do not set `key`. Where Kafka has several units, the finest one that is set wins.
    #[must_use]
    pub fn value(&self, key: &TopicKey) -> String {
        for synonym in key.synonyms {
            let mut set = self.places().into_iter();
            if let Some(value) = set.find_map(|(place, _)| place.get(synonym.name)) {
                return synonym.convert(value);
            }
        }
        key.default.to_owned()
    }

    /// The broker keys that set `key` or would set it, the strongest first. As in Kafka
    /// (`DynamicBrokerConfig.brokerConfigSynonyms`), what precedes the key's own name is left out: a retention that
    /// was set in hours is not listed.
    #[must_use]
    pub fn synonyms(&self, key: &TopicKey) -> Vec<ConfigSynonym> {
        match key.synonyms.first() {
            Some(own) => self.synonyms_behind(key, own.name),
            None => Vec::new(),
        }
    }

    /// The broker keys that set `key` or would set it, from `first` on, the strongest first: place by place, and within
    /// a place the finest unit first.
    pub(crate) fn synonyms_behind(&self, key: &TopicKey, first: &str) -> Vec<ConfigSynonym> {
        let set = self.places().into_iter().flat_map(|(place, source)| {
            let set = key.synonyms.iter();
            set.filter_map(move |synonym| {
                let value = place.get(synonym.name)?.clone();
                Some((synonym.name, value, source))
            })
        });
        let unset = key.synonyms.iter().filter_map(|synonym| {
            Some((
                synonym.name,
                synonym.default?.to_owned(),
                ConfigSource::Default,
            ))
        });
        set.chain(unset)
            .skip_while(|(name, ..)| *name != first)
            .map(|(name, value, source)| ConfigSynonym {
                name,
                value: Some(value),
                source,
            })
            .collect()
    }
}

/// The broker key of that name, and its value as Kafka writes it.
fn checked(broker_key: &str, value: &str) -> Result<(&'static str, String), TopicConfigError> {
    let mut rows = TOPIC_KEYS
        .iter()
        .flat_map(|key| key.synonyms.iter().map(move |synonym| (key, synonym)));
    let Some((key, synonym)) = rows.find(|(_, synonym)| synonym.name == broker_key) else {
        return Err(TopicConfigError::Unknown {
            name: broker_key.to_owned(),
        });
    };
    let value = synonym.rule(key).check(synonym.name, synonym.kind, value)?;
    if key.name == "retention.ms" && value == "0" {
        return Err(TopicConfigError::Value {
            name: synonym.name,
            value,
            reason: "it must be unlimited (-1) or at least 1".into(),
        });
    }
    Ok((synonym.name, value))
}

/// What happens to old records. Both may hold; neither keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Records older than the retention, or beyond its size, are removed.
    pub is_delete: bool,
    /// The latest record of each key is kept.
    pub is_compact: bool,
}

/// How batches of a topic are compressed where they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// Whose clock the timestamps of a topic come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appends.
    LogAppendTime,
}

/// The configs of a topic that the broker acts upon, with the values in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfigs {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`.
    pub compression_type: CompressionType,
    /// `compression.gzip.level`; -1 is the library's default.
    pub compression_gzip_level: i32,
    /// `compression.lz4.level`.
    pub compression_lz4_level: i32,
    /// `compression.zstd.level`.
    pub compression_zstd_level: i32,
    /// `delete.retention.ms`.
    pub delete_retention: Duration,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag: Duration,
    /// `max.message.bytes`: the largest record batch, after compression.
    pub max_message_bytes: u32,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max: Duration,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max: Duration,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag: Duration,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `retention.bytes` of one partition; `None` is unlimited.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is unlimited.
    pub retention: Option<Duration>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_age: Duration,
}

impl TopicConfigs {
    /// The values in effect. Values in `overrides` that the rules refuse (they were stored by another release) count
    /// as not set.
    #[must_use]
    pub fn resolve(overrides: &TopicOverrides, defaults: &TopicDefaults) -> Self {
        let values = Values {
            overrides,
            defaults,
        };
        let policy = values.text("cleanup.policy");
        let policies: Vec<&str> = split_list(&policy).collect();
        Self {
            cleanup_policy: CleanupPolicy {
                is_delete: policies.contains(&"delete"),
                is_compact: policies.contains(&"compact"),
            },
            compression_type: compression_type(&values.text("compression.type")),
            compression_gzip_level: values.level("compression.gzip.level"),
            compression_lz4_level: values.level("compression.lz4.level"),
            compression_zstd_level: values.level("compression.zstd.level"),
            delete_retention: values.duration("delete.retention.ms"),
            max_compaction_lag: values.duration("max.compaction.lag.ms"),
            max_message_bytes: values.count("max.message.bytes"),
            timestamp_after_max: values.duration("message.timestamp.after.max.ms"),
            timestamp_before_max: values.duration("message.timestamp.before.max.ms"),
            timestamp_type: match values.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: values
                .text("min.cleanable.dirty.ratio")
                .parse()
                .expect("the rule of the key admits fractions only"),
            min_compaction_lag: values.duration("min.compaction.lag.ms"),
            min_insync_replicas: values.count("min.insync.replicas"),
            retention_bytes: u64::try_from(values.number("retention.bytes")).ok(),
            retention: u64::try_from(values.number("retention.ms"))
                .ok()
                .map(Duration::from_millis),
            segment_bytes: values.count("segment.bytes"),
            segment_age: values.duration("segment.ms"),
        }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// [`TopicConfigError::CompactionLags`].
    pub fn check(&self) -> Result<(), TopicConfigError> {
        if self.min_compaction_lag <= self.max_compaction_lag {
            return Ok(());
        }
        let millis = |lag: Duration| i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
        Err(TopicConfigError::CompactionLags {
            min: millis(self.min_compaction_lag),
            max: millis(self.max_compaction_lag),
        })
    }
}

impl Default for TopicConfigs {
    fn default() -> Self {
        Self::resolve(&TopicOverrides::new(), &TopicDefaults::default())
    }
}

struct Values<'a> {
    overrides: &'a TopicOverrides,
    defaults: &'a TopicDefaults,
}

impl Values<'_> {
    fn text(&self, name: &str) -> String {
        let key = topic_key(name).expect("only keys of the table are asked for");
        let own = self.overrides.get(name);
        own.and_then(|value| key.rule.check(key.name, key.kind, value).ok())
            .unwrap_or_else(|| self.defaults.value(key))
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name)
            .parse()
            .expect("the type of the key admits whole numbers only")
    }

    fn duration(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.number(name)).unwrap_or(0))
    }

    fn count(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(0)
    }

    fn level(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).unwrap_or(0)
    }
}

fn compression_type(name: &str) -> CompressionType {
    match name {
        "uncompressed" => CompressionType::Uncompressed,
        "gzip" => CompressionType::Gzip,
        "snappy" => CompressionType::Snappy,
        "lz4" => CompressionType::Lz4,
        "zstd" => CompressionType::Zstd,
        _ => CompressionType::Producer,
    }
}
