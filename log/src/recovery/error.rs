//! Why a log could not be recovered, and which of these reasons stop one shard alone.

use streamhouse_metadata::store::StoreError;
use streamhouse_storage::l0::IndexError;
use streamhouse_storage::objects::{
    BlamesObject, GetError, ListError, StoreError as ObjectStoreError,
};
use streamhouse_storage::wal::WalLoss;

use super::older_database::OlderDatabase;
use crate::format::bytes::FormatError;
use crate::state::recorded::RecordError;

/// Why the log could not be recovered. Nothing was changed or lost.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The metadata store failed.
    #[error("the metadata store failed: {0}")]
    Store(#[from] StoreError),
    /// A shard holds acknowledged records in another WAL folder.
    #[error(
        "shard {shard} may hold acknowledged records in WAL folder {wal_dir:032x}; start with the data folder that holds it"
    )]
    WalElsewhere {
        /// The shard.
        shard: u32,
        /// That folder's id.
        wal_dir: u128,
    },
    /// A shard may not be led by this life.
    #[error("shard {shard} was not granted: {reason}; start the broker again")]
    NotGranted {
        /// The shard.
        shard: u32,
        /// Why.
        reason: String,
    },
    /// The metadata store knows no such shard.
    #[error("the metadata store has no shard {0}")]
    UnknownShard(u32),
    /// The shard was granted to somebody else.
    #[error("shard {0} is not granted to this life of the broker")]
    LedElsewhere(u32),
    /// The object store does not give the checkpoint now: start again when it does.
    #[error(
        "the checkpoint of shard {shard} cannot be fetched: {source}; start again when the object store answers"
    )]
    CheckpointUnavailable {
        /// The shard.
        shard: u32,
        /// What the store said.
        source: GetError,
    },
    /// Whether the database lacks commits cannot be told: an object of an earlier leader cannot be looked for, or not be
    /// read.
    #[error(
        "whether the database lacks commits of an earlier leader cannot be told: {source}; bring the object back if it stays so"
    )]
    NotProbed {
        /// What is wrong with it.
        source: IndexError,
    },
    /// As before: the objects of an earlier leader cannot be listed.
    #[error("whether the database lacks commits of an earlier leader cannot be told: {source}")]
    NotListed {
        /// What the store said.
        source: ListError,
    },
    /// The mark of a life cannot be left in the object store, or not be taken away. Nothing was served; try again.
    #[error("the mark of this broker cannot be kept in the object store: {source}")]
    NotMarked {
        /// What the store said.
        source: ObjectStoreError,
    },
    /// A checkpoint is missing or damaged, twice in a row.
    #[error("the checkpoint of shard {shard} cannot be read: {reason}")]
    Checkpoint {
        /// The shard.
        shard: u32,
        /// Why.
        reason: String,
    },
    /// A manifest is damaged or newer than this release.
    #[error("manifest {lsn} of shard {shard} cannot be read: {source}")]
    Manifest {
        /// The shard.
        shard: u32,
        /// Its number.
        lsn: u64,
        /// Why.
        source: FormatError,
    },
    /// The manifests do not follow each other.
    #[error("metadata_regression: shard {shard}: {source}")]
    Chain {
        /// The shard.
        shard: u32,
        /// Where.
        source: RecordError,
    },
    /// A WAL record cannot be read.
    #[error("WAL record at {position} cannot be read: {source}")]
    WalRecord {
        /// Where.
        position: u64,
        /// Why.
        source: FormatError,
    },
    /// A WAL record belongs to a shard that the database does not have.
    #[error(
        "metadata_regression: WAL record at {position} belongs to shard {shard}, which the database does not have; bring the database of this data folder back; the WAL is kept"
    )]
    StrayRecord {
        /// The shard.
        shard: u32,
        /// Where in the WAL.
        position: u64,
    },
    /// The database is older than what the data folder has seen of it.
    #[error(
        "metadata_regression: the database is older than this data folder: {0}; bring the newest metadata.db back, or accept that it is gone with `streamhouse wal accept-loss --database` (and --data with the folder, unless storage.data_dir names it)"
    )]
    OlderDatabase(OlderDatabase),
    /// There is no such loss to be accepted.
    #[error(
        "shard {shard} cannot go on by accepting the loss of WAL positions {accepted}: {reason}"
    )]
    NotAccepted {
        /// The shard.
        shard: u32,
        /// What was accepted.
        accepted: WalLoss,
        /// What is the matter instead.
        reason: String,
    },
    /// The WAL ends before what manifests say they took from it.
    #[error(
        "the WAL files were lost or replaced by older ones: they end at {found}, manifests of shard {shard} cover them up to {wal_end}; bring the newest WAL files back"
    )]
    WalLost {
        /// The shard.
        shard: u32,
        /// How far manifests cover the WAL.
        wal_end: u64,
        /// Where the WAL goes on.
        found: u64,
    },
}

impl BlamesObject for RecoverError {
    fn blames_object(&self) -> bool {
        match self {
            Self::Checkpoint { .. } => true,
            Self::CheckpointUnavailable { .. }
            | Self::Manifest { .. }
            | Self::Chain { .. }
            | Self::Store(_)
            | Self::WalElsewhere { .. }
            | Self::NotGranted { .. }
            | Self::UnknownShard(_)
            | Self::LedElsewhere(_)
            | Self::NotProbed { .. }
            | Self::NotListed { .. }
            | Self::NotMarked { .. }
            | Self::WalRecord { .. }
            | Self::StrayRecord { .. }
            | Self::OlderDatabase(_)
            | Self::NotAccepted { .. }
            | Self::WalLost { .. } => false,
        }
    }
}

impl RecoverError {
    /// Whether the facts of one shard are the matter: it stops, and the others serve.
    pub(crate) fn stops_one_shard(&self) -> bool {
        match self {
            Self::Checkpoint { .. } | Self::Manifest { .. } | Self::Chain { .. } => true,
            Self::Store(_)
            | Self::WalElsewhere { .. }
            | Self::NotGranted { .. }
            | Self::UnknownShard(_)
            | Self::LedElsewhere(_)
            | Self::NotProbed { .. }
            | Self::NotListed { .. }
            | Self::NotMarked { .. }
            | Self::CheckpointUnavailable { .. }
            | Self::WalRecord { .. }
            | Self::StrayRecord { .. }
            | Self::OlderDatabase(_)
            | Self::NotAccepted { .. }
            | Self::WalLost { .. } => false,
        }
    }
}
