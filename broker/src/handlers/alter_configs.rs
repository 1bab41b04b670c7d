//! AlterConfigs (key 33): gives a resource exactly the configs of the request. Deprecated in Kafka, used by older
//! clients.
//!
//! Kafka's rules we keep: what is not named gets its default back; ALTER_CONFIGS on the topic, or on the cluster for
//! brokers; a resource or a key that stands twice, or a null value, is refused; levels of loggers are altered by
//! IncrementalAlterConfigs only.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::alter_configs_request::AlterConfigsResource;
use streamhouse_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use streamhouse_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Configs;
use crate::security::{Operation, ResourceKind};

use super::altered_resources::{null_value, resources_to_alter};
use super::config_resource::{BROKER_LOGGER, ConfigResource};

/// The handler.
#[derive(Debug)]
pub struct AlterConfigs;

impl Handler for AlterConfigs {
    const KEY: ApiKey = ApiKey::AlterConfigs;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::AlterConfigs, ResourceKind::Topic));
    type Reach = Configs;
    type Request = AlterConfigsRequest;
    type Response = AlterConfigsResponse;

    async fn handle(
        configs: &Configs,
        cx: &RequestContext,
        request: AlterConfigsRequest,
    ) -> Reply<AlterConfigsResponse> {
        let resources = resources_to_alter(configs, cx, &request.resources);
        let mut responses = Vec::with_capacity(resources.len());
        for (resource, wanted) in resources {
            let altered = match wanted {
                Ok(wanted) => replace(configs, wanted, resource, request.validate_only).await,
                Err(refusal) => Err(refusal),
            };
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error_code::code_of(&altered));
            responses.push(response.with_error_message(altered.err().and_then(|it| it.message())));
        }
        Reply::now(AlterConfigsResponse::default().with_responses(responses))
    }
}

async fn replace(
    configs: &Configs,
    wanted: ConfigResource<'_>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let mut values = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let value = config.value.as_ref();
        let value = value.ok_or_else(|| null_value(&config.name))?;
        values.push((config.name.to_string(), value.to_string()));
    }
    let topics = &configs.topics;
    match wanted {
        ConfigResource::Topic(topic) => {
            let replaced = topics.replace_configs(topic, &values, validate_only);
            replaced.await.map_err(|error| Refusal::from(&error))
        }
        ConfigResource::Broker | ConfigResource::AllBrokers => {
            let is_for_all = wanted == ConfigResource::AllBrokers;
            let replaced = topics.replace_broker_configs(is_for_all, &values, validate_only);
            replaced.await.map_err(|error| Refusal::from(&error))
        }
        ConfigResource::Loggers => Err(Refusal::invalid_request(format!(
            "Unknown resource type {BROKER_LOGGER}"
        ))),
    }
}
