//! IncrementalAlterConfigs (key 44): sets, unsets, extends single configs (KIP-339).
//!
//! Kafka's rules we keep: ALTER_CONFIGS on the topic, or on the cluster for brokers; a resource or a key that stands
//! twice is refused; a null value only with DELETE; APPEND and SUBTRACT for lists only; resources fail one by one.
//! Where we differ: broker configs cannot be changed while the broker runs, and say so.

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
use crate::reach::Configs;
use crate::security::{Operation, ResourceKind};
use crate::topics::ConfigOperation;

use super::altered_resources::{null_value, topics_to_alter};

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
        let topics = topics_to_alter(configs, cx, &request.resources);
        let mut responses = Vec::with_capacity(topics.len());
        for (resource, topic) in topics {
            let altered = match topic {
                Ok(topic) => alter(configs, topic, resource, request.validate_only).await,
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
    topic: &str,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let operations = resource.configs.iter().map(operation);
    let operations = operations.collect::<Result<Vec<_>, Refusal>>()?;
    let altered = configs
        .topics
        .alter_configs(topic, &operations, validate_only);
    altered.await.map_err(|error| Refusal::from(&error))
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
