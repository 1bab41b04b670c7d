//! FindCoordinator (key 10): which broker coordinates a group.
//!
//! Kafka's rules we keep: DESCRIBE on the group; since version 4 many keys, each answered with its key; a coordinator
//! that is still loading is named all the same. Where we differ: transactions do not exist yet, so the coordinator of a
//! transactional id is an error that ends the client at once ([`error_code::TRANSACTIONS_NOT_SERVED`]).

use std::ops::RangeInclusive;

use streamhouse_coordinator::service::Standing;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::find_coordinator_response::Coordinator;
use streamhouse_protocol::messages::{self, FindCoordinatorRequest, FindCoordinatorResponse};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::reach::{Endpoint, GroupReach};
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
    const VERSIONS: RangeInclusive<i16> = 0..=4;
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
            let found = keys.map(|key| many(key, find(key), reach)).collect();
            FindCoordinatorResponse::default().with_coordinators(found)
        } else {
            one(find(&request.key), reach, cx.api_version)
        })
    }
}

/// Where the coordinator of `key` is reached.
fn find<'a>(
    reach: &'a GroupReach,
    cx: &RequestContext,
    key_type: i8,
    key: &StrBytes,
) -> Result<&'a Endpoint, Refusal> {
    match key_type {
        GROUP if !reach.access.to_group(cx, Operation::Describe, key) => {
            Err(error_code::GROUP_AUTHORIZATION_FAILED)
        }
        GROUP => match reach
            .groups
            .coordinator_of(&GroupId::from(key.as_str()))
            .standing
        {
            Standing::Loaded | Standing::Loading => {
                let endpoint = reach.cluster.endpoint(&cx.peer.listener);
                endpoint.ok_or(error_code::COORDINATOR_NOT_AVAILABLE)
            }
            Standing::Elsewhere => Err(error_code::COORDINATOR_NOT_AVAILABLE),
        },
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

fn one(
    found: Result<&Endpoint, Refusal>,
    reach: &GroupReach,
    version: i16,
) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    match found {
        Ok(endpoint) => response
            .with_error_code(NONE)
            // Kafka's message of "no error" (`Errors.NONE`), which only the answer about one key carries.
            .with_error_message((version >= 1).then(|| text("NONE")))
            .with_node_id(messages::BrokerId(reach.cluster.broker.0))
            .with_host(text(&*endpoint.host))
            .with_port(i32::from(endpoint.port)),
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

fn many(key: &StrBytes, found: Result<&Endpoint, Refusal>, reach: &GroupReach) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key.clone());
    match found {
        Ok(endpoint) => coordinator
            .with_node_id(messages::BrokerId(reach.cluster.broker.0))
            .with_host(text(&*endpoint.host))
            .with_port(i32::from(endpoint.port)),
        Err(refusal) => coordinator
            .with_error_code(refusal.code())
            .with_error_message(refusal.message())
            .with_node_id(messages::BrokerId(-1))
            .with_port(-1),
    }
}
