//! OffsetDelete (key 47): a group forgets how far it has read some partitions.
//!
//! Kafka's rules we keep: DELETE on the group and READ on each topic; a partition that does not exist is
//! UNKNOWN_TOPIC_OR_PARTITION; a topic that members read is GROUP_SUBSCRIBED_TO_TOPIC; a group with members of another kind
//! than consumers is NON_EMPTY_GROUP; an offset that is not there is no error. Where we differ: nowhere.

use std::ops::RangeInclusive;
use std::sync::Arc;

use streamhouse_coordinator::group::DeleteOffsets;
use streamhouse_metadata::Catalogue;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::{PartitionIndex, TopicPartition};
use streamhouse_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use streamhouse_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use streamhouse_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use streamhouse_protocol::names::{GroupId, TopicName};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct OffsetDelete;

impl Handler for OffsetDelete {
    const KEY: ApiKey = ApiKey::OffsetDelete;
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Delete, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = OffsetDeleteRequest;
    type Response = OffsetDeleteResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: OffsetDeleteRequest,
    ) -> Reply<OffsetDeleteResponse> {
        let response = OffsetDeleteResponse::default();
        if !reach
            .access
            .to_group(cx, Operation::Delete, &request.group_id)
        {
            let code = error_code::GROUP_AUTHORIZATION_FAILED.code();
            return Reply::now(response.with_error_code(code));
        }
        let lines = lines(reach, cx, &request.topics);
        let delete = DeleteOffsets {
            group: GroupId::from(request.group_id.as_str()),
            partitions: lines.iter().filter_map(|line| line.clone().ok()).collect(),
        };
        let results = match reach.groups.delete_offsets(delete).await {
            Ok(results) => results,
            Err(error) => {
                let code = Refusal::from(&error).code();
                return Reply::now(response.with_error_code(code));
            }
        };
        let mut results = results.into_iter();
        let mut codes = lines.iter().map(|line| match line {
            Ok(_) => {
                let result = results.next().unwrap_or(Ok(()));
                error_code::code_of(&result.map_err(|error| Refusal::from(&error)))
            }
            Err(refusal) => refusal.code(),
        });
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(codes.next().unwrap_or(NONE))
            });
            let partitions = partitions.collect();
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        });
        let topics = topics.collect();
        Reply::now(response.with_topics(topics))
    }
}

/// One line per partition of the request, in its order: whose offset goes, or why not.
fn lines(
    reach: &GroupReach,
    cx: &RequestContext,
    topics: &[OffsetDeleteRequestTopic],
) -> Vec<Result<(TopicPartition, Arc<str>), Refusal>> {
    let catalogue = reach.catalogue.current();
    let mut lines = Vec::new();
    for topic in topics {
        let is_allowed = reach.access.to_topic(cx, Operation::Read, &topic.name);
        let name: Arc<str> = topic.name.as_str().into();
        for partition in &topic.partitions {
            lines.push(if is_allowed {
                find(&catalogue, &topic.name, partition.partition_index)
                    .map(|found| (found, Arc::clone(&name)))
                    .ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION)
            } else {
                Err(error_code::TOPIC_AUTHORIZATION_FAILED)
            });
        }
    }
    lines
}

fn find(catalogue: &Catalogue, topic: &str, index: i32) -> Option<TopicPartition> {
    let topic = catalogue.by_name(&TopicName::new(topic).ok()?)?;
    let is_there = usize::try_from(index).is_ok_and(|index| index < topic.partitions.len());
    is_there.then(|| TopicPartition::new(topic.id, PartitionIndex(index)))
}
