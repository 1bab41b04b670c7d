//! `streamhouse bench produce`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use streamhouse_client::connection::{Connection, ConnectionOptions, Encoded};
use streamhouse_client::metadata::Topic;
use streamhouse_client::produce::{Acks, ProduceOptions, appended, decode_produce, encode_produce};
use streamhouse_client::topics::NewTopic;
use streamhouse_client::{CallError, Client, ClientError};
use streamhouse_protocol::ErrorCode;
use streamhouse_protocol::record_batch::RecordBatch;
use streamhouse_runtime::Monotonic;

use super::payload::BatchShape;
use super::report::{Measured, Report};
use super::schedule::Schedule;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::produce::{AcksArg, CompressionArg};
use crate::cli::target::Target;

/// Different batches that each connection sends in turns.
const VARIANTS: usize = 4;

/// Measure how fast a broker takes records
///
/// Sends batches that were encoded before, one batch per request. The topic is created if it does
/// not exist, and stays. With --rate, latency counts from the time a request was due: a broker
/// that stalls is charged for every request that had to wait (no coordinated omission).
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Produce {
    /// The name of the topic
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Partitions of the topic if it is created
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// How many connections send, each to partitions of its own if there are enough
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// The most requests of one connection on the way
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
    /// The size of a record's value, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=33_554_432))]
    record_size: u32,
    /// The size of a batch before compression, in bytes; 1 sends every record alone
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=33_554_432))]
    batch_size: u32,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// When a batch counts as written: `all` or `1`
    #[arg(short, long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Requests a second of all connections together, on a schedule (open loop) [default: as fast as they are answered]
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Seconds to send
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds to send before measuring begins
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    warm_up: u64,
    /// Write JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `streamhouse bench produce`.
pub(super) fn run(produce: &Produce, output: &mut Output) -> Result<(), Failure> {
    if produce.acks.acks() == Acks::None {
        return Err(Failure::Usage(
            "acks 0 has no answers to measure; use --acks 1 or --acks all".to_owned(),
        ));
    }
    let report = produce
        .target
        .run(async |client| measure(produce, client).await)?;
    report.show(produce.json, output)
}

async fn measure(produce: &Produce, client: Client) -> Result<Report, Failure> {
    let topic = topic(produce, &client).await?;
    let begun = client.ambient().clock.monotonic();
    let from = begun + Duration::from_secs(produce.warm_up);
    let until = from + Duration::from_secs(produce.seconds);
    let mut workers = Vec::new();
    for index in 0..usize::from(produce.connections) {
        workers.push(Worker::new(produce, &client, &topic, index).await?);
    }
    let mut runs = Vec::new();
    for worker in workers {
        let schedule = match produce.rate {
            None => Schedule::Closed { until },
            Some(rate) => {
                let interval = Duration::from_secs(1) * u32::from(produce.connections) / rate;
                Schedule::open(client.ambient(), interval, until)?
            }
        };
        runs.push(super::spawned(&client, worker.run(schedule, from)));
    }
    let mut all = Measured::new();
    let mut last = from;
    for (measured, ended) in try_join_all(runs).await? {
        all.add(&measured);
        last = last.max(ended);
    }
    Ok(Report::new(
        "produce",
        parameters(produce, &topic),
        &all,
        last - from,
    ))
}

async fn topic(produce: &Produce, client: &Client) -> Result<Arc<Topic>, Failure> {
    let wanted = NewTopic {
        name: produce.topic.clone(),
        partitions: Some(produce.partitions),
        replication_factor: None,
        configs: Vec::new(),
    };
    match client.create_topic(&wanted, false).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(client.topic_or_create(&produce.topic).await?)
}

fn parameters(produce: &Produce, topic: &Topic) -> serde_json::Value {
    serde_json::json!({
        "topic": produce.topic,
        "partitions": topic.partitions.len(),
        "connections": produce.connections,
        "in_flight": produce.in_flight,
        "record_size": produce.record_size,
        "batch_size": produce.batch_size,
        "compression": produce.compression.compression().name(),
        "acks": produce.acks.acks().number(),
        "rate": produce.rate,
        "warm_up_seconds": produce.warm_up,
        "seconds": produce.seconds,
    })
}

/// One connection (one per leader, where a topic has several) and what it sends.
struct Worker {
    client: Client,
    topic: Arc<Topic>,
    /// Sent in turns.
    loads: Vec<Load>,
    in_flight_max: usize,
}

struct Load {
    connection: Connection,
    request: Encoded,
    partition: i32,
    records: u64,
    payload_bytes: u64,
    batch_bytes: u64,
}

