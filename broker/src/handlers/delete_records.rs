//! DeleteRecords (key 21): moves log starts up.
//!
//! Kafka's rules we keep: DELETE on each topic; -1 means the high watermark; an offset below 0 or above the high
//! watermark is OFFSET_OUT_OF_RANGE; a topic whose cleanup policy has no `delete` refuses with POLICY_VIOLATION. Where
//! we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::delete_records_request::DeleteRecordsPartition;
use streamhouse_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use streamhouse_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::partitions::Partitions;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct DeleteRecords;

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// The low watermark of a partition where nothing was deleted (Kafka: `DeleteRecordsResponse.INVALID_LOW_WATERMARK`).
const NO_LOW_WATERMARK: i64 = -1;

impl Handler for DeleteRecords {
    const KEY: ApiKey = ApiKey::DeleteRecords;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Delete, ResourceKind::Topic));
    type Reach = Partitions;
    type Request = DeleteRecordsRequest;
    type Response = DeleteRecordsResponse;

    async fn handle(
        partitions: &Partitions,
        cx: &RequestContext,
        request: DeleteRecordsRequest,
    ) -> Reply<DeleteRecordsResponse> {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut results = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let result = DeleteRecordsPartitionResult::default()
                    .with_partition_index(asked.partition_index);
                results.push(match delete(partitions, cx, &topic.name, asked).await {
                    Ok(log_start) => result.with_low_watermark(log_start).with_error_code(NONE),
                    Err(refusal) => result
                        .with_low_watermark(NO_LOW_WATERMARK)
                        .with_error_code(refusal.code()),
                });
            }
            topics.push(
                DeleteRecordsTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_partitions(results),
            );
        }
        Reply::now(DeleteRecordsResponse::default().with_topics(topics))
    }
}

async fn delete(
    partitions: &Partitions,
    cx: &RequestContext,
    name: &str,
    asked: &DeleteRecordsPartition,
) -> Result<i64, Refusal> {
    if !partitions.access.to_topic(cx, Operation::Delete, name) {
        return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
    }
    let catalogue = partitions.topics.current();
    let topic = partitions.topics.find(name);
    let address = partitions.address(topic.as_ref(), asked.partition_index)?;
    let may_delete = topic.is_some_and(|topic| partitions.rule(&catalogue, &topic).may_delete);
    if !may_delete {
        return Err(error_code::log::DELETE_NOT_ALLOWED);
    }
    let to = (asked.offset != HIGH_WATERMARK).then_some(asked.offset);
    partitions
        .log
        .delete_records(address, to)
        .await
        .map_err(|error| Refusal::from(&error))
}
