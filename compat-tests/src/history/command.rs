//! The command and the test of histories: what to run, where what was seen is kept, and what is told about it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::anomaly::{ANOMALIES, page};
use super::cast::Cast;
use super::checker::{Tally, Verdict, check};
use super::event::History;
use super::plan::{PARTITIONS, Plan};
use super::run::Run;
use crate::broker::{self, Broker};
use crate::clients::Programs;
use crate::clock::wall_ms;
use crate::matrix::{BOOTSTRAP, is_ci, say};
use crate::proxy::Proxy;
use crate::wire;

const USAGE: &str = "usage: history [options]

  --seed N         what chance draws from; without it, the time
  --operations N   records that are sent (60000)
  --faults N       how often the broker is killed, stopped or restarted (20)
  --save FOLDER    where the history is kept; without it, it is kept only if something is wrong
  --binary FILE    a broker other than the one beside this program
  --rewind         sets the broker's folder back to an earlier copy once, which the checker must find
  --check FILE     judges a saved history again, and runs nothing
  --anomalies      lists what is looked for

With STREAMHOUSE_COMPAT_BOOTSTRAP=HOST:PORT the server there is used, and not harmed.";

/// Small enough that records pass from memory through the WAL to objects while they are read.
const SETTINGS: &[&str] = &[
    "log.flush_bytes=1MiB",
    "log.flush_interval=2s",
    "log.hot_tail_bytes=1MiB",
    "log.checkpoint_manifests=20",
    "storage.block_cache_bytes=1MiB",
    "wal.file_bytes=4MiB",
    "log.retention.hours=-1",
];

/// Less than this share of acknowledgements, in a hundred, shows nothing.
const ACKNOWLEDGED_PERCENT_MIN: u64 = 95;

/// What is asked for.
#[derive(Debug)]
struct Options {
    plan: Plan,
    save: Option<PathBuf>,
    binary: Option<PathBuf>,
    check: Option<PathBuf>,
}

/// The command `history`.
#[must_use]
pub fn command(arguments: &[String]) -> ExitCode {
    let outcome = match arguments {
        [only] if only == "--help" => {
            say(USAGE);
            Ok(())
        }
        [only] if only == "--anomalies" => {
            say(page().trim_end());
            Ok(())
        }
        _ => options(arguments).and_then(|options| act(&options)),
    };
    exit(outcome)
}

/// The test of this crate.
#[must_use]
pub fn command_of_the_test() -> ExitCode {
    exit(test())
}

fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        plan: Plan {
            seed: wall_ms().unsigned_abs(),
            operations: 60_000,
            faults: 20,
            rewinds: false,
        },
        save: None,
        binary: None,
        check: None,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--rewind" {
            options.plan.rewinds = true;
            continue;
        }
        let value = words
            .next()
            .with_context(|| format!("{word} needs a value\n{USAGE}"))?;
        match word.as_str() {
            "--seed" => options.plan.seed = value.parse()?,
            "--operations" => options.plan.operations = value.parse()?,
            "--faults" => options.plan.faults = value.parse()?,
            "--save" => options.save = Some(value.into()),
            "--binary" => options.binary = Some(value.into()),
            "--check" => options.check = Some(value.into()),
            other => bail!("no such option: {other}\n{USAGE}"),
        }
    }
    Ok(options)
}

fn act(options: &Options) -> Result<()> {
    if let Some(path) = &options.check {
        let history = History::load(path)?;
        return judge(&history, path);
    }
    let programs = Programs::compile()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => broker::binary()?,
    };
    let (history, played) = play(&programs, &binary, &options.plan)?;
    if options.plan.rewinds {
        return found_guilty(&history);
    }
    conclude(&history, played, options.save.as_deref())
}

/// Plays a history against a broker of its own, or the server that is named.
fn play(programs: &Programs, binary: &Path, plan: &Plan) -> Result<(History, Result<()>)> {
    let folder = TempDir::new()?;
    let topic = format!("history-{}-{}", plan.seed, std::process::id());
    if let Ok(bootstrap) = std::env::var(BOOTSTRAP) {
        say(&format!(
            "server: {bootstrap} ({BOOTSTRAP}), which is not harmed"
        ));
        let cast = ready(programs, &bootstrap, &topic, folder.path())?;
        return Ok(Run::new(plan, cast, &bootstrap, None)?.play());
    }
    let mut broker = Broker::start(binary, SETTINGS)?;
    let cast = ready(programs, &broker.bootstrap(), &topic, folder.path())?;
    // The way of the producers, on which answers get lost.
    let proxy = Proxy::start(&broker.bootstrap(), 0)?;
    let way = proxy.bootstrap();
    let (history, played) = Run::new(plan, cast, &way, Some((&mut broker, &proxy)))?.play();
    let played = played
        .map_err(|error| error.context(format!("the broker's last words:{}", broker.last_words())));
    let played = match played {
        Ok(()) => broker.stop(),
        Err(error) => Err(error),
    };
    Ok((history, played))
}

fn ready(programs: &Programs, bootstrap: &str, topic: &str, folder: &Path) -> Result<Cast> {
    let configs = [("retention.ms".to_owned(), "-1".to_owned())];
    wire::create_topic(
        bootstrap,
        topic,
        i32::try_from(PARTITIONS)?,
        &configs.into_iter().collect(),
    )?;
    Cast::start(programs, bootstrap, topic, folder)
}

