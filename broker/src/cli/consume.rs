//! `streamhouse consume`: records of a topic to standard output.

pub(super) mod start;

use std::collections::BTreeMap;

use clap::Args;
use streamhouse_client::consumer::{Arrived, Consumer};
use streamhouse_client::fetch::FetchOptions;
use streamhouse_client::offsets::OffsetAt;
use streamhouse_client::{Client, ClientError};
use streamhouse_protocol::compression::Limits;
use streamhouse_protocol::record::Records;

use self::start::{OffsetStart, TimeStart};
use super::failure::Failure;
use super::format::{Format, JsonRecord, TOKENS};
use super::output::Output;
use super::target::Target;

/// Write the records of a topic to standard output
///
/// Without --from-beginning, --offset or --timestamp, only records that are written from now on
/// are shown. Records of one partition come in order; between partitions there is no order.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = TOKENS)]
pub(super) struct Consume {
    /// The name of the topic
    topic: String,
    /// Only this partition. May be given several times
    #[arg(short, long = "partition", value_name = "PARTITION")]
    partitions: Vec<i32>,
    /// Begin with the first record that is kept
    #[arg(long, conflicts_with_all = ["offset", "timestamp"])]
    from_beginning: bool,
    /// Begin at this offset of every partition; a negative number counts from the end
    #[arg(short, long, allow_hyphen_values = true, conflicts_with = "timestamp")]
    offset: Option<OffsetStart>,
    /// Begin with the first record of this time or later: milliseconds since 1970, or so long ago (90s, 15m, 2h, 7d)
    #[arg(long, value_name = "TIME")]
    timestamp: Option<TimeStart>,
    /// End after this number of records
    #[arg(short = 'n', long, value_name = "RECORDS")]
    count: Option<u64>,
    /// End where the topic ended when the command began
    #[arg(short, long)]
    exit: bool,
    /// How each record is shown
    #[arg(short, long, default_value = "%v\\n")]
    format: String,
    /// What null keys, values and headers are shown as
    #[arg(long, value_name = "TEXT", default_value = "")]
    null: String,
    /// Write JSON: one object per line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `streamhouse consume`.
pub(super) fn run(consume: &Consume, output: &mut Output) -> Result<(), Failure> {
    let format = Format::parse(&consume.format, &consume.null)
        .map_err(|reason| Failure::Usage(format!("--format: {reason}")))?;
    let mut reading = Reading {
        topic: &consume.topic,
        format: (!consume.json).then_some(format),
        left: consume.count,
        output,
        line: Vec::new(),
    };
    consume
        .target
        .run(async |client| read(consume, client, &mut reading).await)
}

async fn read(consume: &Consume, client: Client, reading: &mut Reading<'_>) -> Result<(), Failure> {
    let topic = client.topic(&consume.topic).await?;
    for partition in &consume.partitions {
        if topic.partition(*partition).is_none() {
            return Err(Failure::Usage(format!(
                "topic {} has no partition {partition}: it has 0 to {}",
                topic.name,
                topic.partitions.len().saturating_sub(1)
            )));
        }
    }
    let all = topic.partitions.iter().map(|partition| partition.index);
    let wanted: Vec<i32> = all
        .filter(|index| consume.partitions.is_empty() || consume.partitions.contains(index))
        .collect();
    let ends = client.offsets(&topic.name, &wanted, OffsetAt::End).await?;
    let starts = starts(consume, &client, &wanted, &ends).await?;
    let mut consumer = Consumer::new(client, &topic.name, &starts, FetchOptions::default());
    if consume.exit {
        stop_at(&mut consumer, &ends);
    }
    while !consumer.is_done() && reading.left != Some(0) {
        for arrived in consumer.next().await? {
            reading.show(&arrived)?;
        }
        reading.output.flush()?;
        if consume.exit {
            stop_at(&mut consumer, &ends);
        }
    }
    Ok(())
}

/// No longer reads the partitions that have come to their end.
fn stop_at(consumer: &mut Consumer, ends: &BTreeMap<i32, i64>) {
    for (partition, end) in ends {
        if consumer
            .position(*partition)
            .is_some_and(|position| position >= *end)
        {
            consumer.stop(*partition);
        }
    }
}

async fn starts(
    consume: &Consume,
    client: &Client,
    wanted: &[i32],
    ends: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let topic = &consume.topic;
    if consume.from_beginning {
        return client.offsets(topic, wanted, OffsetAt::Beginning).await;
    }
    if let Some(time) = consume.timestamp {
        let at = OffsetAt::Time(time.milliseconds(client.ambient().clock.wall_ms()));
        return client.offsets(topic, wanted, at).await;
    }
    match consume.offset {
        None => Ok(ends.clone()),
        Some(OffsetStart::At(offset)) => Ok(wanted
            .iter()
            .map(|partition| (*partition, offset))
            .collect()),
        Some(OffsetStart::FromEnd(count)) => {
            let beginnings = client.offsets(topic, wanted, OffsetAt::Beginning).await?;
            let start = |(partition, end): (&i32, &i64)| {
                let beginning = beginnings.get(partition).copied().unwrap_or_default();
                (*partition, end.saturating_sub(count).max(beginning))
            };
            Ok(ends.iter().map(start).collect())
        }
    }
}

/// Shows records and counts them.
struct Reading<'a> {
    topic: &'a str,
    /// `None` shows JSON.
    format: Option<Format>,
    left: Option<u64>,
    output: &'a mut Output,
    line: Vec<u8>,
}

impl Reading<'_> {
    fn show(&mut self, arrived: &Arrived) -> Result<(), Failure> {
        for batch in arrived
            .batches
            .iter()
            .filter(|batch| !batch.attributes().is_control())
        {
            let unreadable = |error: &dyn std::error::Error| {
                Failure::Data(format!(
                    "the batch at offset {} of topic {} partition {} cannot be read: {error}; skip it with --offset {}",
                    batch.base_offset(),
                    self.topic,
                    arrived.partition,
                    batch.next_offset()
                ))
            };
            let records =
                Records::unpack(batch, &Limits::DEFAULT).map_err(|error| unreadable(&error))?;
            for record in &records {
                let record = record.map_err(|error| unreadable(&error))?;
                if record.offset < arrived.from_offset {
                    continue;
                }
                if self.left == Some(0) {
                    return Ok(());
                }
                self.left = self.left.map(|left| left - 1);
                match &self.format {
                    Some(format) => {
                        self.line.clear();
                        format.write(self.topic, arrived.partition, &record, &mut self.line);
                        self.output.bytes(&self.line)?;
                    }
                    None => self.output.json(&JsonRecord::new(
                        self.topic,
                        arrived.partition,
                        &record,
                    ))?,
                }
            }
        }
        Ok(())
    }
}
