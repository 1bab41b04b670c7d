//! DescribeGroups (key 15): state, members and assignments of groups.
//!
//! Kafka's rules we keep: DESCRIBE on each group; a group that does not exist is `Dead` without error, since version 6
//! it is GROUP_ID_NOT_FOUND with a text (KIP-1043); groups fail one by one. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_coordinator::group;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::describe_groups_response::{
    DescribedGroup, DescribedGroupMember,
};
use streamhouse_protocol::messages::{self, DescribeGroupsRequest, DescribeGroupsResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, Resource, ResourceKind};

use super::words::text;

/// The handler.
#[derive(Debug)]
pub struct DescribeGroups;

impl Handler for DescribeGroups {
    const KEY: ApiKey = ApiKey::DescribeGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = DescribeGroupsRequest;
    type Response = DescribeGroupsResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: DescribeGroupsRequest,
    ) -> Reply<DescribeGroupsResponse> {
        let mut groups = Vec::with_capacity(request.groups.len());
        for id in &request.groups {
            let shown = match describe(reach, cx, id).await {
                Ok(described) => {
                    let asked = request.include_authorized_operations;
                    shown(reach, cx, id, described, asked)
                }
                Err(refusal) => {
                    let message = if cx.api_version >= 6 {
                        refusal.message()
                    } else {
                        None
                    };
                    DescribedGroup::default()
                        .with_error_code(refusal.code())
                        .with_error_message(message)
                        .with_group_state(text(group::classic::State::Dead.name()))
                }
            };
            groups.push(shown.with_group_id(id.clone()));
        }
        Reply::now(DescribeGroupsResponse::default().with_groups(groups))
    }
}

async fn describe(
    reach: &GroupReach,
    cx: &RequestContext,
    id: &messages::GroupId,
) -> Result<Option<group::DescribedGroup>, Refusal> {
    if !reach.access.to_group(cx, Operation::Describe, id) {
        return Err(error_code::GROUP_AUTHORIZATION_FAILED);
    }
    let described = reach.groups.describe(&GroupId::from(id.as_str())).await;
    match described.map_err(|error| Refusal::from(&error))? {
        None if cx.api_version >= 6 => Err(error_code::group_not_found(id)),
        described => Ok(described),
    }
}

fn shown(
    reach: &GroupReach,
    cx: &RequestContext,
    id: &messages::GroupId,
    described: Option<group::DescribedGroup>,
    asks_operations: bool,
) -> DescribedGroup {
    let mut shown = DescribedGroup::default();
    if cx.api_version >= 3 {
        let resource = Resource::group(id);
        let operations = reach
            .access
            .authorized_operations(cx, resource, asks_operations);
        shown = shown.with_authorized_operations(operations);
    }
    let Some(described) = described else {
        return shown.with_group_state(text(group::classic::State::Dead.name()));
    };
    let members = described.members.into_iter().map(|member| {
        let instance = if cx.api_version >= 4 {
            member.instance
        } else {
            None
        };
        DescribedGroupMember::default()
            .with_member_id(text(member.member.as_str()))
            .with_group_instance_id(instance.map(|instance| text(&*instance)))
            .with_client_id(text(&*member.client_id))
            .with_client_host(text(&*member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    shown
        .with_group_state(text(described.state.name()))
        .with_protocol_type(text(&*described.protocol_type))
        .with_protocol_data(text(&*described.protocol))
        .with_members(members.collect())
}