/// Keeps what must be kept, and tells the verdict.
fn conclude(history: &History, played: Result<()>, save: Option<&Path>) -> Result<()> {
    let verdict = check(history)?;
    say(&summary(history, &verdict.tally));
    let is_good = verdict.is_good() && played.is_ok();
    let path = match save {
        Some(folder) => Some(folder.to_path_buf()),
        None if is_good => None,
        None => Some(std::env::temp_dir()),
    };
    let path = path.map(|folder| {
        let seed = history.seed;
        folder.join(format!("history-{seed}-{}.txt", std::process::id()))
    });
    if let Some(path) = &path {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        history.save(path)?;
        say(&format!("the history is kept: {}", path.display()));
    }
    let shown = path.unwrap_or_default();
    if let Err(error) = &played {
        say(&format!("the run broke off: {error:#}"));
    }
    judge(history, &shown)?;
    played.with_context(|| format!("seed {}; the history: {}", history.seed, shown.display()))?;
    let Tally {
        sent, acknowledged, ..
    } = verdict.tally;
    ensure!(
        acknowledged * 100 >= sent * ACKNOWLEDGED_PERCENT_MIN,
        "only {acknowledged} of {sent} records were acknowledged; that shows nothing"
    );
    Ok(())
}

/// The verdict in words; an error unless it is good.
fn judge(history: &History, path: &Path) -> Result<()> {
    let verdict = check(history)?;
    if verdict.is_good() {
        say(&format!("no anomaly among {} events", verdict.tally.events));
        return Ok(());
    }
    bail!(accusation(history, &verdict, path))
}

fn accusation(history: &History, verdict: &Verdict, path: &Path) -> String {
    let mut words = format!("the history of seed {} went wrong", history.seed);
    for (finding, count) in verdict.findings() {
        let line = history.line(&history.events[finding.event]);
        words += &format!(
            "\n  {}: {} (line {}: {line}); {count} in all",
            finding.anomaly,
            finding.text,
            finding.event + 2
        );
    }
    if let Some(first) = verdict.first() {
        words += &format!("\nfirst at line {}", first.event + 2);
    }
    if !verdict.unread.is_empty() {
        words += &format!(
            "\npartitions {:?} were not read to the end, so loss could not be seen there",
            verdict.unread
        );
    }
    words
        + &format!(
            "\njudge it again: cargo run -p streamhouse-compat-tests --bin history -- --check {}",
            path.display()
        )
}

fn summary(history: &History, tally: &Tally) -> String {
    let span = history.events.last().map_or(0, |event| event.at_ms);
    format!(
        "history of seed {}: {} s, {} events; {} records sent: {} acknowledged, {} of them written before a kill and answered after it, {} without an offset; \
         {} unknown, {} failed, {} there without an acknowledgement; {} read; {} commits; {} kills, {} stops, {} restarts, \
         {} answers lost",
        history.seed,
        span / 1_000,
        tally.events,
        tally.sent,
        tally.acknowledged,
        tally.retried,
        tally.without_offset,
        tally.unknown,
        tally.failed,
        tally.unknown_but_there,
        tally.reads,
        tally.commits,
        tally.kills,
        tally.stops,
        tally.restarts,
        tally.lost_answers
    )
}

/// The negative control: a broker whose folder was set back has lost what it acknowledged.
fn found_guilty(history: &History) -> Result<()> {
    let verdict = check(history)?;
    say(&summary(history, &verdict.tally));
    let first = verdict
        .first()
        .context("the broker lost records, and the checker saw nothing")?;
    for (finding, count) in verdict.findings() {
        say(&format!(
            "found, as it should be: {}: {} ({count})",
            finding.anomaly, finding.text
        ));
    }
    // What was acknowledged is gone, or something else lies where it was.
    let is_about_loss = ANOMALIES
        .iter()
        .filter(|row| row.invariant.starts_with("I5") || row.invariant.starts_with("I3"))
        .any(|row| verdict.count(row.anomaly) > 0);
    ensure!(
        is_about_loss,
        "the broker lost records, and the checker speaks of {}",
        first.anomaly
    );
    Ok(())
}

/// The test: a history of fixed size, and one with a fault that must be found.
fn test() -> Result<()> {
    let programs = match Programs::compile() {
        Ok(programs) => programs,
        Err(missing) if is_ci() => {
            return Err(missing.context("CI needs it: run .ci/install-clients"));
        }
        Err(missing) => {
            say(&format!("left out: the histories: {missing:#}"));
            return Ok(());
        }
    };
    let binary = broker::binary()?;
    let plan = Plan {
        seed: 1,
        operations: 24_000,
        faults: 9,
        rewinds: false,
    };
    let (history, played) = play(&programs, &binary, &plan)?;
    conclude(&history, played, None)?;
    if std::env::var(BOOTSTRAP).is_ok() {
        return Ok(());
    }
    let plan = Plan {
        operations: 3_000,
        rewinds: true,
        ..plan
    };
    let (history, _) = play(&programs, &binary, &plan)?;
    found_guilty(&history)
}
