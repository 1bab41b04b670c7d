//! Why a broker does not start.

use std::path::PathBuf;

use streamhouse_coordinator::service::LoadError;
use streamhouse_metadata::{InitialiseError, StoreError};
use streamhouse_storage::objects::OpenFolderError;
use streamhouse_storage::wal::WalDamage;

use crate::data_dir::DataDirError;
use crate::network::ListenError;

/// Why a broker did not start, or ended. Nothing that was acknowledged is lost.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// An address that does not resolve.
    #[error("listener address {address} cannot be used: {source}")]
    Address {
        /// As configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The port for metrics and health.
    #[error(
        "telemetry.metrics_address {address} cannot be used: {source}; set it to another port, or to none"
    )]
    MetricsAddress {
        /// As configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metadata store.
    #[error(transparent)]
    MetadataOpen(#[from] streamhouse_metadata::sqlite::OpenError),
    /// The metadata store failed.
    #[error("the metadata store failed: {0}")]
    Metadata(#[from] StoreError),
    /// The cluster could not be set up in it.
    #[error(transparent)]
    Initialise(#[from] InitialiseError),
    /// Another number of shards than the cluster has.
    #[error(
        "metadata.shards is {wanted}, the cluster was created with {found} shards; the number is fixed: set it to {found}"
    )]
    Shards {
        /// The setting.
        wanted: u32,
        /// What the cluster has.
        found: u32,
    },
    /// The folder of objects.
    #[error(transparent)]
    Objects(#[from] OpenFolderError),
    /// The WAL's folder.
    #[error("the WAL folder {path} cannot be used: {source}", path = .path.display())]
    WalDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log could not be recovered.
    #[error(transparent)]
    Log(streamhouse_log::open::OpenError),
    /// Acknowledged records in the WAL cannot be read.
    #[error(
        "{damage}; bring the file back from a copy, which loses nothing, or go on without these positions: `{command}`"
    )]
    Damage {
        /// What is damaged.
        damage: WalDamage,
        /// The command that accepts exactly this.
        command: String,
    },
    /// The groups could not be loaded.
    #[error(transparent)]
    Groups(#[from] LoadError),
    /// Signals cannot be heard.
    #[error("signals cannot be heard: {0}")]
    Signals(std::io::Error),
    /// A task broke an invariant while the broker ran.
    #[error("a task of the broker broke an invariant; see the log")]
    TaskFailed,
}
