//! `streamhouse dev --brokers N`: several brokers on this machine, each a process of its own, over one database and one
//! bucket. Killing one shows what a cluster does about it.

use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::Dev;
use crate::cli::failure::Failure;

/// The port of the first broker, unless `--port` says otherwise.
const FIRST_PORT: u16 = 9092;

/// How often the brokers are looked after.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// One of the brokers.
struct Broker {
    node_id: u16,
    process: Child,
}

/// Runs `dev --brokers N` until it is told to stop, or until all brokers have ended.
pub(super) fn run(dev: &Dev, metadata: &str, storage: &str) -> Result<(), Failure> {
    let mut brokers = Vec::new();
    for index in 0..dev.brokers {
        match start(dev, index, metadata, storage) {
            Ok(broker) => brokers.push(broker),
            Err(failure) => {
                stop(&brokers);
                return Err(failure);
            }
        }
    }
    let ended = super::tokio_runtime()?.block_on(look_after(&mut brokers));
    stop(&brokers);
    for broker in &mut brokers {
        // It was told to stop, or has ended: there is nothing to do about how.
        let _ = broker.process.wait();
    }
    ended
}

fn start(dev: &Dev, index: u16, metadata: &str, storage: &str) -> Result<Broker, Failure> {
    let program = std::env::current_exe().map_err(|source| Failure::Io {
        what: "this program cannot be found to be started again",
        source,
    })?;
    let node_id = index + 1;
    let port = match dev.port {
        Some(0) => 0,
        first => first.unwrap_or(FIRST_PORT).saturating_add(index),
    };
    let mut command = Command::new(program);
    command
        .args(["dev", "--port", &port.to_string(), "--storage", storage])
        .args(["--set", &format!("broker.node_id={node_id}")])
        // It may hold a password, and arguments are seen by everybody.
        .env("STREAMHOUSE_METADATA__URL", metadata);
    for assignment in &dev.set.set {
        command.args(["--set", assignment]);
    }
    let process = command.spawn().map_err(|source| Failure::Io {
        what: "a broker cannot be started",
        source,
    })?;
    Ok(Broker { node_id, process })
}

async fn look_after(brokers: &mut Vec<Broker>) -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|source| Failure::Io {
            what: "signals cannot be heard",
            source,
        })
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let clock = streamhouse_runtime::SystemClock::new();
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = streamhouse_runtime::Clock::sleep(&clock, LOOK_EVERY) => {}
        }
        brokers.retain_mut(|broker| match broker.process.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                tracing::warn!(broker = broker.node_id, %status, "a broker has ended; the others go on");
                false
            }
            Err(error) => {
                tracing::warn!(broker = broker.node_id, %error, "a broker cannot be looked after any more");
                false
            }
        });
        if brokers.is_empty() {
            return Err(Failure::AllEnded);
        }
    }
}

fn stop(brokers: &[Broker]) {
    for broker in brokers {
        let pid = i32::try_from(broker.process.id())
            .ok()
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}
