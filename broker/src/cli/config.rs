//! `streamhouse config`: whether settings are good, which ones are in effect, and what each of them means.

mod explain;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use streamhouse_config::{Loaded, Loader, NoteLevel, Profile};

use super::failure::Failure;
use super::output::{self, Output};
use super::{SetArgs, logs, run};

/// Check and show settings
#[derive(Args, Debug)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read settings as `serve` does, and list every problem
    Check(Sources),
    /// Show the settings in effect as a streamhouse.toml, each with where it comes from
    Dump(Sources),
    Explain(explain::Explain),
}

/// Where settings come from: files, KAFKA_* and STREAMHOUSE_* variables, --set.
#[derive(Args, Debug)]
struct Sources {
    /// A settings file: *.toml or *.properties. May be given several times; later files win
    #[arg(
        long,
        value_name = "FILE",
        env = "STREAMHOUSE_CONFIG",
        hide_env_values = true
    )]
    config: Vec<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
}

impl Sources {
    fn load(&self) -> Result<Loaded, Failure> {
        let loader = self
            .config
            .iter()
            .fold(Loader::new(Profile::Serve), |loader, file| {
                loader.file(file)
            });
        let loaded = run::with_rest(loader, &self.set).load()?;
        logs::filter(&loaded.settings.telemetry)?;
        for note in &loaded.notes {
            let level = match note.level {
                NoteLevel::Note => "note",
                NoteLevel::Warning => "warning",
            };
            output::note(level, &note.text);
        }
        Ok(loaded)
    }
}

/// Runs `streamhouse config`.
pub(super) fn run(config: &Config, output: &mut Output) -> Result<(), Failure> {
    match &config.command {
        Verb::Check(sources) => {
            sources.load()?;
            output.line("the settings are good")
        }
        Verb::Dump(sources) => {
            let loaded = sources.load()?;
            output.bytes(loaded.dump_toml().as_bytes())
        }
        Verb::Explain(explain) => explain::run(explain, output),
    }
}
