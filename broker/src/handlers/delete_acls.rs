//! DeleteAcls (key 31): rules that an authorizer shall forget.
//!
//! Kafka's rules we keep: ALTER on the cluster; without a configured authorizer every filter is refused with
//! SECURITY_DISABLED. Where we differ: nowhere; no authorizer with rules can be configured yet.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use streamhouse_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::reach::Cluster;
use crate::security::{Operation, ResourceKind};

use super::create_acls::no_rules_to_alter;

/// The handler.
#[derive(Debug)]
pub struct DeleteAcls;

impl Handler for DeleteAcls {
    const KEY: ApiKey = ApiKey::DeleteAcls;
    const VERSIONS: RangeInclusive<i16> = 1..=3;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Alter, ResourceKind::Cluster));
    type Reach = Cluster;
    type Request = DeleteAclsRequest;
    type Response = DeleteAclsResponse;

    async fn handle(
        cluster: &Cluster,
        cx: &RequestContext,
        request: DeleteAclsRequest,
    ) -> Reply<DeleteAclsResponse> {
        let refusal = no_rules_to_alter(cluster, cx);
        let refused = request.filters.iter().map(|_| {
            DeleteAclsFilterResult::default()
                .with_error_code(refusal.code())
                .with_error_message(refusal.message())
        });
        Reply::now(DeleteAclsResponse::default().with_filter_results(refused.collect()))
    }
}
