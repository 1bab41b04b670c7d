//! Topics: create, enlarge, delete.
//!
//! Nothing here is tried again after an unknown outcome: a second attempt would say that the topic exists already, or
//! is gone, and hide what happened.

use std::time::Duration;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use streamhouse_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use streamhouse_protocol::messages::delete_topics_request::DeleteTopicState;
use streamhouse_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, TopicName,
};

use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};

/// The highest version of CreateTopics that is filled here.
const CREATE_MAX: i16 = 7;
/// The highest version of CreatePartitions that is filled here.
const PARTITIONS_MAX: i16 = 3;
/// The highest version of DeleteTopics that is filled here.
const DELETE_MAX: i16 = 6;

/// How long a broker may take for a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// The number of partitions; `None` leaves it to the broker (`num.partitions`).
    pub partitions: Option<i32>,
    /// The number of replicas; `None` leaves it to the broker.
    pub replication_factor: Option<i16>,
    /// Configs that differ from the defaults.
    pub configs: Vec<(String, String)>,
}

/// A topic that was created. Old brokers leave out numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// The number of partitions.
    pub partitions: Option<i32>,
    /// The number of replicas.
    pub replication_factor: Option<i16>,
}

impl Client {
    /// Creates a topic; with `validate_only`, says whether it could be.
    ///
    /// # Errors
    /// [`ClientError`], with the broker's words where it refuses. See its outcome.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, ClientError> {
        self.forget_topic(&topic.name);
        let response = self
            .retrying(Retry::WhenNotHappened, move || async move {
                let target = self.controller();
                let build = |_| creation(topic, validate_only);
                let (_, response) = self
                    .ask::<CreateTopicsRequest>(target, CREATE_MAX, build)
                    .await?;
                for result in &response.topics {
                    check(result.error_code, result.error_message.as_deref(), || {
                        format!("create topic {:?}", topic.name)
                    })?;
                }
                Ok(response)
            })
            .await?;
        let result = response.topics.first();
        Ok(CreatedTopic {
            partitions: result
                .map(|result| result.num_partitions)
                .filter(|count| *count > 0),
            replication_factor: result
                .map(|result| result.replication_factor)
                .filter(|count| *count > 0),
        })
    }

    /// Enlarges a topic to `count` partitions.
    ///
    /// # Errors
    /// [`ClientError`], with the broker's words where it refuses. See its outcome.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), ClientError> {
        self.forget_topic(topic);
        self.retrying(Retry::WhenNotHappened, move || async move {
            let build = |_| {
                let topic = CreatePartitionsTopic::default()
                    .with_name(name(topic))
                    .with_count(count)
                    .with_assignments(None);
                CreatePartitionsRequest::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(change_timeout_ms())
            };
            let target = self.controller();
            let (_, response) = self
                .ask::<CreatePartitionsRequest>(target, PARTITIONS_MAX, build)
                .await?;
            response.results.iter().try_for_each(|result| {
                check(result.error_code, result.error_message.as_deref(), || {
                    format!("enlarge topic {topic:?} to {count} partitions")
                })
            })
        })
        .await
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// [`ClientError`], with the broker's words where it refuses. See its outcome.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        self.forget_topic(topic);
        self.retrying(Retry::WhenNotHappened, move || async move {
            let build = |version| {
                let request = DeleteTopicsRequest::default().with_timeout_ms(change_timeout_ms());
                if version >= 6 {
                    let state = DeleteTopicState::default().with_name(Some(name(topic)));
                    request.with_topics(vec![state])
                } else {
                    request.with_topic_names(vec![name(topic)])
                }
            };
            let target = self.controller();
            let (_, response) = self
                .ask::<DeleteTopicsRequest>(target, DELETE_MAX, build)
                .await?;
            for result in &response.responses {
                let subject = || format!("delete topic {topic:?}");
                let refused = check(result.error_code, result.error_message.as_deref(), subject);
                refused.map_err(ClientError::absent_if_unknown)?;
            }
            Ok(())
        })
        .await
    }

    /// Whom to ask for changes: the controller, where metadata names one.
    pub(crate) fn controller(&self) -> Target {
        let cluster = self.cluster();
        let known = cluster
            .controller
            .filter(|id| cluster.brokers.contains_key(id));
        known.map_or(Target::Any, Target::Broker)
    }
}

fn creation(topic: &NewTopic, validate_only: bool) -> CreateTopicsRequest {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    });
    let creatable = CreatableTopic::default()
        .with_name(name(&topic.name))
        .with_num_partitions(topic.partitions.unwrap_or(-1))
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_configs(configs.collect());
    CreateTopicsRequest::default()
        .with_topics(vec![creatable])
        .with_timeout_ms(change_timeout_ms())
        .with_validate_only(validate_only)
}

/// A topic's name as messages carry it.
pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn change_timeout_ms() -> i32 {
    i32::try_from(CHANGE_TIMEOUT.as_millis()).unwrap_or(i32::MAX)
}
