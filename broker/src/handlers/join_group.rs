//! JoinGroup (key 11): a member enters a group, or stays in it through a rebalance.
//!
//! Kafka's rules we keep: READ on the group; since version 4 a first join gets an id to come back with (KIP-394);
//! before version 1 the rebalance timeout is the session timeout; only the leader sees the members; since version 5 a
//! member may be static (KIP-345), and since version 9 a static leader that restarts is told not to assign again
//! (KIP-814). Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_coordinator::group::{JoinAnswer, JoinError, JoinRequest, MemberId, Protocol};
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::join_group_response::JoinGroupResponseMember;
use streamhouse_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::{shared, shared_option, text};

/// The handler.
#[derive(Debug)]
pub struct JoinGroup;

impl Handler for JoinGroup {
    const KEY: ApiKey = ApiKey::JoinGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=9;
    const LANE: Lane = Lane::Parked;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = JoinGroupRequest;
    type Response = JoinGroupResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: JoinGroupRequest,
    ) -> Reply<JoinGroupResponse> {
        let version = cx.api_version;
        let member = request.member_id.clone();
        if !reach
            .access
            .to_group(cx, Operation::Read, &request.group_id)
        {
            let refusal = error_code::GROUP_AUTHORIZATION_FAILED;
            return Reply::now(refused(&refusal, member, version));
        }
        let groups = reach.groups.clone();
        let join = join_request(&request, cx);
        Reply::later(async move {
            match groups.join(join).await {
                Ok(answer) => joined(answer, version),
                Err(error) => {
                    let given = match &error {
                        JoinError::MemberIdRequired { member } => text(member.as_str()),
                        JoinError::Coordinator(_)
                        | JoinError::InvalidGroupId
                        | JoinError::InvalidSessionTimeout
                        | JoinError::InconsistentGroupProtocol
                        | JoinError::UnknownMemberId
                        | JoinError::GroupMaxSizeReached
                        | JoinError::RebalanceInProgress
                        | JoinError::FencedInstanceId => member,
                    };
                    refused(&Refusal::from(&error), given, version)
                }
            }
        })
    }
}

fn join_request(request: &JoinGroupRequest, cx: &RequestContext) -> JoinRequest {
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: shared(&protocol.name),
        // A copy: the group keeps it, and must not keep the whole frame with it.
        metadata: bytes::Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinRequest {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from(request.member_id.as_str()),
        instance: shared_option(request.group_instance_id.as_ref()),
        client_id: shared(&cx.client_id),
        client_host: format!("/{}", cx.peer.host).into(),
        protocol_type: shared(&request.protocol_type),
        protocols: protocols.collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if cx.api_version == 0 {
            -1
        } else {
            request.rebalance_timeout_ms
        },
        requires_known_member_id: cx.api_version >= 4,
        can_skip_assignment: cx.api_version >= 9,
    }
}

fn joined(answer: JoinAnswer, version: i16) -> JoinGroupResponse {
    let members = answer.members.into_iter().map(|member| {
        let instance = if version >= 5 { member.instance } else { None };
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member.as_str()))
            .with_group_instance_id(instance.map(|instance| text(&*instance)))
            .with_metadata(member.metadata)
    });
    let protocol_type = (version >= 7).then(|| text(&*answer.protocol_type));
    JoinGroupResponse::default()
        .with_generation_id(answer.generation)
        .with_protocol_type(protocol_type)
        .with_protocol_name(Some(text(&*answer.protocol)))
        .with_leader(text(answer.leader.as_str()))
        .with_member_id(text(answer.member.as_str()))
        .with_members(members.collect())
        .with_skip_assignment(answer.skip_assignment)
}

fn refused(refusal: &Refusal, member: StrBytes, version: i16) -> JoinGroupResponse {
    let protocol = if version >= 7 {
        None
    } else {
        Some(StrBytes::default())
    };
    JoinGroupResponse::default()
        .with_error_code(refusal.code())
        .with_generation_id(-1)
        .with_protocol_name(protocol)
        .with_member_id(member)
}
