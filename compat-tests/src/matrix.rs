//! Runs every client in every scenario, two cells at a time, and tells what happened to each.
//!
//! A cell works, fails, is empty because of the client's own limitation, or is left out because the machine lacks the client
//! or the server may not be killed. With `CI=true` a missing client is a failure: what CI does not run is not known to work.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::broker::{self, Broker};
use crate::clients::{self, Client};
use crate::clock::wall_ms;
use crate::page;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::stage::{Server, Stage};

/// Cells that run at the same time: a client and the broker keep a core busy.
const AT_ONCE: usize = 2;

/// `host:port` of a server to test instead of the binary.
pub(crate) const BOOTSTRAP: &str = "STREAMHOUSE_COMPAT_BOOTSTRAP";

/// Members by `group.protocol=consumer` hear of each other with their heartbeats, of which a rebalance takes a few.
pub(crate) const HEARTBEATS: &[&str] = &[
    "coordinator.group_consumer_min_heartbeat_interval=500ms",
    "coordinator.group_consumer_heartbeat_interval=500ms",
];

/// What became of a cell.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// As users expect; with a remark where the client shows less than others.
    Works(Option<&'static str>),
    /// The client cannot, whatever the broker does.
    Limited(&'static str),
    /// It did not run here.
    LeftOut(String),
    Failed(String),
}

/// A client with its version, or why it is not there.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) client: Box<dyn Client>,
    pub(crate) version: Result<String, String>,
}

/// A cell that ran.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) scenario: &'static str,
    pub(crate) client: &'static str,
    pub(crate) outcome: Outcome,
}

/// Runs the matrix. Arguments are parts of cell names (`kcat/seek`), of which only matching ones run; `--list` names them.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    match run_matching(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_matching(arguments: &[String]) -> Result<()> {
    let parts: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let matches = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part));
    let mut clients = clients::all()?;
    if arguments.iter().any(|argument| argument == "--list") {
        for (scenario, client) in pairs(&clients) {
            say(&format!(
                "{}: test",
                cell_name(client.name(), scenario.name)
            ));
        }
        return Ok(());
    }
    clients.retain(|client| {
        SCENARIOS
            .iter()
            .any(|scenario| matches(&cell_name(client.name(), scenario.name)))
    });
    let columns: Vec<Column> = clients.into_iter().map(column).collect();
    let (server, shared) = server()?;
    let cells = run_cells(&columns, &server, matches);
    if let Some(broker) = shared {
        if cells
            .iter()
            .any(|cell| matches!(cell.outcome, Outcome::Failed(_)))
        {
            say(&format!(
                "the shared broker's last words:{}",
                broker.last_words()
            ));
        }
        broker.stop()?;
    }
    tell(&columns, &cells)?;
    if server.is_ours() && parts.is_empty() {
        return page::keep(&columns, &cells);
    }
    Ok(())
}

/// Every scenario with every client.
fn pairs(clients: &[Box<dyn Client>]) -> impl Iterator<Item = (&'static Scenario, &dyn Client)> {
    let with_clients = |scenario| {
        clients
            .iter()
            .map(move |client| (scenario, client.as_ref()))
    };
    SCENARIOS.iter().flat_map(with_clients)
}

fn column(mut client: Box<dyn Client>) -> Column {
    let version = client.prepare().map_err(|error| format!("{error:#}"));
    match &version {
        Ok(version) => say(&format!("{}: {version}", client.name())),
        Err(error) => say(&format!("{}: not here: {error}", client.name())),
    }
    Column { client, version }
}

fn server() -> Result<(Server, Option<Broker>)> {
    if let Ok(bootstrap) = std::env::var(BOOTSTRAP) {
        say(&format!("server: {bootstrap} ({BOOTSTRAP})"));
        return Ok((Server::Other { bootstrap }, None));
    }
    let binary = broker::binary()?;
    let broker = Broker::start(&binary, HEARTBEATS)?;
    Ok((
        Server::Ours {
            binary,
            bootstrap: broker.bootstrap(),
        },
        Some(broker),
    ))
}

