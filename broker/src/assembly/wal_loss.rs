//! Damage of the write-ahead log: what a start makes of it, and how somebody goes on without what is lost.
//!
//! A start refuses acknowledged records that cannot be read, and names the command that accepts exactly this. What was
//! accepted stands in the data folder, is passed over and told at every start, and is forgotten when the damage is gone.

use std::path::Path;

use streamhouse_config::Loaded;
use streamhouse_log::open::{LogParts, OpenError};
use streamhouse_metadata::sqlite::SqliteStore;
use streamhouse_metadata::store::StoreError;
use streamhouse_metadata::{ClusterShelf, ShardShelf};
use streamhouse_runtime::Ambient;
use streamhouse_storage::wal::{
    SystemIo, Wal, WalDamage, WalIdentity, WalLoss, WalOpenError, WalPosition, WalSettings,
};

use super::{AcceptError, StartError, WAL_FOLDER};
use crate::data_dir::DataDir;

/// Damage of the WAL as it lies in a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDamage {
    /// What is damaged.
    pub damage: WalDamage,
    /// Whether starts go on without it.
    pub is_accepted: bool,
}

/// All damage of the WAL of a data folder, on which no broker may run. Changes nothing.
///
/// # Errors
/// See [`AcceptError`].
pub async fn wal_damage(loaded: &Loaded) -> Result<Vec<FoundDamage>, AcceptError> {
    let (data_dir, damage) = look(loaded).await?;
    let accepted = data_dir.accepted_losses().map_err(StartError::DataDir)?;
    let found = damage.into_iter().map(|damage| FoundDamage {
        is_accepted: is_accepted(&accepted, &damage),
        damage,
    });
    Ok(found.collect())
}

/// Accepts damage of the WAL: `lost` must be exactly what is lost. When it returns, that is durable, and later starts go
/// on without it. Returns what was accepted. Calling it again is safe.
///
/// # Errors
/// See [`AcceptError`]; the data folder is as it was.
pub async fn accept_wal_damage(loaded: &Loaded, lost: WalLoss) -> Result<WalDamage, AcceptError> {
    let (data_dir, found) = look(loaded).await?;
    let Some(damage) = found.iter().find(|damage| damage.lost == lost) else {
        let folder = &data_dir.path;
        return Err(if found.is_empty() {
            AcceptError::NoDamage { lost }
        } else {
            let what = found.iter().map(|damage| describe(damage, folder));
            let damaged = what.collect::<Vec<_>>().join("; ");
            AcceptError::OtherDamage { lost, damaged }
        });
    };
    let mut accepted = data_dir.accepted_losses().map_err(StartError::DataDir)?;
    accepted.retain(|earlier| !lost.contains(*earlier));
    accepted.push(lost);
    data_dir
        .set_accepted_losses(&accepted)
        .map_err(StartError::DataDir)?;
    Ok(damage.clone())
}

fn describe(damage: &WalDamage, folder: &Path) -> String {
    let command = command(folder, &format!("--range {}", damage.lost));
    format!("{damage}: `{command}`")
}

/// The folder, locked for as long as it is kept, and the damage of its WAL.
async fn look(loaded: &Loaded) -> Result<(DataDir, Vec<WalDamage>), AcceptError> {
    let settings = &loaded.settings;
    let ambient = Ambient::system();
    let path = &settings.storage.data_dir;
    let cluster_id = settings.broker.cluster_id.as_deref();
    let data_dir =
        DataDir::open(path, cluster_id, &*ambient.chance).map_err(StartError::DataDir)?;
    if data_dir.is_new() {
        // Nothing was ever acknowledged from it, and some of it may not be there.
        return Ok((data_dir, Vec::new()));
    }
    let database = data_dir.path.join("metadata.db");
    let store = SqliteStore::open(&database, ambient.clone()).map_err(StartError::MetadataOpen)?;
    let found = damage_beside(&store, &data_dir).await;
    ambient.tasks.shut_down();
    ambient.tasks.finished().await;
    Ok((data_dir, found?))
}

