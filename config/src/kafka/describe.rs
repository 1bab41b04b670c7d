//! The broker's configs as DescribeConfigs shows them, in Kafka's names and units, whatever way they were set.

use super::keys::{BrokerKey, Role, broker_keys};
use super::{ConfigEntry, ConfigSource, ConfigSynonym};
use crate::load::provenance::Provenance;
use crate::settings::Settings;

/// All broker configs, by name.
#[must_use]
pub fn describe_broker(settings: &Settings, provenance: &Provenance) -> Vec<ConfigEntry> {
    broker_keys()
        .iter()
        .map(|key| describe_key(key, settings, provenance))
        .collect()
}

fn describe_key(
    key: &'static BrokerKey,
    settings: &Settings,
    provenance: &Provenance,
) -> ConfigEntry {
    let hidden = |value: String| (!key.is_sensitive()).then_some(value);
    let synonym = |value: String, source| ConfigSynonym {
        name: key.name,
        value: hidden(value),
        source,
    };
    let given = static_value(key, settings, provenance);
    let mut synonyms = Vec::new();
    synonyms.extend(
        given
            .clone()
            .map(|value| synonym(value, ConfigSource::StaticBroker)),
    );
    synonyms.extend(
        key.default
            .clone()
            .map(|value| synonym(value, ConfigSource::Default)),
    );
    ConfigEntry {
        name: key.name,
        value: given.or_else(|| key.default.clone()).and_then(hidden),
        source: synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source),
        is_read_only: !key.is_dynamic,
        is_sensitive: key.is_sensitive(),
        kind: key.kind,
        documentation: key.documentation(),
        synonyms,
    }
}

/// The value in Kafka's unit, when somebody set it.
fn static_value(key: &BrokerKey, settings: &Settings, provenance: &Provenance) -> Option<String> {
    match key.role {
        Role::Setting { path, unit } => {
            provenance.winner(path)?;
            settings
                .get(path)
                .map(|value| unit.write(&value))
                .filter(|value| !value.is_empty())
        }
        Role::TopicDefault { .. } => settings.topic_defaults.get(key.name).map(str::to_owned),
        Role::WithoutEffect { .. } | Role::OnlyDynamic { .. } | Role::Refused { .. } => provenance
            .winner(key.name)
            .map(|given| given.value.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests;
