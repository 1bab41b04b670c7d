//! ConsumerGroupDescribe (key 69): state, epochs, members and assignments of groups of the consumer protocol (KIP-848).
//!
//! Kafka's rules we keep: DESCRIBE on each group; a group that does not exist, or that is of the classic protocol, is
//! GROUP_ID_NOT_FOUND, whereupon clients ask DescribeGroups; a group with a topic that the asker may not DESCRIBE is
//! TOPIC_AUTHORIZATION_FAILED and shows no members; groups fail one by one. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_coordinator::group::consumer::{
    DescribedConsumer, DescribedConsumerGroup, Partitions,
};
use streamhouse_metadata::Catalogue;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use streamhouse_protocol::messages::{
    self, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use streamhouse_protocol::names::GroupId;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::GroupReach;
use crate::security::{Operation, Resource, ResourceKind};

use super::consumer_group_heartbeat::by_topic;
use super::words::{text, topic_name, uuid};

/// What version 1 calls a member that sends JoinGroup.
const CLASSIC_MEMBER: i8 = 0;
/// What it calls one that sends ConsumerGroupHeartbeat.
const CONSUMER_MEMBER: i8 = 1;

/// The handler.
#[derive(Debug)]
pub struct ConsumerGroupDescribe;

impl Handler for ConsumerGroupDescribe {
    const KEY: ApiKey = ApiKey::ConsumerGroupDescribe;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = ConsumerGroupDescribeRequest;
    type Response = ConsumerGroupDescribeResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: ConsumerGroupDescribeRequest,
    ) -> Reply<ConsumerGroupDescribeResponse> {
        let catalogue = reach.catalogue.current();
        let mut groups = Vec::with_capacity(request.group_ids.len());
        for id in &request.group_ids {
            let shown = match describe(reach, cx, &catalogue, id).await {
                Ok(described) => {
                    let resource = Resource::group(id);
                    let asked = request.include_authorized_operations;
                    let operations = reach.access.authorized_operations(cx, resource, asked);
                    let shown = Shower {
                        catalogue: &catalogue,
                        version: cx.api_version,
                    };
                    shown
                        .group(described)
                        .with_authorized_operations(operations)
                }
                Err(refusal) => DescribedGroup::default()
                    .with_error_code(refusal.code())
                    .with_error_message(refusal.message()),
            };
            groups.push(shown.with_group_id(id.clone()));
        }
        Reply::now(ConsumerGroupDescribeResponse::default().with_groups(groups))
    }
}

async fn describe(
    reach: &GroupReach,
    cx: &RequestContext,
    catalogue: &Catalogue,
    id: &messages::GroupId,
) -> Result<DescribedConsumerGroup, Refusal> {
    if !reach.access.to_group(cx, Operation::Describe, id) {
        return Err(error_code::GROUP_AUTHORIZATION_FAILED);
    }
    let group = GroupId::from(id.as_str());
    let described = reach.groups.describe_consumer(&group).await;
    let described = described
        .map_err(|error| Refusal::from(&error))?
        .ok_or_else(|| error_code::group_not_found(id))?;
    let may_see = |name: &str| reach.access.to_topic(cx, Operation::Describe, name);
    for member in &described.members {
        let assigned = member.assigned.iter().chain(&member.target);
        let mut assigned = assigned.filter_map(|one| catalogue.by_id(one.topic));
        let sees_all = member.names.iter().all(|name| may_see(name))
            && assigned.all(|topic| may_see(topic.name.as_str()));
        if !sees_all {
            return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
        }
    }
    Ok(described)
}

/// Writes groups in one version.
struct Shower<'a> {
    catalogue: &'a Catalogue,
    version: i16,
}

impl Shower<'_> {
    fn group(&self, group: DescribedConsumerGroup) -> DescribedGroup {
        let members = group.members.into_iter().map(|member| self.member(member));
        DescribedGroup::default()
            .with_group_state(text(group.state.name()))
            .with_group_epoch(group.epoch)
            .with_assignment_epoch(group.assignment_epoch)
            .with_assignor_name(text(group.assignor.name()))
            .with_members(members.collect())
    }

    fn member(&self, member: DescribedConsumer) -> Member {
        let names = member.names.iter().map(|name| topic_name(&**name));
        // As in Kafka, empty where there is none.
        let regex = member.regex.as_deref().unwrap_or_default();
        let member_type = if member.is_classic {
            CLASSIC_MEMBER
        } else {
            CONSUMER_MEMBER
        };
        let shown = Member::default()
            .with_member_id(text(member.member.as_str()))
            .with_instance_id(member.instance.map(|instance| text(&*instance)))
            .with_rack_id(member.rack.map(|rack| text(&*rack)))
            .with_member_epoch(member.epoch)
            .with_client_id(text(&*member.client_id))
            .with_client_host(text(&*member.client_host))
            .with_subscribed_topic_names(names.collect())
            .with_subscribed_topic_regex(Some(text(regex)))
            .with_assignment(self.assignment(&member.assigned))
            .with_target_assignment(self.assignment(&member.target));
        if self.version >= 1 {
            shown.with_member_type(member_type)
        } else {
            shown
        }
    }

    /// Partitions of topics that still exist: the others have no name.
    fn assignment(&self, partitions: &Partitions) -> Assignment {
        let topics = by_topic(partitions)
            .into_iter()
            .filter_map(|(id, indexes)| {
                let topic = self.catalogue.by_id(id)?;
                let shown = TopicPartitions::default()
                    .with_topic_id(uuid(id))
                    .with_topic_name(topic_name(topic.name.as_str()))
                    .with_partitions(indexes);
                Some(shown)
            });
        Assignment::default().with_topic_partitions(topics.collect())
    }
}
