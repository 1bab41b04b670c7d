//! Why a broker does not start, and the exit code that says so to scripts.

use std::path::PathBuf;

use streamhouse_coordinator::service::LoadError;
use streamhouse_metadata::{InitialiseError, StoreError};
use streamhouse_storage::objects::OpenFolderError;

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
    Log(#[from] streamhouse_log::open::OpenError),
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

impl StartError {
    /// The exit code of the process, after sysexits.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DataDir(DataDirError::InUse { .. }) => 75,
            Self::DataDir(DataDirError::OtherCluster { .. })
            | Self::Shards { .. }
            | Self::Address { .. } => 78,
            Self::DataDir(DataDirError::Foreign { .. } | DataDirError::OtherVersion { .. }) => 65,
            Self::DataDir(DataDirError::Unusable { .. })
            | Self::WalDir { .. }
            | Self::Objects(_) => 73,
            Self::Listen(_) | Self::MetricsAddress { .. } => 69,
            Self::MetadataOpen(_)
            | Self::Metadata(_)
            | Self::Initialise(_)
            | Self::Log(_)
            | Self::Groups(_) => 65,
            Self::Signals(_) => 71,
            Self::TaskFailed => 70,
        }
    }
}
