//! Topics: seen, created, refused, deleted, and made by the first record.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::groups::KEYS;
use super::{ensure_holds, numbered, produce};
use crate::clients::{Session, refusal_code};
use crate::clock::wall_ms;
use crate::operation::{Answer, Bytes, Producer, Request};
use crate::stage::Stage;
use crate::wire;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// From the answer to CreateTopics or DeleteTopics until every request knows; Apache Kafka's brokers hear of it a moment later.
const HEARD_OF_WITHIN_MS: i64 = 10_000;

pub(super) fn metadata(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(3, &[])?;
    let seen = soon(session.as_mut(), &Request::Metadata { topic })?;
    ensure!(
        seen.partitions == Some(3),
        "{:?} partitions instead of 3",
        seen.partitions
    );
    ensure!(!seen.brokers.is_empty(), "no brokers");
    for broker in seen.brokers {
        wire::greet(&format!("{}:{}", broker.host, broker.port))?;
    }
    Ok(())
}

pub(super) fn unknown(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.name("topic");
    // Twice: asking must not create it.
    for _ in 0..2 {
        ensure_unknown(session.as_mut(), &topic)?;
    }
    Ok(())
}

pub(super) fn create(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.name("topic");
    let configs = BTreeMap::from([("retention.ms".to_owned(), "86400000".to_owned())]);
    let request = Request::CreateTopic {
        topic: topic.clone(),
        partitions: 3,
        configs,
    };
    session.perform(&request)?;
    let seen = soon(
        session.as_mut(),
        &Request::Metadata {
            topic: topic.clone(),
        },
    )?;
    ensure!(
        seen.partitions == Some(3),
        "{:?} partitions instead of 3",
        seen.partitions
    );
    let name = "retention.ms".to_owned();
    let config = soon(
        session.as_mut(),
        &Request::TopicConfig {
            topic: topic.clone(),
            name,
        },
    )?;
    ensure!(
        config.value.as_deref() == Some("86400000"),
        "retention.ms is {:?}",
        config.value
    );
    match session.perform(&request) {
        Err(error) if refusal_code(&error) == Some(TOPIC_ALREADY_EXISTS) => {}
        outcome => bail!("creating it twice gives {outcome:?}, not error {TOPIC_ALREADY_EXISTS}"),
    }
    session.perform(&Request::DeleteTopic {
        topic: topic.clone(),
    })?;
    let end = wall_ms() + HEARD_OF_WITHIN_MS;
    while let Err(error) = ensure_unknown(session.as_mut(), &topic) {
        ensure!(wall_ms() < end, "after it was deleted: {error:#}");
    }
    Ok(())
}

pub(super) fn auto_create(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.name("topic");
    let mut records = numbered("first", 0..3);
    for record in &mut records {
        // In partition 0 for every partitioner, whether the topic gets one partition or four.
        record.key = Some(Bytes(KEYS[0].into()));
    }
    produce(session.as_mut(), &topic, &records, &Producer::default())?;
    ensure_holds(session.as_mut(), &topic, &records)
}

/// Asks about a topic that was created just now.
pub(super) fn soon(session: &mut dyn Session, request: &Request) -> Result<Answer> {
    let end = wall_ms() + HEARD_OF_WITHIN_MS;
    loop {
        match session.perform(request) {
            Err(error)
                if refusal_code(&error) == Some(UNKNOWN_TOPIC_OR_PARTITION) && wall_ms() < end => {}
            outcome => return outcome,
        }
    }
}

fn ensure_unknown(session: &mut dyn Session, topic: &str) -> Result<()> {
    match session.perform(&Request::Metadata {
        topic: topic.to_owned(),
    }) {
        Err(error) if refusal_code(&error) == Some(UNKNOWN_TOPIC_OR_PARTITION) => Ok(()),
        outcome => {
            bail!("an unknown topic gives {outcome:?}, not error {UNKNOWN_TOPIC_OR_PARTITION}")
        }
    }
}
