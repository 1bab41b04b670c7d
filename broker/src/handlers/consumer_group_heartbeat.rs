//! ConsumerGroupHeartbeat (key 68): joins a group of the consumer protocol, stays in it, follows its assignment, leaves it
//! (KIP-848).
//!
//! Kafka's rules we keep: READ on the group and DESCRIBE on each topic that is subscribed to by name; a regex matches only
//! topics that the asker may DESCRIBE; the assignment is in the answer when it changed or when the member says everything
//! anew; since version 1 members draw their ids themselves. Where we differ: a bad regex is refused by the first heartbeat that
//! names it, and before any group is touched.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use streamhouse_coordinator::group::MemberId;
use streamhouse_coordinator::group::consumer::{
    ConsumerHeartbeat, ConsumerHeartbeatAnswer, Partitions,
};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::messages::consumer_group_heartbeat_response::{
    Assignment, TopicPartitions,
};
use streamhouse_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::{shared, shared_option, text, uuid};

/// The handler.
#[derive(Debug)]
pub struct ConsumerGroupHeartbeat;

impl Handler for ConsumerGroupHeartbeat {
    const KEY: ApiKey = ApiKey::ConsumerGroupHeartbeat;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = ConsumerGroupHeartbeatRequest;
    type Response = ConsumerGroupHeartbeatResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Reply<ConsumerGroupHeartbeatResponse> {
        Reply::now(match beat(reach, cx, &request).await {
            Ok(answer) => answered(answer),
            Err(refusal) => ConsumerGroupHeartbeatResponse::default()
                .with_error_code(refusal.code())
                .with_error_message(refusal.message()),
        })
    }
}

async fn beat(
    reach: &GroupReach,
    cx: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerHeartbeatAnswer, Refusal> {
    if !reach
        .access
        .to_group(cx, Operation::Read, &request.group_id)
    {
        return Err(error_code::GROUP_AUTHORIZATION_FAILED);
    }
    let may_see = |name: &str| reach.access.to_topic(cx, Operation::Describe, name);
    let mut names = request.subscribed_topic_names.iter().flatten();
    if !names.all(|name| may_see(name)) {
        return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
    }
    let catalogue = reach.catalogue.current();
    let heard = reach
        .groups
        .consumer_heartbeat(heartbeat(cx, request), &catalogue, |name| {
            may_see(name.as_str())
        });
    heard.await.map_err(|error| Refusal::from(&error))
}

fn heartbeat(cx: &RequestContext, request: &ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let names = request.subscribed_topic_names.as_ref();
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let all = topics.iter().flat_map(|topic| {
            let id = TopicId(topic.topic_id.as_u128());
            let partitions = topic.partitions.iter();
            partitions.map(move |index| TopicPartition::new(id, PartitionIndex(*index)))
        });
        all.collect::<Partitions>()
    });
    ConsumerHeartbeat {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from(request.member_id.as_str()),
        epoch: request.member_epoch,
        instance: shared_option(request.instance_id.as_ref()),
        rack: shared_option(request.rack_id.as_ref()),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        names: names.map(|names| names.iter().map(|name| shared(&name.0)).collect()),
        regex: shared_option(request.subscribed_topic_regex.as_ref()),
        assignor: shared_option(request.server_assignor.as_ref()),
        owned,
        client_id: shared(&cx.client_id),
        client_host: Arc::from(format!("/{}", cx.peer.host)),
        draws_member_id: cx.api_version >= 1,
    }
}

fn answered(answer: ConsumerHeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let interval = i32::try_from(answer.interval.as_millis()).unwrap_or(i32::MAX);
    let assignment = answer.assigned.map(|assigned| {
        let topics = by_topic(&assigned).into_iter().map(|(topic, partitions)| {
            TopicPartitions::default()
                .with_topic_id(uuid(topic))
                .with_partitions(partitions)
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(answer.member.as_str())))
        .with_member_epoch(answer.epoch)
        .with_heartbeat_interval_ms(interval)
        .with_assignment(assignment)
}

/// The partitions of each topic, in order.
pub(super) fn by_topic(partitions: &Partitions) -> BTreeMap<TopicId, Vec<i32>> {
    let mut topics = BTreeMap::<TopicId, Vec<i32>>::new();
    for one in partitions {
        topics.entry(one.topic).or_default().push(one.partition.0);
    }
    topics
}
