//! `streamhouse group describe`: members, committed offsets, lag in records.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use streamhouse_client::Client;
use streamhouse_client::groups::{Group as Described, Member};

use super::progress::ends;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::cli::target::Target;

/// Show members, committed offsets and how far they are behind
#[derive(Args, Debug)]
pub(super) struct Describe {
    /// The id of the group
    group: String,
    /// Write JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `streamhouse group describe`.
pub(super) fn run(describe: &Describe, output: &mut Output) -> Result<(), Failure> {
    let view = describe
        .target
        .run(async |client| view(&describe.group, &client).await)?;
    if describe.json {
        output.json(&view)
    } else {
        output.bytes(text(&view).as_bytes())
    }
}

#[derive(Serialize)]
struct GroupView {
    group: String,
    state: String,
    protocol_type: String,
    assignor: String,
    coordinator: i32,
    members: Vec<MemberView>,
    offsets: Vec<OffsetView>,
}

#[derive(Serialize)]
struct MemberView {
    member: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    client_id: String,
    host: String,
    assigned: Vec<String>,
}

#[derive(Serialize)]
struct OffsetView {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

async fn view(group: &str, client: &Client) -> Result<GroupView, Failure> {
    let described = client.describe_group(group).await?;
    let mut rows: BTreeMap<(String, i32), (Option<i64>, Option<String>)> = BTreeMap::new();
    for (place, offset) in &described.committed {
        rows.entry(place.clone()).or_default().0 = Some(*offset);
    }
    for member in &described.members {
        for place in &member.assigned {
            rows.entry(place.clone()).or_default().1 = Some(member.id.clone());
        }
    }
    let ends = ends(client, rows.keys()).await?;
    let offsets = rows
        .into_iter()
        .map(|((topic, partition), (committed, member))| {
            let end = ends.get(&(topic.clone(), partition)).copied();
            OffsetView {
                topic,
                partition,
                committed,
                end,
                lag: committed
                    .zip(end)
                    .map(|(committed, end)| (end - committed).max(0)),
                member,
            }
        });
    Ok(GroupView {
        offsets: offsets.collect(),
        ..header(&described)
    })
}

fn header(described: &Described) -> GroupView {
    let assigned = |member: &Member| {
        let places = member.assigned.iter();
        places
            .map(|(topic, partition)| format!("{topic}-{partition}"))
            .collect()
    };
    let members = described.members.iter().map(|member| MemberView {
        member: member.id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        host: member.host.clone(),
        assigned: assigned(member),
    });
    GroupView {
        group: described.id.clone(),
        state: described.state.clone(),
        protocol_type: described.protocol_type.clone(),
        assignor: described.protocol.clone(),
        coordinator: described.coordinator,
        members: members.collect(),
        offsets: Vec::new(),
    }
}

fn text(view: &GroupView) -> String {
    let mut text = format!("Group        {}\nState        {}\n", view.group, view.state);
    if !view.assignor.is_empty() {
        text.push_str(&format!("Assignor     {}\n", view.assignor));
    }
    text.push_str(&format!("Coordinator  {}\n", view.coordinator));
    if !view.members.is_empty() {
        let mut table = Table::new(&["member", "client id", "host", "#partitions"]);
        for member in &view.members {
            table.row([
                member.member.clone(),
                member.client_id.clone(),
                member.host.clone(),
                member.assigned.len().to_string(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    if !view.offsets.is_empty() {
        let shown = |number: Option<i64>| {
            number.map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        let mut table = Table::new(&[
            "topic",
            "#partition",
            "#committed",
            "#end",
            "#lag",
            "member",
        ]);
        for row in &view.offsets {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                shown(row.committed),
                shown(row.end),
                shown(row.lag),
                row.member.clone().unwrap_or_default(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

#[cfg(test)]
mod tests;
