//! LeaveGroup (key 13): members leave, by themselves or because an administrator removes them.
//!
//! Kafka's rules we keep: READ on the group; since version 3 many members with a result each (KIP-345), before it one
//! member whose result is that of the request. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_coordinator::group::{LeaveRequest, LeavingMember, MemberId};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::leave_group_request::MemberIdentity;
use streamhouse_protocol::messages::leave_group_response::MemberResponse;
use streamhouse_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::shared_option;

/// The handler.
#[derive(Debug)]
pub struct LeaveGroup;

impl Handler for LeaveGroup {
    const KEY: ApiKey = ApiKey::LeaveGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = LeaveGroupRequest;
    type Response = LeaveGroupResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: LeaveGroupRequest,
    ) -> Reply<LeaveGroupResponse> {
        let response = LeaveGroupResponse::default();
        if !reach
            .access
            .to_group(cx, Operation::Read, &request.group_id)
        {
            let refusal = error_code::GROUP_AUTHORIZATION_FAILED;
            return Reply::now(response.with_error_code(refusal.code()));
        }
        let members = if cx.api_version >= 3 {
            request.members
        } else {
            vec![MemberIdentity::default().with_member_id(request.member_id)]
        };
        let leave = LeaveRequest {
            group: GroupId::from(request.group_id.as_str()),
            members: members.iter().map(leaving).collect(),
        };
        let results = match reach.groups.leave(leave).await {
            Ok(results) => results,
            Err(error) => {
                return Reply::now(response.with_error_code(Refusal::from(&error).code()));
            }
        };
        let mut codes = results
            .iter()
            .map(|result| error_code::code_of(&result.as_ref().map_err(Refusal::from)));
        Reply::now(if cx.api_version >= 3 {
            let members = members.into_iter().zip(codes).map(|(member, code)| {
                MemberResponse::default()
                    .with_member_id(member.member_id)
                    .with_group_instance_id(member.group_instance_id)
                    .with_error_code(code)
            });
            response.with_members(members.collect())
        } else {
            response.with_error_code(codes.next_back().unwrap_or(error_code::NONE))
        })
    }
}

fn leaving(member: &MemberIdentity) -> LeavingMember {
    LeavingMember {
        member: MemberId::from(member.member_id.as_str()),
        instance: shared_option(member.group_instance_id.as_ref()),
    }
}
