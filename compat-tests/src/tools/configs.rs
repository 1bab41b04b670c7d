//! `kafka-configs.sh`: topics, brokers, one and all, and loggers of brokers.

use anyhow::Result;

use super::{Told, Tools};

const CONFIGS: &str = "kafka.admin.ConfigCommand";
const TOPIC: &str = "tools-configs";

fn of(tools: &mut Tools, entity: &[&str], more: &[&str]) -> Result<Told> {
    tools.run(CONFIGS, &[entity, more].concat())
}

pub(super) fn play(tools: &mut Tools) -> Result<()> {
    tools
        .run("TopicCommand", &["--create", "--topic", TOPIC])?
        .well()?;
    topic(tools)?;
    brokers(tools)?;
    loggers(tools)
}

fn topic(tools: &mut Tools) -> Result<()> {
    let topic = ["--entity-type", "topics", "--entity-name", TOPIC];
    let set = "max.message.bytes=2000,cleanup.policy=[compact,delete]";
    let told = of(tools, &topic, &["--alter", "--add-config", set])?.well()?;
    told.says(&["Completed updating config for topic tools-configs."])?;
    let told = of(tools, &topic, &["--describe"])?.well()?;
    told.says(&[
        "max.message.bytes=2000",
        "DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000",
        "DEFAULT_CONFIG:message.max.bytes=1048588",
    ])?;
    told.says(&["cleanup.policy=compact,delete"])?;
    of(
        tools,
        &topic,
        &["--alter", "--delete-config", "max.message.bytes"],
    )?
    .well()?;
    of(tools, &topic, &["--describe"])?
        .well()?
        .is_without("max.message.bytes")?;
    let told = of(tools, &topic, &["--describe", "--all"])?.well()?;
    told.says(&["retention.ms=604800000"])?
        .says(&["max.message.bytes=1048588"])?;
    let refused = of(
        tools,
        &topic,
        &["--alter", "--add-config", "retention.ms=soon"],
    )?;
    refused.refused("Invalid value soon for configuration retention.ms")
}

fn brokers(tools: &mut Tools) -> Result<()> {
    let one = ["--entity-type", "brokers", "--entity-name", "1"];
    let all = ["--entity-type", "brokers", "--entity-default"];
    let key = "log.retention.ms";
    of(
        tools,
        &one,
        &["--alter", "--add-config", "log.retention.ms=3600000"],
    )?
    .well()?;
    of(
        tools,
        &all,
        &["--alter", "--add-config", "log.retention.ms=7200000"],
    )?
    .well()?;
    let told = of(tools, &one, &["--describe"])?.well()?;
    told.says(&[
        "log.retention.ms=3600000",
        "DYNAMIC_BROKER_CONFIG:log.retention.ms=3600000",
        "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=7200000",
        "DEFAULT_CONFIG:log.retention.hours=168",
    ])?;
    let told = of(tools, &all, &["--describe"])?.well()?;
    told.says(&[
        "log.retention.ms=7200000",
        "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=7200000",
    ])?;
    let topic = ["--entity-type", "topics", "--entity-name", TOPIC];
    of(tools, &topic, &["--describe", "--all"])?
        .well()?
        .says(&["retention.ms=3600000"])?;
    let fixed = of(tools, &one, &["--alter", "--add-config", "node.id=3"])?;
    fixed.refused("Cannot update these configs dynamically: [node.id]")?;
    for entity in [&one[..], &all] {
        of(tools, entity, &["--alter", "--delete-config", key])?.well()?;
        of(tools, entity, &["--describe"])?
            .well()?
            .is_without(key)?;
    }
    of(tools, &one, &["--describe", "--all"])?
        .well()?
        .says(&["node.id=1"])?;
    Ok(())
}

fn loggers(tools: &mut Tools) -> Result<()> {
    let loggers = ["--entity-type", "broker-loggers", "--entity-name", "1"];
    of(tools, &loggers, &["--alter", "--add-config", "root=WARN"])?.well()?;
    of(tools, &loggers, &["--describe"])?
        .well()?
        .says(&["root=WARN"])?;
    of(tools, &loggers, &["--alter", "--add-config", "root=INFO"])?.well()?;
    of(tools, &loggers, &["--describe"])?
        .well()?
        .says(&["root=INFO"])?;
    let refused = of(tools, &loggers, &["--alter", "--add-config", "root=LOUD"])?;
    refused.refused("as it is not a supported log level")
}
