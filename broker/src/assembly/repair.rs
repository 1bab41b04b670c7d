//! Repair of a database that lost its last commits, while no broker runs.

use streamhouse_config::Loaded;
use streamhouse_log::repair::{RepairError, RepairParts, Repaired, repair};
use streamhouse_metadata::Incarnation;
use streamhouse_runtime::Ambient;

use super::{StartError, Stores};

/// Why the metadata was not repaired. What was committed stays; calling it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum RepairMetadataError {
    /// The metadata is in a data folder.
    #[error(
        "metadata.url is not set: the metadata is in the data folder, whose losses are accepted with `streamhouse wal accept-loss`"
    )]
    InFolder,
    /// The database or the objects could not be opened.
    #[error(transparent)]
    Open(#[from] StartError),
    /// The repair ended early.
    #[error(transparent)]
    Repair(#[from] RepairError),
}

/// Commits what the database of `loaded` lacks and its bucket holds. No broker of the cluster may run.
///
/// # Errors
/// See [`RepairMetadataError`].
pub async fn repair_metadata(loaded: &Loaded) -> Result<Repaired, RepairMetadataError> {
    let settings = &loaded.settings;
    if settings.metadata.url.is_empty() {
        return Err(RepairMetadataError::InFolder);
    }
    let ambient = Ambient::system();
    let stores = Stores::open(settings, None, &ambient).await?;
    let parts = RepairParts {
        store: std::sync::Arc::clone(&stores.metadata),
        objects: stores.objects.clone(),
        incarnation: Incarnation(ambient.chance.next_u128()),
    };
    let repaired = repair(&parts).await;
    stores.metadata.close().await;
    ambient.tasks.shut_down();
    ambient.tasks.finished().await;
    Ok(repaired?)
}
