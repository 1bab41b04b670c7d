//! Running commands, telling what happens, and measuring how long it takes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Prints a line.
#[expect(
    clippy::print_stdout,
    reason = "a command line tool speaks on its standard output"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Runs a command in `folder` and fails if it does.
pub(crate) fn check(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    check_with(folder, program, arguments, &[])
}

/// Runs a command with more environment.
pub(crate) fn check_with(
    folder: &Path,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    let shown = format!("{program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{shown}: {status}")
    }
}

/// The standard output of a command.
pub(crate) fn output(folder: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started.
pub(crate) fn exists(program: &str, arguments: &[&str]) -> bool {
    let outcome = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    outcome.is_ok_and(|status| status.success())
}

/// Measures the parts of a run.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    parts: Vec<(&'static str, Duration)>,
}

impl Shares {
    /// Runs a part and remembers how long it took.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tool reports to a person how long its steps took"
    )]
    pub(crate) fn part(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        say(&format!("== {name}"));
        let start = Instant::now();
        let outcome = work();
        self.parts.push((name, start.elapsed()));
        outcome
    }

    /// Prints each part's share.
    pub(crate) fn tell(&self) {
        let total: Duration = self.parts.iter().map(|(_, took)| *took).sum();
        for (name, took) in &self.parts {
            say(&format!("{:>7.1} s  {name}", took.as_secs_f64()));
        }
        say(&format!("{:>7.1} s  in all", total.as_secs_f64()));
    }
}
