//! DeleteTopics (key 20): by name, and since version 6 also by id.
//!
//! Kafka's rules we keep: DELETE on each topic; a topic is named by name or by id, not by both, and only once; while
//! `delete.topic.enable` is false the answer is TOPIC_DELETION_DISABLED, before version 3 INVALID_REQUEST. Where we
//! differ: nowhere.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use streamhouse_metadata::Topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::TopicId;
use streamhouse_protocol::messages::delete_topics_request::DeleteTopicState;
use streamhouse_protocol::messages::delete_topics_response::DeletableTopicResult;
use streamhouse_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::Administration;
use crate::security::{Operation, ResourceKind};
use crate::topics::DeleteError;

use super::words::{topic_name, uuid};

/// The handler.
#[derive(Debug)]
pub struct DeleteTopics;

impl Handler for DeleteTopics {
    const KEY: ApiKey = ApiKey::DeleteTopics;
    const VERSIONS: RangeInclusive<i16> = 1..=6;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Delete, ResourceKind::Topic));
    type Reach = Administration;
    type Request = DeleteTopicsRequest;
    type Response = DeleteTopicsResponse;

    async fn handle(
        administration: &Administration,
        cx: &RequestContext,
        request: DeleteTopicsRequest,
    ) -> Reply<DeleteTopicsResponse> {
        let names = request.topic_names.into_iter();
        let named = names.map(|name| DeleteTopicState::default().with_name(Some(name)));
        let mut results = Vec::new();
        let mut seen = BTreeSet::new();
        for asked in named.chain(request.topics) {
            let deleted = match resolve(administration, cx, &asked) {
                Ok(topic) if !seen.insert(topic.id) => {
                    Err(Refusal::invalid_request("Duplicate topic name."))
                }
                Ok(topic) => delete(administration, cx, &topic).await.map(|()| topic),
                Err(refusal) => Err(refusal),
            };
            results.push(match deleted {
                Ok(topic) => DeletableTopicResult::default()
                    .with_name(Some(topic_name(topic.name.as_str())))
                    .with_topic_id(uuid(topic.id)),
                Err(refusal) => DeletableTopicResult::default()
                    .with_name(asked.name)
                    .with_topic_id(asked.topic_id)
                    .with_error_code(refusal.code())
                    .with_error_message(refusal.message()),
            });
        }
        Reply::now(DeleteTopicsResponse::default().with_responses(results))
    }
}

/// The topic that is meant, if the asker may delete it.
fn resolve(
    administration: &Administration,
    cx: &RequestContext,
    asked: &DeleteTopicState,
) -> Result<Topic, Refusal> {
    let Administration { topics, access } = administration;
    let may_delete = |name: &str| access.to_topic(cx, Operation::Delete, name);
    match (&asked.name, asked.topic_id.is_nil()) {
        (Some(_), false) => Err(Refusal::invalid_request(
            "You may not specify both topic name and topic id.",
        )),
        (None, true) => Err(Refusal::invalid_request(
            "Neither topic name nor id were specified.",
        )),
        (Some(name), true) if !may_delete(name) => Err(error_code::TOPIC_AUTHORIZATION_FAILED),
        (Some(name), true) => topics
            .find(name)
            .ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION),
        (None, false) => {
            let id = TopicId(asked.topic_id.as_u128());
            let topic = topics.current().by_id(id).cloned();
            let topic = topic.ok_or(error_code::UNKNOWN_TOPIC_ID)?;
            if may_delete(topic.name.as_str()) {
                Ok(topic)
            } else {
                Err(error_code::TOPIC_AUTHORIZATION_FAILED)
            }
        }
    }
}

async fn delete(
    administration: &Administration,
    cx: &RequestContext,
    topic: &Topic,
) -> Result<(), Refusal> {
    let deleted = administration.topics.delete(topic.id).await;
    deleted.map_err(|error| match &error {
        DeleteError::Disabled if cx.api_version < 3 => {
            Refusal::invalid_request("Topic deletion is disabled.")
        }
        DeleteError::Disabled | DeleteError::UnknownTopic | DeleteError::Store(_) => {
            Refusal::from(&error)
        }
    })
}
