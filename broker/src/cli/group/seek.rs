//! `streamhouse group seek`: where a group goes on.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use streamhouse_client::groups::Group as Described;
use streamhouse_client::offsets::OffsetAt;
use streamhouse_client::{Client, ClientError};
use streamhouse_protocol::ErrorCode;

use super::progress::{Place, offsets};
use crate::cli::consume::start::TimeStart;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::cli::target::Target;

/// Move the committed offsets of a group
///
/// The group must have no members: stop its consumers first. Offsets before the first record that
/// is kept, or behind the last one, become the first or the end. What was committed before is
/// shown, so that --to-offset can take it back.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("to").required(true))]
pub(super) struct Seek {
    /// The id of the group; it is made if it does not exist
    group: String,
    /// Only this topic, or only these partitions of it. May be given several times [default: what the group has offsets for]
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITION,...]")]
    topics: Vec<Selection>,
    /// To the first record that is kept
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// To the end: only records that are written from now on are read
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To this offset of every partition
    #[arg(long, group = "to", value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record of this time or later: milliseconds since 1970, or so long ago (90s, 15m, 2h, 7d)
    #[arg(long, group = "to", value_name = "TIME")]
    to_timestamp: Option<TimeStart>,
    /// By so many records; a negative number reads records again
    #[arg(long, group = "to", value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Write JSON: one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// A topic, and which of its partitions; none for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selection {
    topic: String,
    partitions: Vec<i32>,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partitions) = match text.split_once(':') {
            None => (text, Vec::new()),
            Some((topic, list)) => {
                let indexes = list.split(',').map(|index| {
                    let index = index.parse::<i32>().ok().filter(|index| *index >= 0);
                    index.ok_or_else(|| format!("{list:?} is no list of partitions such as 0,1,5"))
                });
                (topic, indexes.collect::<Result<_, _>>()?)
            }
        };
        if topic.is_empty() {
            return Err("name a topic before the colon".to_owned());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partitions,
        })
    }
}

/// A partition whose offset moves.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Moved {
    topic: String,
    partition: i32,
    before: Option<i64>,
    after: i64,
}

/// Runs `streamhouse group seek`.
pub(super) fn run(seek: &Seek, output: &mut Output) -> Result<(), Failure> {
    let moved = seek.target.run(async |client| {
        let moved = plan(seek, &client).await?;
        if !seek.dry_run {
            let offsets = moved.iter().map(|one| {
                let place = (one.topic.clone(), one.partition);
                (place, one.after)
            });
            client
                .commit_offsets(&seek.group, &offsets.collect())
                .await?;
        }
        Ok(moved)
    })?;
    if seek.json {
        return moved.iter().try_for_each(|one| output.json(one));
    }
    output.bytes(text(&moved).as_bytes())
}

async fn plan(seek: &Seek, client: &Client) -> Result<Vec<Moved>, Failure> {
    let committed = committed(seek, client).await?;
    let mut places: Vec<Place> = Vec::new();
    for selection in &seek.topics {
        places.extend(selected(selection, client).await?);
    }
    if seek.topics.is_empty() {
        places.extend(committed.keys().cloned());
    }
    if places.is_empty() {
        return Err(Failure::Refused(format!(
            "group {} has no committed offsets; name what it is to read with --topic",
            seek.group
        )));
    }
    let wanted = wanted(seek, client, &places, &committed).await?;
    let starts = offsets(client, places.iter(), OffsetAt::Beginning).await?;
    let ends = offsets(client, places.iter(), OffsetAt::End).await?;
    let moved = wanted
        .into_iter()
        .filter_map(|((topic, partition), offset)| {
            let place = (topic, partition);
            // A topic that is gone has no place to go to.
            let (start, end) = (starts.get(&place)?, ends.get(&place)?);
            Some(Moved {
                before: committed.get(&place).copied(),
                after: offset.min(*end).max(*start),
                topic: place.0,
                partition,
            })
        });
    Ok(moved.collect())
}

/// What is committed now. Refuses groups with members: they would commit over it.
async fn committed(seek: &Seek, client: &Client) -> Result<BTreeMap<Place, i64>, Failure> {
    let Described {
        members, committed, ..
    } = match client.describe_group(&seek.group).await {
        Ok(described) => described,
        Err(ClientError::Refused {
            code: ErrorCode::GroupIdNotFound,
            ..
        }) if !seek.topics.is_empty() => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    if members.is_empty() {
        return Ok(committed);
    }
    Err(Failure::Refused(format!(
        "group {} has {} members, which commit offsets themselves; stop them first",
        seek.group,
        members.len()
    )))
}

async fn selected(selection: &Selection, client: &Client) -> Result<Vec<Place>, Failure> {
    let topic = client.topic(&selection.topic).await?;
    for partition in &selection.partitions {
        if topic.partition(*partition).is_none() {
            return Err(Failure::Usage(format!(
                "topic {} has no partition {partition}: it has 0 to {}",
                topic.name,
                topic.partitions.len().saturating_sub(1)
            )));
        }
    }
    let all = topic.partitions.iter().map(|partition| partition.index);
    let chosen =
        all.filter(|index| selection.partitions.is_empty() || selection.partitions.contains(index));
    Ok(chosen.map(|index| (topic.name.clone(), index)).collect())
}

/// Where each partition is to go, before it is held to what there is.
async fn wanted(
    seek: &Seek,
    client: &Client,
    places: &[Place],
    committed: &BTreeMap<Place, i64>,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let at = if seek.to_earliest {
        OffsetAt::Beginning
    } else if let Some(time) = seek.to_timestamp {
        OffsetAt::Time(time.milliseconds(client.ambient().clock.wall_ms()))
    } else if let Some(offset) = seek.to_offset {
        return Ok(places.iter().map(|place| (place.clone(), offset)).collect());
    } else if let Some(by) = seek.shift_by {
        let shifted = places.iter().map(|place| {
            let before = committed.get(place).ok_or_else(|| {
                Failure::Refused(format!(
                    "group {} has no offset for topic {} partition {} to shift; use --to-earliest or --to-latest",
                    seek.group, place.0, place.1
                ))
            })?;
            Ok((place.clone(), before.saturating_add(by)))
        });
        return shifted.collect();
    } else {
        OffsetAt::End
    };
    offsets(client, places.iter(), at).await
}

fn text(moved: &[Moved]) -> String {
    let mut table = Table::new(&["topic", "#partition", "#before", "#after"]);
    for one in moved {
        let before = one.before.map(|before| before.to_string());
        table.row([
            one.topic.clone(),
            one.partition.to_string(),
            before.unwrap_or_else(|| "-".to_owned()),
            one.after.to_string(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests;
