//! The walk over the resources of a request that alters configs, which AlterConfigs and IncrementalAlterConfigs share.
//!
//! Kafka's rules kept here: a resource that stands twice is refused, and answered once; each resource fails by itself;
//! ALTER_CONFIGS on the topic, or on the cluster for brokers. Where we differ: broker configs cannot be changed while
//! the broker runs, and say so.

use std::collections::BTreeMap;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::{
    alter_configs_request as replacing, incremental_alter_configs_request as incremental,
};

use crate::api::RequestContext;
use crate::error_code::{self, Refusal};
use crate::reach::Configs;
use crate::security::Operation;

use super::config_resource::ConfigResource;

/// A resource as a request that alters configs names it.
pub(super) trait AlteredResource {
    /// Kafka's number of the kind of resource, and its name.
    fn identity(&self) -> (i8, &StrBytes);

    /// The keys that the request names.
    fn keys(&self) -> impl Iterator<Item = &str>;
}

impl AlteredResource for replacing::AlterConfigsResource {
    fn identity(&self) -> (i8, &StrBytes) {
        (self.resource_type, &self.resource_name)
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.configs.iter().map(|config| config.name.as_str())
    }
}

impl AlteredResource for incremental::AlterConfigsResource {
    fn identity(&self) -> (i8, &StrBytes) {
        (self.resource_type, &self.resource_name)
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.configs.iter().map(|config| config.name.as_str())
    }
}

/// The resources that are to be answered, in the order of the request, each with the topic to alter or the refusal.
pub(super) fn topics_to_alter<'a, R: AlteredResource>(
    configs: &Configs,
    cx: &RequestContext,
    resources: &'a [R],
) -> Vec<(&'a R, Result<&'a str, Refusal>)> {
    let mut counts: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for resource in resources {
        let (kind, name) = resource.identity();
        *counts.entry((kind, name)).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(counts.len());
    for resource in resources {
        let (kind, name) = resource.identity();
        let topic = match counts.remove(&(kind, name.as_str())) {
            Some(1) => topic_to_alter(configs, cx, resource),
            Some(_) => Err(Refusal::invalid_request(
                "Each resource must appear at most once.",
            )),
            // It was answered where it stood first.
            None => continue,
        };
        topics.push((resource, topic));
    }
    topics
}

fn topic_to_alter<'a>(
    configs: &Configs,
    cx: &RequestContext,
    resource: &'a impl AlteredResource,
) -> Result<&'a str, Refusal> {
    let (kind, name) = resource.identity();
    let question = (&configs.access, cx, Operation::AlterConfigs);
    match ConfigResource::of(kind, name, configs.broker, question)? {
        ConfigResource::Topic(name) => Ok(name),
        ConfigResource::Broker | ConfigResource::AllBrokers => {
            Err(error_code::broker_configs_are_fixed(resource.keys()))
        }
    }
}

/// A null value where a value is needed.
pub(super) fn null_value(key: &str) -> Refusal {
    Refusal::invalid_request(format!("Null value not supported for : {key}"))
}
