//! Why a broker does not start.

use std::path::PathBuf;

use streamhouse_coordinator::service::LoadError;
use streamhouse_metadata::{InitialiseError, StoreError};
use streamhouse_storage::objects::{ClaimError, OpenObjectsError, ProbeError};
use streamhouse_storage::wal::WalDamage;

use crate::data_dir::DataDirError;
use crate::membership::JoinError;
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
    /// The PostgreSQL database.
    #[error(transparent)]
    Postgres(#[from] streamhouse_metadata::postgres::OpenError),
    /// The objects of a cluster of several brokers are on one of them.
    #[error(
        "metadata.url names a PostgreSQL database, so that several brokers may share the cluster, but storage.url names no bucket; set storage.url to s3://bucket/prefix"
    )]
    ObjectsNotShared,
    /// The database belongs to another cluster than the settings say.
    #[error(
        "the database holds cluster {found}, broker.cluster_id is {wanted}; correct the setting, or choose another database or metadata.schema"
    )]
    OtherCluster {
        /// The setting.
        wanted: String,
        /// What the database holds.
        found: String,
    },
    /// The objects.
    #[error(transparent)]
    Objects(#[from] OpenObjectsError),
    /// The object store is not one to rest anything on.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Another cluster's objects are there.
    #[error(transparent)]
    Claim(#[from] ClaimError),
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
    /// The broker did not become a member of its cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
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
