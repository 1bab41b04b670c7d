//! Configs of topics: show and change.

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::describe_configs_request::DescribeConfigsResource;
use streamhouse_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use streamhouse_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};

/// The highest version of DescribeConfigs that is filled here.
const DESCRIBE_MAX: i16 = 4;
/// The highest version of IncrementalAlterConfigs that is filled here.
const ALTER_MAX: i16 = 1;

/// Kafka's number of topics among the things that have configs.
const TOPIC: i8 = 2;

/// Where the value of a config comes from (`DescribeConfigsResponse.ConfigSource`).
const DYNAMIC_TOPIC: i8 = 1;

/// A config of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigValue {
    /// The name.
    pub name: String,
    /// The value; `None` is null or hidden.
    pub value: Option<String>,
    /// Whether it was set for this topic, and is not a default.
    pub is_set_on_topic: bool,
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets it.
    Set {
        /// The name.
        name: String,
        /// The new value.
        value: String,
    },
    /// Gives it the default again.
    Delete {
        /// The name.
        name: String,
    },
}

impl Client {
    /// The configs of a topic by name.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn topic_configs(&self, topic: &str) -> Result<Vec<ConfigValue>, ClientError> {
        let response = self
            .retrying(Retry::Always, move || async move {
                let build = |_| {
                    let resource = DescribeConfigsResource::default()
                        .with_resource_type(TOPIC)
                        .with_resource_name(StrBytes::from_string(topic.to_owned()))
                        .with_configuration_keys(None);
                    DescribeConfigsRequest::default().with_resources(vec![resource])
                };
                let (_, response) = self
                    .ask::<DescribeConfigsRequest>(Target::Any, DESCRIBE_MAX, build)
                    .await?;
                for result in &response.results {
                    check(result.error_code, result.error_message.as_deref(), || {
                        format!("configs of topic {topic:?}")
                    })?;
                }
                Ok(response)
            })
            .await?;
        let found = response
            .results
            .into_iter()
            .flat_map(|result| result.configs);
        let mut configs: Vec<ConfigValue> = found
            .map(|config| ConfigValue {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                is_set_on_topic: config.config_source == DYNAMIC_TOPIC,
            })
            .collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(configs)
    }

    /// Changes configs of a topic: all of them or none. The same change twice is the same change, so it is tried again.
    ///
    /// # Errors
    /// [`ClientError`], with the broker's words where it refuses. See its outcome.
    pub async fn alter_topic_configs(
        &self,
        topic: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        let configs: Vec<AlterableConfig> = changes.iter().map(alterable).collect();
        let configs = &configs;
        self.retrying(Retry::Always, move || async move {
            let build = |_| {
                let resource = AlterConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(StrBytes::from_string(topic.to_owned()))
                    .with_configs(configs.clone());
                IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
            };
            let target = self.controller();
            let (_, response) = self
                .ask::<IncrementalAlterConfigsRequest>(target, ALTER_MAX, build)
                .await?;
            response.responses.iter().try_for_each(|result| {
                check(result.error_code, result.error_message.as_deref(), || {
                    format!("alter configs of topic {topic:?}")
                })
            })
        })
        .await
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    match change {
        ConfigChange::Set { name, value } => AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(0)
            .with_value(Some(text(value))),
        ConfigChange::Delete { name } => AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(1)
            .with_value(None),
    }
}
