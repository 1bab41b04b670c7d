//! The command line of fuzzing: all targets as the test runs them, one of them, one input, and the planted bugs.
//!
//! Every target of `all` runs in a process of its own: an input that makes the process end (memory that nobody has) is
//! found by running the same numbers again with marks.

use std::fs::File;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use streamhouse_fuzz::bugs::{BUGS, Bug};
use streamhouse_fuzz::campaign::{Campaign, catch_panics, execute, results};
use streamhouse_fuzz::{TARGETS, Target};
use streamhouse_runtime::{Clock, SystemClock};

const USAGE: &str = "usage: fuzz COMMAND

  list                               the targets
  all [--scale N]                    every target over its default run, times N
  TARGET [--seed S] [--count N]      one target
  TARGET --seed S --at I             one input again
  TARGET FILE                        an input from a file
  seeds TARGET FOLDER                writes the sound inputs of a target into a folder
  bugs                               every planted bug must be found (with the feature planted-bugs)
";

/// Inputs of a bent run that must be accepted, in a thousand: below, checksums keep everything out.
const ACCEPTED_PER_MILLE_MIN: u64 = 5;

/// From this many executions on a run must show both answers.
const TELLING: u64 = 2_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_well = match words.as_slice() {
        ["list"] => {
            for target in TARGETS {
                say(&format!("{:<20} {}", target.name, target.reads));
            }
            true
        }
        ["all", options @ ..] => all(Options::of(options).scale),
        ["bugs"] => bugs(),
        ["seeds", name, folder] => find(name).is_some_and(|target| seeds(target, folder)),
        [name, rest @ ..] => match find(name) {
            Some(target) => one(target, &Options::of(rest)),
            None => {
                say(USAGE);
                false
            }
        },
        [] => {
            say(USAGE);
            false
        }
    };
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn find(name: &str) -> Option<&'static Target> {
    let found = TARGETS.iter().find(|target| target.name == name);
    if found.is_none() {
        say(&format!("there is no target {name:?}; `list` names them"));
    }
    found
}

#[derive(Debug)]
struct Options {
    seed: u64,
    from: u64,
    count: Option<u64>,
    at: Option<u64>,
    scale: u64,
    bug: Option<String>,
    marks: Option<PathBuf>,
    file: Option<PathBuf>,
}

impl Options {
    fn of(words: &[&str]) -> Self {
        let mut options = Self {
            seed: 1,
            from: 0,
            count: None,
            at: None,
            scale: 1,
            bug: None,
            marks: None,
            file: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|word| word.parse().ok());
            match *word {
                "--seed" => options.seed = number().unwrap_or(1),
                "--from" => options.from = number().unwrap_or(0),
                "--count" => options.count = number(),
                "--at" => options.at = number(),
                "--scale" => options.scale = number().unwrap_or(1),
                "--bug" => options.bug = words.next().map(|word| (*word).to_owned()),
                "--marks" => options.marks = words.next().map(PathBuf::from),
                other => options.file = Some(PathBuf::from(other)),
            }
        }
        options
    }

    fn numbers(&self, target: &Target) -> Range<u64> {
        match self.at {
            Some(at) => at..at.saturating_add(1),
            None => {
                let count = self.count.unwrap_or(target.executions);
                self.from..self.from.saturating_add(count)
            }
        }
    }
}

/// One target in this process.
fn one(target: &'static Target, options: &Options) -> bool {
    catch_panics();
    switch_on(options.bug.as_deref());
    if let Some(path) = &options.file {
        return again(target, path);
    }
    let campaign = Campaign {
        target,
        seed: options.seed,
        numbers: options.numbers(target),
        marks: options
            .marks
            .as_ref()
            .and_then(|path| File::create(path).ok()),
    };
    let clock = SystemClock::new();
    let begin = clock.monotonic();
    match campaign.run() {
        Ok(report) => {
            let took = (clock.monotonic() - begin).as_millis().max(1);
            let rate = u128::from(report.executions) * 1000 / took;
            let bent = report.executions.max(1);
            let share = report.bent_accepted * 1000 / bent;
            say(&format!(
                "{:<20} {:>9} executions, {rate:>7}/s, {:>3}.{} % bent and accepted, at most {} KiB",
                target.name,
                report.executions,
                share / 10,
                share % 10,
                report.peak >> 10,
            ));
            let is_blind = report.executions >= TELLING
                && (share < ACCEPTED_PER_MILLE_MIN || report.refused == 0);
            if is_blind {
                say(&format!(
                    "{}: {} accepted, {} refused: the target does not see what it is for",
                    target.name, report.bent_accepted, report.refused
                ));
            }
            !is_blind
        }
        Err(failure) => {
            say(&failure.told());
            false
        }
    }
}

fn again(target: &Target, path: &PathBuf) -> bool {
    match std::fs::read(path) {
        Err(error) => {
            say(&format!("{}: {error}", path.display()));
            false
        }
        Ok(input) => match execute(target, &input) {
            Ok((verdict, peak)) => {
                say(&format!("{verdict:?}, with at most {peak} bytes of memory"));
                true
            }
            Err(broken) => {
                say(&format!("{}: {}", broken.place, broken.message));
                false
            }
        },
    }
}

