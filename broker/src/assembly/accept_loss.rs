//! Going on without records that are lost: opens a data folder without serving it, and lets the log record the loss.

use streamhouse_config::Loaded;
use streamhouse_log::Log;
use streamhouse_log::recovery::loss::{AcceptLossError, AcceptedLoss, Loss};
use streamhouse_runtime::Ambient;
use streamhouse_storage::wal::WalLoss;

use super::log::log_parts;
use super::wal_loss::with_accepted;
use super::{StartError, Stores};
use crate::data_dir::DataDir;

/// Why a loss was not accepted. The data folder is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The folder, its database or its log could not be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log did not go on without it.
    #[error(transparent)]
    Log(AcceptLossError),
    /// Nothing is damaged.
    #[error(
        "WAL positions {lost} are not damaged, and nothing else is: there is nothing to accept; nothing was changed"
    )]
    NoDamage {
        /// What was to be accepted.
        lost: WalLoss,
    },
    /// Something else is damaged.
    #[error("WAL positions {lost} are not what is damaged; nothing was changed: {damaged}")]
    OtherDamage {
        /// What was to be accepted.
        lost: WalLoss,
        /// What is damaged, each with its command.
        damaged: String,
    },
}

/// Accepts a loss in the data folder of `loaded`, on which no broker may run. Returns what was lost, if that can be known.
///
/// # Errors
/// See [`AcceptError`]; calling it again is safe.
pub async fn accept_loss(
    loaded: &Loaded,
    accepted: AcceptedLoss,
) -> Result<Option<Loss>, AcceptError> {
    let settings = &loaded.settings;
    let ambient = Ambient::system();
    let path = &settings.storage.data_dir;
    let cluster_id = settings.broker.cluster_id.as_deref();
    let data_dir =
        DataDir::open(path, cluster_id, &*ambient.chance).map_err(StartError::DataDir)?;
    let stores = Stores::open(settings, Some(&data_dir), &ambient).await?;
    let parts = log_parts(settings, &data_dir, &ambient, &stores)?;
    let parts = with_accepted(parts, &data_dir).await?;
    let lost = Log::accept_loss(parts, accepted).await;
    ambient.tasks.shut_down();
    ambient.tasks.finished().await;
    stores.metadata.close().await;
    lost.map_err(|error| match error {
        AcceptLossError::Open(error) => StartError::of_log(error, path).into(),
        AcceptLossError::Flush(_) => AcceptError::Log(error),
    })
}
