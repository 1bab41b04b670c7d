//! `streamhouse bench e2e`: from the moment a record is due until a consumer on another connection has it.
//!
//! Every record carries the time at which it was due, so that a record that had to wait anywhere, in the client before it
//! was sent too, is charged for it. Consumers follow the end of the topic from before the first record on; the command
//! fails unless every record arrives exactly once.

mod follower;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::future::{try_join, try_join_all};
use streamhouse_client::Client;
use streamhouse_client::metadata::Topic;
use streamhouse_client::offsets::OffsetAt;
use streamhouse_client::produce::ProduceOptions;
use streamhouse_protocol::compression::Compression;

use self::follower::{Follower, Progress};
use super::measured::{Measured, Window};
use super::payload::BatchShape;
use super::places::{own_partitions, places};
use super::process::Watched;
use super::report::Report;
use super::schedule::Schedule;
use super::sender::{Kind, Plan, Sender};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::Target;

/// The most requests of one connection on the way, as Kafka's producer has it.
const IN_FLIGHT_MAX: usize = 5;

/// Measure how long records take from a producer through a broker to a consumer
///
/// Sends records on a schedule and reads them on other connections. Latency counts from the time
/// a record was due until its answer was read (no coordinated omission). The topic is created if
/// it does not exist, and stays.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct E2e {
    /// The name of the topic
    #[arg(long, default_value = "bench-e2e")]
    topic: String,
    /// Partitions of the topic if it is created
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// How many connections send; as many others read, at most one for each partition
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Requests a second of all connections together, on a schedule
    #[arg(long, value_name = "REQUESTS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// The size of a record's value, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=33_554_432))]
    record_size: u32,
    /// The size of a batch, in bytes; 1 sends every record alone
    #[arg(long, value_name = "BYTES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=33_554_432))]
    batch_size: u32,
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
    watched: Watched,
    #[command(flatten)]
    target: Target,
}

/// Runs `streamhouse bench e2e`.
pub(super) fn run(e2e: &E2e, output: &mut Output) -> Result<(), Failure> {
    let report = e2e.target.run(async |client| measure(e2e, client).await)?;
    report.show(e2e.json, output)
}

async fn measure(e2e: &E2e, client: Client) -> Result<Report, Failure> {
    let topic = super::topic_of(&client, &e2e.topic, e2e.partitions).await?;
    let run = client.ambient().chance.next_u64();
    let progress = Arc::new(Progress::default());
    let followers = followers(e2e, &client, &topic, run, &progress).await?;
    let plan = plan(e2e, run);
    let mut senders = Vec::new();
    for index in 0..plan.connections {
        senders.push(Sender::new(&plan, &client, &topic, index).await?);
    }
    let begun = client.ambient().clock.monotonic();
    let from = begun + Duration::from_secs(e2e.warm_up);
    let window = Window {
        from,
        until: from + Duration::from_secs(e2e.seconds),
        every: None,
    };
    let patience = window.until + client.options().patience;
    let followers = followers
        .into_iter()
        .map(|follower| super::spawned(&client, follower.run(patience, Measured::new(window))));
    let turn = Duration::from_secs(1) / e2e.rate;
    let mut runs = Vec::new();
    for (index, sender) in (0..).zip(senders) {
        let interval = turn * u32::from(e2e.connections);
        let first = begun + turn * index;
        let schedule = Schedule::open(client.ambient(), first, interval, window.until)?;
        runs.push(super::spawned(
            &client,
            sender.run(schedule, Measured::new(window)),
        ));
    }
    let sending = async {
        let mut sent = Measured::new(window);
        for (measured, _) in try_join_all(runs).await? {
            sent.add(&measured);
        }
        progress.expect(sent.size.records);
        Ok(sent.size.records)
    };
    let arriving = super::together(&client, window, e2e.watched, followers);
    let (sent, all) = try_join(sending, arriving).await?;
    let arrived = all.measured.size.records;
    if arrived != sent {
        return Err(Failure::Data(format!(
            "{sent} records were acknowledged and {arrived} arrived"
        )));
    }
    Ok(Report::new("e2e", parameters(e2e, &topic), all))
}

async fn followers(
    e2e: &E2e,
    client: &Client,
    topic: &Arc<Topic>,
    run: u64,
    progress: &Arc<Progress>,
) -> Result<Vec<Follower>, Failure> {
    let all: Vec<i32> = topic
        .partitions
        .iter()
        .map(|partition| partition.index)
        .collect();
    let positions = client.offsets(&topic.name, &all, OffsetAt::End);
    let count = usize::from(e2e.connections).min(all.len()).max(1);
    let own = (0..count).map(|index| own_partitions(all.len(), count, index));
    let own: Vec<Vec<usize>> = own.collect();
    let options = &client.options().connection;
    let connected = try_join_all(own.iter().map(|own| places(client, topic, own, options)));
    let (positions, connected) = try_join(positions, connected).await?;
    let follower = |places| Follower {
        client: client.clone(),
        topic: Arc::clone(topic),
        places,
        positions: positions.clone(),
        run,
        progress: Arc::clone(progress),
    };
    Ok(connected.into_iter().map(follower).collect())
}

fn plan(e2e: &E2e, run: u64) -> Plan {
    Plan {
        shape: BatchShape {
            record_bytes: usize::try_from(e2e.record_size).unwrap_or(usize::MAX),
            batch_bytes: usize::try_from(e2e.batch_size).unwrap_or(usize::MAX),
            compression: Compression::None,
        },
        kind: Kind::Stamped(run),
        options: ProduceOptions::default(),
        in_flight_max: IN_FLIGHT_MAX,
        connections: usize::from(e2e.connections),
        budget: None,
    }
}

fn parameters(e2e: &E2e, topic: &Topic) -> serde_json::Value {
    serde_json::json!({
        "topic": e2e.topic,
        "partitions": topic.partitions.len(),
        "connections": e2e.connections,
        "rate": e2e.rate,
        "record_size": e2e.record_size,
        "batch_size": e2e.batch_size,
        "warm_up_seconds": e2e.warm_up,
        "seconds": e2e.seconds,
    })
}
