//! CreatePartitions (key 37): more partitions for topics.
//!
//! Kafka's rules we keep: ALTER on each topic; the number is that of all partitions and must grow; a topic that stands
//! twice in a request is refused; so is what goes beyond the partitions that one request may add; `validate_only`
//! changes nothing. Where we differ: nowhere.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use streamhouse_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use streamhouse_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Administration;
use crate::security::{Operation, ResourceKind};
use crate::topics::PARTITIONS_PER_REQUEST_MAX;

/// The handler.
#[derive(Debug)]
pub struct CreatePartitions;

impl Handler for CreatePartitions {
    const KEY: ApiKey = ApiKey::CreatePartitions;
    const VERSIONS: RangeInclusive<i16> = 0..=3;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Alter, ResourceKind::Topic));
    type Reach = Administration;
    type Request = CreatePartitionsRequest;
    type Response = CreatePartitionsResponse;

    async fn handle(
        administration: &Administration,
        cx: &RequestContext,
        request: CreatePartitionsRequest,
    ) -> Reply<CreatePartitionsResponse> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for topic in &request.topics {
            *counts.entry(topic.name.to_string()).or_default() += 1;
        }
        let mut left = PARTITIONS_PER_REQUEST_MAX;
        let mut results = Vec::with_capacity(counts.len());
        for topic in &request.topics {
            let added = match counts.remove(topic.name.as_str()) {
                Some(1) => {
                    let validate_only = request.validate_only;
                    add(administration, cx, topic, validate_only, &mut left).await
                }
                Some(_) => Err(Refusal::invalid_request("Duplicate topic in request.")),
                None => continue,
            };
            let result = CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(error_code::code_of(&added));
            results.push(result.with_error_message(added.err().and_then(|it| it.message())));
        }
        Reply::now(CreatePartitionsResponse::default().with_results(results))
    }
}

async fn add(
    administration: &Administration,
    cx: &RequestContext,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    left: &mut usize,
) -> Result<(), Refusal> {
    let Administration { topics, access } = administration;
    if !access.to_topic(cx, Operation::Alter, &topic.name) {
        return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
    }
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let brokers = assignments.iter().map(|assignment| {
            assignment
                .broker_ids
                .iter()
                .map(|broker| broker.0)
                .collect::<Vec<i32>>()
        });
        brokers.collect::<Vec<_>>()
    });
    let added = topics.add_partitions(
        &topic.name,
        topic.count,
        assignments.as_deref(),
        validate_only,
        left,
    );
    added.await.map_err(|error| Refusal::from(&error))
}
