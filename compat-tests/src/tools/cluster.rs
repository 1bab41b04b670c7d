//! Tools that look at brokers and move leaders: `kafka-broker-api-versions.sh`, `kafka-cluster.sh`, `kafka-features.sh`,
//! `kafka-reassign-partitions.sh`, `kafka-leader-election.sh`.

use anyhow::{Result, ensure};

use super::Tools;

const TOPIC: &str = "tools-cluster";

pub(super) fn play(tools: &mut Tools) -> Result<()> {
    let create = ["--create", "--topic", TOPIC, "--partitions", "2"];
    tools.run("TopicCommand", &create)?.well()?;
    brokers(tools)?;
    reassign(tools)?;
    elect(tools)
}

fn brokers(tools: &mut Tools) -> Result<()> {
    let told = tools.run("BrokerApiVersionsCommand", &[])?.well()?;
    told.says(&["(id: 1 rack: null isFenced: false) -> ("])?;
    told.says(&["Produce(0): 0 to 13 [usable: 13]"])?;
    told.says(&["ConsumerGroupHeartbeat(68): 0 to 1 [usable: 1]"])?;
    let bootstrap = tools.bootstrap.clone();
    let told = tools
        .run_plainly(
            "ClusterTool",
            &["cluster-id", "--bootstrap-server", &bootstrap],
            &[],
        )?
        .well()?;
    told.says(&["Cluster ID: "])?;
    let told = tools.run("FeatureCommand", &["describe"])?.well()?;
    told.says(&[
        "Feature: group.version",
        "SupportedMinVersion: 0",
        "SupportedMaxVersion: 1",
        "FinalizedVersionLevel: 1",
    ])?;
    Ok(())
}

fn reassign(tools: &mut Tools) -> Result<()> {
    const REASSIGN: &str = "reassign.ReassignPartitionsCommand";
    let partition =
        |index: u8| format!(r#"{{"topic":"{TOPIC}","partition":{index},"replicas":[1]}}"#);
    let plan = format!(
        r#"{{"version":1,"partitions":[{},{}]}}"#,
        partition(0),
        partition(1)
    );
    let plan = tools.file("reassign.json", &plan)?;
    let topics = format!(r#"{{"version":1,"topics":[{{"topic":"{TOPIC}"}}]}}"#);
    let topics = tools.file("topics.json", &topics)?;
    let generate = [
        "--generate",
        "--topics-to-move-json-file",
        &topics,
        "--broker-list",
        "1",
    ];
    let told = tools.run(REASSIGN, &generate)?.well()?;
    told.says(&["Proposed partition reassignment configuration"])?;
    let plan = ["--reassignment-json-file", &plan];
    let told = tools
        .run(REASSIGN, &[&["--execute"][..], &plan].concat())?
        .well()?;
    told.says(&[
        "Successfully started partition reassignments for tools-cluster-0,tools-cluster-1",
    ])?;
    let told = tools
        .run(REASSIGN, &[&["--verify"][..], &plan].concat())?
        .well()?;
    for index in 0..2 {
        told.says(&[&format!(
            "Reassignment of partition {TOPIC}-{index} is completed."
        )])?;
    }
    told.says(&["Clearing broker-level throttles on broker 1"])?;
    told.says(&["Clearing topic-level throttles on topic tools-cluster"])?;
    let told = tools.run(REASSIGN, &["--list"])?.well()?;
    told.says(&["No partition reassignments found."])?;
    let told = tools
        .run(REASSIGN, &[&["--cancel"][..], &plan].concat())?
        .well()?;
    told.says(&["None of the specified partition reassignments are active."])?;
    Ok(())
}

fn elect(tools: &mut Tools) -> Result<()> {
    const ELECT: &str = "LeaderElectionCommand";
    let one = [
        "--election-type",
        "preferred",
        "--topic",
        TOPIC,
        "--partition",
        "0",
    ];
    let told = tools.run(ELECT, &one)?.well()?;
    told.says(&["Valid replica already elected for partitions tools-cluster-0"])?;
    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    let told = tools.run(ELECT, &all)?.well()?;
    ensure!(told.errors.is_empty(), "{told}");
    let unclean = [
        "--election-type",
        "unclean",
        "--topic",
        TOPIC,
        "--partition",
        "1",
    ];
    let told = tools.run(ELECT, &unclean)?.well()?;
    told.says(&["Valid replica already elected for partitions tools-cluster-1"])?;
    Ok(())
}
