//! `streamhouse topic`: create, list, describe, alter and delete topics of any Kafka cluster.

mod describe;

use clap::{Args, Subcommand};
use serde::Serialize;
use streamhouse_client::Client;
use streamhouse_client::configs::ConfigChange;
use streamhouse_client::error::ClientError;
use streamhouse_client::topics::NewTopic;
use streamhouse_protocol::ErrorCode;

use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use super::target::{Target, key_value};

/// Create, list, describe, alter and delete topics
#[derive(Args, Debug)]
pub(super) struct Topic {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Describe(describe::Describe),
    Alter(Alter),
    Delete(Delete),
}

/// Create topics
#[derive(Args, Debug)]
struct Create {
    /// The names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// The number of partitions [default: the broker's num.partitions]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// The number of replicas [default: the broker's default.replication.factor]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A config, such as retention.ms=60000. May be given several times
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Succeed if a topic exists already; it stays as it is
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether the topics could be created
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    target: Target,
}

/// List topics
#[derive(Args, Debug)]
struct List {
    /// Also list the broker's internal topics
    #[arg(long)]
    internal: bool,
    /// Write JSON: one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Change configs of a topic, or give it more partitions
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
struct Alter {
    /// The name of the topic
    topic: String,
    /// Enlarge it to this number of partitions. Keys then go to other partitions than before
    #[arg(short, long, value_name = "COUNT", group = "change", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Set a config, such as retention.ms=60000. May be given several times
    #[arg(short, long = "config", value_name = "KEY=VALUE", group = "change", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Give a config its default again. May be given several times
    #[arg(long, value_name = "KEY", group = "change")]
    reset: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Delete topics with all their records
#[derive(Args, Debug)]
struct Delete {
    /// The names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Succeed if a topic does not exist
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `streamhouse topic`.
pub(super) fn run(topic: &Topic, output: &mut Output) -> Result<(), Failure> {
    match &topic.verb {
        Verb::Create(create) => create
            .target
            .run(async |client| create_topics(create, &client, output).await),
        Verb::List(list) => list
            .target
            .run(async |client| list_topics(list, &client, output).await),
        Verb::Describe(describe) => describe::run(describe, output),
        Verb::Alter(alter) => alter
            .target
            .run(async |client| alter_topic(alter, &client, output).await),
        Verb::Delete(delete) => delete
            .target
            .run(async |client| delete_topics(delete, &client, output).await),
    }
}

async fn create_topics(
    create: &Create,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    for name in &create.topics {
        let topic = NewTopic {
            name: name.clone(),
            partitions: create.partitions,
            replication_factor: create.replication_factor,
            configs: create.configs.clone(),
        };
        let created = match client.create_topic(&topic, create.validate_only).await {
            Ok(created) => created,
            Err(error)
                if create.if_not_exists && has_code(&error, ErrorCode::TopicAlreadyExists) =>
            {
                output.line(&format!("topic {name} exists already"))?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let partitions = created.partitions.or(create.partitions);
        let with = partitions.map_or_else(String::new, |count| format!(" with {count} partitions"));
        let done = if create.validate_only {
            "could be created"
        } else {
            "created"
        };
        output.line(&format!("topic {name} {done}{with}"))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct ListedTopic<'a> {
    topic: &'a str,
    partitions: usize,
    replicas: usize,
    internal: bool,
}

async fn list_topics(list: &List, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let topics = client.all_topics().await?;
    let shown = topics
        .iter()
        .filter(|topic| list.internal || !topic.is_internal);
    let mut table = Table::new(&["topic", "#partitions", "#replicas"]);
    for topic in shown {
        let replicas = topic
            .partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        if list.json {
            output.json(&ListedTopic {
                topic: &topic.name,
                partitions: topic.partitions.len(),
                replicas,
                internal: topic.is_internal,
            })?;
        } else {
            table.row([
                topic.name.clone(),
                topic.partitions.len().to_string(),
                replicas.to_string(),
            ]);
        }
    }
    if list.json {
        Ok(())
    } else {
        output.bytes(table.render().as_bytes())
    }
}

async fn alter_topic(alter: &Alter, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let topic = &alter.topic;
    let set = alter.configs.iter().map(|(name, value)| ConfigChange::Set {
        name: name.clone(),
        value: value.clone(),
    });
    let reset = alter
        .reset
        .iter()
        .map(|name| ConfigChange::Delete { name: name.clone() });
    let changes: Vec<ConfigChange> = set.chain(reset).collect();
    if !changes.is_empty() {
        client.alter_topic_configs(topic, &changes).await?;
        output.line(&format!("topic {topic}: {} configs changed", changes.len()))?;
    }
    if let Some(count) = alter.partitions {
        client.create_partitions(topic, count).await?;
        output.line(&format!("topic {topic}: {count} partitions"))?;
    }
    Ok(())
}

async fn delete_topics(
    delete: &Delete,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    for topic in &delete.topics {
        match client.delete_topic(topic).await {
            Ok(()) => output.line(&format!("topic {topic} deleted"))?,
            Err(error)
                if delete.if_exists && has_code(&error, ErrorCode::UnknownTopicOrPartition) =>
            {
                output.line(&format!("topic {topic} does not exist"))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn has_code(error: &ClientError, code: ErrorCode) -> bool {
    error.code() == Some(code)
}
