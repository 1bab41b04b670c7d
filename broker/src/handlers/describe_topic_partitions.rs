//! DescribeTopicPartitions (key 75): topics and their partitions in pages (KIP-966). The Java admin client asks before it
//! falls back to Metadata.
//!
//! Kafka's rules we keep: an empty list means all topics; topics come in the order of their names, behind the cursor; an
//! answer holds at most as many partitions as asked for and no more than 2,000, and says where
//! the next page begins; what the asker may not describe is refused by name and left out of all topics; nothing is
//! created. Where we differ: nowhere. A partition has one replica, its leader, and no list of eligible ones.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use streamhouse_metadata::Topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use streamhouse_protocol::messages::{
    self, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use streamhouse_protocol::names::TopicName;

use crate::api::{Answer, Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::network::CloseReason;
use crate::reach::{Directory, ShardLeader, VisibleLeaders};
use crate::security::{Operation, Resource, ResourceKind};

use super::words::{is_internal, topic_name, uuid};

/// The handler.
#[derive(Debug)]
pub struct DescribeTopicPartitions;

/// The most partitions of one answer (`max.request.partition.size.limit`).
const PARTITIONS_PER_ANSWER_MAX: usize = 2000;

impl Handler for DescribeTopicPartitions {
    const KEY: ApiKey = ApiKey::DescribeTopicPartitions;
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Topic));
    type Reach = Directory;
    type Request = DescribeTopicPartitionsRequest;
    type Response = DescribeTopicPartitionsResponse;

    async fn handle(
        directory: &Directory,
        cx: &RequestContext,
        request: DescribeTopicPartitionsRequest,
    ) -> Reply<DescribeTopicPartitionsResponse> {
        let first = request.cursor.as_ref();
        if first.is_some_and(|cursor| cursor.partition_index < 0) {
            // The answer has no field for an error; Kafka closes the connection, too.
            return Reply::Now(Answer::Close(CloseReason::Unanswerable(
                "the cursor of a DescribeTopicPartitions request is negative",
            )));
        }
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
        let mut page = Page {
            directory,
            cx,
            leaders: directory.visible_leaders(&cx.peer.listener),
            left: limit.clamp(1, PARTITIONS_PER_ANSWER_MAX),
            topics: Vec::new(),
            next: None,
        };
        let from = first.map_or("", |cursor| cursor.topic_name.as_str());
        let first_partition = |name: &str| match first {
            Some(cursor) if cursor.topic_name.as_str() == name => cursor.partition_index,
            _ => 0,
        };
        if request.topics.is_empty() {
            let catalogue = directory.topics.current();
            let all = catalogue.topics().map(|topic| topic.name.as_str());
            page.fill(all.filter(|name| *name >= from), true, first_partition);
        } else {
            let named = request.topics.iter().map(|topic| topic.name.as_str());
            let named: BTreeSet<&str> = named.filter(|name| *name >= from).collect();
            page.fill(named.into_iter(), false, first_partition);
        }
        Reply::now(
            DescribeTopicPartitionsResponse::default()
                .with_topics(page.topics)
                .with_next_cursor(page.next),
        )
    }
}

/// An answer that is being filled.
struct Page<'a> {
    directory: &'a Directory,
    cx: &'a RequestContext,
    leaders: VisibleLeaders,
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    fn fill<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        hides_denied: bool,
        first_partition: impl Fn(&str) -> i32,
    ) {
        for name in names {
            if self.left == 0 {
                self.next.get_or_insert_with(|| cursor(name, 0));
                return;
            }
            match self.find(name) {
                Ok(topic) => self.show(&topic, first_partition(name)),
                Err(error) if hides_denied && error == error_code::TOPIC_AUTHORIZATION_FAILED => {}
                Err(refusal) => self.refuse(name, &refusal),
            }
            if self.next.is_some() {
                return;
            }
        }
    }

    fn find(&self, name: &str) -> Result<Topic, Refusal> {
        let access = &self.directory.cluster.access;
        if !access.to_topic(self.cx, Operation::Describe, name) {
            return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
        }
        TopicName::new(name).map_err(|error| Refusal::invalid_topic(&error))?;
        let found = self.directory.topics.find(name);
        found.ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION)
    }

    fn refuse(&mut self, name: &str, refusal: &Refusal) {
        let access = &self.directory.cluster.access;
        // What the asker could do to the topic if it were there is told all the same.
        let operations = access.authorized_operations(self.cx, Resource::topic(name), true);
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_error_code(refusal.code())
                .with_name(Some(topic_name(name)))
                .with_is_internal(is_internal(name))
                .with_topic_authorized_operations(operations),
        );
    }

    /// As many partitions of `topic` as the page has room for, from the one with index `first` on.
    fn show(&mut self, topic: &Topic, first: i32) {
        let behind = topic.partitions.iter().zip(0..);
        let mut behind = behind.filter(|(_, index)| *index >= first);
        let shown = behind.by_ref().take(self.left);
        let partitions: Vec<_> = shown
            .map(|(shard, index)| partition(index, self.leaders.of(*shard)))
            .collect();
        self.left -= partitions.len();
        let name = topic.name.as_str();
        self.next = behind.next().map(|(_, index)| cursor(name, index));
        let access = &self.directory.cluster.access;
        let operations = access.authorized_operations(self.cx, Resource::topic(name), true);
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(topic_name(name)))
                .with_topic_id(uuid(topic.id))
                .with_is_internal(is_internal(name))
                .with_partitions(partitions)
                .with_topic_authorized_operations(operations),
        );
    }
}

fn cursor(name: &str, index: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(topic_name(name))
        .with_partition_index(index)
}

fn partition(index: i32, leader: Option<ShardLeader>) -> DescribeTopicPartitionsResponsePartition {
    let shown = DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()));
    match leader {
        Some(leader) => {
            let broker = messages::BrokerId(leader.broker.0);
            shown
                .with_leader_id(broker)
                .with_leader_epoch(leader.epoch.0)
                .with_replica_nodes(vec![broker])
                .with_isr_nodes(vec![broker])
        }
        None => shown
            .with_error_code(error_code::LEADER_NOT_AVAILABLE.code())
            .with_leader_id(messages::BrokerId(-1)),
    }
}