impl Worker {
    async fn new(
        produce: &Produce,
        client: &Client,
        topic: &Arc<Topic>,
        index: usize,
    ) -> Result<Self, Failure> {
        let shape = BatchShape {
            record_bytes: usize::try_from(produce.record_size).unwrap_or(usize::MAX),
            batch_bytes: usize::try_from(produce.batch_size).unwrap_or(usize::MAX),
            compression: produce.compression.compression(),
        };
        let options = ConnectionOptions {
            in_flight_max: usize::from(produce.in_flight),
            ..client.options().connection.clone()
        };
        let ambient = client.ambient();
        let now_ms = ambient.clock.wall_ms();
        let batches: Vec<RecordBatch> = (0..VARIANTS)
            .map(|_| shape.batch(&*ambient.chance, now_ms))
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::Usage(format!("such batches cannot be built: {error}")))?;
        let own = own_partitions(
            topic.partitions.len(),
            usize::from(produce.connections),
            index,
        );
        let places = places(client, topic, &own, &options).await?;
        let produce_options = ProduceOptions {
            acks: produce.acks.acks(),
            ..ProduceOptions::default()
        };
        let mut loads = Vec::with_capacity(batches.len() * places.len());
        for batch in &batches {
            for (partition, connection) in &places {
                let request =
                    encode_produce(connection, topic, *partition, batch, &produce_options);
                let request = request.map_err(ClientError::from)?;
                loads.push(load(connection, request, *partition, batch, &shape));
            }
        }
        Ok(Self {
            client: client.clone(),
            topic: Arc::clone(topic),
            loads,
            in_flight_max: usize::from(produce.in_flight),
        })
    }

    async fn run(self, mut schedule: Schedule, from: Monotonic) -> super::Run {
        let clock = Arc::clone(&self.client.ambient().clock);
        let mut measured = Measured::new();
        let mut on_the_way = FuturesUnordered::new();
        let mut turn = 0;
        let mut is_over = false;
        loop {
            let may_send = !is_over && on_the_way.len() < self.in_flight_max;
            let due = match &mut schedule {
                Schedule::Closed { until } => {
                    let now = clock.monotonic();
                    is_over = is_over || now >= *until;
                    (may_send && !is_over).then_some(now)
                }
                // Both arms are cancel-safe: a due time is taken or not, an answer is given out or not.
                Schedule::Open { due } => tokio::select! {
                    biased;
                    due = due.recv(), if may_send => {
                        is_over = due.is_none();
                        due
                    }
                    Some(answer) = on_the_way.next() => {
                        self.account(answer, from, &mut measured)?;
                        continue;
                    }
                    else => None,
                },
            };
            if let Some(due) = due {
                let index = turn % self.loads.len();
                turn += 1;
                let load = &self.loads[index];
                let answer = load
                    .connection
                    .send(&load.request)
                    .await
                    .map_err(ClientError::from)?;
                on_the_way.push(async move { (index, due, answer.frame().await) });
                continue;
            }
            match on_the_way.next().await {
                Some(answer) => self.account(answer, from, &mut measured)?,
                None if is_over => return Ok((measured, clock.monotonic())),
                None => {}
            }
        }
    }

    fn account(
        &self,
        (index, due, frame): (usize, Monotonic, Result<bytes::Bytes, CallError>),
        from: Monotonic,
        measured: &mut Measured,
    ) -> Result<(), Failure> {
        let load = &self.loads[index];
        let frame = frame.map_err(ClientError::from)?;
        let now = self.client.ambient().clock.monotonic();
        let response =
            decode_produce(&load.connection, &load.request, frame).map_err(ClientError::from)?;
        appended(
            &load.connection,
            &self.topic.name,
            load.partition,
            &response,
        )?;
        // What was due before measuring began warms up.
        if due >= from {
            measured.latency(now - due);
            measured.records += load.records;
            measured.payload_bytes += load.payload_bytes;
            measured.batch_bytes += load.batch_bytes;
        }
        Ok(())
    }
}

/// Each partition with a connection to its leader: one per leader.
pub(super) async fn places(
    client: &Client,
    topic: &Topic,
    positions: &[usize],
    options: &ConnectionOptions,
) -> Result<Vec<(i32, Connection)>, ClientError> {
    let mut connections: BTreeMap<i32, Connection> = BTreeMap::new();
    let mut places = Vec::with_capacity(positions.len());
    for position in positions {
        let partition = topic.partitions[*position].index;
        let (_, leader) = client.leader(&topic.name, partition).await?;
        let connection = match connections.entry(leader) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place
                .insert(client.separate_connection(leader, options).await?)
                .clone(),
        };
        places.push((partition, connection));
    }
    Ok(places)
}

/// The partitions of one of `connections`: every so-manieth, or a shared one if there are fewer partitions.
pub(super) fn own_partitions(partitions: usize, connections: usize, index: usize) -> Vec<usize> {
    if partitions <= connections {
        return vec![index % partitions.max(1)];
    }
    (index..partitions).step_by(connections).collect()
}

fn load(
    connection: &Connection,
    request: Encoded,
    partition: i32,
    batch: &RecordBatch,
    shape: &BatchShape,
) -> Load {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Load {
        connection: connection.clone(),
        request,
        partition,
        records: count(shape.records()),
        payload_bytes: count(shape.records() * shape.record_bytes),
        batch_bytes: count(batch.size_bytes()),
    }
}

#[cfg(test)]
mod tests;
