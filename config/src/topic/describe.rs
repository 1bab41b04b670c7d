//! Topic configs as DescribeConfigs and CreateTopics show them: every key, always, because Connect, Streams and
//! Debezium stop when one is missing.

use super::alter::TopicOverrides;
use super::keys::{TOPIC_KEYS, TopicKey};
use super::resolve::TopicDefaults;
use crate::kafka::{ConfigEntry, ConfigSource, ConfigSynonym};

/// All configs of a topic in the order of the table.
#[must_use]
pub fn describe_topic(overrides: &TopicOverrides, defaults: &TopicDefaults) -> Vec<ConfigEntry> {
    TOPIC_KEYS
        .iter()
        .map(|key| describe_key(key, overrides, defaults))
        .collect()
}

fn describe_key(
    key: &'static TopicKey,
    overrides: &TopicOverrides,
    defaults: &TopicDefaults,
) -> ConfigEntry {
    let own = overrides.get(key.name);
    let mut synonyms = Vec::new();
    if let Some(value) = own {
        synonyms.push(ConfigSynonym {
            name: key.name,
            value: Some(value.clone()),
            source: ConfigSource::Topic,
        });
    }
    synonyms.extend(defaults.synonyms(key));
    ConfigEntry {
        name: key.name,
        value: Some(own.cloned().unwrap_or_else(|| defaults.value(key))),
        source: synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source),
        is_read_only: false,
        is_sensitive: false,
        kind: key.kind,
        documentation: key.documentation(),
        synonyms,
    }
}
