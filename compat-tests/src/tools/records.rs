//! Records on the command line: `kafka-console-producer.sh`, `kafka-console-consumer.sh`, `kafka-get-offsets.sh`,
//! `kafka-delete-records.sh`, `kafka-log-dirs.sh`.

use anyhow::{Result, ensure};

use super::Tools;

const TOPIC: &str = "tools-records";
const COUNT: usize = 20;

pub(super) fn play(tools: &mut Tools) -> Result<()> {
    tools
        .run("TopicCommand", &["--create", "--topic", TOPIC])?
        .well()?;
    produce(tools, TOPIC)?;
    consume(tools)?;
    offsets(tools)?;
    delete(tools)?;
    log_dirs(tools)
}

/// Produces `COUNT` records with keys.
pub(super) fn produce(tools: &mut Tools, topic: &str) -> Result<()> {
    let bootstrap = tools.bootstrap.clone();
    let lines: Vec<String> = (0..COUNT)
        .map(|index| format!("k{index}:v{index}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let arguments = [
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        topic,
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
    ];
    let told = tools
        .run_plainly("ConsoleProducer", &arguments, &lines)?
        .well()?;
    ensure!(told.errors.is_empty(), "{told}");
    Ok(())
}

fn consume(tools: &mut Tools) -> Result<()> {
    let count = COUNT.to_string();
    let arguments = [
        "--topic",
        TOPIC,
        "--from-beginning",
        "--max-messages",
        &count,
        "--timeout-ms",
        "20000",
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "print.offset=true",
    ];
    let told = tools.run("consumer.ConsoleConsumer", &arguments)?.well()?;
    for index in 0..COUNT {
        told.says(&[&format!("Offset:{index}\tk{index}\tv{index}")])?;
    }
    ensure!(told.output.len() == COUNT, "{told}");
    let tail = [
        "--topic",
        TOPIC,
        "--partition",
        "0",
        "--offset",
        "18",
        "--max-messages",
        "2",
    ];
    tools
        .run("consumer.ConsoleConsumer", &tail)?
        .well()?
        .is(&["v18", "v19"])?;
    Ok(())
}

fn offsets(tools: &mut Tools) -> Result<()> {
    let line = |offset: &str| format!("{TOPIC}:0:{offset}");
    for (time, offset) in [
        ("latest", "20"),
        ("earliest", "0"),
        ("max-timestamp", "19"),
        ("earliest-local", "0"),
        ("latest-tiered", ""),
        ("1000", "0"),
        ("4102444800000", ""),
    ] {
        let told = tools
            .run("GetOffsetShell", &["--topic", TOPIC, "--time", time])?
            .well()?;
        let lines = if offset.is_empty() {
            vec![]
        } else {
            vec![line(offset)]
        };
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        // Several records may have the latest time; the tool is told the first of them.
        if time == "max-timestamp" {
            told.says(&[&format!("{TOPIC}:0:")])?;
        } else {
            told.is(&lines)?;
        }
    }
    let partitions = format!("{TOPIC}:0-1");
    let told = tools
        .run("GetOffsetShell", &["--topic-partitions", &partitions])?
        .well()?;
    told.is(&[&line("20")])?;
    Ok(())
}

fn delete(tools: &mut Tools) -> Result<()> {
    let text =
        format!(r#"{{"version":1,"partitions":[{{"topic":"{TOPIC}","partition":0,"offset":3}}]}}"#);
    let file = tools.file("delete.json", &text)?;
    let told = tools
        .run("DeleteRecordsCommand", &["--offset-json-file", &file])?
        .well()?;
    told.says(&[&format!("partition: {TOPIC}-0"), "low_watermark: 3"])?;
    let earliest = ["--topic", TOPIC, "--time", "earliest"];
    let told = tools.run("GetOffsetShell", &earliest)?.well()?;
    told.is(&[&format!("{TOPIC}:0:3")])?;
    Ok(())
}

fn log_dirs(tools: &mut Tools) -> Result<()> {
    let told = tools
        .run("LogDirsCommand", &["--describe", "--topic-list", TOPIC])?
        .well()?;
    let line = told.line(&["\"brokers\""])?;
    for word in [
        "\"broker\":1",
        "\"logDir\":",
        "\"error\":null",
        "\"partition\":\"tools-records-0\"",
    ] {
        ensure!(line.contains(word), "no {word}: {told}");
    }
    Ok(())
}
