//! Runs worlds by hand: one seed in full, a range of them, or the planted bugs.

use std::process::ExitCode;

use streamhouse_simulation::bugs::BUGS;
use streamhouse_simulation::plan::history;
use streamhouse_simulation::{Campaign, Failure, run};

const USAGE: &str = "usage: simulation [--seed N | --seeds A..B] [--ops N] [--threads N] [--bug NAME] [--log] [bugs]

  --seed N        one world; says where it went wrong and shrinks it
  --seeds A..B    many worlds (default 0..100); stops at the first that goes wrong
  --ops N         operations of clients in each world (default 2000)
  --threads N     worlds at once (default: one for each core)
  --log           with --seed: every step in words
  --bug NAME      switches a planted bug on (needs --features planted-bugs)
  bugs            shows that every planted bug is found (needs --features planted-bugs)
";

#[expect(
    clippy::print_stdout,
    reason = "a command line tool speaks on its standard output"
)]
fn say(line: &str) {
    println!("{line}");
}

/// What the command line asks for.
struct Wanted {
    seed: Option<u64>,
    seeds: std::ops::Range<u64>,
    operations: usize,
    threads: usize,
    is_logged: bool,
    is_about_bugs: bool,
    bug: Option<&'static str>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(wanted) = parse(&arguments) else {
        say(USAGE);
        return ExitCode::FAILURE;
    };
    let is_fine = if wanted.is_about_bugs {
        all_bugs(wanted.threads)
    } else if let Some(seed) = wanted.seed {
        one(seed, &wanted)
    } else {
        many(&wanted)
    };
    if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(arguments: &[String]) -> Option<Wanted> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut wanted = Wanted {
        seed: None,
        seeds: 0..100,
        operations: 2000,
        threads: cores,
        is_logged: false,
        is_about_bugs: false,
        bug: None,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => wanted.seed = Some(arguments.next()?.parse().ok()?),
            "--seeds" => {
                let (from, to) = arguments.next()?.split_once("..")?;
                wanted.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--ops" => wanted.operations = arguments.next()?.parse().ok()?,
            "--threads" => wanted.threads = arguments.next()?.parse().ok()?,
            "--log" => wanted.is_logged = true,
            "--bug" => {
                let name = arguments.next()?;
                wanted.bug = Some(BUGS.iter().find(|bug| bug.name == name)?.name);
            }
            "bugs" => wanted.is_about_bugs = true,
            _ => return None,
        }
    }
    Some(wanted)
}

fn one(seed: u64, wanted: &Wanted) -> bool {
    streamhouse_simulation::campaign::switch_on(wanted.bug);
    let outcome = run(seed, &history(seed, wanted.operations), wanted.is_logged);
    outcome.log.iter().for_each(|line| say(line));
    say(&format!("seed {seed}: trace {:016x}", outcome.trace));
    if outcome.breach.is_none() {
        return true;
    }
    let failure = Failure {
        seed,
        operations: wanted.operations,
        bug: wanted.bug,
        outcome,
    };
    say(&failure.explain());
    false
}

fn many(wanted: &Wanted) -> bool {
    let campaign = Campaign {
        seeds: wanted.seeds.clone(),
        operations: wanted.operations,
        threads: wanted.threads,
        stops_at_failure: true,
        bug: wanted.bug,
    };
    let report = campaign.run();
    say(&report.to_string());
    for failure in &report.failures {
        say(&failure.explain());
    }
    report.failures.is_empty()
}

#[cfg(feature = "planted-bugs")]
fn all_bugs(threads: usize) -> bool {
    let mut is_fine = true;
    for bug in BUGS {
        match bug.hunt(threads) {
            Ok(found) => say(&format!("{:<28} {found}", bug.name)),
            Err(missed) => {
                is_fine = false;
                say(&format!("{:<28} MISSED: {missed}", bug.name));
            }
        }
    }
    is_fine
}

#[cfg(not(feature = "planted-bugs"))]
fn all_bugs(_threads: usize) -> bool {
    say("build with --features planted-bugs");
    false
}
