//! ListPartitionReassignments (key 46): which partitions move between brokers. `kafka-topics.sh --describe` asks.
//!
//! Kafka's rules we keep: DESCRIBE on the cluster. Where we differ: the list is always empty, because the object store
//! keeps the records and no replica ever moves.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code;
use crate::reach::Cluster;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct ListPartitionReassignments;

impl Handler for ListPartitionReassignments {
    const KEY: ApiKey = ApiKey::ListPartitionReassignments;
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Cluster));
    type Reach = Cluster;
    type Request = ListPartitionReassignmentsRequest;
    type Response = ListPartitionReassignmentsResponse;

    async fn handle(
        cluster: &Cluster,
        cx: &RequestContext,
        _: ListPartitionReassignmentsRequest,
    ) -> Reply<ListPartitionReassignmentsResponse> {
        let response = ListPartitionReassignmentsResponse::default();
        Reply::now(if cluster.access.to_cluster(cx, Operation::Describe) {
            // Null, as Kafka says "no error"; the schema's default is an empty message.
            response.with_error_message(None)
        } else {
            let refusal = error_code::CLUSTER_AUTHORIZATION_FAILED;
            response
                .with_error_code(refusal.code())
                .with_error_message(refusal.message())
        })
    }
}
