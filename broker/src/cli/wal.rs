//! `streamhouse wal`: repairs of the write-ahead log that need a person's decision.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use streamhouse_config::{Loader, Profile};
use streamhouse_log::recovery::loss::{AcceptedLoss, Loss};
use streamhouse_metadata::ShardId;
use streamhouse_storage::wal::WalLoss;

use super::failure::Failure;
use super::output::Output;
use super::{SetArgs, logs, run};
use crate::assembly::{self, AcceptError};
use crate::data_dir::parse_range;

mod words;

/// Repair the write-ahead log of a data folder
#[derive(Args, Debug)]
pub(super) struct Wal {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    AcceptLoss(AcceptLoss),
}

/// Go on without records that are lost
///
/// Without --range, --shard and --database it says what is damaged and changes nothing.
///
/// A broker refuses to start if records that it acknowledged cannot be read from the write-ahead
/// log, or if the newest files of the log are missing. Bringing the files back loses nothing. If
/// there is no copy, --range gives up exactly the positions that the refusal named: every later
/// start goes on without them, and says so, until the damaged files are recycled.
///
/// A shard whose log does not follow the database stops with metadata_regression, and its records
/// are kept; so does a shard that misses records which --range gave up. Bringing the newest
/// metadata.db or the files back loses nothing. If there is no copy, --shard and --range give up
/// exactly the records that the stopped shard named (see the broker's log, or /readyz). Their
/// offsets are given again, under a higher leader epoch.
///
/// No broker may run on the folder.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
struct AcceptLoss {
    /// The data folder [default: storage.data_dir of the settings]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The shard that stopped
    #[arg(long, value_name = "N", requires = "range")]
    shard: Option<u32>,
    /// The WAL positions that were named, by the refused start or by the shard, as FROM..TO
    #[arg(long, value_name = "FROM..TO")]
    range: Option<Positions>,
    /// Go on with a database that is older than the data folder. Shards whose records do not follow
    /// it stop at the next start, each to be accepted by itself
    #[arg(long, conflicts_with_all = ["shard", "range"])]
    database: bool,
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

/// A range of WAL positions, as messages show it.
#[derive(Clone, Copy, Debug)]
struct Positions(WalLoss);

impl FromStr for Positions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_range(text).map(Self)
    }
}

/// Runs `streamhouse wal`.
pub(super) fn run(wal: &Wal, output: &mut Output) -> Result<(), Failure> {
    match &wal.command {
        Verb::AcceptLoss(accept) => accept_loss(accept, output),
    }
}

fn accept_loss(accept: &AcceptLoss, output: &mut Output) -> Result<(), Failure> {
    let files = accept.config.iter();
    let mut loader = files.fold(Loader::new(Profile::Serve), |loader, file| {
        loader.file(file)
    });
    if let Some(folder) = &accept.data {
        loader = loader.flag("storage.data_dir", &folder.to_string_lossy(), "--data");
    }
    let loaded = run::with_rest(loader, &accept.set).load()?;
    logs::begin(&loaded.settings.telemetry)?;
    let folder = &loaded.settings.storage.data_dir;
    if !folder.join("meta.properties").is_file() {
        return Err(Failure::NoFolder(format!(
            "{} is not a data folder of StreamHouse; name one with --data",
            folder.display()
        )));
    }
    let runtime = run::tokio_runtime()?;
    let accepted = match (accept.shard, accept.range) {
        (Some(shard), Some(Positions(positions))) => AcceptedLoss::Shard {
            shard: ShardId(shard),
            positions,
        },
        (None, Some(Positions(lost))) => {
            let accepting = assembly::accept_wal_damage(&loaded, lost);
            let damage = runtime.block_on(accepting).map_err(failure)?;
            return words::accepted(&damage, folder, output);
        }
        (_, None) if !accept.database => {
            let found = runtime.block_on(assembly::wal_damage(&loaded));
            return words::found(&found.map_err(failure)?, folder, output);
        }
        (_, None) => AcceptedLoss::Database,
    };
    let accepting = assembly::accept_loss(&loaded, accepted);
    let lost = runtime.block_on(accepting).map_err(failure)?;
    match lost {
        Some(loss) => tell(&loss, output),
        None => output
            .line("the database is taken as it is; start the broker and see which shards stop"),
    }
}

fn tell(loss: &Loss, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!(
        "gave up {} entries of shard {} at WAL positions {}",
        loss.entries, loss.shard, loss.positions
    ))?;
    for (at, offsets) in &loss.offsets {
        let (start, end) = (offsets.start, offsets.end);
        output.line(&format!("partition {at}: offsets {start}..{end}"))?;
    }
    Ok(())
}

fn failure(error: AcceptError) -> Failure {
    match error {
        AcceptError::Start(error) => Failure::Start(error),
        AcceptError::Log(_) | AcceptError::NoDamage { .. } | AcceptError::OtherDamage { .. } => {
            Failure::Data(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
