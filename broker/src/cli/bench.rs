//! `streamhouse bench`: how fast a Kafka broker takes and gives records.
//!
//! Batches are encoded before the clock starts, so the load costs little beside the broker. A closed loop keeps a
//! number of requests on the way and measures what the broker can do. An open loop (`--rate`) sends on a schedule, and
//! latency counts from the time a request was due: a broker that stalls is charged for every request that had to wait (no
//! coordinated omission).

mod consume;
mod payload;
mod produce;
mod report;
mod schedule;

use clap::{Args, Subcommand};
use streamhouse_client::Client;
use streamhouse_runtime::Monotonic;

use self::report::Measured;

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
}

/// Runs `streamhouse bench`.
pub(super) fn run(bench: &Bench, output: &mut Output) -> Result<(), Failure> {
    match &bench.verb {
        Verb::Produce(produce) => produce::run(produce, output),
        Verb::Consume(consume) => consume::run(consume, output),
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
