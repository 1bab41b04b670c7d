//! DescribeConfigs (key 32): the configs of topics, of this broker and of all, and the levels of its loggers, with their
//! sources.
//!
//! Kafka's rules we keep: DESCRIBE_CONFIGS on the topic, or on the cluster for brokers; a null list of keys means all,
//! keys that do not exist are left out; values of secrets are null; a broker answers for itself only. Where we differ:
//! fewer broker configs change while the broker runs, and the others are read-only; there are no client metrics to show.

use std::ops::RangeInclusive;

use streamhouse_config::kafka::{ConfigEntry, ConfigSource, describe_all_brokers};
use streamhouse_config::topic::describe_topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::describe_configs_request::DescribeConfigsResource;
use streamhouse_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use streamhouse_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use streamhouse_protocol::names::TopicName;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::loggers::Loggers;
use crate::reach::Configs;
use crate::security::{Operation, ResourceKind};

use super::config_resource::ConfigResource;
use super::words::text;

/// The handler.
#[derive(Debug)]
pub struct DescribeConfigs;

impl Handler for DescribeConfigs {
    const KEY: ApiKey = ApiKey::DescribeConfigs;
    const VERSIONS: RangeInclusive<i16> = 1..=4;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::DescribeConfigs, ResourceKind::Topic));
    type Reach = Configs;
    type Request = DescribeConfigsRequest;
    type Response = DescribeConfigsResponse;

    async fn handle(
        configs: &Configs,
        cx: &RequestContext,
        request: DescribeConfigsRequest,
    ) -> Reply<DescribeConfigsResponse> {
        let detail = Detail {
            synonyms: request.include_synonyms,
            documentation: request.include_documentation,
            version: cx.api_version,
        };
        let results = request.resources.iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match described(configs, cx, resource, &detail) {
                Ok(shown) => result.with_configs(shown),
                Err(refusal) => result
                    .with_error_code(refusal.code())
                    .with_error_message(refusal.message()),
            }
        });
        Reply::now(DescribeConfigsResponse::default().with_results(results.collect()))
    }
}

fn described(
    configs: &Configs,
    cx: &RequestContext,
    resource: &DescribeConfigsResource,
    detail: &Detail,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let question = (&configs.access, cx, Operation::DescribeConfigs);
    let name = &resource.resource_name;
    let catalogue = configs.topics.current();
    let defaults = configs.topics.defaults(&catalogue);
    let dynamic = configs.topics.dynamic_configs(&catalogue);
    let entries = match ConfigResource::of(resource.resource_type, name, configs.broker, question)?
    {
        ConfigResource::Topic(name) => {
            TopicName::new(name).map_err(|error| Refusal::invalid_topic(&error))?;
            let topic = configs.topics.find(name);
            let topic = topic.ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION)?;
            describe_topic(&topic.configs, &defaults)
        }
        ConfigResource::Broker => dynamic.shown(&configs.settings, &defaults),
        ConfigResource::AllBrokers => describe_all_brokers(dynamic.cluster),
        ConfigResource::Loggers => return Ok(levels(&configs.loggers, resource)),
    };
    let wanted = entries
        .iter()
        .filter(|entry| is_wanted(resource, entry.name));
    Ok(wanted.map(|entry| detail.shown(entry)).collect())
}

fn is_wanted(resource: &DescribeConfigsResource, name: &str) -> bool {
    let keys = resource.configuration_keys.as_ref();
    keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
}

/// The loggers that the client asks for: those of the list, and modules that it names.
fn levels(
    loggers: &Loggers,
    resource: &DescribeConfigsResource,
) -> Vec<DescribeConfigsResourceResult> {
    let mut levels = loggers.levels();
    for name in resource.configuration_keys.iter().flatten() {
        if let Ok(level) = loggers.level(name) {
            levels.insert(name.to_string(), level);
        }
    }
    levels.retain(|name, _| is_wanted(resource, name));
    let shown = levels.into_iter().map(|(name, level)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(level.name())))
            .with_config_source(ConfigSource::BrokerLogger.wire_id())
    });
    shown.collect()
}

/// How much of an entry the client wants to see.
struct Detail {
    synonyms: bool,
    documentation: bool,
    version: i16,
}

impl Detail {
    fn shown(&self, entry: &ConfigEntry) -> DescribeConfigsResourceResult {
        let mut shown = DescribeConfigsResourceResult::default()
            .with_name(text(entry.name))
            .with_value(entry.value.clone().map(text))
            .with_read_only(entry.is_read_only)
            .with_config_source(entry.source.wire_id())
            .with_is_sensitive(entry.is_sensitive);
        if self.synonyms {
            let synonyms = entry.synonyms.iter().map(|synonym| {
                DescribeConfigsSynonym::default()
                    .with_name(text(synonym.name))
                    .with_value(synonym.value.clone().map(text))
                    .with_source(synonym.source.wire_id())
            });
            shown = shown.with_synonyms(synonyms.collect());
        }
        if self.version >= 3 {
            shown = shown.with_config_type(entry.kind.wire_id());
            let documentation = self.documentation.then(|| text(&*entry.documentation));
            shown = shown.with_documentation(documentation);
        }
        shown
    }
}
