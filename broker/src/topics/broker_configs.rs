//! Broker configs that are set while brokers run (KIP-226): for this broker, or for all.
//!
//! They are kept with the topics and seen by every broker when it sees topics, at the latest with its next heartbeat.

use std::collections::BTreeSet;
use std::sync::Arc;

use streamhouse_config::TopicDefaults;
use streamhouse_config::kafka::{
    BrokerConfigError, BrokerOverrides, DynamicConfigs, alter_broker_overrides,
    check_broker_overrides,
};
use streamhouse_metadata::{Catalogue, ConfigChange, ConfigTarget, SetConfigsError, StoreError};
use tracing::info;

use super::{ConfigOperation, Topics};

/// What is set on a broker on which nothing is.
static NOTHING: BrokerOverrides = BrokerOverrides::new();

/// Why the configs of a broker, or of all, are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterBrokerError {
    /// A config is named twice.
    #[error("Error due to duplicate config keys")]
    Duplicate,
    /// A config is not one, or cannot be changed.
    #[error(transparent)]
    Config(#[from] BrokerConfigError),
    /// The store failed; the error says whether the change may be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Topics {
    /// What is set on this broker while it runs.
    #[must_use]
    pub fn dynamic_configs<'a>(&self, catalogue: &'a Catalogue) -> DynamicConfigs<'a> {
        DynamicConfigs {
            own: catalogue
                .broker_configs(self.rules.broker)
                .unwrap_or(&NOTHING),
            cluster: catalogue.broker_defaults(),
        }
    }

    /// What applies to topics that do not say otherwise.
    #[must_use]
    pub fn defaults(&self, catalogue: &Catalogue) -> Arc<TopicDefaults> {
        let mut known = self.defaults.lock();
        if let Some((revision, defaults)) = &*known
            && *revision == catalogue.revision()
        {
            return Arc::clone(defaults);
        }
        let dynamic = self.dynamic_configs(catalogue);
        let defaults = Arc::new(dynamic.applied_to_topics(&self.rules.defaults));
        *known = Some((catalogue.revision(), Arc::clone(&defaults)));
        defaults
    }

    /// Changes single configs of this broker, or of all; those that are not named stay.
    pub async fn alter_broker_configs(
        &self,
        is_for_all: bool,
        operations: &[(String, ConfigOperation)],
        validate_only: bool,
    ) -> Result<(), AlterBrokerError> {
        only_once(operations.iter().map(|(name, _)| name))?;
        let _altering = self.altering.lock().await;
        // Another broker may have changed what holds for all a moment ago, and what is so already is not written.
        self.refresh().await;
        let catalogue = self.current();
        let dynamic = self.dynamic_configs(&catalogue);
        let before = if is_for_all {
            dynamic.cluster
        } else {
            dynamic.own
        };
        let mut after = before.clone();
        for (name, operation) in operations {
            alter_broker_overrides(operation.as_alter(), name, &mut after)?;
        }
        let set = operations.iter().filter_map(|(name, _)| {
            let value = after.get(name)?;
            Some((name.as_str(), value.as_str()))
        });
        let set = check_broker_overrides(set)?;
        let changes: Vec<ConfigChange> = operations
            .iter()
            .filter_map(|(name, _)| {
                let name = name.clone();
                match (before.get(&name), set.get(&name).cloned()) {
                    (Some(before), Some(value)) if *before == value => None,
                    (_, Some(value)) => Some(ConfigChange::Set { name, value }),
                    (Some(_), None) => Some(ConfigChange::Delete { name }),
                    // What is not set may be unset, whether a broker has such a config or not.
                    (None, None) => None,
                }
            })
            .collect();
        self.set_broker_configs(is_for_all, changes, validate_only)
            .await
    }

    /// Gives this broker, or all, exactly these configs.
    pub async fn replace_broker_configs(
        &self,
        is_for_all: bool,
        configs: &[(String, String)],
        validate_only: bool,
    ) -> Result<(), AlterBrokerError> {
        only_once(configs.iter().map(|(name, _)| name))?;
        let _altering = self.altering.lock().await;
        let pairs = configs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let changes = vec![ConfigChange::Replace(check_broker_overrides(pairs)?)];
        self.set_broker_configs(is_for_all, changes, validate_only)
            .await
    }

    async fn set_broker_configs(
        &self,
        is_for_all: bool,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Result<(), AlterBrokerError> {
        if validate_only || changes.is_empty() {
            return Ok(());
        }
        let target = if is_for_all {
            ConfigTarget::BrokerDefaults
        } else {
            ConfigTarget::Broker(self.rules.broker)
        };
        let changed = self.store.set_configs(target, changes).await;
        changed.map_err(|error| match error {
            SetConfigsError::Store(error) => error,
            SetConfigsError::UnknownTopic { topic } => StoreError::Bug {
                operation: "set the configs of a broker",
                reason: format!("topic id {topic} was looked for"),
            },
        })?;
        info!(is_for_all, "broker configs changed");
        self.refresh().await;
        Ok(())
    }
}

/// A request names a config once.
fn only_once<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), AlterBrokerError> {
    let mut seen = BTreeSet::new();
    if names.all(|name| seen.insert(name)) {
        return Ok(());
    }
    Err(AlterBrokerError::Duplicate)
}
