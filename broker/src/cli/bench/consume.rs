//! `streamhouse bench consume`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::future::try_join_all;
use streamhouse_client::connection::Connection;
use streamhouse_client::fetch::{FetchFrom, FetchOptions, fetch};
use streamhouse_client::metadata::Topic;
use streamhouse_client::offsets::OffsetAt;
use streamhouse_client::{Client, ClientError};
use streamhouse_protocol::record_batch::{RecordBatch, iterate};
use streamhouse_runtime::Monotonic;

use super::produce::{own_partitions, places};
use super::report::{Measured, Report};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::Target;

/// How long an answer without records is waited for.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Measure how fast a broker gives records
///
/// Reads a topic from the beginning to where it ends when the command begins, without looking into
/// the batches. `bench produce` fills one.
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
    /// Seconds after which the command ends, whatever is left [default: none]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Write JSON: one object
    #[arg(long)]
    json: bool,
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
    let starts = client
        .offsets(&topic.name, &all, OffsetAt::Beginning)
        .await?;
    let ends = client.offsets(&topic.name, &all, OffsetAt::End).await?;
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
    let begun = client.ambient().clock.monotonic();
    let until = consume
        .seconds
        .map(|seconds| begun + Duration::from_secs(seconds));
    let runs = readers
        .into_iter()
        .map(|reader| super::spawned(&client, reader.run(until)));
    let mut measured = Measured::new();
    let mut last = begun;
    for (part, ended) in try_join_all(runs).await? {
        measured.add(&part);
        last = last.max(ended);
    }
    let parameters = serde_json::json!({
        "topic": consume.topic,
        "partitions": all.len(),
        "connections": connections,
        "partition_bytes": consume.partition_bytes,
        "fetch_bytes": consume.fetch_bytes,
    });
    Ok(Report::new("consume", parameters, &measured, last - begun))
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
    async fn run(mut self, until: Option<Monotonic>) -> super::Run {
        let clock = Arc::clone(&self.client.ambient().clock);
        let mut measured = Measured::new();
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
        measured.latency(clock.monotonic() - begun);
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
                count(&batch, measured);
                *position = batch.next_offset().max(*position);
            }
        }
        Ok(())
    }
}

/// Payload is what lies behind the header of a batch, compressed as it is: it is not looked into.
fn count(batch: &RecordBatch, measured: &mut Measured) {
    let bytes = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    measured.records += u64::try_from(batch.records_count()).unwrap_or_default();
    measured.batch_bytes += bytes(batch.size_bytes());
    measured.payload_bytes += bytes(batch.records_bytes().len());
}
