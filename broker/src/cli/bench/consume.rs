//! `streamhouse bench consume`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use streamhouse_client::connection::Connection;
use streamhouse_client::fetch::{FetchFrom, FetchOptions, fetch};
use streamhouse_client::metadata::Topic;
use streamhouse_client::offsets::OffsetAt;
use streamhouse_client::{Client, ClientError};
use streamhouse_protocol::record_batch::{RecordBatch, iterate};
use streamhouse_runtime::Monotonic;

use super::measured::{Measured, Size, Window};
use super::places::{own_partitions, places};
use super::process::Watched;
use super::report::Report;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::Target;

/// How long an answer without records is waited for.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Measure how fast a broker gives records
///
/// Reads a topic from the beginning to where it ends when the command begins, without looking into
/// the batches. `bench produce` fills one. With --follow, begins at the end and reads what others
/// write meanwhile.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Consume {
    /// The name of the topic
    #[arg(long, default_value = "bench")]
    topic: String,
    /// How many connections read, each partitions of its own; at most as many as there are partitions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// The most bytes of one partition in an answer
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = clap::value_parser!(i32).range(1..))]
    partition_bytes: i32,
    /// The most bytes of an answer
    #[arg(long, value_name = "BYTES", default_value_t = 52_428_800, value_parser = clap::value_parser!(i32).range(1..))]
    fetch_bytes: i32,
    /// Begin at the end and read what is written until --seconds are over
    #[arg(long, requires = "seconds")]
    follow: bool,
    /// Seconds after which the command ends, whatever is left; warm-up comes before them [default: none]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Seconds to read before measuring begins
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    warm_up: u64,
    /// Write JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watched: Watched,
    #[command(flatten)]
    target: Target,
}

/// Runs `streamhouse bench consume`.
pub(super) fn run(consume: &Consume, output: &mut Output) -> Result<(), Failure> {
    let report = consume
        .target
        .run(async |client| measure(consume, client).await)?;
    report.show(consume.json, output)
}

async fn measure(consume: &Consume, client: Client) -> Result<Report, Failure> {
    let topic = client.topic(&consume.topic).await?;
    let all: Vec<i32> = topic
        .partitions
        .iter()
        .map(|partition| partition.index)
        .collect();
    let start = if consume.follow {
        OffsetAt::End
    } else {
        OffsetAt::Beginning
    };
    let starts = client.offsets(&topic.name, &all, start).await?;
    let ends = if consume.follow {
        all.iter().map(|partition| (*partition, i64::MAX)).collect()
    } else {
        client.offsets(&topic.name, &all, OffsetAt::End).await?
    };
    let connections = usize::from(consume.connections).min(all.len().max(1));
    let mut readers = Vec::new();
    for index in 0..connections {
        let own = own_partitions(all.len(), connections, index);
        let options = client.options().connection.clone();
        readers.push(Reader {
            client: client.clone(),
            topic: Arc::clone(&topic),
            places: places(&client, &topic, &own, &options).await?,
            positions: starts.clone(),
            ends: ends.clone(),
            options: FetchOptions {
                wait_max: WAIT_MAX,
                bytes_min: 1,
                bytes_max: consume.fetch_bytes,
                partition_bytes_max: consume.partition_bytes,
            },
        });
    }
    let from = client.ambient().clock.monotonic() + Duration::from_secs(consume.warm_up);
    let until = consume
        .seconds
        .map(|seconds| from + Duration::from_secs(seconds));
    let window = Window {
        from,
        until: until.unwrap_or(from),
        every: None,
    };
    let runs = readers
        .into_iter()
        .map(|reader| super::spawned(&client, reader.run(until, Measured::new(window))));
    let parameters = serde_json::json!({
        "topic": consume.topic,
        "partitions": all.len(),
        "connections": connections,
        "partition_bytes": consume.partition_bytes,
        "fetch_bytes": consume.fetch_bytes,
        "follow": consume.follow,
        "warm_up_seconds": consume.warm_up,
        "seconds": consume.seconds,
    });
    let all = super::together(&client, window, consume.watched, runs).await?;
    Ok(Report::new("consume", parameters, all))
}

/// One connection (one per leader, where a topic has several) and what it reads.
struct Reader {
    client: Client,
    topic: Arc<Topic>,
    places: Vec<(i32, Connection)>,
    positions: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
    options: FetchOptions,
}

impl Reader {
    async fn run(mut self, until: Option<Monotonic>, mut measured: Measured) -> super::Run {
        let clock = Arc::clone(&self.client.ambient().clock);
        loop {
            let now = clock.monotonic();
            if until.is_some_and(|until| now >= until) {
                return Ok((measured, now));
            }
            let mut by_connection: BTreeMap<Arc<str>, (Connection, Vec<FetchFrom>)> =
                BTreeMap::new();
            for (partition, connection) in &self.places {
                let offset = self.positions.get(partition).copied().unwrap_or_default();
                if offset < self.ends.get(partition).copied().unwrap_or_default() {
                    let entry = by_connection.entry(Arc::clone(connection.broker()));
                    let (_, from) = entry.or_insert_with(|| (connection.clone(), Vec::new()));
                    from.push(FetchFrom {
                        partition: *partition,
                        offset,
                    });
                }
            }
            if by_connection.is_empty() {
                return Ok((measured, clock.monotonic()));
            }
            for (connection, from) in by_connection.into_values() {
                self.fetch(&connection, &from, &mut measured).await?;
            }
            // Partitions take turns: what was first is last next time.
            self.places.rotate_left(1);
        }
    }

    async fn fetch(
        &mut self,
        connection: &Connection,
        from: &[FetchFrom],
        measured: &mut Measured,
    ) -> Result<(), ClientError> {
        let clock = Arc::clone(&self.client.ambient().clock);
        let begun = clock.monotonic();
        let answer = fetch(&self.client, connection, &self.topic, from, &self.options).await?;
        let now = clock.monotonic();
        let mut size = Size {
            requests: 1,
            ..Size::default()
        };
        for fetched in answer {
            if let Some(error) = fetched.error {
                return Err(error);
            }
            let position = self.positions.entry(fetched.partition).or_default();
            for batch in iterate(fetched.records) {
                let batch = batch.map_err(|error| ClientError::Records {
                    topic: Arc::from(self.topic.name.as_str()),
                    partition: fetched.partition,
                    offset: *position,
                    reason: error.to_string(),
                })?;
                count(&batch, &mut size);
                *position = batch.next_offset().max(*position);
            }
        }
        measured.finished(begun, now, &size);
        Ok(())
    }
}

/// Payload is what lies behind the header of a batch, compressed as it is: it is not looked into.
fn count(batch: &RecordBatch, size: &mut Size) {
    let bytes = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    size.records += u64::try_from(batch.records_count()).unwrap_or_default();
    size.batch_bytes += bytes(batch.size_bytes());
    size.payload_bytes += bytes(batch.records_bytes().len());
}
