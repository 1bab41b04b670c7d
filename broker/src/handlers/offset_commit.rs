//! OffsetCommit (key 8): stores how far a group has read.
//!
//! Kafka's rules we keep: READ on the group and on each topic; a partition that does not exist is
//! UNKNOWN_TOPIC_OR_PARTITION while others are stored; a member must be of the current generation, generation -1 is for
//! groups without members; a member of a consumer group commits with its epoch, since version 9; versions 2 to 4 may say how long the offsets live. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_coordinator::group::{self, CommitOffsets, MemberId};
use streamhouse_metadata::Catalogue;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicPartition};
use streamhouse_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use streamhouse_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use streamhouse_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use streamhouse_protocol::names::{GroupId, TopicName};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::{shared, shared_option};

/// The handler.
#[derive(Debug)]
pub struct OffsetCommit;

impl Handler for OffsetCommit {
    const KEY: ApiKey = ApiKey::OffsetCommit;
    const VERSIONS: RangeInclusive<i16> = 2..=9;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = OffsetCommitRequest;
    type Response = OffsetCommitResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: OffsetCommitRequest,
    ) -> Reply<OffsetCommitResponse> {
        if !reach
            .access
            .to_group(cx, Operation::Read, &request.group_id)
        {
            let code = error_code::GROUP_AUTHORIZATION_FAILED.code();
            return Reply::now(answer(&request.topics, || code));
        }
        let lines = lines(reach, cx, &request.topics);
        let offsets: Vec<_> = lines
            .iter()
            .filter_map(|line| line.as_ref().ok())
            .cloned()
            .collect();
        let commit = CommitOffsets {
            group: GroupId::from(request.group_id.as_str()),
            member: MemberId::from(request.member_id.as_str()),
            instance: shared_option(request.group_instance_id.as_ref()),
            generation: request.generation_id_or_member_epoch,
            knows_member_epochs: cx.api_version >= 9,
            // -1 leaves it to the broker, and so do the versions that cannot say it.
            retention_ms: (request.retention_time_ms >= 0).then_some(request.retention_time_ms),
            offsets,
        };
        let mut codes = match reach.groups.commit_offsets(commit).await {
            Ok(results) => results
                .iter()
                .map(|result| error_code::code_of(&result.as_ref().map_err(Refusal::from)))
                .collect::<Vec<i16>>()
                .into_iter(),
            Err(error) => {
                let code = error_code::of_commit(&error, cx.api_version).code();
                return Reply::now(answer(&request.topics, || code));
            }
        };
        let mut lines = lines.iter();
        Reply::now(answer(&request.topics, || match lines.next() {
            Some(Ok(_)) => codes.next().unwrap_or(NONE),
            Some(Err(refusal)) => refusal.code(),
            None => NONE,
        }))
    }
}

/// One line per partition of the request, in its order: what to store, or why not.
fn lines(
    reach: &GroupReach,
    cx: &RequestContext,
    topics: &[OffsetCommitRequestTopic],
) -> Vec<Result<group::OffsetCommit, Refusal>> {
    let catalogue = reach.catalogue.current();
    let mut lines = Vec::new();
    for topic in topics {
        let is_allowed = reach.access.to_topic(cx, Operation::Read, &topic.name);
        for partition in &topic.partitions {
            lines.push(if is_allowed {
                line(&catalogue, &topic.name, partition)
            } else {
                Err(error_code::TOPIC_AUTHORIZATION_FAILED)
            });
        }
    }
    lines
}

fn line(
    catalogue: &Catalogue,
    topic: &str,
    partition: &OffsetCommitRequestPartition,
) -> Result<group::OffsetCommit, Refusal> {
    let name = TopicName::new(topic).map_err(|_| error_code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let topic = catalogue
        .by_name(&name)
        .ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let index = usize::try_from(partition.partition_index).ok();
    if index.is_none_or(|index| index >= topic.partitions.len()) {
        return Err(error_code::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let metadata = partition.committed_metadata.as_ref().map(shared);
    Ok(group::OffsetCommit {
        partition: TopicPartition::new(topic.id, PartitionIndex(partition.partition_index)),
        offset: partition.committed_offset,
        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: metadata.unwrap_or_else(|| "".into()),
    })
}

/// The answer with a code per partition, asked for in the order of the request.
fn answer(
    topics: &[OffsetCommitRequestTopic],
    mut code: impl FnMut() -> i16,
) -> OffsetCommitResponse {
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
