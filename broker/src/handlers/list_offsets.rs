//! ListOffsets (key 2): the corners of partitions, and offsets by time.
//!
//! Kafka's rules we keep: DESCRIBE on each topic; a partition that is asked for twice is INVALID_REQUEST; times are
//! looked up by record, and a time after the last record gives -1 without error; the latest offset is the last stable
//! one for readers of committed records; where nothing is tiered, the latest tiered offset is -1 without error. Where we
//! differ: nothing is tiered in Kafka's sense, so the earliest local offset is the log start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use streamhouse_log::read::times::TimedOffset;
use streamhouse_log::read::{Isolation, ReadError};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::Timestamp;
use streamhouse_protocol::messages::list_offsets_request::ListOffsetsPartition;
use streamhouse_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use streamhouse_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::partitions::Partitions;
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct ListOffsets;

/// Kafka's special timestamps (`ListOffsetsRequest`).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

impl Handler for ListOffsets {
    const KEY: ApiKey = ApiKey::ListOffsets;
    const VERSIONS: RangeInclusive<i16> = 1..=10;
    const LANE: Lane = Lane::Parked;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Topic));
    type Reach = Partitions;
    type Request = ListOffsetsRequest;
    type Response = ListOffsetsResponse;

    async fn handle(
        partitions: &Partitions,
        cx: &RequestContext,
        request: ListOffsetsRequest,
    ) -> Reply<ListOffsetsResponse> {
        let (partitions, cx) = (partitions.clone(), cx.clone());
        Reply::later(async move {
            let mut topics = Vec::with_capacity(request.topics.len());
            let isolation = if request.isolation_level == 1 {
                Isolation::ReadCommitted
            } else {
                Isolation::ReadUncommitted
            };
            let mut twice = named_twice(&request);
            for topic in &request.topics {
                let mut answers = Vec::with_capacity(topic.partitions.len());
                for asked in &topic.partitions {
                    let key = (topic.name.as_str(), asked.partition_index);
                    let was_answered = twice.get_mut(&key);
                    let found = match was_answered.map(|it| std::mem::replace(it, true)) {
                        Some(true) => continue,
                        Some(false) => Err(error_code::INVALID_REQUEST),
                        None => find(&partitions, &cx, &topic.name, asked, isolation).await,
                    };
                    answers.push(shown(asked.partition_index, found, cx.api_version));
                }
                topics.push(
                    ListOffsetsTopicResponse::default()
                        .with_name(topic.name.clone())
                        .with_partitions(answers),
                );
            }
            ListOffsetsResponse::default().with_topics(topics)
        })
    }
}

/// The partitions that stand more than once in the request, and whether they were answered: none of them is looked up,
/// and each is refused once.
fn named_twice(request: &ListOffsetsRequest) -> BTreeMap<(&str, i32), bool> {
    let mut seen = BTreeSet::new();
    let partitions = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|asked| (topic.name.as_str(), asked.partition_index))
    });
    let twice = partitions.filter(|asked| !seen.insert(*asked));
    twice.map(|asked| (asked, false)).collect()
}

/// What is answered for one partition.
struct Found {
    at: Option<TimedOffset>,
    leader_epoch: i32,
}

async fn find(
    partitions: &Partitions,
    cx: &RequestContext,
    name: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Found, Refusal> {
    if !partitions.access.to_topic(cx, Operation::Describe, name) {
        return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
    }
    let address =
        partitions.address(partitions.topics.find(name).as_ref(), asked.partition_index)?;
    let refused = |error: ReadError| Refusal::from(&error);
    let offsets = partitions.log.offsets(address).map_err(refused)?;
    Partitions::check_epoch(offsets.leader_epoch, asked.current_leader_epoch)?;
    let corner = |offset: i64| {
        Ok(Some(TimedOffset {
            offset,
            timestamp: Timestamp::NONE,
        }))
    };
    let at = match asked.timestamp {
        LATEST => corner(offsets.readable_end(isolation)),
        EARLIEST => corner(offsets.log_start),
        MAX_TIMESTAMP if cx.api_version >= 7 => {
            partitions.log.max_timestamp(address, isolation).await
        }
        EARLIEST_LOCAL if cx.api_version >= 8 => corner(offsets.log_start),
        LATEST_TIERED if cx.api_version >= 9 => Ok(None),
        time if time >= 0 => {
            partitions
                .log
                .first_at_or_after(address, Timestamp(time), isolation)
                .await
        }
        _ => return Err(error_code::UNSUPPORTED_VERSION),
    };
    Ok(Found {
        at: at.map_err(refused)?,
        leader_epoch: offsets.leader_epoch.0,
    })
}

fn shown(index: i32, found: Result<Found, Refusal>, version: i16) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error_code::code_of(&found))
        .with_offset(-1)
        .with_timestamp(-1);
    let Ok(Found { at, leader_epoch }) = found else {
        return answer;
    };
    let answer = match at {
        Some(at) => answer.with_offset(at.offset).with_timestamp(at.timestamp.0),
        None => answer,
    };
    // Without an offset there is no epoch that it belongs to.
    if version >= 4 && at.is_some() {
        answer.with_leader_epoch(leader_epoch)
    } else {
        answer
    }
}
