//! CreateTopics (key 19).
//!
//! Kafka's rules we keep: CREATE on the cluster or on the topic; -1 means the broker's default; a name that stands
//! twice in a request is refused; `validate_only` creates nothing; since version 5 the answer shows what was created.
//! Where we differ: any replication factor is accepted, because the storage keeps the copies, and the answer says what
//! Metadata will show: one replica.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use streamhouse_config::topic::describe_topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::create_topics_request::CreatableTopic;
use streamhouse_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use streamhouse_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Administration;
use crate::security::{Operation, ResourceKind};
use crate::topics::{
    CreateError, CreatedTopic, PARTITIONS_PER_REQUEST_MAX, REPLICAS_SHOWN, TopicRequest,
};

use super::words::{text, uuid};

/// The handler.
#[derive(Debug)]
pub struct CreateTopics;

impl Handler for CreateTopics {
    const KEY: ApiKey = ApiKey::CreateTopics;
    const VERSIONS: RangeInclusive<i16> = 2..=7;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Create, ResourceKind::Topic));
    type Reach = Administration;
    type Request = CreateTopicsRequest;
    type Response = CreateTopicsResponse;

    async fn handle(
        administration: &Administration,
        cx: &RequestContext,
        request: CreateTopicsRequest,
    ) -> Reply<CreateTopicsResponse> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for topic in &request.topics {
            *counts.entry(topic.name.to_string()).or_default() += 1;
        }
        let mut left = PARTITIONS_PER_REQUEST_MAX;
        let mut results = Vec::with_capacity(counts.len());
        for topic in request.topics {
            // A name that stands twice is answered once, and nothing is created for it.
            match counts.remove(topic.name.as_str()) {
                Some(1) => {
                    let validate_only = request.validate_only;
                    results.push(create(administration, cx, topic, validate_only, &mut left).await);
                }
                Some(_) => {
                    let refusal = Refusal::invalid_request("Duplicate topic name.");
                    results.push(refused(&topic, &refusal));
                }
                None => {}
            }
        }
        Reply::now(CreateTopicsResponse::default().with_topics(results))
    }
}

async fn create(
    administration: &Administration,
    cx: &RequestContext,
    topic: CreatableTopic,
    validate_only: bool,
    left: &mut usize,
) -> CreatableTopicResult {
    let Administration { topics, access } = administration;
    let is_allowed = access.to_cluster(cx, Operation::Create)
        || access.to_topic(cx, Operation::Create, &topic.name);
    if !is_allowed {
        return refused(&topic, &error_code::TOPIC_AUTHORIZATION_FAILED);
    }
    let created = match asked_partitions(administration, &topic) {
        asked if asked > *left => Err(CreateError::TooManyPartitions {
            max: PARTITIONS_PER_REQUEST_MAX,
        }),
        asked => {
            *left -= asked;
            topics.create(request_of(&topic), validate_only).await
        }
    };
    match created {
        Ok(created) => shown(administration, cx, &topic, &created, validate_only),
        Err(error) => refused(&topic, &Refusal::from(&error)),
    }
}

/// How many partitions a topic adds to what the request asks for in all.
fn asked_partitions(administration: &Administration, topic: &CreatableTopic) -> usize {
    if !topic.assignments.is_empty() {
        return topic.assignments.len();
    }
    let default = administration.topics.rules().num_partitions;
    let asked = if topic.num_partitions == -1 {
        usize::try_from(default)
    } else {
        usize::try_from(topic.num_partitions.max(0))
    };
    asked.unwrap_or(usize::MAX)
}

fn request_of(topic: &CreatableTopic) -> TopicRequest {
    let assignments = topic.assignments.iter().map(|assignment| {
        let brokers = assignment.broker_ids.iter().map(|broker| broker.0);
        (assignment.partition_index, brokers.collect())
    });
    let configs = topic.configs.iter().map(|config| {
        (
            config.name.to_string(),
            config.value.as_ref().map(ToString::to_string),
        )
    });
    TopicRequest {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

fn shown(
    administration: &Administration,
    cx: &RequestContext,
    topic: &CreatableTopic,
    created: &CreatedTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    // Null, as Kafka says "no error"; the schema's default is an empty message.
    let result = CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_message(None);
    let result = if validate_only {
        result
    } else {
        result.with_topic_id(uuid(created.id))
    };
    if cx.api_version < 5 {
        return result;
    }
    let Administration { topics, access } = administration;
    if !access.to_topic(cx, Operation::DescribeConfigs, &topic.name) {
        return result
            .with_topic_config_error_code(error_code::TOPIC_AUTHORIZATION_FAILED.code())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(None);
    }
    let configs = describe_topic(&created.configs, &topics.defaults(&topics.current())).into_iter();
    let configs = configs.map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(text(entry.name))
            .with_value(entry.value.map(text))
            .with_read_only(entry.is_read_only)
            .with_config_source(entry.source.wire_id())
            .with_is_sensitive(entry.is_sensitive)
    });
    result
        .with_num_partitions(i32::try_from(created.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(REPLICAS_SHOWN)
        .with_configs(Some(configs.collect()))
}

fn refused(topic: &CreatableTopic, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(refusal.code())
        .with_error_message(refusal.message())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
}
