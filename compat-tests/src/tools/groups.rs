//! `kafka-consumer-groups.sh` and `kafka-groups.sh`: list, describe, every way to reset offsets, delete.

use anyhow::{Result, ensure};

use super::{Told, Tools, records};

const GROUPS: &str = "consumer.group.ConsumerGroupCommand";
const TOPIC: &str = "tools-groups";
const GROUP: &str = "tools-group";

pub(super) fn play(tools: &mut Tools) -> Result<()> {
    tools
        .run("TopicCommand", &["--create", "--topic", TOPIC])?
        .well()?;
    records::produce(tools, TOPIC)?;
    let consume = [
        "--topic",
        TOPIC,
        "--from-beginning",
        "--max-messages",
        "12",
        "--group",
        GROUP,
    ];
    tools.run("consumer.ConsoleConsumer", &consume)?.well()?;
    seen(tools)?;
    reset(tools)?;
    delete(tools)
}

fn seen(tools: &mut Tools) -> Result<()> {
    tools.run(GROUPS, &["--list"])?.well()?.says(&[GROUP])?;
    tools
        .run(GROUPS, &["--list", "--state"])?
        .well()?
        .says(&[GROUP, "Empty"])?;
    tools
        .run(GROUPS, &["--list", "--type"])?
        .well()?
        .says(&[GROUP, "Classic"])?;
    tools
        .run("GroupsCommand", &["--list"])?
        .well()?
        .says(&[GROUP, "Classic", "consumer"])?;
    let offsets = tools
        .run(GROUPS, &["--describe", "--group", GROUP])?
        .well()?;
    let rows = offsets.rows(GROUP);
    let row = ["tools-group", TOPIC, "0", "12", "20", "8"];
    ensure!(rows.len() == 1 && rows[0][..6] == row, "{offsets}");
    let state = tools
        .run(GROUPS, &["--describe", "--group", GROUP, "--state"])?
        .well()?;
    state.says(&[GROUP, "Empty", "0"])?;
    let members = tools
        .run(GROUPS, &["--describe", "--group", GROUP, "--members"])?
        .well()?;
    ensure!(members.rows(GROUP).is_empty(), "{members}");
    Ok(())
}

/// Resets the group's offset; what the tool says it is now.
fn reset_to(tools: &mut Tools, how: &[&str], execute: bool) -> Result<Told> {
    let end = if execute { "--execute" } else { "--dry-run" };
    let arguments = [&["--reset-offsets", "--group", GROUP][..], how, &[end]].concat();
    tools.run(GROUPS, &arguments)?.well()
}

/// The offset that the group has.
fn ensure_at(tools: &mut Tools, offset: &str) -> Result<()> {
    let told = tools
        .run(GROUPS, &["--describe", "--group", GROUP])?
        .well()?;
    let rows = told.rows(GROUP);
    ensure!(
        rows.len() == 1 && rows[0][3] == offset,
        "not at {offset}: {told}"
    );
    Ok(())
}

fn reset(tools: &mut Tools) -> Result<()> {
    let file = tools.file("offsets.csv", &format!("{TOPIC},0,7\n"))?;
    let of_topic = |how: &'static [&'static str]| [&["--topic", TOPIC][..], how].concat();
    for (how, offset) in [
        (of_topic(&["--to-earliest"]), "0"),
        (of_topic(&["--to-latest"]), "20"),
        (of_topic(&["--to-offset", "5"]), "5"),
        (of_topic(&["--shift-by", "3"]), "8"),
        (of_topic(&["--shift-by", "-100"]), "0"),
        (of_topic(&["--to-offset", "100"]), "20"),
        (of_topic(&["--to-current"]), "20"),
        (of_topic(&["--to-datetime", "2020-01-01T00:00:00.000"]), "0"),
        (of_topic(&["--by-duration", "PT0S"]), "20"),
        (of_topic(&["--by-duration", "PT10H"]), "0"),
        (vec!["--from-file", &file], "7"),
        (vec!["--all-topics", "--to-latest"], "20"),
        (vec!["--topic", "tools-groups:0", "--to-offset", "2"], "2"),
    ] {
        let before = reset_to(tools, &how, false)?;
        let row = [GROUP, TOPIC, "0", offset];
        ensure!(before.rows(GROUP) == [row], "not {offset}: {before}");
        let told = reset_to(tools, &how, true)?;
        ensure!(told.rows(GROUP) == [row], "not {offset}: {told}");
        ensure_at(tools, offset)?;
    }
    let exported = reset_to(tools, &["--all-topics", "--to-earliest", "--export"], false)?;
    exported
        .says(&[&format!("{TOPIC}\",0,0")])
        .or_else(|_| exported.says(&[&format!("{TOPIC},0,0")]))?;
    ensure_at(tools, "2")
}

fn delete(tools: &mut Tools) -> Result<()> {
    let offsets = ["--delete-offsets", "--group", GROUP, "--topic", TOPIC];
    tools
        .run(GROUPS, &offsets)?
        .well()?
        .says(&[TOPIC, "Successful"])?;
    let other = "tools-group-2";
    let reset = [
        "--reset-offsets",
        "--group",
        other,
        "--topic",
        TOPIC,
        "--to-latest",
        "--execute",
    ];
    tools.run(GROUPS, &reset)?.well()?;
    let told = tools.run(GROUPS, &["--delete", "--group", other])?.well()?;
    told.says(&["Deletion of requested consumer groups", "successful"])?;
    tools.run(GROUPS, &["--list"])?.well()?.is_without(other)?;
    let missing = tools.run(GROUPS, &["--delete", "--group", "tools-missing"])?;
    let said = missing.output.iter().chain(&missing.errors);
    let is_told = said
        .into_iter()
        .any(|line| line.contains("GroupIdNotFoundException"));
    ensure!(is_told, "{missing}");
    Ok(())
}
