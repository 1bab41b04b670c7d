//! The command line fits together, and its reference pages are what it is.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Cli;
use super::exit_code::{TABLE, help};

fn is_fresh(path: &str, text: &str) {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = repository.join(path);
    if std::env::var_os("STREAMHOUSE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{} is stale: run STREAMHOUSE_BLESS=1 cargo test -p streamhouse-broker --lib cli",
        path.display()
    );
}

fn reference(command: &mut clap::Command, path: &str, text: &mut String) {
    let depth = path.split(' ').count().min(4);
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!(
        "\n{} {path}\n\n```text\n{}\n```\n",
        "#".repeat(depth + 1),
        lines.join("\n")
    ));
    for inner in command
        .get_subcommands_mut()
        .filter(|inner| inner.get_name() != "help")
    {
        let path = format!("{path} {}", inner.get_name());
        reference(inner, &path, text);
    }
}

#[test]
fn the_page_of_the_command_line_is_fresh() {
    let mut command = Cli::command();
    command.build();
    let mut text = "# Command line\n\n<!-- Generated from broker/src/cli; do not edit. -->\n\n\
        One binary is the broker and its tools. The tools (`topic`, `produce`, `consume`, `group`, `bench`) speak plain Kafka, \
        so they work with any Kafka cluster. Results go to standard output, logs and errors to standard error.\n"
        .to_owned();
    reference(&mut command, "streamhouse", &mut text);
    is_fresh("docs/reference/cli.md", &text);
}

#[test]
fn the_page_of_exit_codes_is_fresh() {
    let mut text = "# Exit codes\n\n<!-- Generated from broker/src/cli/exit_code.rs; do not edit. -->\n\n\
        Every command ends with one of these numbers, which are those of `sysexits.h` where it has one. They never change their \
        meaning. A process that a signal ends has none of them: shells show 128 and the number of the signal.\n\n\
        | Code | What happened | What to do |\n|---|---|---|\n"
        .to_owned();
    for line in TABLE {
        text.push_str(&format!(
            "| {} | {} | {} |\n",
            line.exit.number(),
            line.meaning,
            line.remedy
        ));
    }
    is_fresh("docs/reference/exit-codes.md", &text);
}

#[test]
fn arguments_fit_together() {
    Cli::command().debug_assert();
}

#[test]
fn exit_codes_rise_and_the_help_shows_each() {
    let numbers: Vec<u8> = TABLE.iter().map(|line| line.exit.number()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(help().lines().count(), TABLE.len() + 1);
    let wal_failed = u8::try_from(streamhouse_storage::wal::EXIT_WAL_FAILED).unwrap();
    assert!(
        numbers.contains(&wal_failed),
        "the WAL ends the process with a number of the table"
    );
}
