//! Changing the configs of a topic.

use std::collections::BTreeSet;

use streamhouse_config::topic::{AlterOp, check_overrides};
use streamhouse_config::{TopicConfigError, TopicOverrides};
use streamhouse_metadata::{ConfigChange, ConfigTarget, SetConfigsError, StoreError, Topic};
use tracing::info;

use super::Topics;

/// What becomes of one config (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// It gets this value.
    Set(String),
    /// It gets the default back.
    Delete,
    /// These parts are added to its list.
    Append(String),
    /// These parts are taken from its list.
    Subtract(String),
}

impl ConfigOperation {
    pub(super) const fn as_alter(&self) -> AlterOp<'_> {
        match self {
            Self::Set(value) => AlterOp::Set(value.as_str()),
            Self::Delete => AlterOp::Delete,
            Self::Append(parts) => AlterOp::Append(parts.as_str()),
            Self::Subtract(parts) => AlterOp::Subtract(parts.as_str()),
        }
    }
}

/// Why the configs of a topic are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterTopicError {
    /// There is no such topic.
    #[error("The topic '{name}' does not exist.")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// A config is named twice.
    #[error("Error due to duplicate config keys: {name}")]
    Duplicate {
        /// The config.
        name: String,
    },
    /// A config is not one.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// The store failed; the error says whether the change may be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Topics {
    /// Changes single configs of a topic; those that are not named stay.
    pub async fn alter_configs(
        &self,
        name: &str,
        operations: &[(String, ConfigOperation)],
        validate_only: bool,
    ) -> Result<(), AlterTopicError> {
        let mut seen = BTreeSet::new();
        if let Some((name, _)) = operations.iter().find(|(name, _)| !seen.insert(name)) {
            return Err(AlterTopicError::Duplicate { name: name.clone() });
        }
        let _altering = self.altering.lock().await;
        let topic = self.find(name);
        let mut overrides = topic
            .as_ref()
            .map(|topic| topic.configs.clone())
            .unwrap_or_default();
        let defaults = self.defaults(&self.current());
        for (name, operation) in operations {
            operation
                .as_alter()
                .apply(name, &mut overrides, &defaults)?;
        }
        check_overrides(as_pairs(&overrides), &defaults)?;
        let target = target(name, topic.as_ref())?;
        let changes = operations
            .iter()
            .map(|(name, _)| match overrides.get(name) {
                Some(value) => ConfigChange::Set {
                    name: name.clone(),
                    value: value.clone(),
                },
                None => ConfigChange::Delete { name: name.clone() },
            });
        self.set_configs(name, target, changes.collect(), validate_only)
            .await
    }

    /// Gives a topic exactly these configs; those that are not named get their defaults back.
    pub async fn replace_configs(
        &self,
        name: &str,
        configs: &[(String, String)],
        validate_only: bool,
    ) -> Result<(), AlterTopicError> {
        let mut seen = BTreeSet::new();
        if let Some((name, _)) = configs.iter().find(|(name, _)| !seen.insert(name)) {
            return Err(AlterTopicError::Duplicate { name: name.clone() });
        }
        let _altering = self.altering.lock().await;
        let pairs = configs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let overrides = check_overrides(pairs, &self.defaults(&self.current()))?;
        let target = target(name, self.find(name).as_ref())?;
        let changes = vec![ConfigChange::Replace(overrides)];
        self.set_configs(name, target, changes, validate_only).await
    }

    async fn set_configs(
        &self,
        name: &str,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Result<(), AlterTopicError> {
        if validate_only {
            return Ok(());
        }
        let changed = self.store.set_configs(target, changes).await;
        changed.map_err(|error| match error {
            SetConfigsError::UnknownTopic { .. } => AlterTopicError::UnknownTopic {
                name: name.to_owned(),
            },
            SetConfigsError::Store(error) => AlterTopicError::Store(error),
        })?;
        info!(topic = name, "topic configs changed");
        self.refresh().await;
        Ok(())
    }
}

/// The topic whose configs change. Looked for behind the values, as in Kafka: a client that asks for a value that no topic
/// can have hears of it, whatever topic it names.
fn target(name: &str, topic: Option<&Topic>) -> Result<ConfigTarget, AlterTopicError> {
    topic
        .map(|topic| ConfigTarget::Topic(topic.id))
        .ok_or_else(|| AlterTopicError::UnknownTopic {
            name: name.to_owned(),
        })
}

fn as_pairs(overrides: &TopicOverrides) -> impl Iterator<Item = (&str, &str)> {
    overrides
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
}
