//! The walk over the resources of a request that alters configs, which AlterConfigs and IncrementalAlterConfigs share.
//!
//! Kafka's rules kept here: a resource that stands twice is refused, and answered once; each resource fails by itself;
//! ALTER_CONFIGS on the topic, or on the cluster for brokers and their loggers.

use std::collections::BTreeMap;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::{
    alter_configs_request as replacing, incremental_alter_configs_request as incremental,
};

use crate::api::RequestContext;
use crate::error_code::Refusal;
use crate::reach::Configs;
use crate::security::Operation;

use super::config_resource::ConfigResource;

/// A resource as a request that alters configs names it.
pub(super) trait AlteredResource {
    /// Kafka's number of the kind of resource, and its name.
    fn identity(&self) -> (i8, &StrBytes);
}

impl AlteredResource for replacing::AlterConfigsResource {
    fn identity(&self) -> (i8, &StrBytes) {
        (self.resource_type, &self.resource_name)
    }
}

impl AlteredResource for incremental::AlterConfigsResource {
    fn identity(&self) -> (i8, &StrBytes) {
        (self.resource_type, &self.resource_name)
    }
}

/// The resources that are to be answered, in the order of the request, each with what is to be altered or the refusal.
pub(super) fn resources_to_alter<'a, R: AlteredResource>(
    configs: &Configs,
    cx: &RequestContext,
    resources: &'a [R],
) -> Vec<(&'a R, Result<ConfigResource<'a>, Refusal>)> {
    let mut counts: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for resource in resources {
        let (kind, name) = resource.identity();
        *counts.entry((kind, name)).or_default() += 1;
    }
    let mut altered = Vec::with_capacity(counts.len());
    for resource in resources {
        let (kind, name) = resource.identity();
        let wanted = match counts.remove(&(kind, name.as_str())) {
            Some(1) => {
                let question = (&configs.access, cx, Operation::AlterConfigs);
                ConfigResource::of(kind, name, configs.broker, question)
            }
            Some(_) => Err(Refusal::invalid_request(
                "Each resource must appear at most once.",
            )),
            // It was answered where it stood first.
            None => continue,
        };
        altered.push((resource, wanted));
    }
    altered
}

/// A null value where a value is needed.
pub(super) fn null_value(key: &str) -> Refusal {
    Refusal::invalid_request(format!("Null value not supported for : {key}"))
}
