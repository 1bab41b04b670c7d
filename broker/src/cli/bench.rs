//! `streamhouse bench`: how fast a Kafka broker takes and gives records.
//!
//! Batches are encoded before the clock starts, so the load costs little beside the broker. A closed loop keeps a
//! number of requests on the way and measures what the broker can do. An open loop (`--rate`) sends on a schedule, and
//! latency counts from the time a request was due: a broker that stalls is charged for every request that had to wait (no
//! coordinated omission).
//!
//! Reading order: [`measured`] and [`report`] (what is counted and shown), [`process`] (what client and broker used),
//! [`schedule`], [`payload`], [`places`] and [`sender`] (one connection that sends), then a file for each command.

mod consume;
mod e2e;
mod measured;
mod payload;
mod places;
mod process;
mod produce;
mod report;
mod schedule;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures::future::{try_join, try_join_all};
use streamhouse_client::Client;
use streamhouse_client::metadata::Topic;
use streamhouse_client::topics::NewTopic;
use streamhouse_protocol::ErrorCode;
use streamhouse_runtime::Monotonic;

use self::measured::{Measured, Window};
use self::process::{Used, Watched};
use super::failure::Failure;
use super::output::Output;

/// Measure how fast a broker takes and gives records
#[derive(Args, Debug)]
pub(super) struct Bench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Produce(produce::Produce),
    Consume(consume::Consume),
    E2e(e2e::E2e),
}

/// Runs `streamhouse bench`.
pub(super) fn run(bench: &Bench, output: &mut Output) -> Result<(), Failure> {
    match &bench.verb {
        Verb::Produce(produce) => produce::run(produce, output),
        Verb::Consume(consume) => consume::run(consume, output),
        Verb::E2e(e2e) => e2e::run(e2e, output),
    }
}

/// What one connection measured, and when it ended.
type Run = Result<(Measured, Monotonic), Failure>;

/// Runs the work of a connection as a task, so that connections share the machine's cores.
async fn spawned(client: &Client, work: impl Future<Output = Run> + Send + 'static) -> Run {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    client.ambient().tasks.spawn("bench", async move {
        // The receiver is gone only when another connection has failed already.
        let _ = sender.send(work.await);
    });
    let ended = || Failure::Data("a task of the benchmark ended early; see the log".to_owned());
    receiver.await.unwrap_or_else(|_| Err(ended()))
}

/// What all connections measured together.
struct Together {
    measured: Measured,
    took: Duration,
    used: Used,
}

/// Waits for all connections, and watches client and broker meanwhile.
async fn together(
    client: &Client,
    window: Window,
    watched: Watched,
    runs: impl Iterator<Item = impl Future<Output = Run>>,
) -> Result<Together, Failure> {
    let watch = async {
        client.ambient().clock.sleep_until(window.from).await;
        watched.begin()
    };
    let (runs, watch) = try_join(try_join_all(runs), watch).await?;
    let mut measured = Measured::new(window);
    let mut last = window.from;
    for (part, ended) in runs {
        measured.add(&part);
        last = last.max(ended);
    }
    let used = watch.end(measured.size.batch_bytes)?;
    Ok(Together {
        measured,
        took: last - window.from,
        used,
    })
}

/// The topic of a benchmark: as it is, or new with so many partitions.
async fn topic_of(client: &Client, name: &str, partitions: i32) -> Result<Arc<Topic>, Failure> {
    let wanted = NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: None,
        configs: Vec::new(),
    };
    match client.create_topic(&wanted, false).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(client.topic_or_create(name).await?)
}
