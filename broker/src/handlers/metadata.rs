//! Metadata (key 3): brokers, topics, partitions and their leaders.
//!
//! Kafka's rules we keep: version 0 with an empty list and later versions with null mean all topics; an unknown name is
//! UNKNOWN_TOPIC_OR_PARTITION, an unknown id UNKNOWN_TOPIC_ID; all topics shows only what the asker may describe, a
//! named topic that the asker may not describe is refused and never created; topics are created when the request and
//! the broker allow it. Where we differ: the topic is created before the answer, so that the first answer already has
//! it (Kafka answers an error once); the topics that Kafka keeps for itself do not exist and are not created by asking;
//! the controller is the living broker with the smallest number, because every broker takes administration requests.

use std::ops::RangeInclusive;

use streamhouse_metadata::{Catalogue, Topic};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::TopicId;
use streamhouse_protocol::messages::metadata_request::MetadataRequestTopic;
use streamhouse_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use streamhouse_protocol::messages::{self, MetadataRequest, MetadataResponse};
use streamhouse_protocol::names::TopicName;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, NONE, Refusal};
use crate::reach::{Directory, Reachable, ShardLeader, VisibleLeaders};
use crate::security::{Operation, Resource, ResourceKind};
use crate::topics::CreateError;

use super::words::{is_internal, text, topic_name, uuid};

/// The handler.
#[derive(Debug)]
pub struct Metadata;

impl Handler for Metadata {
    const KEY: ApiKey = ApiKey::Metadata;
    const VERSIONS: RangeInclusive<i16> = 0..=13;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Topic));
    type Reach = Directory;
    type Request = MetadataRequest;
    type Response = MetadataResponse;

    async fn handle(
        directory: &Directory,
        cx: &RequestContext,
        request: MetadataRequest,
    ) -> Reply<MetadataResponse> {
        let version = cx.api_version;
        let asks_operations = request.include_topic_authorized_operations;
        let shower = Shower {
            directory,
            cx,
            leaders: directory.visible_leaders(&cx.peer.listener),
            asks_operations,
        };
        let topics = match request.topics.as_deref() {
            None => shower.all(),
            Some([]) if version == 0 => shower.all(),
            Some(topics) => {
                shower
                    .named(topics, request.allow_auto_topic_creation)
                    .await
            }
        };
        let cluster = &directory.cluster;
        let brokers = shower.leaders.brokers.iter().map(broker).collect();
        let mut response = MetadataResponse::default()
            .with_brokers(brokers)
            .with_cluster_id(Some(text(&*cluster.cluster_id)))
            .with_controller_id(messages::BrokerId(cluster.controller().0))
            .with_topics(topics);
        if (8..=10).contains(&version) {
            let asked = request.include_cluster_authorized_operations;
            let operations = cluster
                .access
                .authorized_operations(cx, Resource::CLUSTER, asked);
            response = response.with_cluster_authorized_operations(operations);
        }
        Reply::now(response)
    }
}

fn broker(shown: &Reachable) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(messages::BrokerId(shown.broker.0))
        .with_host(text(&*shown.endpoint.host))
        .with_port(i32::from(shown.endpoint.port))
        .with_rack(shown.rack.as_deref().map(text))
}

/// Shows topics to one asker.
struct Shower<'a> {
    directory: &'a Directory,
    cx: &'a RequestContext,
    leaders: VisibleLeaders,
    asks_operations: bool,
}

