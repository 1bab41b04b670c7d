//! `streamhouse group lag`: how far groups are behind, in records and in seconds.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use streamhouse_client::Client;
use streamhouse_client::groups::Group as Described;
use streamhouse_client::offsets::OffsetAt;

use super::progress::{Place, offsets, timestamps};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::cli::target::Target;

/// Show how far groups are behind, in records and in seconds
///
/// The seconds are the age of the first record that a group has not read yet: how old the news is
/// that its consumers work on. A group that has read everything is 0 seconds behind.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Lag {
    /// The ids of the groups [default: all]
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
    /// Write JSON: one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// A partition that a group has an offset for.
#[derive(Debug, Serialize)]
struct Line {
    group: String,
    topic: String,
    partition: i32,
    committed: i64,
    /// None if the topic is gone.
    end: Option<i64>,
    lag: Option<i64>,
    /// None if the topic is gone, or the record has no timestamp.
    lag_seconds: Option<f64>,
    member: Option<String>,
}

/// Runs `streamhouse group lag`.
pub(super) fn run(lag: &Lag, output: &mut Output) -> Result<(), Failure> {
    let lines = lag.target.run(async |client| lines(lag, &client).await)?;
    if lag.json {
        return lines.iter().try_for_each(|line| output.json(line));
    }
    output.bytes(text(&lines).as_bytes())
}

async fn lines(lag: &Lag, client: &Client) -> Result<Vec<Line>, Failure> {
    let groups = if lag.groups.is_empty() {
        let listed = client.list_groups().await?;
        listed.into_iter().map(|group| group.id).collect()
    } else {
        lag.groups.clone()
    };
    let mut described = Vec::with_capacity(groups.len());
    for group in groups {
        described.push(client.describe_group(&group).await?);
    }
    let mut lines = Vec::new();
    for group in &described {
        lines.extend(lines_of(group, client).await?);
    }
    Ok(lines)
}

async fn lines_of(group: &Described, client: &Client) -> Result<Vec<Line>, Failure> {
    let places = || group.committed.keys();
    let starts = offsets(client, places(), OffsetAt::Beginning).await?;
    let ends = offsets(client, places(), OffsetAt::End).await?;
    // Records before the beginning were removed: nobody can be behind by them.
    let next =
        |place: &Place, committed: i64| committed.max(starts.get(place).copied().unwrap_or(0));
    let mut unread: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for (place, committed) in &group.committed {
        let from = next(place, *committed);
        if ends.get(place).is_some_and(|end| from < *end) {
            unread.entry(&place.0).or_default().insert(place.1, from);
        }
    }
    let mut written_at: BTreeMap<Place, i64> = BTreeMap::new();
    for (topic, from) in unread {
        let found = timestamps(client, topic, &from).await?;
        let found = found.into_iter();
        written_at.extend(found.map(|(partition, at)| ((topic.to_owned(), partition), at)));
    }
    let now = client.ambient().clock.wall_ms();
    let lines = group.committed.iter().map(|(place, committed)| {
        let end = ends.get(place).copied();
        let lag = end.map(|end| (end - next(place, *committed)).max(0));
        let lag_seconds = match lag {
            Some(0) => Some(0.0),
            Some(_) => written_at.get(place).map(|at| seconds(now, *at)),
            None => None,
        };
        Line {
            group: group.id.clone(),
            topic: place.0.clone(),
            partition: place.1,
            committed: *committed,
            end,
            lag,
            lag_seconds,
            member: member_of(group, place),
        }
    });
    Ok(lines.collect())
}

/// Seconds from `at` to `now`; a clock that runs ahead does not make them negative.
fn seconds(now: i64, at: i64) -> f64 {
    let milliseconds = u64::try_from(now.saturating_sub(at)).unwrap_or(0);
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

fn member_of(group: &Described, place: &Place) -> Option<String> {
    let mut members = group.members.iter();
    let member = members.find(|member| member.assigned.contains(place));
    member.map(|member| member.id.clone())
}

fn text(lines: &[Line]) -> String {
    let mut table = Table::new(&[
        "group",
        "topic",
        "#partition",
        "#committed",
        "#end",
        "#lag",
        "#seconds",
        "member",
    ]);
    let shown =
        |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for line in lines {
        let seconds = line.lag_seconds.map(|seconds| format!("{seconds:.1}"));
        table.row([
            line.group.clone(),
            line.topic.clone(),
            line.partition.to_string(),
            line.committed.to_string(),
            shown(line.end),
            shown(line.lag),
            seconds.unwrap_or_else(|| "-".to_owned()),
            line.member.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests;
