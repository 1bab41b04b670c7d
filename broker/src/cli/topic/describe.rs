//! `streamhouse topic describe`: partitions with leaders, offsets and the places of their bytes; configs.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;
use streamhouse_client::Client;
use streamhouse_client::configs::ConfigValue;
use streamhouse_client::log_dirs::PartitionBytes;
use streamhouse_client::metadata::{Partition, Topic};
use streamhouse_client::offsets::OffsetAt;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{self, Table};
use crate::cli::target::Target;

/// Show partitions with leaders, offsets and the places of their bytes, and configs
#[derive(Args, Debug)]
pub(super) struct Describe {
    /// The name of the topic
    topic: String,
    /// Show all configs, not only those that were set for this topic
    #[arg(long)]
    all_configs: bool,
    /// Write JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What is known of a topic.
#[derive(Serialize)]
struct Described {
    topic: String,
    id: Option<String>,
    internal: bool,
    partitions: Vec<DescribedPartition>,
    configs: Vec<DescribedConfig>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync_replicas: Vec<i32>,
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
    bytes: Vec<DescribedBytes>,
}

#[derive(Serialize)]
struct DescribedBytes {
    broker: i32,
    place: String,
    bytes: i64,
}

#[derive(Serialize)]
struct DescribedConfig {
    name: String,
    value: Option<String>,
    set_on_topic: bool,
}

/// Runs `streamhouse topic describe`.
pub(super) fn run(describe: &Describe, output: &mut Output) -> Result<(), Failure> {
    let described = describe
        .target
        .run(async |client| gather(describe, &client).await)?;
    if describe.json {
        return output.json(&described);
    }
    output.bytes(text(&described).as_bytes())
}

async fn gather(describe: &Describe, client: &Client) -> Result<Described, Failure> {
    let topic = client.topic(&describe.topic).await?;
    let led = topic
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_some());
    let led: Vec<i32> = led.map(|partition| partition.index).collect();
    let starts = client
        .offsets(&topic.name, &led, OffsetAt::Beginning)
        .await?;
    let ends = client.offsets(&topic.name, &led, OffsetAt::End).await?;
    let bytes = client.bytes_of_topic(&topic.name).await?;
    let configs = client.topic_configs(&topic.name).await?;
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| described(partition, &starts, &ends, &bytes));
    let configs = configs
        .into_iter()
        .filter(|config| describe.all_configs || config.is_set_on_topic);
    Ok(Described {
        topic: topic.name.clone(),
        id: id(&topic),
        internal: topic.is_internal,
        partitions: partitions.collect(),
        configs: configs.map(config).collect(),
    })
}

/// A topic id as Kafka's tools write it.
fn id(topic: &Topic) -> Option<String> {
    (!topic.id.is_nil()).then(|| URL_SAFE_NO_PAD.encode(topic.id.as_bytes()))
}

fn described(
    partition: &Partition,
    starts: &BTreeMap<i32, i64>,
    ends: &BTreeMap<i32, i64>,
    bytes: &[PartitionBytes],
) -> DescribedPartition {
    let index = partition.index;
    let bytes = bytes.iter().filter(|bytes| bytes.partition == index);
    DescribedPartition {
        partition: index,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        in_sync_replicas: partition.in_sync_replicas.clone(),
        log_start_offset: starts.get(&index).copied(),
        high_watermark: ends.get(&index).copied(),
        bytes: bytes
            .map(|bytes| DescribedBytes {
                broker: bytes.broker,
                place: bytes.place.clone(),
                bytes: bytes.bytes,
            })
            .collect(),
    }
}

fn config(config: ConfigValue) -> DescribedConfig {
    DescribedConfig {
        name: config.name,
        value: config.value,
        set_on_topic: config.is_set_on_topic,
    }
}

fn text(described: &Described) -> String {
    let mut text = format!("Topic       {}\n", described.topic);
    if let Some(id) = &described.id {
        text.push_str(&format!("Id          {id}\n"));
    }
    text.push_str(&format!("Partitions  {}\n\n", described.partitions.len()));
    let mut table = Table::new(&[
        "#partition",
        "#leader",
        "#epoch",
        "replicas",
        "isr",
        "#start",
        "#end",
        "bytes",
    ]);
    for partition in &described.partitions {
        table.row([
            partition.partition.to_string(),
            partition
                .leader
                .map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            partition.leader_epoch.to_string(),
            list(&partition.replicas),
            list(&partition.in_sync_replicas),
            or_unknown(partition.log_start_offset),
            or_unknown(partition.high_watermark),
            places(&partition.bytes),
        ]);
    }
    text.push_str(&table.render());
    if !described.configs.is_empty() {
        let mut table = Table::new(&["config", "value", "from"]);
        for config in &described.configs {
            let from = if config.set_on_topic {
                "topic"
            } else {
                "default"
            };
            let value = config
                .value
                .clone()
                .unwrap_or_else(|| "(hidden)".to_owned());
            table.row([config.name.clone(), value, from.to_owned()]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

fn list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn or_unknown(offset: Option<i64>) -> String {
    offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string())
}

fn places(bytes: &[DescribedBytes]) -> String {
    let places = bytes.iter().map(|bytes| {
        let count = u64::try_from(bytes.bytes).map_or_else(|_| "?".to_owned(), table::bytes);
        format!("{count} in {} (broker {})", bytes.place, bytes.broker)
    });
    places.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
