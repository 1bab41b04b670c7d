//! Topics as the admin client sees, makes, shows and deletes them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::operation::{Answer, Node};
use crate::{DEADLINE, refused};

type Admin = AdminClient<DefaultClientContext>;

pub(crate) fn metadata(config: &ClientConfig, topic: &str) -> Result<Answer> {
    let client: BaseConsumer = config.create()?;
    let seen = client.fetch_metadata(Some(topic), DEADLINE)?;
    let found = seen
        .topics()
        .first()
        .context("the topic that was asked for")?;
    if let Some(error) = found.error() {
        let text = format!("{topic}: {error:?}");
        return Err(refused(Some(error.into()), text).into());
    }
    let mut brokers = Vec::new();
    for broker in seen.brokers() {
        brokers.push(Node {
            id: broker.id(),
            host: broker.host().to_owned(),
            port: u16::try_from(broker.port())?,
        });
    }
    Ok(Answer {
        brokers,
        partitions: Some(i32::try_from(found.partitions().len())?),
        ..Answer::default()
    })
}

pub(crate) fn create_topic(
    config: &ClientConfig,
    topic: &str,
    partitions: i32,
    configs: &BTreeMap<String, String>,
) -> Result<Answer> {
    let admin: Admin = config.create()?;
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in configs {
        wanted = wanted.set(name, value);
    }
    all_done(block_on(admin.create_topics(&[wanted], &options()))?)
}

pub(crate) fn delete_topic(config: &ClientConfig, topic: &str) -> Result<Answer> {
    let admin: Admin = config.create()?;
    all_done(block_on(admin.delete_topics(&[topic], &options()))?)
}

pub(crate) fn topic_config(config: &ClientConfig, topic: &str, name: &str) -> Result<Answer> {
    let admin: Admin = config.create()?;
    let told = block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options()))?;
    let found = told
        .into_iter()
        .next()
        .context("the topic that was asked for")?;
    let found = found.map_err(|code| refused(Some(code), format!("{topic}: {code}")))?;
    let value = found.get(name).and_then(|entry| entry.value.clone());
    Ok(Answer {
        value,
        ..Answer::default()
    })
}

pub(crate) fn create_partitions(
    config: &ClientConfig,
    topic: &str,
    partitions: i32,
) -> Result<Answer> {
    let admin: Admin = config.create()?;
    let wanted = NewPartitions::new(topic, usize::try_from(partitions)?);
    all_done(block_on(admin.create_partitions(&[wanted], &options()))?)
}

pub(crate) fn alter_config(
    config: &ClientConfig,
    topic: &str,
    name: &str,
    value: &str,
) -> Result<Answer> {
    let admin: Admin = config.create()?;
    let wanted = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    for result in block_on(admin.alter_configs(&[wanted], &options()))? {
        result.map_err(|(resource, code)| refused(Some(code), format!("{resource:?}: {code}")))?;
    }
    Ok(Answer::default())
}

pub(crate) fn delete_records(config: &ClientConfig, topic: &str, before: i64) -> Result<Answer> {
    let admin: Admin = config.create()?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Offset(before))?;
    for partition in block_on(admin.delete_records(&partitions, &options()))?.elements() {
        partition.error()?;
    }
    Ok(Answer::default())
}

pub(crate) fn groups(config: &ClientConfig) -> Result<Answer> {
    let client: BaseConsumer = config.create()?;
    let listed = client.fetch_group_list(None, DEADLINE)?;
    let groups = listed.groups().iter().map(|group| group.name().to_owned());
    Ok(Answer {
        groups: groups.collect(),
        ..Answer::default()
    })
}

pub(crate) fn delete_group(config: &ClientConfig, group: &str) -> Result<Answer> {
    let admin: Admin = config.create()?;
    all_done(block_on(admin.delete_groups(&[group], &options()))?)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(DEADLINE))
}

fn all_done(results: Vec<TopicResult>) -> Result<Answer> {
    for result in results {
        result.map_err(|(topic, code)| refused(Some(code), format!("{topic}: {code}")))?;
    }
    Ok(Answer::default())
}
