//! `streamhouse bench produce`.

use std::time::Duration;

use clap::Args;
use streamhouse_client::Client;
use streamhouse_client::metadata::Topic;
use streamhouse_client::produce::{Acks, ProduceOptions};

use super::measured::{Measured, Window};
use super::payload::BatchShape;
use super::process::Watched;
use super::report::Report;
use super::schedule::Schedule;
use super::sender::{Budget, Kind, Plan, Sender};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::produce::{AcksArg, CompressionArg};
use crate::cli::target::Target;

/// The most batches of an idempotent producer that a partition remembers: with more on the way, a lost answer could not
/// be told from a gap.
const IDEMPOTENT_IN_FLIGHT_MAX: u16 = 5;

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
    /// When a batch counts as written: `all` or `1`; `0` is refused, because it has no answers to measure
    #[arg(short, long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Make each connection an idempotent producer; batches are then encoded as they are sent
    #[arg(long)]
    idempotent: bool,
    /// Requests a second of all connections together, on a schedule (open loop) [default: as fast as they are answered]
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Seconds to send
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds to send before measuring begins
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    warm_up: u64,
    /// End when so many bytes of batches were sent, warm-up included [default: --seconds decides]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: Option<u64>,
    /// Report every so many seconds apart, too
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,
    /// Write JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watched: Watched,
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
    if produce.idempotent && produce.in_flight > IDEMPOTENT_IN_FLIGHT_MAX {
        return Err(Failure::Usage(format!(
            "an idempotent producer has at most {IDEMPOTENT_IN_FLIGHT_MAX} requests on the way; lower --in-flight"
        )));
    }
    let report = produce
        .target
        .run(async |client| measure(produce, client).await)?;
    report.show(produce.json, output)
}

async fn measure(produce: &Produce, client: Client) -> Result<Report, Failure> {
    let topic = super::topic_of(&client, &produce.topic, produce.partitions).await?;
    let plan = plan(produce);
    let mut senders = Vec::new();
    for index in 0..plan.connections {
        senders.push(Sender::new(&plan, &client, &topic, index).await?);
    }
    let begun = client.ambient().clock.monotonic();
    let from = begun + Duration::from_secs(produce.warm_up);
    let window = Window {
        from,
        until: from + Duration::from_secs(produce.seconds),
        every: produce.interval.map(Duration::from_secs),
    };
    let mut runs = Vec::new();
    for (index, sender) in (0..).zip(senders) {
        let schedule = match produce.rate {
            None => Schedule::Closed {
                until: window.until,
            },
            Some(rate) => {
                let turn = Duration::from_secs(1) / rate;
                let interval = turn * u32::from(produce.connections);
                Schedule::open(
                    client.ambient(),
                    begun + turn * index,
                    interval,
                    window.until,
                )?
            }
        };
        runs.push(super::spawned(
            &client,
            sender.run(schedule, Measured::new(window)),
        ));
    }
    let all = super::together(&client, window, produce.watched, runs.into_iter()).await?;
    Ok(Report::new("produce", parameters(produce, &topic), all))
}

fn plan(produce: &Produce) -> Plan {
    Plan {
        shape: BatchShape {
            record_bytes: usize::try_from(produce.record_size).unwrap_or(usize::MAX),
            batch_bytes: usize::try_from(produce.batch_size).unwrap_or(usize::MAX),
            compression: produce.compression.compression(),
        },
        kind: if produce.idempotent {
            Kind::Idempotent
        } else {
            Kind::Repeated
        },
        options: ProduceOptions {
            acks: produce.acks.acks(),
            ..ProduceOptions::default()
        },
        in_flight_max: usize::from(produce.in_flight),
        connections: usize::from(produce.connections),
        budget: produce.bytes.map(Budget::new),
    }
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
        "idempotent": produce.idempotent,
        "rate": produce.rate,
        "warm_up_seconds": produce.warm_up,
        "seconds": produce.seconds,
        "bytes": produce.bytes,
    })
}
