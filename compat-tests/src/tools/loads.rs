//! Tools that produce and consume much, and count: `kafka-producer-perf-test.sh`, `kafka-consumer-perf-test.sh`,
//! `kafka-verifiable-producer.sh`, `kafka-verifiable-consumer.sh`, `kafka-e2e-latency.sh`.

use anyhow::{Result, ensure};

use super::Tools;

const TOPIC: &str = "tools-loads";

pub(super) fn play(tools: &mut Tools) -> Result<()> {
    let create = ["--create", "--topic", TOPIC, "--partitions", "2"];
    tools.run("TopicCommand", &create)?.well()?;
    performance(tools)?;
    verifiable(tools)
}

fn performance(tools: &mut Tools) -> Result<()> {
    let produce = [
        "--topic",
        TOPIC,
        "--num-records",
        "5000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
    ];
    let told = tools.run("ProducerPerformance", &produce)?.well()?;
    told.says(&["5000 records sent", "records/sec", "99.9th"])?;
    let consume = [
        "--topic",
        TOPIC,
        "--num-records",
        "5000",
        "--timeout",
        "20000",
        "--group",
        "tools-perf",
    ];
    let told = tools.run("ConsumerPerformance", &consume)?.well()?;
    let row = told.line(&["-", ":", ", "])?;
    let read: Vec<&str> = row.split(", ").collect();
    let count: u64 = read.get(4).unwrap_or(&"").parse().unwrap_or(0);
    ensure!(count >= 5000, "{told}");
    let latency = [
        "--topic",
        TOPIC,
        "--num-records",
        "50",
        "--producer-acks",
        "all",
        "--record-size",
        "100",
    ];
    let told = tools.run("EndToEndLatency", &latency)?.well()?;
    told.says(&["Avg latency: "])?
        .says(&["Percentiles: 50th"])?;
    Ok(())
}

fn verifiable(tools: &mut Tools) -> Result<()> {
    let produce = [
        "--topic",
        TOPIC,
        "--max-messages",
        "30",
        "--throughput",
        "-1",
        "--acks",
        "-1",
    ];
    let told = tools.run_alone("VerifiableProducer", &produce)?.well()?;
    told.says(&["\"name\":\"tool_data\"", "\"sent\":30", "\"acked\":30"])?;
    let acknowledged = told
        .output
        .iter()
        .filter(|line| line.contains("producer_send_success"));
    ensure!(acknowledged.count() == 30, "{told}");
    let consume = [
        "--topic",
        TOPIC,
        "--group-id",
        "tools-verifiable",
        "--max-messages",
        "30",
        "--reset-policy",
        "earliest",
    ];
    let told = tools.run_alone("VerifiableConsumer", &consume)?.well()?;
    told.says(&["partitions_assigned", "\"partition\":0", "\"partition\":1"])?;
    told.says(&["offsets_committed", "\"success\":true"])?;
    Ok(())
}
