//! InitProducerId (key 22): a producer id for an idempotent producer.
//!
//! Kafka's rules we keep: without transactional id every request gets an id that nobody had, with epoch 0, whatever id
//! it names; IDEMPOTENT_WRITE on the cluster or WRITE on any topic (KIP-679); an id without its epoch, or the reverse,
//! and an empty transactional id are INVALID_REQUEST. Where we differ: transactions do not exist yet, so a
//! transactional id gets an error that ends the client at once ([`error_code::TRANSACTIONS_NOT_SERVED`]) and does not
//! leave it hanging.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::ProducerId;
use streamhouse_protocol::messages::{self, InitProducerIdRequest, InitProducerIdResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Producers;
use crate::security::{Operation, Resource, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct InitProducerId;

impl Handler for InitProducerId {
    const KEY: ApiKey = ApiKey::InitProducerId;
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::IdempotentWrite, ResourceKind::Cluster));
    type Reach = Producers;
    type Request = InitProducerIdRequest;
    type Response = InitProducerIdResponse;

    async fn handle(
        producers: &Producers,
        cx: &RequestContext,
        request: InitProducerIdRequest,
    ) -> Reply<InitProducerIdResponse> {
        let response = InitProducerIdResponse::default();
        Reply::now(match producer_id(producers, cx, &request).await {
            Ok(id) => response
                .with_producer_id(messages::ProducerId(id.0))
                .with_producer_epoch(0),
            Err(refusal) => response
                .with_error_code(refusal.code())
                .with_producer_id(messages::ProducerId(ProducerId::NONE.0))
                .with_producer_epoch(-1),
        })
    }
}

async fn producer_id(
    producers: &Producers,
    cx: &RequestContext,
    request: &InitProducerIdRequest,
) -> Result<ProducerId, Refusal> {
    let Producers { ids, access } = producers;
    if let Some(id) = &request.transactional_id {
        let resource = Resource::transactional_id(&id.0);
        return Err(if !access.allows(cx, Operation::Write, resource) {
            error_code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        } else if id.0.is_empty() {
            error_code::INVALID_REQUEST
        } else {
            error_code::TRANSACTIONS_NOT_SERVED
        });
    }
    let is_allowed = access.to_cluster(cx, Operation::IdempotentWrite)
        || access.to_some_topic(cx, Operation::Write);
    if !is_allowed {
        return Err(error_code::CLUSTER_AUTHORIZATION_FAILED);
    }
    let names_id = request.producer_id.0 != ProducerId::NONE.0;
    let names_epoch = request.producer_epoch != -1;
    if cx.api_version >= 3 && names_id != names_epoch {
        return Err(error_code::INVALID_REQUEST);
    }
    ids.next()
        .await
        .map_err(|error| error_code::producer_ids_unavailable(&error))
}
