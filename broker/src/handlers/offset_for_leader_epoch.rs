//! OffsetForLeaderEpoch (key 23): where leader epochs end, so that consumers can tell a truncated log.
//!
//! Kafka's rules we keep: DESCRIBE on each topic; the answer is the largest epoch that is at most the one asked for,
//! and its end; an epoch before all that are known ends where the log starts; one behind the partition's own gives -1
//! and -1, on which consumers reset their offset. Our log is never truncated, so an end never lies below what was read.
//! Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use streamhouse_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use streamhouse_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::partitions::Partitions;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct OffsetForLeaderEpoch;

impl Handler for OffsetForLeaderEpoch {
    const KEY: ApiKey = ApiKey::OffsetForLeaderEpoch;
    const VERSIONS: RangeInclusive<i16> = 2..=4;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Topic));
    type Reach = Partitions;
    type Request = OffsetForLeaderEpochRequest;
    type Response = OffsetForLeaderEpochResponse;

    async fn handle(
        partitions: &Partitions,
        cx: &RequestContext,
        request: OffsetForLeaderEpochRequest,
    ) -> Reply<OffsetForLeaderEpochResponse> {
        let topics = request.topics.iter().map(|topic| {
            let ends = topic.partitions.iter().map(|asked| {
                let answer = EpochEndOffset::default()
                    .with_partition(asked.partition)
                    .with_leader_epoch(-1)
                    .with_end_offset(-1);
                match find(partitions, cx, &topic.topic, asked) {
                    Ok(Some((epoch, end))) => {
                        answer.with_leader_epoch(epoch.0).with_end_offset(end)
                    }
                    Ok(None) => answer,
                    Err(refusal) => answer.with_error_code(refusal.code()),
                }
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(ends.collect())
        });
        Reply::now(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }
}

fn find(
    partitions: &Partitions,
    cx: &RequestContext,
    name: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, i64)>, Refusal> {
    if !partitions.access.to_topic(cx, Operation::Describe, name) {
        return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
    }
    let address = partitions.address(partitions.topics.find(name).as_ref(), asked.partition)?;
    let offsets = partitions.log.offsets(address);
    let offsets = offsets.map_err(|error| Refusal::from(&error))?;
    Partitions::check_epoch(offsets.leader_epoch, asked.current_leader_epoch)?;
    partitions.epoch_end(address, &offsets, LeaderEpoch(asked.leader_epoch))
}