impl Shower<'_> {
    fn may(&self, operation: Operation, name: &str) -> bool {
        self.directory
            .cluster
            .access
            .to_topic(self.cx, operation, name)
    }

    fn all(&self) -> Vec<MetadataResponseTopic> {
        let catalogue = self.directory.topics.current();
        let visible = catalogue
            .topics()
            .filter(|topic| self.may(Operation::Describe, topic.name.as_str()));
        visible.map(|topic| self.show(topic)).collect()
    }

    async fn named(
        &self,
        asked: &[MetadataRequestTopic],
        may_create: bool,
    ) -> Vec<MetadataResponseTopic> {
        let knows_ids = self.cx.api_version >= 12;
        if asked
            .iter()
            .any(|topic| !knows_ids && (topic.name.is_none() || !topic.topic_id.is_nil()))
        {
            let refusal = error_code::INVALID_REQUEST;
            return asked
                .iter()
                .map(|topic| refused(topic.name.clone(), &refusal))
                .collect();
        }
        let catalogue = self.directory.topics.current();
        // As in Kafka, one id makes it a request by id; names beside it are not looked at.
        if asked.iter().any(|topic| !topic.topic_id.is_nil()) {
            let ids = asked.iter().filter(|topic| !topic.topic_id.is_nil());
            return ids
                .map(|topic| self.by_id(&catalogue, TopicId(topic.topic_id.as_u128())))
                .collect();
        }
        let mut shown = Vec::with_capacity(asked.len());
        for topic in asked {
            let name = topic.name.clone().unwrap_or_default();
            shown.push(match self.by_name(&catalogue, &name, may_create).await {
                Ok(topic) => self.show(&topic),
                Err(refusal) => refused(Some(name), &refusal),
            });
        }
        shown
    }

    fn by_id(&self, catalogue: &Catalogue, id: TopicId) -> MetadataResponseTopic {
        let refusal = match catalogue.by_id(id) {
            Some(topic) if self.may(Operation::Describe, topic.name.as_str()) => {
                return self.show(topic);
            }
            Some(_) => error_code::TOPIC_AUTHORIZATION_FAILED,
            None => error_code::UNKNOWN_TOPIC_ID,
        };
        refused(None, &refusal).with_topic_id(uuid(id))
    }

    async fn by_name(
        &self,
        catalogue: &Catalogue,
        name: &str,
        may_create: bool,
    ) -> Result<Topic, Refusal> {
        if !self.may(Operation::Describe, name) {
            return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
        }
        let legal = TopicName::new(name).map_err(|error| Refusal::invalid_topic(&error))?;
        if let Some(topic) = catalogue.by_name(&legal) {
            return Ok(Topic::clone(topic));
        }
        // Before version 4 a request cannot say that it does not want the topic. Kafka creates its own topics when it
        // needs them; here groups and transactions are not topics, and an empty one would mislead who reads it.
        let is_wanted = (may_create || self.cx.api_version < 4) && !is_internal(name);
        if !is_wanted || !self.directory.topics.rules().auto_create {
            return Err(error_code::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let access = &self.directory.cluster.access;
        if !access.to_cluster(self.cx, Operation::Create) && !self.may(Operation::Create, name) {
            return Err(error_code::TOPIC_AUTHORIZATION_FAILED);
        }
        let created = self.directory.topics.create_automatically(name).await;
        created.map_err(|error: CreateError| error_code::of_automatic_creation(&error))
    }

    fn show(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter().zip(0..);
        let partitions = partitions.map(|(shard, index)| partition(index, self.leaders.of(*shard)));
        let mut shown = MetadataResponseTopic::default()
            .with_error_code(NONE)
            .with_name(Some(topic_name(topic.name.as_str())))
            .with_topic_id(uuid(topic.id))
            .with_is_internal(is_internal(topic.name.as_str()))
            .with_partitions(partitions.collect());
        if self.cx.api_version >= 8 {
            let resource = Resource::topic(topic.name.as_str());
            let access = &self.directory.cluster.access;
            let operations = access.authorized_operations(self.cx, resource, self.asks_operations);
            shown = shown.with_topic_authorized_operations(operations);
        }
        shown
    }
}

/// A partition: its only replica is its leader, since the object store keeps the copies.
fn partition(index: i32, leader: Option<ShardLeader>) -> MetadataResponsePartition {
    let shown = MetadataResponsePartition::default().with_partition_index(index);
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

fn refused(name: Option<messages::TopicName>, refusal: &Refusal) -> MetadataResponseTopic {
    let is_internal = name.as_ref().is_some_and(|name| is_internal(name));
    MetadataResponseTopic::default()
        .with_error_code(refusal.code())
        .with_name(name)
        .with_is_internal(is_internal)
}
