//! `streamhouse repair`: bring back what a database lost.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use streamhouse_config::{Loader, Profile};
use streamhouse_log::repair::Repaired;

use super::failure::Failure;
use super::output::Output;
use super::{SetArgs, logs, run};
use crate::assembly::{self, RepairMetadataError};

/// Bring back what a database lost
#[derive(Args, Debug)]
pub(super) struct Repair {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Metadata(Metadata),
}

/// Commit again what PostgreSQL lost and the bucket holds
///
/// When another PostgreSQL server takes over that lacks the last commits, the shards that miss some
/// stop with metadata_regression, and acknowledge nothing more. Stop all brokers, run this with
/// their settings, and start them again: every acknowledged record is back at its offset.
///
/// Committed offsets of groups, topics and settings that the database lost are not in the bucket.
/// Running it when nothing is missing changes nothing.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
struct Metadata {
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

/// Runs `streamhouse repair`.
pub(super) fn run(repair: &Repair, output: &mut Output) -> Result<(), Failure> {
    let Verb::Metadata(metadata) = &repair.command;
    let files = metadata.config.iter();
    let loader = files.fold(Loader::new(Profile::Serve), |loader, file| {
        loader.file(file)
    });
    let loaded = run::with_rest(loader, &metadata.set).load()?;
    logs::begin(&loaded.settings.telemetry)?;
    let repairing = assembly::repair_metadata(&loaded);
    let repaired = run::tokio_runtime()?.block_on(repairing).map_err(failure)?;
    tell(&repaired, output)
}

fn tell(repaired: &Repaired, output: &mut Output) -> Result<(), Failure> {
    if repaired.manifests.is_empty() {
        output.line("nothing is missing")?;
    } else {
        output.line(&format!(
            "committed again: {} records in {} objects",
            repaired.records, repaired.objects
        ))?;
    }
    for (shard, manifests) in &repaired.manifests {
        output.line(&format!("shard {shard}: {manifests} manifests"))?;
    }
    for topic in &repaired.unknown_topics {
        output.line(&format!(
            "topic {topic}: its records are there, and the database has lost its name and settings"
        ))?;
    }
    Ok(())
}

fn failure(error: RepairMetadataError) -> Failure {
    match error {
        RepairMetadataError::Open(error) => Failure::Start(error),
        RepairMetadataError::InFolder => Failure::Usage(error.to_string()),
        RepairMetadataError::Repair(error) => Failure::Data(error.to_string()),
    }
}
