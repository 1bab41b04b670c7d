//! IncrementalAlterConfigs (key 44): sets, unsets, extends single configs (KIP-339).
//!
//! Kafka's rules we keep: ALTER_CONFIGS on the topic, or on the cluster for brokers and their loggers; a resource or a
//! key that stands twice is refused; a null value only with DELETE; APPEND and SUBTRACT for lists only; resources fail
//! one by one; what is not set may be deleted. Where we differ: a broker config that no release of Kafka has is refused,
//! as nothing could read it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use streamhouse_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use streamhouse_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::loggers::Loggers;
use crate::reach::Configs;
use crate::security::{Operation, ResourceKind};
use crate::topics::ConfigOperation;

use super::altered_resources::{null_value, resources_to_alter};
use super::config_resource::ConfigResource;

/// Kafka's numbers of operations (`AlterConfigOp.OpType`). On the wire: never renumber.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// The handler.
#[derive(Debug)]
pub struct IncrementalAlterConfigs;

impl Handler for IncrementalAlterConfigs {
    const KEY: ApiKey = ApiKey::IncrementalAlterConfigs;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::AlterConfigs, ResourceKind::Topic));
    type Reach = Configs;
    type Request = IncrementalAlterConfigsRequest;
    type Response = IncrementalAlterConfigsResponse;

    async fn handle(
        configs: &Configs,
        cx: &RequestContext,
        request: IncrementalAlterConfigsRequest,
    ) -> Reply<IncrementalAlterConfigsResponse> {
        let resources = resources_to_alter(configs, cx, &request.resources);
        let mut responses = Vec::with_capacity(resources.len());
        for (resource, wanted) in resources {
            let altered = match wanted {
                Ok(wanted) => alter(configs, wanted, resource, request.validate_only).await,
                Err(refusal) => Err(refusal),
            };
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error_code::code_of(&altered));
            responses.push(response.with_error_message(altered.err().and_then(|it| it.message())));
        }
        Reply::now(IncrementalAlterConfigsResponse::default().with_responses(responses))
    }
}

async fn alter(
    configs: &Configs,
    wanted: ConfigResource<'_>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let operations = resource.configs.iter().map(operation);
    let operations = operations.collect::<Result<Vec<_>, Refusal>>()?;
    let topics = &configs.topics;
    match wanted {
        ConfigResource::Topic(topic) => {
            let altered = topics.alter_configs(topic, &operations, validate_only);
            altered.await.map_err(|error| Refusal::from(&error))
        }
        ConfigResource::Broker | ConfigResource::AllBrokers => {
            let is_for_all = wanted == ConfigResource::AllBrokers;
            let altered = topics.alter_broker_configs(is_for_all, &operations, validate_only);
            altered.await.map_err(|error| Refusal::from(&error))
        }
        ConfigResource::Loggers => alter_loggers(&configs.loggers, &operations, validate_only),
    }
}

fn alter_loggers(
    loggers: &Loggers,
    operations: &[(String, ConfigOperation)],
    validate_only: bool,
) -> Result<(), Refusal> {
    let no_list = |word: &str| {
        Err(Refusal::invalid_request(format!(
            "{word} operation is not allowed for the BROKER_LOGGER resource"
        )))
    };
    let mut names = BTreeSet::new();
    let mut changes = Vec::with_capacity(operations.len());
    for (name, operation) in operations {
        if !names.insert(name) {
            return Err(Refusal::invalid_request(
                "Error due to duplicate config keys",
            ));
        }
        let level = match operation {
            ConfigOperation::Set(level) => Some(level.as_str()),
            ConfigOperation::Delete => None,
            ConfigOperation::Append(_) => return no_list("APPEND"),
            ConfigOperation::Subtract(_) => return no_list("SUBTRACT"),
        };
        changes.push((name.as_str(), level));
    }
    let changed = loggers.change(&changes, validate_only);
    changed.map_err(|error| Refusal::from(&error))
}

fn operation(config: &AlterableConfig) -> Result<(String, ConfigOperation), Refusal> {
    let value = || match &config.value {
        Some(value) => Ok(value.to_string()),
        None => Err(null_value(&config.name)),
    };
    let operation = match config.config_operation {
        SET => ConfigOperation::Set(value()?),
        DELETE => ConfigOperation::Delete,
        APPEND => ConfigOperation::Append(value()?),
        SUBTRACT => ConfigOperation::Subtract(value()?),
        other => {
            return Err(Refusal::invalid_request(format!(
                "Unknown operation type {other} for config {}",
                config.name.as_str()
            )));
        }
    };
    Ok((config.name.to_string(), operation))
}
