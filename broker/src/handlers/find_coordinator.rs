//! FindCoordinator (key 10): which broker coordinates a group.
//!
//! Kafka's rules we keep: DESCRIBE on the group; since version 4 many keys, each answered with its key; a coordinator
//! that is still loading is named all the same; a group that nobody coordinates at the moment is COORDINATOR_NOT_AVAILABLE.
//! Where we differ: transactions do not exist yet, so the coordinator of a
//! transactional id is an error that ends the client at once ([`error_code::TRANSACTIONS_NOT_SERVED`]); versions 5 (KIP-890)
//! and 6 (share groups) look the same, and there are no share groups, whose keys are INVALID_REQUEST.

use std::ops::RangeInclusive;

use streamhouse_coordinator::service::{Coordination, Standing};
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::BrokerId;
use streamhouse_protocol::messages::find_coordinator_response::Coordinator;
use streamhouse_protocol::messages::{self, FindCoordinatorRequest, FindCoordinatorResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::reach::{GroupReach, Reachable};
use crate::security::{Operation, Resource, ResourceKind};

use super::words::text;

/// Kafka's numbers of coordinators (`CoordinatorType`). On the wire: never renumber.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The handler.
#[derive(Debug)]
pub struct FindCoordinator;

impl Handler for FindCoordinator {
    const KEY: ApiKey = ApiKey::FindCoordinator;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = FindCoordinatorRequest;
    type Response = FindCoordinatorResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: FindCoordinatorRequest,
    ) -> Reply<FindCoordinatorResponse> {
        let find = |key: &StrBytes| find(reach, cx, request.key_type, key);
        Reply::now(if cx.api_version >= 4 {
            let keys = request.coordinator_keys.iter();
            let found = keys.map(|key| many(key, find(key))).collect();
            FindCoordinatorResponse::default().with_coordinators(found)
        } else {
            one(find(&request.key), cx.api_version)
        })
    }
}

/// Where the coordinator of `key` is reached.
fn find(
    reach: &GroupReach,
    cx: &RequestContext,
    key_type: i8,
    key: &StrBytes,
) -> Result<Reachable, Refusal> {
    match key_type {
        GROUP if !reach.access.to_group(cx, Operation::Describe, key) => {
            Err(error_code::GROUP_AUTHORIZATION_FAILED)
        }
        GROUP => {
            let coordinator = coordinator(reach, &GroupId::from(key.as_str()));
            let reachable = reach.cluster.reachable(&cx.peer.listener);
            let mut reachable = reachable.into_iter();
            coordinator
                .and_then(|broker| reachable.find(|shown| shown.broker == broker))
                .ok_or(error_code::COORDINATOR_NOT_AVAILABLE)
        }
        TRANSACTION => {
            let resource = Resource::transactional_id(key);
            Err(if reach.access.allows(cx, Operation::Describe, resource) {
                error_code::TRANSACTIONS_NOT_SERVED
            } else {
                error_code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            })
        }
        other => Err(Refusal::invalid_request(format!(
            "there is no coordinator of type {other}"
        ))),
    }
}

/// The broker that coordinates a group: whoever leads its shard.
fn coordinator(reach: &GroupReach, group: &GroupId) -> Option<BrokerId> {
    let Coordination { shard, standing } = reach.groups.coordinator_of(group);
    match standing {
        Standing::Loaded | Standing::Loading => Some(reach.cluster.broker),
        Standing::Elsewhere => {
            let leaders = reach.leaders.current();
            let leader = leaders.get(&shard)?.broker;
            // This broker would know.
            (leader != reach.cluster.broker).then_some(leader)
        }
    }
}

fn one(found: Result<Reachable, Refusal>, version: i16) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    match found {
        Ok(found) => response
            .with_error_code(NONE)
            // Kafka's message of "no error" (`Errors.NONE`), which only the answer about one key carries.
            .with_error_message((version >= 1).then(|| text("NONE")))
            .with_node_id(messages::BrokerId(found.broker.0))
            .with_host(text(&*found.endpoint.host))
            .with_port(i32::from(found.endpoint.port)),
        Err(refusal) => {
            let message = if version >= 1 {
                refusal.message()
            } else {
                None
            };
            response
                .with_error_code(refusal.code())
                .with_error_message(message)
                .with_node_id(messages::BrokerId(-1))
                .with_port(-1)
        }
    }
}

fn many(key: &StrBytes, found: Result<Reachable, Refusal>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key.clone());
    match found {
        Ok(found) => coordinator
            .with_node_id(messages::BrokerId(found.broker.0))
            .with_host(text(&*found.endpoint.host))
            .with_port(i32::from(found.endpoint.port)),
        Err(refusal) => coordinator
            .with_error_code(refusal.code())
            .with_error_message(refusal.message())
            .with_node_id(messages::BrokerId(-1))
            .with_port(-1),
    }
}
