//! Broker configs that are set while brokers run (KIP-226): for one broker, or for all of them.
//!
//! What is set for one broker wins over what is set for all, which wins over what its files, variables and command line
//! say. The texts of refusals are Kafka's (`DynamicBrokerConfig`, `ConfigAdminManager`). What is set is kept by the
//! metadata store; this is only what it means.

use std::collections::BTreeMap;

use super::keys::{BrokerKey, Role, broker_key};
use super::{ConfigEntry, ConfigSource, ConfigSynonym, ConfigType};
use crate::settings::Settings;
use crate::topic::rule::split_list;
use crate::topic::{AlterOp, Rule, TOPIC_KEYS, TopicDefaults, topic_key};

/// The configs that are set on brokers, by key, checked and written as Kafka writes them.
pub type BrokerOverrides = BTreeMap<String, String>;

/// Settings of ours that a running broker takes over.
pub(super) const DYNAMIC_SETTINGS: &[&str] = &[
    "max.connections",
    "max.connections.per.ip",
    "producer.id.expiration.ms",
];

/// Keys without effect that Kafka changes while it runs, and that tools set: threads, the cleaner, remote storage.
/// Nothing is risked by taking them. Listeners, TLS and SASL are not among them: whoever sets those relies on the effect.
pub(super) const DYNAMIC_WITHOUT_EFFECT: &[&str] = &[
    "background.threads",
    "follower.fetch.last.tiered.offset.enable",
    "follower.replication.throttled.rate",
    "group.consumer.assignment.interval.ms",
    "group.coordinator.cached.buffer.max.bytes",
    "group.share.assignment.interval.ms",
    "group.streams.assignment.interval.ms",
    "leader.replication.throttled.rate",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "remote.fetch.max.wait.ms",
    "remote.list.offsets.request.timeout.ms",
    "remote.log.index.file.cache.total.size.bytes",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.copy.max.bytes.per.second",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.fetch.max.bytes.per.second",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
    "replica.alter.log.dirs.io.max.bytes.per.second",
    "share.coordinator.cached.buffer.max.bytes",
    "transaction.partition.verification.enable",
];

/// Why broker configs are not changed. Nothing was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerConfigError {
    /// No broker config has that name.
    #[error("Unknown config name: {name}")]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// These take effect when the broker starts. Set them in its configuration and restart it.
    #[error("Cannot update these configs dynamically: [{}]", names.join(", "))]
    Fixed {
        /// Their names.
        names: Vec<String>,
    },
    /// An operation for lists was asked of another type.
    #[error("Config value {operation} is not allowed for config key: {name}")]
    NotAList {
        /// `append` or `subtract`.
        operation: &'static str,
        /// The key.
        name: &'static str,
    },
    /// The value is not one of the key's.
    #[error("{text}")]
    Value {
        /// Kafka's text.
        text: String,
    },
}

/// What is set on one broker while it runs.
#[derive(Clone, Copy, Debug)]
pub struct DynamicConfigs<'a> {
    /// For this broker.
    pub own: &'a BrokerOverrides,
    /// For all brokers.
    pub cluster: &'a BrokerOverrides,
}

impl DynamicConfigs<'_> {
    /// The values of `key` and where they are set, the strongest first.
    fn values(&self, key: &str) -> impl Iterator<Item = (&str, ConfigSource)> {
        let own = self
            .own
            .get(key)
            .map(|it| (it, ConfigSource::DynamicBroker));
        let cluster = self.cluster.get(key);
        let cluster = cluster.map(|it| (it, ConfigSource::DynamicDefaultBroker));
        own.into_iter()
            .chain(cluster)
            .map(|(value, source)| (value.as_str(), source))
    }

    /// The settings of the broker with these configs. A value that the rules refuse (another release stored it) counts as
    /// not set.
    #[must_use]
    pub fn applied_to(&self, settings: &Settings) -> Settings {
        let mut applied = settings.clone();
        applied.topic_defaults = self.applied_to_topics(&settings.topic_defaults);
        for name in DYNAMIC_SETTINGS {
            let Some(Role::Setting { path, unit }) = broker_key(name).map(|key| key.role) else {
                continue;
            };
            let Some((value, _)) = self.values(name).next() else {
                continue;
            };
            if let Ok(text) = unit.read(value) {
                let mut changed = applied.clone();
                if let Some(Ok(())) = changed.set(path, &text) {
                    applied = changed;
                }
            }
        }
        applied
    }

    /// What applies to topics that do not say otherwise, with these configs.
    #[must_use]
    pub fn applied_to_topics(&self, defaults: &TopicDefaults) -> TopicDefaults {
        let mut applied = defaults.clone();
        for synonym in TOPIC_KEYS.iter().flat_map(|key| key.synonyms) {
            for (value, source) in self.values(synonym.name) {
                applied.set_dynamically(synonym.name, value, source);
            }
        }
        applied
    }

    /// The broker's configs as DescribeConfigs shows them: `entries` are those that it started with, `defaults` what
    /// applies to topics by now.
    #[must_use]
    pub fn shown(&self, entries: &[ConfigEntry], defaults: &TopicDefaults) -> Vec<ConfigEntry> {
        let mut shown = Vec::with_capacity(entries.len());
        for entry in entries {
            let role = broker_key(entry.name).map(|key| key.role);
            let mut entry = entry.clone();
            if let Some(Role::TopicDefault { topic_key: of, .. }) = role {
                let synonyms = topic_key(of).map(|key| defaults.synonyms_behind(key, entry.name));
                entry.synonyms = synonyms.unwrap_or_default();
            } else {
                let set = self.values(entry.name);
                let set = set.map(|(value, source)| ConfigSynonym {
                    name: entry.name,
                    value: Some(value.to_owned()),
                    source,
                });
                entry.synonyms = set.chain(entry.synonyms).collect();
            }
            let is_unset = entry.synonyms.is_empty();
            if !(is_unset && matches!(role, Some(Role::OnlyDynamic { .. }))) {
                shown.push(by_its_synonyms(entry));
            }
        }
        shown
    }
}