fn seeds(target: &Target, folder: &str) -> bool {
    let regressions = streamhouse_fuzz::corpus::regressions(target.name);
    let regressions = regressions.into_iter().map(|(_, input)| input);
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let mut inputs = (target.seeds)().into_iter().chain(regressions).enumerate();
        inputs.try_for_each(|(number, input)| {
            std::fs::write(PathBuf::from(folder).join(format!("{number:05}")), input)
        })
    });
    if let Err(error) = &written {
        say(&format!("{folder}: {error}"));
    }
    written.is_ok()
}

/// Every target, in processes beside each other.
fn all(scale: u64) -> bool {
    let tasks: Vec<Box<dyn Fn() -> bool + Send + std::marker::Sync>> = TARGETS
        .iter()
        .map(|target| {
            let count = target.executions.saturating_mul(scale);
            let task: Box<dyn Fn() -> bool + Send + std::marker::Sync> = Box::new(move || {
                let words = ["--count".to_owned(), count.to_string()];
                let (is_well, told) = supervised(target, &words);
                say(told.trim_end());
                is_well
            });
            task
        })
        .collect();
    beside_each_other(&tasks)
}

/// Runs a target in a process of its own; if that dies, says for which input.
fn supervised(target: &Target, words: &[String]) -> (bool, String) {
    let output = run(target, words);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(signal) = output.status.signal() else {
        return (output.status.success(), told);
    };
    let marks = results().join(format!("{}.mark", target.name));
    let _ = std::fs::create_dir_all(results());
    let marked = [words, &["--marks".to_owned(), marks.display().to_string()]].concat();
    let _ = run(target, &marked);
    let mark = std::fs::read(&marks).ok();
    let number = mark
        .and_then(|mark| mark.first_chunk().copied())
        .map(u64::from_be_bytes);
    let number = number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let last_words = String::from_utf8_lossy(&output.stderr);
    let last_words = last_words.lines().next().unwrap_or_default();
    let told = format!(
        "{told}{} DIED of signal {signal}: {last_words}\n  repeat:   cargo run -p streamhouse-fuzz -- {} --seed 1 --at {number}",
        target.name, target.name
    );
    (false, told)
}

fn run(target: &Target, words: &[String]) -> Output {
    let own = std::env::current_exe().expect("a running program has a file");
    let output = Command::new(own).arg(target.name).args(words).output();
    output.expect("this program can start itself")
}

/// Runs tasks on as many threads as there are processors.
fn beside_each_other(tasks: &[Box<dyn Fn() -> bool + Send + std::marker::Sync>]) -> bool {
    let next = AtomicUsize::new(0);
    let is_well = Mutex::new(true);
    let work = || {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !task() {
                *is_well.lock().expect("no task panics with the lock") = false;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    is_well.into_inner().unwrap_or(false)
}

/// Every planted bug must be found by its target within the default run.
fn bugs() -> bool {
    if cfg!(not(feature = "planted-bugs")) {
        say("this program holds no planted bugs: build it with --features planted-bugs");
        return false;
    }
    let hunt = |bug: &Bug| {
        let Some(target) = find(bug.target) else {
            return false;
        };
        // Without the regressions: bending alone must find it.
        let words = ["--from", "1", "--bug", bug.name].map(ToOwned::to_owned);
        let output = run(target, &words);
        let told = String::from_utf8_lossy(&output.stdout);
        let end = match output.status.signal() {
            Some(_) => String::from_utf8_lossy(&output.stderr)
                .lines()
                .next()
                .map(ToOwned::to_owned),
            None => told
                .lines()
                .find(|line| line.contains("FAILED"))
                .map(ToOwned::to_owned),
        };
        let line = end.unwrap_or_else(|| format!("NOT FOUND: {}", told.trim_end()));
        let is_found = !output.status.success() && !line.contains("NOT FOUND");
        say(&format!("{:<28} {line}", bug.name));
        is_found
    };
    let tasks: Vec<Box<dyn Fn() -> bool + Send + std::marker::Sync>> = BUGS
        .iter()
        .map(|bug| {
            let task: Box<dyn Fn() -> bool + Send + std::marker::Sync> =
                Box::new(move || hunt(bug));
            task
        })
        .collect();
    beside_each_other(&tasks)
}

#[cfg(feature = "planted-bugs")]
fn switch_on(bug: Option<&str>) {
    let known = BUGS.iter().find(|known| Some(known.name) == bug);
    streamhouse_runtime::planted::switch_on(known.map(|bug| bug.name));
}

#[cfg(not(feature = "planted-bugs"))]
const fn switch_on(_bug: Option<&str>) {}

#[expect(
    clippy::print_stdout,
    reason = "a command line tool speaks on its standard output"
)]
fn say(text: &str) {
    println!("{text}");
}
