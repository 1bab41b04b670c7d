//! AlterConfigs (key 33): gives a resource exactly the configs of the request. Deprecated in Kafka, used by older
//! clients.
//!
//! Kafka's rules we keep: what is not named gets its default back; ALTER_CONFIGS on the topic, or on the cluster for
//! brokers; a resource or a key that stands twice, or a null value, is refused. Where we differ: broker configs cannot
//! be changed while the broker runs, and say so.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::alter_configs_request::AlterConfigsResource;
use streamhouse_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use streamhouse_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Configs;
use crate::security::{Operation, ResourceKind};

use super::config_resource::ConfigResource;

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
        let mut counts: BTreeMap<(i8, String), usize> = BTreeMap::new();
        for resource in &request.resources {
            *counts.entry(key(resource)).or_default() += 1;
        }
        let mut responses = Vec::with_capacity(counts.len());
        for resource in &request.resources {
            let altered = match counts.remove(&key(resource)) {
                Some(1) => alter(configs, cx, resource, request.validate_only).await,
                Some(_) => Err(Refusal::invalid_request(
                    "Each resource must appear at most once.",
                )),
                None => continue,
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

fn key(resource: &AlterConfigsResource) -> (i8, String) {
    (resource.resource_type, resource.resource_name.to_string())
}

async fn alter(
    configs: &Configs,
    cx: &RequestContext,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let question = (&configs.access, cx, Operation::AlterConfigs);
    let name = &resource.resource_name;
    match ConfigResource::of(resource.resource_type, name, configs.broker, question)? {
        ConfigResource::Topic(name) => {
            let mut values = Vec::with_capacity(resource.configs.len());
            for config in &resource.configs {
                let Some(value) = &config.value else {
                    return Err(Refusal::invalid_request(format!(
                        "Null value not supported for : {}",
                        config.name.as_str()
                    )));
                };
                values.push((config.name.to_string(), value.to_string()));
            }
            let replaced = configs.topics.replace_configs(name, &values, validate_only);
            replaced.await.map_err(|error| Refusal::from(&error))
        }
        ConfigResource::Broker | ConfigResource::AllBrokers => {
            let names = resource.configs.iter().map(|config| config.name.as_str());
            Err(error_code::broker_configs_are_fixed(names))
        }
    }
}
