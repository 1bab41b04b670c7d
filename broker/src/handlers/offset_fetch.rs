//! OffsetFetch (key 9): how far groups have read.
//!
//! Kafka's rules we keep: DESCRIBE on each group and on each topic; a partition without offset is -1 without error;
//! since version 2 a null list means every partition with an offset that the asker may describe; version 8 asks for
//! many groups; since version 9 a member of a consumer group must be of the epoch that it names; before version 2 the error of the group stands at each partition. Where we differ: nowhere.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use streamhouse_coordinator::group::{CommittedOffset, FetchOffsets, MemberId};
use streamhouse_metadata::{Catalogue, Topic};
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicPartition};
use streamhouse_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use streamhouse_protocol::messages::{self, OffsetFetchRequest, OffsetFetchResponse};
use streamhouse_protocol::names::{GroupId, TopicName};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::{text, topic_name};

/// The handler.
#[derive(Debug)]
pub struct OffsetFetch;

impl Handler for OffsetFetch {
    const KEY: ApiKey = ApiKey::OffsetFetch;
    const VERSIONS: RangeInclusive<i16> = 1..=9;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = OffsetFetchRequest;
    type Response = OffsetFetchResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: OffsetFetchRequest,
    ) -> Reply<OffsetFetchResponse> {
        if cx.api_version < 8 {
            return Reply::now(one_group(reach, cx, &request).await);
        }
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in &request.groups {
            let asked = group.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                topics
                    .map(|topic| (topic.name.clone(), topic.partition_indexes.clone()))
                    .collect()
            });
            let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            let asker = Asker {
                group: &group.group_id,
                member: group.member_id.as_ref(),
                epoch: group.member_epoch,
            };
            groups.push(match fetch(reach, cx, asker, asked).await {
                Ok(topics) => answer.with_topics(topics.into_iter().map(grouped_topic).collect()),
                Err(refusal) => answer.with_error_code(refusal.code()),
            });
        }
        Reply::now(OffsetFetchResponse::default().with_groups(groups))
    }
}

/// Who asks for the offsets of which group.
#[derive(Clone, Copy)]
struct Asker<'a> {
    group: &'a messages::GroupId,
    /// Since version 9, and only from members.
    member: Option<&'a StrBytes>,
    epoch: i32,
}

impl Asker<'_> {
    fn fetch(self, partitions: Option<Vec<TopicPartition>>) -> FetchOffsets {
        FetchOffsets {
            group: GroupId::from(self.group.as_str()),
            member: self.member.map(|member| MemberId::from(member.as_str())),
            epoch: self.epoch,
            partitions,
        }
    }
}

/// Which partitions are asked for, by topic; `None` for all.
type Asked = Option<Vec<(messages::TopicName, Vec<i32>)>>;

/// A topic of the answer.
struct FetchedTopic {
    name: messages::TopicName,
    partitions: Vec<FetchedPartition>,
}

/// A partition of the answer.
struct FetchedPartition {
    index: i32,
    committed: Option<CommittedOffset>,
    code: i16,
}

async fn one_group(
    reach: &GroupReach,
    cx: &RequestContext,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    let asked: Asked = request.topics.as_ref().map(|topics| {
        let topics = topics.iter();
        topics
            .map(|topic| (topic.name.clone(), topic.partition_indexes.clone()))
            .collect()
    });
    let response = OffsetFetchResponse::default();
    let asker = Asker {
        group: &request.group_id,
        member: None,
        epoch: -1,
    };
    match fetch(reach, cx, asker, asked.clone()).await {
        Ok(topics) => response.with_topics(topics.into_iter().map(single_topic).collect()),
        Err(refusal) if cx.api_version >= 2 => response.with_error_code(refusal.code()),
        Err(refusal) => {
            let topics = asked
                .unwrap_or_default()
                .into_iter()
                .map(|(name, indexes)| {
                    single_topic(FetchedTopic {
                        name,
                        partitions: without(&indexes, refusal.code()),
                    })
                });
            response.with_topics(topics.collect())
        }
    }
}

/// Partitions without offset.
fn without(indexes: &[i32], code: i16) -> Vec<FetchedPartition> {
    let indexes = indexes.iter();
    indexes
        .map(|&index| FetchedPartition {
            index,
            committed: None,
            code,
        })
        .collect()
}