fn run_cells(columns: &[Column], server: &Server, matches: impl Fn(&str) -> bool) -> Vec<Cell> {
    let queue: VecDeque<(&Scenario, &Column)> = SCENARIOS
        .iter()
        .flat_map(|scenario| columns.iter().map(move |column| (scenario, column)))
        .filter(|(scenario, column)| matches(&cell_name(column.client.name(), scenario.name)))
        .collect();
    let queue = Mutex::new(queue);
    let cells = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                // The lock is held for the pop only.
                let next = || {
                    queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front()
                };
                while let Some((scenario, column)) = next() {
                    let cell = run_cell(scenario, column, server);
                    cells
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(cell);
                }
            });
        }
    });
    cells.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_cell(scenario: &Scenario, column: &Column, server: &Server) -> Cell {
    let client = column.client.as_ref();
    let start = wall_ms();
    let outcome = if let Some(reason) = client.limitation(scenario.name) {
        Outcome::Limited(reason)
    } else if let Err(missing) = &column.version {
        Outcome::LeftOut(format!("the client is not here: {missing}"))
    } else if scenario.kills && !server.is_ours() {
        Outcome::LeftOut("the server is not ours to kill".to_owned())
    } else {
        match Stage::new(client, server, scenario.name).and_then(|stage| (scenario.play)(&stage)) {
            Ok(()) => Outcome::Works(client.remark(scenario.name)),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    };
    let took = wall_ms() - start;
    let told = match &outcome {
        Outcome::Works(_) => format!("ok ({}.{} s)", took / 1_000, took % 1_000 / 100),
        Outcome::Limited(reason) => format!("empty: {reason}"),
        Outcome::LeftOut(reason) => format!("left out: {reason}"),
        Outcome::Failed(error) => format!(
            "FAILED ({}.{} s): {error}",
            took / 1_000,
            took % 1_000 / 100
        ),
    };
    say(&format!(
        "{} ... {told}",
        cell_name(client.name(), scenario.name)
    ));
    Cell {
        scenario: scenario.name,
        client: client.name(),
        outcome,
    }
}

/// The sum of it all; an error where a cell failed, or did not run in CI.
fn tell(columns: &[Column], cells: &[Cell]) -> Result<()> {
    let count = |is: fn(&Outcome) -> bool| cells.iter().filter(|cell| is(&cell.outcome)).count();
    let works = count(|outcome| matches!(outcome, Outcome::Works(_)));
    let limited = count(|outcome| matches!(outcome, Outcome::Limited(_)));
    let left_out = count(|outcome| matches!(outcome, Outcome::LeftOut(_)));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    say(&format!(
        "{works} cells work, {limited} are empty by a client's limitation, {left_out} left out, {failed} failed"
    ));
    let mut complaint = String::new();
    for cell in cells {
        if let Outcome::Failed(error) = &cell.outcome {
            write!(
                complaint,
                "\n  {}: {error}",
                cell_name(cell.client, cell.scenario)
            )?;
        }
    }
    for column in columns {
        if let Err(missing) = &column.version {
            say(&format!(
                "left out: every cell of {}: {missing}",
                column.client.name()
            ));
            if is_ci() {
                write!(
                    complaint,
                    "\n  CI needs {}: run .ci/install-clients",
                    column.client.name()
                )?;
            }
        }
    }
    if complaint.is_empty() {
        Ok(())
    } else {
        bail!("the matrix is not whole:{complaint}")
    }
}

fn cell_name(client: &str, scenario: &str) -> String {
    format!("{client}/{scenario}")
}

/// How much more than in a default run is tried.
pub(crate) fn scale() -> usize {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE");
    scale.map_or(1, |scale| scale.parse().unwrap_or(1)).max(1)
}

pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Prints a line.
#[expect(
    clippy::print_stdout,
    reason = "a test without the usual harness speaks for itself"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
