//! Apache Kafka's command line tools, unchanged, against the real binary: every `kafka-*.sh` whose main class applies, and what it
//! writes.
//!
//! A file per family of tools. All run in one Java process, one after the other, through the main classes that the scripts start
//! (`java/Tools.java`): a process per tool would spend its time on starting. Those that work on while their process ends have one
//! of their own. What a tool wrote is checked, not only how it ended.
//! With `STREAMHOUSE_COMPAT_BOOTSTRAP` they run against another server, which is how the checks are held against Apache Kafka.

mod cluster;
mod configs;
mod groups;
mod loads;
mod records;
mod topics;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::broker::{self, Broker};
use crate::clients::{cache, java};
use crate::matrix::{BOOTSTRAP, is_ci, say};
use crate::process::{Process, output};

/// As the tools expect of a small cluster: the checks count partitions.
const SETTINGS: &[&str] = &["num.partitions=1", "group.initial.rebalance.delay.ms=0"];

/// For one tool.
const DEADLINE: Duration = Duration::from_secs(60);

/// A family of tools, and what it is called in failures.
type Family = (&'static str, fn(&mut Tools) -> Result<()>);

const FAMILIES: &[Family] = &[
    ("topics", topics::play),
    ("records", records::play),
    ("groups", groups::play),
    ("configs", configs::play),
    ("cluster", cluster::play),
    ("loads", loads::play),
];

/// Plays every family; an error names each that failed.
pub fn play() -> Result<()> {
    if let Err(missing) = java::version(&cache()?.join("java"), "kafka-tools-") {
        if is_ci() {
            return Err(missing.context("CI needs it: run .ci/install-clients"));
        }
        say(&format!("left out: Kafka's tools: {missing:#}"));
        return Ok(());
    }
    if let Ok(bootstrap) = std::env::var(BOOTSTRAP) {
        return play_at(&bootstrap);
    }
    let broker = Broker::start(&broker::binary()?, SETTINGS)?;
    let played = play_at(&broker.bootstrap());
    played.with_context(|| format!("the broker's last words:{}", broker.last_words()))?;
    broker.stop()
}

fn play_at(bootstrap: &str) -> Result<()> {
    let mut tools = Tools::start(bootstrap)?;
    let mut failures = Vec::new();
    for (name, family) in FAMILIES {
        if let Err(error) = family(&mut tools) {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    say(&format!("{} runs of Kafka's tools", tools.runs));
    Ok(())
}

/// The Java process that runs the tools.
#[derive(Debug)]
struct Tools {
    process: Process,
    bootstrap: String,
    folder: TempDir,
    jars: PathBuf,
    classes: TempDir,
    runs: usize,
}

/// What a tool did.
#[derive(Debug)]
struct Told {
    what: String,
    status: i32,
    output: Vec<String>,
    errors: Vec<String>,
}

impl Tools {
    fn start(bootstrap: &str) -> Result<Self> {
        let jars = cache()?.join("java");
        let (classes, folder) = (TempDir::new()?, TempDir::new()?);
        java::compile(&jars, "java/Tools.java", classes.path())?;
        let mut command: Command = java::program(&jars, classes.path(), "Tools")?;
        let process = Process::start("Kafka's tools", &mut command, &folder.path().join("log"))?;
        Ok(Self {
            process,
            bootstrap: bootstrap.to_owned(),
            folder,
            jars,
            classes,
            runs: 0,
        })
    }

    /// Runs a tool by the name of its class in `org.apache.kafka.tools`, or by its whole name.
    fn run(&mut self, class: &str, arguments: &[&str]) -> Result<Told> {
        let bootstrap = self.bootstrap.clone();
        let all = [&["--bootstrap-server", bootstrap.as_str()][..], arguments].concat();
        self.run_plainly(class, &all, &[])
    }

    /// The same, with arguments alone and with lines on its input.
    fn run_plainly(&mut self, class: &str, arguments: &[&str], input: &[&str]) -> Result<Told> {
        let class = if class.starts_with("kafka.") {
            class.to_owned()
        } else {
            format!("org.apache.kafka.tools.{class}")
        };
        let input: String = input.iter().map(|line| format!("{line}\\n")).collect();
        let what = format!("{class} {}", arguments.join(" "));
        let fields = [&[class.as_str(), input.as_str()][..], arguments].concat();
        self.process.write_line(&fields.join("\t"))?;
        self.runs += 1;
        let mut told = Told {
            what,
            status: 0,
            output: Vec::new(),
            errors: Vec::new(),
        };
        while let Some(line) = self.process.next_line(DEADLINE)? {
            if let Some(output) = line.strip_prefix('=') {
                told.output.push(output.to_owned());
            } else if let Some(error) = line.strip_prefix('!') {
                told.errors.push(error.to_owned());
            } else if let Some(status) = line.strip_prefix("exit ") {
                told.status = status.parse()?;
                return Ok(told);
            }
        }
        bail!(self.process.tale(&format!("ended in {}", told.what)))
    }

    /// Runs a tool in a process of its own, because it ends what it does when its process ends.
    fn run_alone(&mut self, class: &str, arguments: &[&str]) -> Result<Told> {
        let class = format!("org.apache.kafka.tools.{class}");
        let mut command = java::program(&self.jars, self.classes.path(), &class)?;
        command.args(["--bootstrap-server", &self.bootstrap]);
        let done = output(&class, command.args(arguments), &[], DEADLINE)?;
        self.runs += 1;
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        Ok(Told {
            what: format!("{class} {}", arguments.join(" ")),
            status: done.status.code().unwrap_or(-1),
            output: lines(&String::from_utf8_lossy(&done.stdout)),
            errors: lines(&done.stderr),
        })
    }

    /// A file with this text, by its path.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

impl Told {
    /// It ended well.
    fn well(self) -> Result<Self> {
        ensure!(self.status == 0, "it ended with {}: {self}", self.status);
        Ok(self)
    }

    /// It ended with an error that says this.
    fn refused(self, text: &str) -> Result<()> {
        ensure!(self.status != 0, "it did not fail: {self}");
        let lines = self.output.iter().chain(&self.errors);
        ensure!(
            lines.into_iter().any(|line| line.contains(text)),
            "no {text:?}: {self}"
        );
        Ok(())
    }

    /// A line of its output has all of these.
    fn says(&self, texts: &[&str]) -> Result<&Self> {
        self.line(texts)?;
        Ok(self)
    }

    /// The line of its output that has all of these.
    fn line(&self, texts: &[&str]) -> Result<&str> {
        let mut lines = self.output.iter();
        let line = lines.find(|line| texts.iter().all(|text| line.contains(text)));
        Ok(line.with_context(|| format!("no line with {texts:?}: {self}"))?)
    }

    /// No line of its output has this.
    fn is_without(&self, text: &str) -> Result<&Self> {
        let is_there = self.output.iter().any(|line| line.contains(text));
        ensure!(!is_there, "there is {text:?}: {self}");
        Ok(self)
    }

    /// The lines of its output that are not empty are these.
    fn is(&self, lines: &[&str]) -> Result<&Self> {
        let written: Vec<&str> = self.output.iter().map(|line| line.trim()).collect();
        let written: Vec<&str> = written
            .into_iter()
            .filter(|line| !line.is_empty())
            .collect();
        ensure!(written == lines, "not {lines:?}: {self}");
        Ok(self)
    }

    /// The words of each line of a table whose first word is `first`.
    fn rows(&self, first: &str) -> Vec<Vec<&str>> {
        let words = self.output.iter();
        let rows = words.map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row.first() == Some(&first)).collect()
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 40;
        writeln!(f, "{}", self.what)?;
        for line in self.output.iter().take(SHOWN) {
            writeln!(f, "    | {line}")?;
        }
        for line in self.errors.iter().take(SHOWN) {
            writeln!(f, "    ! {line}")?;
        }
        Ok(())
    }
}
