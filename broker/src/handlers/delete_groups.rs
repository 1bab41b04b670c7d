//! DeleteGroups (key 42): removes groups that nobody is in, with their offsets.
//!
//! Kafka's rules we keep: DELETE on each group; groups fail one by one; a group with members is NON_EMPTY_GROUP; a group
//! named twice is answered once. Where we differ: nowhere.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use futures::future::join_all;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::delete_groups_response::DeletableGroupResult;
use streamhouse_protocol::messages::{self, DeleteGroupsRequest, DeleteGroupsResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct DeleteGroups;

impl Handler for DeleteGroups {
    const KEY: ApiKey = ApiKey::DeleteGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Delete, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = DeleteGroupsRequest;
    type Response = DeleteGroupsResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: DeleteGroupsRequest,
    ) -> Reply<DeleteGroupsResponse> {
        let mut named = BTreeSet::new();
        let groups: Vec<messages::GroupId> = request
            .groups_names
            .into_iter()
            .filter(|group| named.insert(group.clone()))
            .collect();
        // Together: the store writes many removals at once.
        let deleted = join_all(groups.iter().map(|group| delete(reach, cx, group))).await;
        let results = groups.into_iter().zip(deleted).map(|(group, deleted)| {
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(error_code::code_of(&deleted))
        });
        Reply::now(DeleteGroupsResponse::default().with_results(results.collect()))
    }
}

async fn delete(
    reach: &GroupReach,
    cx: &RequestContext,
    group: &messages::GroupId,
) -> Result<(), Refusal> {
    if !reach.access.to_group(cx, Operation::Delete, group) {
        return Err(error_code::GROUP_AUTHORIZATION_FAILED);
    }
    let deleted = reach.groups.delete(&GroupId::from(group.as_str())).await;
    deleted.map_err(|error| Refusal::from(&error))
}
