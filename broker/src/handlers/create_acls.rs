//! CreateAcls (key 30): new rules for an authorizer.
//!
//! Kafka's rules we keep: ALTER on the cluster; without a configured authorizer every rule is refused with
//! SECURITY_DISABLED. Where we differ: nowhere; no authorizer with rules can be configured yet.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::create_acls_response::AclCreationResult;
use streamhouse_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Cluster;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct CreateAcls;

impl Handler for CreateAcls {
    const KEY: ApiKey = ApiKey::CreateAcls;
    const VERSIONS: RangeInclusive<i16> = 1..=3;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Alter, ResourceKind::Cluster));
    type Reach = Cluster;
    type Request = CreateAclsRequest;
    type Response = CreateAclsResponse;

    async fn handle(
        cluster: &Cluster,
        cx: &RequestContext,
        request: CreateAclsRequest,
    ) -> Reply<CreateAclsResponse> {
        let refusal = no_rules_to_alter(cluster, cx);
        let refused = request.creations.iter().map(|_| {
            AclCreationResult::default()
                .with_error_code(refusal.code())
                .with_error_message(refusal.message())
        });
        Reply::now(CreateAclsResponse::default().with_results(refused.collect()))
    }
}

/// Why rules are not changed: the asker may not, or there is no authorizer that has any.
pub(super) fn no_rules_to_alter(cluster: &Cluster, cx: &RequestContext) -> Refusal {
    if cluster.access.to_cluster(cx, Operation::Alter) {
        error_code::SECURITY_DISABLED
    } else {
        error_code::CLUSTER_AUTHORIZATION_FAILED
    }
}
