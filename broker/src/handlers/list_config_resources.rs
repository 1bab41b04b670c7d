//! ListConfigResources (key 74): which things have configs of their own. `kafka-configs.sh` and `kafka-client-metrics.sh`
//! ask.
//!
//! Kafka's rules we keep: DESCRIBE_CONFIGS on the cluster; no types means all types; version 0 knows only client
//! metrics; a type that does not exist is UNSUPPORTED_VERSION. Where we differ: nowhere. Groups and client metrics
//! cannot be given configs here yet, so none are listed.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::list_config_resources_response::ConfigResource;
use streamhouse_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Directory;
use crate::security::{Operation, ResourceKind};

use super::config_resource::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::words::text;

/// The handler.
#[derive(Debug)]
pub struct ListConfigResources;

/// The first version in which types can be asked for (KIP-1142).
const TYPES_SINCE: i16 = 1;

/// Every type, in the order of its number.
const TYPES: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

impl Handler for ListConfigResources {
    const KEY: ApiKey = ApiKey::ListConfigResources;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::DescribeConfigs, ResourceKind::Cluster));
    type Reach = Directory;
    type Request = ListConfigResourcesRequest;
    type Response = ListConfigResourcesResponse;

    async fn handle(
        directory: &Directory,
        cx: &RequestContext,
        request: ListConfigResourcesRequest,
    ) -> Reply<ListConfigResourcesResponse> {
        let response = ListConfigResourcesResponse::default();
        Reply::now(match listed(directory, cx, &request) {
            Ok(resources) => response.with_config_resources(resources),
            Err(refusal) => response.with_error_code(refusal.code()),
        })
    }
}

fn listed(
    directory: &Directory,
    cx: &RequestContext,
    request: &ListConfigResourcesRequest,
) -> Result<Vec<ConfigResource>, Refusal> {
    let access = &directory.cluster.access;
    if !access.to_cluster(cx, Operation::DescribeConfigs) {
        return Err(error_code::CLUSTER_AUTHORIZATION_FAILED);
    }
    let asked = &request.resource_types;
    if asked.iter().any(|kind| !TYPES.contains(kind)) {
        return Err(error_code::UNSUPPORTED_VERSION);
    }
    let is_wanted = |kind: i8| {
        if cx.api_version < TYPES_SINCE {
            kind == CLIENT_METRICS
        } else {
            asked.is_empty() || asked.contains(&kind)
        }
    };
    let mut resources = Vec::new();
    let mut list = |kind: i8, name: String| {
        let resource = ConfigResource::default().with_resource_type(kind);
        resources.push(resource.with_resource_name(text(name)));
    };
    if is_wanted(TOPIC) {
        for topic in directory.topics.current().topics() {
            list(TOPIC, topic.name.as_str().to_owned());
        }
    }
    for kind in [BROKER, BROKER_LOGGER] {
        for known in directory.cluster.brokers.current().iter() {
            if is_wanted(kind) {
                list(kind, known.broker.to_string());
            }
        }
    }
    Ok(resources)
}
