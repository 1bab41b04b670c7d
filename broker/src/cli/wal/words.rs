//! What `streamhouse wal accept-loss` tells about damage of the write-ahead log, with the commands to type.

use std::path::Path;

use streamhouse_storage::wal::WalDamage;

use crate::assembly::{FoundDamage, accept_loss_command};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// What could be accepted; nothing was.
pub(super) fn found(
    found: &[FoundDamage],
    folder: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    for FoundDamage {
        damage,
        is_accepted,
    } in found
    {
        output.line(&damage.to_string())?;
        output.line("  to lose nothing, bring the file back from a copy, and start the broker")?;
        if *is_accepted {
            output.line("  this loss is accepted: the broker starts without these positions")?;
        } else {
            let command = accept_loss_command(folder, &format!("--range {}", damage.lost));
            output.line("  if there is no copy, go on without these positions:")?;
            output.line(&format!("    {command}"))?;
        }
    }
    if found.is_empty() {
        output.line("the write-ahead log has no damage; no --range is to be accepted for it")?;
    }
    output.line("shards that stop, with metadata_regression, are named when the broker starts; see its log, or /readyz")?;
    of_shard(folder, output)?;
    let command = accept_loss_command(folder, "--database");
    output.line(
        "a database that is older than the folder is refused when the broker starts; bring the newest one back, or go on with it:",
    )?;
    output.line(&format!("    {command}"))?;
    output.line("nothing was changed")
}

/// What was accepted, and what may follow from it.
pub(super) fn accepted(
    damage: &WalDamage,
    folder: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    let WalDamage { file, lost, .. } = damage;
    output.line(&format!(
        "the loss of WAL positions {lost} (file {file}) is accepted; every start says so until the damaged files are recycled"
    ))?;
    output.line(
        "next, start the broker: a shard that misses some of these records stops with metadata_regression, the others serve",
    )?;
    output.line(
        "it keeps what it has, and names the records that do not follow in the log and on /readyz; stop the broker to give them up",
    )?;
    of_shard(folder, output)
}

fn of_shard(folder: &Path, output: &mut Output) -> Result<(), Failure> {
    let command = accept_loss_command(folder, "--shard N --range FROM..TO");
    output.line(&format!("    {command}"))
}
