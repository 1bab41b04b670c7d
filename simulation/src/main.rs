//! Runs worlds by hand: one seed in full, a range of them, or the planted bugs.

use std::process::ExitCode;

use streamhouse_simulation::bugs::BUGS;
use streamhouse_simulation::{Campaign, Failure, Scenario};

const USAGE: &str = "usage: simulation [--scenario single|cluster] [--seed N | --seeds A..B] [--ops N] [--threads N] [--bug NAME] [--log] [--all] [bugs]

  --scenario NAME one broker (single, the default) or three (cluster)
  --seed N        one world; says where it went wrong and shrinks it
  --seeds A..B    many worlds (default 0..100); stops at the first that goes wrong
  --ops N         operations of clients in each world (default 2000)
  --threads N     worlds at once (default: one for each core)
  --all           with --seeds: goes on after a world that went wrong, and names all of them
  --log           with --seed: every step in words
  --bug NAME      switches a planted bug on (needs --features planted-bugs)
  bugs            shows that every planted bug (or the one of --bug) is found (needs --features planted-bugs)
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
    scenario: Scenario,
    seed: Option<u64>,
    seeds: std::ops::Range<u64>,
    operations: usize,
    threads: usize,
    is_logged: bool,
    wants_all: bool,
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
        all_bugs(&wanted)
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
        scenario: Scenario::Single,
        seed: None,
        seeds: 0..100,
        operations: 2000,
        threads: cores,
        is_logged: false,
        wants_all: false,
        is_about_bugs: false,
        bug: None,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--scenario" => {
                let name = arguments.next()?;
                let mut all = Scenario::ALL.iter();
                wanted.scenario = *all.find(|scenario| scenario.name() == name)?;
            }
            "--seed" => wanted.seed = Some(arguments.next()?.parse().ok()?),
            "--seeds" => {
                let (from, to) = arguments.next()?.split_once("..")?;
                wanted.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--ops" => wanted.operations = arguments.next()?.parse().ok()?,
            "--threads" => wanted.threads = arguments.next()?.parse().ok()?,
            "--log" => wanted.is_logged = true,
            "--all" => wanted.wants_all = true,
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
    let history = wanted.scenario.history(seed, wanted.operations);
    let outcome = wanted.scenario.run(seed, &history, wanted.is_logged);
    outcome.log.iter().for_each(|line| say(line));
    say(&format!("seed {seed}: trace {:016x}", outcome.trace));
    if outcome.breach.is_none() {
        return true;
    }
    let failure = Failure {
        scenario: wanted.scenario,
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
        scenario: wanted.scenario,
        seeds: wanted.seeds.clone(),
        operations: wanted.operations,
        threads: wanted.threads,
        stops_at_failure: !wanted.wants_all,
        bug: wanted.bug,
    };
    let report = campaign.run();
    say(&report.to_string());
    for failure in &report.failures {
        say(&failure.summary());
    }
    if let Some(failure) = report.failures.first() {
        say(&failure.explain());
    }
    report.failures.is_empty()
}

#[cfg(feature = "planted-bugs")]
fn all_bugs(wanted: &Wanted) -> bool {
    let mut is_fine = true;
    let hunted = |name| wanted.bug.is_none_or(|bug| bug == name);
    for bug in BUGS.iter().filter(|bug| hunted(bug.name)) {
        match bug.hunt(wanted.threads) {
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
fn all_bugs(_wanted: &Wanted) -> bool {
    say("build with --features planted-bugs");
    false
}