async fn fetch(
    reach: &GroupReach,
    cx: &RequestContext,
    asker: Asker<'_>,
    asked: Asked,
) -> Result<Vec<FetchedTopic>, Refusal> {
    if !reach.access.to_group(cx, Operation::Describe, asker.group) {
        return Err(error_code::GROUP_AUTHORIZATION_FAILED);
    }
    let catalogue = reach.catalogue.current();
    match asked {
        None => all(reach, cx, asker, &catalogue).await,
        Some(asked) => named(reach, cx, asker, (&catalogue, asked)).await,
    }
}

/// Every partition that has an offset, of topics that exist and that the asker may see.
async fn all(
    reach: &GroupReach,
    cx: &RequestContext,
    asker: Asker<'_>,
    catalogue: &Catalogue,
) -> Result<Vec<FetchedTopic>, Refusal> {
    let fetched = reach.groups.fetch_offsets(asker.fetch(None)).await;
    let mut topics: BTreeMap<&str, FetchedTopic> = BTreeMap::new();
    for line in fetched.map_err(|error| Refusal::from(&error))? {
        let Some(topic) = catalogue.by_id(line.partition.topic) else {
            continue;
        };
        let name = topic.name.as_str();
        if !reach.access.to_topic(cx, Operation::Describe, name) {
            continue;
        }
        let topic = topics.entry(name).or_insert_with(|| FetchedTopic {
            name: topic_name(name),
            partitions: Vec::new(),
        });
        let index = line.partition.partition.0;
        topic.partitions.push(FetchedPartition {
            index,
            committed: line.committed,
            code: NONE,
        });
    }
    Ok(topics.into_values().collect())
}

async fn named(
    reach: &GroupReach,
    cx: &RequestContext,
    asker: Asker<'_>,
    (catalogue, asked): (&Catalogue, Vec<(messages::TopicName, Vec<i32>)>),
) -> Result<Vec<FetchedTopic>, Refusal> {
    let find = |name: &str| -> Option<&Topic> { catalogue.by_name(&TopicName::new(name).ok()?) };
    let may_see = |name: &str| reach.access.to_topic(cx, Operation::Describe, name);
    let mut partitions = Vec::new();
    for (name, indexes) in &asked {
        if let Some(topic) = find(name).filter(|_| may_see(name)) {
            let indexes = indexes.iter();
            partitions
                .extend(indexes.map(|&index| TopicPartition::new(topic.id, PartitionIndex(index))));
        }
    }
    let fetch = asker.fetch(Some(partitions));
    let fetched = reach.groups.fetch_offsets(fetch).await;
    let fetched: BTreeMap<TopicPartition, Option<CommittedOffset>> = fetched
        .map_err(|error| Refusal::from(&error))?
        .into_iter()
        .map(|line| (line.partition, line.committed))
        .collect();
    let topics = asked.into_iter().map(|(name, indexes)| {
        let partitions = if may_see(&name) {
            let topic = find(&name);
            let indexes = indexes.into_iter().map(|index| {
                let key = topic.map(|topic| TopicPartition::new(topic.id, PartitionIndex(index)));
                let committed = key.and_then(|key| fetched.get(&key).cloned().flatten());
                FetchedPartition {
                    index,
                    committed,
                    code: NONE,
                }
            });
            indexes.collect()
        } else {
            without(&indexes, error_code::TOPIC_AUTHORIZATION_FAILED.code())
        };
        FetchedTopic { name, partitions }
    });
    Ok(topics.collect())
}

/// Offset, leader epoch and metadata as Kafka shows them; -1 and nothing where there is no offset.
fn shown(committed: Option<CommittedOffset>) -> (i64, i32, Option<StrBytes>) {
    committed.map_or(
        (-1, LeaderEpoch::NONE.0, Some(StrBytes::default())),
        |committed| {
            (
                committed.offset,
                committed.leader_epoch.0,
                Some(text(&*committed.metadata)),
            )
        },
    )
}

fn single_topic(topic: FetchedTopic) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        let (offset, epoch, metadata) = shown(partition.committed);
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(metadata)
            .with_error_code(partition.code)
    });
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(partitions.collect())
}

fn grouped_topic(topic: FetchedTopic) -> OffsetFetchResponseTopics {
    let partitions = topic.partitions.into_iter().map(|partition| {
        let (offset, epoch, metadata) = shown(partition.committed);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(partition.index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(metadata)
            .with_error_code(partition.code)
    });
    OffsetFetchResponseTopics::default()
        .with_name(topic.name)
        .with_partitions(partitions.collect())
}
