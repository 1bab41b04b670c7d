//! The command line: one binary that is the broker and the tools that speak to any Kafka broker.
//!
//! The tool verbs speak plain Kafka through `streamhouse-client` and know nothing of the broker behind it. Results go
//! to standard output, as text for people or as JSON; logs and errors go to standard error. Every way to end has a
//! number in [`exit_code`].

pub mod exit_code;

mod failure;
mod logs;
mod output;
mod table;

mod format;
mod target;

mod bench;
mod config;
mod consume;
mod group;
mod produce;
mod repair;
mod run;
mod topic;
mod wal;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::failure::Failure;
use self::output::Output;

/// StreamHouse: a Kafka broker that keeps its data in an object store and a SQL database.
#[derive(Debug, Parser)]
#[command(
    name = "streamhouse",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = exit_code::help(),
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(run::Dev),
    Serve(run::Serve),
    Topic(topic::Topic),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Group(group::Group),
    Bench(bench::Bench),
    Config(config::Config),
    Wal(wal::Wal),
    Repair(repair::Repair),
}

/// Settings given on the command line.
#[derive(Args, Clone, Debug, Default)]
struct SetArgs {
    /// Set one setting, stronger than every file and variable: `section.field=value`, or a Kafka key
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command line of this process and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let mut output = Output::stdout();
    let result = dispatch(cli.command, &mut output).and_then(|()| output.finish());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough: `| head` is no failure.
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure.to_string());
            ExitCode::from(failure.exit().number())
        }
    }
}

/// Help and version are answers; everything else that clap says is a usage error.
fn refused(error: &clap::Error) -> ExitCode {
    // If even that cannot be printed, nobody reads us.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(exit_code::Exit::Usage.number())
    } else {
        ExitCode::SUCCESS
    }
}

fn dispatch(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Dev(dev) => run::dev(&dev, output),
        Command::Serve(serve) => run::serve(&serve, output),
        Command::Topic(topic) => topic::run(&topic, output),
        Command::Produce(produce) => produce::run(&produce, output),
        Command::Consume(consume) => consume::run(&consume, output),
        Command::Group(group) => group::run(&group, output),
        Command::Bench(bench) => bench::run(&bench, output),
        Command::Config(config) => config::run(&config, output),
        Command::Wal(wal) => wal::run(&wal, output),
        Command::Repair(repair) => repair::run(&repair, output),
    }
}