async fn damage_beside(
    store: &SqliteStore,
    data_dir: &DataDir,
) -> Result<Vec<WalDamage>, StartError> {
    let Some(cluster) = store.cluster().await? else {
        return Ok(Vec::new());
    };
    let path = data_dir.path.join(WAL_FOLDER);
    let io = SystemIo::open(&path).map_err(|source| StartError::WalDir {
        path: path.clone(),
        source,
    })?;
    let mut settings = WalSettings::new(path);
    know_its_end(&mut settings, store, data_dir).await?;
    let identity = WalIdentity {
        cluster: cluster.cluster_id,
        dir: data_dir.wal_dir,
        incarnation: 0,
    };
    let found = Wal::damage(&io, &settings, &identity);
    found.map_err(|error| StartError::Log(error.into()))
}

/// How far the log reached, as the database knows, and its newest file at the last start, as the data folder does: what
/// the WAL itself cannot say when its newest files are gone.
async fn know_its_end(
    settings: &mut WalSettings,
    store: &(impl ShardShelf + ?Sized),
    data_dir: &DataDir,
) -> Result<(), StoreError> {
    let rows = store.shards().await?;
    let ends = rows.iter().filter_map(|row| row.wal_end);
    let own = ends.filter(|end| end.dir == data_dir.wal_dir);
    settings.covered_to = WalPosition(own.map(|end| end.position).max().unwrap_or(0));
    settings.begun_to = data_dir.wal_file;
    Ok(())
}

fn is_accepted(accepted: &[WalLoss], damage: &WalDamage) -> bool {
    accepted.iter().any(|loss| loss.contains(damage.lost))
}

impl StartError {
    /// A log that did not open; damage gets the command that accepts it.
    pub(super) fn of_log(error: OpenError, folder: &Path) -> Self {
        match error {
            OpenError::Wal(WalOpenError::Corrupt { file, lost, reason }) => Self::Damage {
                command: command(folder, &format!("--range {lost}")),
                damage: WalDamage { file, reason, lost },
            },
            OpenError::Wal(_) | OpenError::Recover(_) | OpenError::Thread(_) => Self::Log(error),
        }
    }
}

/// Adds to `parts` what the database knows of the WAL and what was accepted of its damage, and says so. What is not
/// damaged any more is accepted no longer.
pub(super) async fn with_accepted(
    mut parts: LogParts,
    data_dir: &DataDir,
) -> Result<LogParts, StartError> {
    know_its_end(&mut parts.wal_settings, &*parts.store, data_dir).await?;
    let accepted = data_dir.accepted_losses()?;
    if accepted.is_empty() {
        return Ok(parts);
    }
    let identity = WalIdentity {
        cluster: parts.cluster,
        dir: parts.wal_dir,
        incarnation: parts.incarnation.0,
    };
    let found = Wal::damage(&*parts.wal_io, &parts.wal_settings, &identity)
        .map_err(|error| StartError::Log(error.into()))?;
    for damage in found.iter().filter(|damage| is_accepted(&accepted, damage)) {
        tracing::warn!(
            file = %damage.file, reason = damage.reason, positions = %damage.lost,
            "acknowledged WAL positions {} cannot be read; their loss was accepted, and the broker goes on without them",
            damage.lost
        );
    }
    // Damage that grew is accepted by another range; the old one may go when that was named.
    let is_damaged = |loss: &WalLoss| {
        let mut lost = found.iter().map(|damage| damage.lost);
        lost.any(|lost| loss.from < lost.to && lost.from < loss.to)
    };
    let (left, gone): (Vec<WalLoss>, Vec<WalLoss>) = accepted.into_iter().partition(is_damaged);
    if !gone.is_empty() {
        data_dir.set_accepted_losses(&left)?;
        for loss in gone {
            tracing::info!(
                positions = %loss,
                "no file holds the damaged WAL positions {loss} any more; their accepted loss is forgotten"
            );
        }
    }
    parts.wal_settings.accept_loss = left;
    Ok(parts)
}

/// `streamhouse wal accept-loss` for a data folder, to be typed as it stands.
pub fn command(folder: &Path, arguments: &str) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let folder = quoted(&folder.to_string_lossy());
    let command = format!("streamhouse wal accept-loss --data {folder} {arguments}");
    command.trim_end().to_owned()
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%:,=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
