//! DescribeCluster (key 60): the brokers, the controller and the cluster id (KIP-700).
//!
//! Kafka's rules we keep: everybody may ask; what the asker may do to the cluster is told on request; a question for
//! controllers is MISMATCHED_ENDPOINT_TYPE (KIP-919). Where we differ: the controller is the living broker with the smallest
//! number, because every broker takes administration requests.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use streamhouse_protocol::messages::{self, DescribeClusterRequest, DescribeClusterResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Cluster;
use crate::security::{Operation, Resource, ResourceKind};

use super::words::text;

/// Kafka's numbers of endpoint types (`EndpointType`). On the wire: never renumber.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// The handler.
#[derive(Debug)]
pub struct DescribeCluster;

impl Handler for DescribeCluster {
    const KEY: ApiKey = ApiKey::DescribeCluster;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> = None;
    type Reach = Cluster;
    type Request = DescribeClusterRequest;
    type Response = DescribeClusterResponse;

    async fn handle(
        cluster: &Cluster,
        cx: &RequestContext,
        request: DescribeClusterRequest,
    ) -> Reply<DescribeClusterResponse> {
        let asked = match (cx.api_version, request.endpoint_type) {
            (0, _) => BROKERS,
            (_, asked) => asked,
        };
        Reply::now(match asked {
            BROKERS => described(cluster, cx, request.include_cluster_authorized_operations),
            CONTROLLERS => refused(&error_code::MISMATCHED_ENDPOINT_TYPE),
            _ => refused(&error_code::UNSUPPORTED_ENDPOINT_TYPE),
        })
    }
}

fn described(
    cluster: &Cluster,
    cx: &RequestContext,
    asks_operations: bool,
) -> DescribeClusterResponse {
    let operations = if asks_operations && !cluster.access.to_cluster(cx, Operation::Describe) {
        0
    } else {
        cluster
            .access
            .authorized_operations(cx, Resource::CLUSTER, asks_operations)
    };
    let brokers = cluster.reachable(&cx.peer.listener);
    let brokers = brokers.iter().map(|shown| {
        DescribeClusterBroker::default()
            .with_broker_id(messages::BrokerId(shown.broker.0))
            .with_host(text(&*shown.endpoint.host))
            .with_port(i32::from(shown.endpoint.port))
            .with_rack(shown.rack.as_deref().map(text))
    });
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(&*cluster.cluster_id))
        .with_controller_id(messages::BrokerId(cluster.controller().0))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(operations)
}

fn refused(refusal: &Refusal) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_error_code(refusal.code())
        .with_error_message(refusal.message())
}
