//! Heartbeat (key 12): a member lives, and hears of a rebalance.
//!
//! Kafka's rules we keep: READ on the group; a member of another generation is told so; during a rebalance the session
//! lives on and the answer is REBALANCE_IN_PROGRESS. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_coordinator::group::{self, MemberId};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::shared_option;

/// The handler.
#[derive(Debug)]
pub struct Heartbeat;

impl Handler for Heartbeat {
    const KEY: ApiKey = ApiKey::Heartbeat;
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = HeartbeatRequest;
    type Response = HeartbeatResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: HeartbeatRequest,
    ) -> Reply<HeartbeatResponse> {
        let beat = if reach
            .access
            .to_group(cx, Operation::Read, &request.group_id)
        {
            let heartbeat = group::Heartbeat {
                group: GroupId::from(request.group_id.as_str()),
                member: MemberId::from(request.member_id.as_str()),
                instance: shared_option(request.group_instance_id.as_ref()),
                generation: request.generation_id,
            };
            reach
                .groups
                .heartbeat(heartbeat)
                .await
                .map_err(|error| Refusal::from(&error))
        } else {
            Err(error_code::GROUP_AUTHORIZATION_FAILED)
        };
        Reply::now(HeartbeatResponse::default().with_error_code(error_code::code_of(&beat)))
    }
}
