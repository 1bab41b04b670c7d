//! `streamhouse group`: which consumer groups there are, who is in them, how far they are behind, and where they go on.

mod describe;
mod lag;
mod progress;
mod seek;

use clap::{Args, Subcommand};
use serde::Serialize;
use streamhouse_client::Client;
use streamhouse_protocol::ErrorCode;

use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use super::target::Target;

/// List and describe consumer groups, show their lag, move their offsets, delete them
#[derive(Args, Debug)]
pub(super) struct Group {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Describe(describe::Describe),
    Lag(lag::Lag),
    Seek(seek::Seek),
    Delete(Delete),
}

/// List groups
#[derive(Args, Debug)]
struct List {
    /// Write JSON: one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Delete groups that have no members, with all their committed offsets
#[derive(Args, Debug)]
struct Delete {
    /// The ids of the groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Succeed if a group does not exist
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct ListedGroup {
    group: String,
    state: String,
    protocol_type: String,
}

/// Runs `streamhouse group`.
pub(super) fn run(group: &Group, output: &mut Output) -> Result<(), Failure> {
    match &group.verb {
        Verb::List(list) => list
            .target
            .run(async |client| list_groups(list, &client, output).await),
        Verb::Describe(describe) => describe::run(describe, output),
        Verb::Lag(lag) => lag::run(lag, output),
        Verb::Seek(seek) => seek::run(seek, output),
        Verb::Delete(delete) => delete
            .target
            .run(async |client| delete_groups(delete, &client, output).await),
    }
}

async fn list_groups(list: &List, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["group", "state", "protocol type"]);
    for group in client.list_groups().await? {
        if list.json {
            output.json(&ListedGroup {
                group: group.id,
                state: group.state,
                protocol_type: group.protocol_type,
            })?;
        } else {
            table.row([group.id, group.state, group.protocol_type]);
        }
    }
    if list.json {
        Ok(())
    } else {
        output.bytes(table.render().as_bytes())
    }
}

async fn delete_groups(
    delete: &Delete,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    for group in &delete.groups {
        match client.delete_group(group).await {
            Ok(()) => output.line(&format!("group {group} deleted"))?,
            Err(error) if delete.if_exists && error.code() == Some(ErrorCode::GroupIdNotFound) => {
                output.line(&format!("group {group} does not exist"))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
