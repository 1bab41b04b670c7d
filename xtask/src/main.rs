//! Our tools: `tidy` (the rules that a machine can hold) and `test` (everything that a change must pass).
//!
//! Run as `cargo xtask <command>`. Knows nothing of the product's crates: it reads files and runs commands.

mod capabilities;
mod containers;
mod fuzz;
mod planted;
mod run;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask <command>

  test            build, lint and run every test that this machine can run; lists what it left out
                  (with CI=true a missing capability is a failure)
  fuzz TARGET [--seconds N]
                  fuzzing guided by coverage: one target, or all, for 60 seconds or N each
  tidy            check the rules of the house: floors, headers, lengths, words, maps
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => test::run(&root()),
        ["fuzz", name] => fuzz::run(&root(), name, 60),
        ["fuzz", name, "--seconds", seconds] => fuzz::run(
            &root(),
            name,
            seconds.parse().context("a number of seconds")?,
        ),
        ["tidy"] => {
            let problems = tidy::problems(&root())?;
            for problem in &problems {
                run::say(problem);
            }
            if problems.is_empty() {
                Ok(())
            } else {
                bail!("tidy found {} problems", problems.len())
            }
        }
        ["help" | "--help" | "-h"] => {
            run::say(USAGE);
            Ok(())
        }
        _ => bail!("unknown command {:?}\n{USAGE}", arguments.join(" ")),
    }
}

/// The top of the checkout.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}
