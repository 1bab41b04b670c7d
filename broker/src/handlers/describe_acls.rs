//! DescribeAcls (key 29): which rules an authorizer has.
//!
//! Kafka's rules we keep: DESCRIBE on the cluster; without a configured authorizer the answer is SECURITY_DISABLED,
//! which MirrorMaker 2 and consoles take for "no rules here". Where we differ: nowhere; no authorizer with rules can be
//! configured yet.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code;
use crate::reach::Cluster;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct DescribeAcls;

impl Handler for DescribeAcls {
    const KEY: ApiKey = ApiKey::DescribeAcls;
    const VERSIONS: RangeInclusive<i16> = 1..=3;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Cluster));
    type Reach = Cluster;
    type Request = DescribeAclsRequest;
    type Response = DescribeAclsResponse;

    async fn handle(
        cluster: &Cluster,
        cx: &RequestContext,
        _: DescribeAclsRequest,
    ) -> Reply<DescribeAclsResponse> {
        let refusal = if cluster.access.to_cluster(cx, Operation::Describe) {
            error_code::SECURITY_DISABLED_ON_BROKER
        } else {
            error_code::CLUSTER_AUTHORIZATION_FAILED
        };
        Reply::now(
            DescribeAclsResponse::default()
                .with_error_code(refusal.code())
                .with_error_message(refusal.message()),
        )
    }
}
