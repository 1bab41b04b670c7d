//! SyncGroup (key 14): the leader hands in the assignment, every member gets its part.
//!
//! Kafka's rules we keep: READ on the group; followers wait for the leader; since version 5 type and name of the
//! protocol must be those of the generation, and both must be named. Where we differ: nowhere.

use std::ops::RangeInclusive;

use bytes::Bytes;
use streamhouse_coordinator::group::{MemberAssignment, MemberId, SyncRequest};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::{shared_option, text};

/// The handler.
#[derive(Debug)]
pub struct SyncGroup;

impl Handler for SyncGroup {
    const KEY: ApiKey = ApiKey::SyncGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    const LANE: Lane = Lane::Parked;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = SyncGroupRequest;
    type Response = SyncGroupResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: SyncGroupRequest,
    ) -> Reply<SyncGroupResponse> {
        let version = cx.api_version;
        if !reach
            .access
            .to_group(cx, Operation::Read, &request.group_id)
        {
            return Reply::now(refused(&error_code::GROUP_AUTHORIZATION_FAILED));
        }
        // KAFKA-9232: since version 5 both are mandatory.
        let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if version >= 5 && !names_protocol {
            return Reply::now(refused(&error_code::INCONSISTENT_GROUP_PROTOCOL));
        }
        let groups = reach.groups.clone();
        let sync = sync_request(&request);
        Reply::later(async move {
            match groups.sync(sync).await {
                Ok(answer) => {
                    let response = SyncGroupResponse::default().with_assignment(answer.assignment);
                    if version < 5 {
                        return response;
                    }
                    response
                        .with_protocol_type(Some(text(&*answer.protocol_type)))
                        .with_protocol_name(Some(text(&*answer.protocol)))
                }
                Err(error) => refused(&Refusal::from(&error)),
            }
        })
    }
}

fn sync_request(request: &SyncGroupRequest) -> SyncRequest {
    let assignments = request
        .assignments
        .iter()
        .map(|assignment| MemberAssignment {
            member: MemberId::from(assignment.member_id.as_str()),
            // A copy: the group keeps it, and must not keep the whole frame with it.
            assignment: Bytes::copy_from_slice(&assignment.assignment),
        });
    SyncRequest {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from(request.member_id.as_str()),
        instance: shared_option(request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: shared_option(request.protocol_type.as_ref()),
        protocol: shared_option(request.protocol_name.as_ref()),
        assignments: assignments.collect(),
    }
}

fn refused(refusal: &Refusal) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(refusal.code())
}