/// What is set for all brokers, as DescribeConfigs shows it.
#[must_use]
pub fn describe_all_brokers(cluster: &BrokerOverrides) -> Vec<ConfigEntry> {
    let set = cluster.iter().filter_map(|(name, value)| {
        let key = broker_key(name)?;
        let synonym = ConfigSynonym {
            name: key.name,
            value: Some(value.clone()),
            source: ConfigSource::DynamicDefaultBroker,
        };
        let entry = ConfigEntry {
            name: key.name,
            value: None,
            source: ConfigSource::Default,
            is_read_only: !key.is_dynamic,
            is_sensitive: false,
            kind: key.kind,
            documentation: key.documentation(),
            synonyms: vec![synonym],
        };
        Some(by_its_synonyms(entry))
    });
    set.collect()
}

/// The entry with the value and the source of its strongest synonym.
fn by_its_synonyms(mut entry: ConfigEntry) -> ConfigEntry {
    if let Some(first) = entry.synonyms.first() {
        entry.value.clone_from(&first.value);
        entry.source = first.source;
    }
    entry
}

/// Applies one change to what is set on a broker, or on all. Nothing is checked but that lists are lists:
/// [`check_broker_overrides`] comes after all changes.
///
/// # Errors
/// [`BrokerConfigError::Unknown`] and [`BrokerConfigError::NotAList`]; `overrides` is then unchanged.
pub fn alter_broker_overrides(
    operation: AlterOp<'_>,
    name: &str,
    overrides: &mut BrokerOverrides,
) -> Result<(), BrokerConfigError> {
    let current = |word: &'static str| {
        let key = broker_key(name).ok_or_else(|| unknown(name))?;
        if key.kind != ConfigType::List {
            let name = key.name;
            return Err(BrokerConfigError::NotAList {
                operation: word,
                name,
            });
        }
        let set = overrides.get(name).or(key.default.as_ref());
        Ok(set.cloned().unwrap_or_default())
    };
    let value = match operation {
        AlterOp::Delete => {
            overrides.remove(name);
            return Ok(());
        }
        AlterOp::Set(value) => value.to_owned(),
        AlterOp::Append(added) => {
            let current = current("append")?;
            let mut parts: Vec<&str> = split_list(&current).collect();
            for part in split_list(added) {
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
            parts.join(",")
        }
        AlterOp::Subtract(taken) => {
            let current = current("subtract")?;
            let taken: Vec<&str> = split_list(taken).collect();
            let left = split_list(&current).filter(|part| !taken.contains(part));
            left.collect::<Vec<_>>().join(",")
        }
    };
    overrides.insert(name.to_owned(), value);
    Ok(())
}

/// Checks configs that are to be set on a broker, or on all, and returns them as Kafka writes them.
///
/// # Errors
/// The first [`BrokerConfigError`]: names before values.
pub fn check_broker_overrides<'a>(
    given: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BrokerOverrides, BrokerConfigError> {
    let mut keys = Vec::new();
    let mut fixed = Vec::new();
    for (name, value) in given {
        let key = broker_key(name).ok_or_else(|| unknown(name))?;
        if key.is_dynamic {
            keys.push((key, value));
        } else {
            fixed.push(name.to_owned());
        }
    }
    if !fixed.is_empty() {
        return Err(BrokerConfigError::Fixed { names: fixed });
    }
    let checked = keys.into_iter().map(|(key, value)| {
        let value = checked_value(key, value).map_err(|text| BrokerConfigError::Value { text })?;
        Ok((key.name.to_owned(), value))
    });
    checked.collect()
}

/// The value as Kafka writes it, or Kafka's text about it.
fn checked_value(key: &'static BrokerKey, value: &str) -> Result<String, String> {
    let typed = Rule::Any.check(key.name, key.kind, value);
    let typed = typed.map_err(|error| error.to_string())?;
    match key.role {
        Role::TopicDefault { .. } => {
            let mut defaults = TopicDefaults::default();
            let set = defaults.set(key.name, value);
            set.map_err(|error| error.to_string())?;
            Ok(defaults.get(key.name).map_or(typed, str::to_owned))
        }
        Role::Setting { path, unit } => {
            let set = unit.read(&typed).and_then(|text| {
                let mut settings = Settings::default();
                settings.set(path, &text).unwrap_or(Ok(()))
            });
            let name = key.name;
            set.map_err(|why| format!("Invalid value {typed} for configuration {name}: {why}"))?;
            Ok(typed)
        }
        Role::WithoutEffect { .. } | Role::OnlyDynamic { .. } | Role::Refused { .. } => Ok(typed),
    }
}

fn unknown(name: &str) -> BrokerConfigError {
    BrokerConfigError::Unknown {
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
