//! `kafka-topics.sh`: create, list, describe, add partitions, delete.

use anyhow::{Result, ensure};

use super::Tools;

const TOPICS: &str = "TopicCommand";
const TOPIC: &str = "tools-topics";

pub(super) fn play(tools: &mut Tools) -> Result<()> {
    let named = ["--topic", TOPIC];
    let mut run = |verb: &str, more: &[&str]| {
        let arguments = [&[verb][..], &named, more].concat();
        tools.run(TOPICS, &arguments)
    };
    let wanted = ["--partitions", "2", "--config", "retention.ms=86400000"];
    run("--create", &wanted)?
        .well()?
        .says(&["Created topic tools-topics."])?;
    run("--create", &[])?.refused("Topic 'tools-topics' already exists")?;
    run("--create", &["--if-not-exists"])?.well()?;
    let described = run("--describe", &[])?.well()?;
    described.says(&[
        "PartitionCount: 2",
        "ReplicationFactor: 1",
        "retention.ms=86400000",
    ])?;
    described.says(&["Partition: 0", "Leader: 1", "Replicas: 1", "Isr: 1"])?;
    described.says(&["Partition: 1", "Leader: 1", "Replicas: 1", "Isr: 1"])?;
    run("--alter", &["--partitions", "3"])?.well()?;
    let described = run("--describe", &[])?.well()?;
    described
        .says(&["PartitionCount: 3"])?
        .says(&["Partition: 2", "Leader: 1"])?;
    run("--alter", &["--partitions", "1"])?
        .refused("currently has 3 partitions, which is higher than the requested 1")?;
    run("--describe", &["--topics-with-overrides"])?
        .well()?
        .says(&[TOPIC, "retention.ms=86400000"])?;
    for healthy in [
        "--under-replicated-partitions",
        "--unavailable-partitions",
        "--under-min-isr-partitions",
        "--at-min-isr-partitions",
    ] {
        let told = run("--describe", &[healthy])?.well()?;
        // A partition with one replica is at its minimum, in Kafka too.
        ensure!(
            healthy.starts_with("--at") || told.output.is_empty(),
            "{told}"
        );
    }
    list_and_delete(tools)
}

fn list_and_delete(tools: &mut Tools) -> Result<()> {
    let list = tools.run(TOPICS, &["--list"])?.well()?;
    ensure!(list.output.iter().any(|line| line == TOPIC), "{list}");
    let missing = tools.run(TOPICS, &["--describe", "--topic", "tools-missing"])?;
    missing.refused("Topic 'tools-missing' does not exist as expected")?;
    let invalid = tools.run(TOPICS, &["--create", "--topic", "tools missing"])?;
    invalid.refused("InvalidTopicException")?;
    tools.run(TOPICS, &["--delete", "--topic", TOPIC])?.well()?;
    let list = tools.run(TOPICS, &["--list"])?.well()?;
    ensure!(!list.output.iter().any(|line| line == TOPIC), "{list}");
    Ok(())
}
