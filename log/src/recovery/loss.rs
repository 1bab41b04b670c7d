//! A loss: WAL records that do not follow the database, and what it means to accept it.
//!
//! Accepting names exactly the positions that the stopped shard named, so that nobody accepts what he has not read. What
//! follows is kept; what does not is gone, and a manifest that covers the WAL says so for good. The lost offsets are given
//! again, under a leader epoch above every earlier one, as Kafka does after an unclean leader election: consumers that
//! check leader epochs (KIP-320) learn that the log was cut.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use streamhouse_metadata::store::{ManifestCommit, ShardId, WalEnd};
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_storage::wal::{WalLocation, WalLoss};

use crate::Log;
use crate::flush::FlushError;
use crate::flush::write::{Sealed, SealedPart};
use crate::format::manifest::Manifest;
use crate::format::wal_record::{WalHead, WalKind};
use crate::open::{LogParts, OpenError};

/// Partitions that a message names.
const PARTITIONS_SHOWN: usize = 4;

/// A loss that an operator accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedLoss {
    /// These WAL records of a shard, and no others.
    Shard {
        /// The shard.
        shard: ShardId,
        /// The positions that the stopped shard names.
        positions: WalLoss,
    },
    /// Whatever the database that is older than the data folder has forgotten. Shards whose WAL records do not follow it
    /// stop, each to be accepted by itself.
    Database,
}

/// WAL records of a shard that do not follow the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The shard.
    pub shard: ShardId,
    /// From the first of them to the last. Between them may lie records that follow, and those of other shards.
    pub positions: WalLoss,
    /// How many there are.
    pub entries: u64,
    /// The offsets of the batches among them. Empty for a partition that only loses a trim or the like.
    pub offsets: BTreeMap<TopicPartition, Range<i64>>,
    /// Why the first one does not follow.
    pub reason: String,
}

/// Why a loss was not accepted. The data folder is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AcceptLossError {
    /// The log could not be opened with this loss.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database did not record it: try again.
    #[error("the loss was not recorded: {0}")]
    Flush(#[from] FlushError),
}

impl AcceptedLoss {
    /// The shard, if it is one.
    pub(super) fn shard(self) -> Option<ShardId> {
        match self {
            Self::Shard { shard, .. } => Some(shard),
            Self::Database => None,
        }
    }

    /// What is accepted of a shard.
    pub(super) fn positions_of(self, wanted: ShardId) -> Option<WalLoss> {
        match self {
            Self::Shard { shard, positions } => (shard == wanted).then_some(positions),
            Self::Database => None,
        }
    }
}

impl Loss {
    pub(super) fn new(shard: ShardId, first: WalLocation, reason: String) -> Self {
        let positions = WalLoss {
            from: first.position,
            to: first.position,
        };
        Self {
            shard,
            positions,
            entries: 0,
            offsets: BTreeMap::new(),
            reason,
        }
    }

    /// Adds a record whose offsets end at `end`.
    pub(super) fn add(&mut self, location: WalLocation, head: &WalHead, end: i64) {
        self.positions.to = location.end();
        self.entries += 1;
        let offsets = match head.kind {
            WalKind::Batch => head.offset..end,
            WalKind::Trim | WalKind::DropPartition | WalKind::EvictProducer => 0..0,
        };
        let known = self
            .offsets
            .entry(head.at)
            .or_insert_with(|| offsets.clone());
        if known.is_empty() {
            *known = offsets;
        } else if !offsets.is_empty() {
            known.end = known.end.max(offsets.end);
        }
    }

    /// Whether it takes something of a partition.
    pub(super) fn has(&self, at: TopicPartition) -> bool {
        self.offsets.contains_key(&at)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shard,
            positions,
            entries,
            offsets,
            reason,
        } = self;
        write!(
            f,
            "metadata_regression: WAL record at {} of shard {shard} does not follow the database: {reason}; {entries} entries \
             do not follow:",
            positions.from
        )?;
        for (at, range) in offsets.iter().take(PARTITIONS_SHOWN) {
            write!(f, " partition {at} offsets {}..{},", range.start, range.end)?;
        }
        if offsets.len() > PARTITIONS_SHOWN {
            let more = offsets.len() - PARTITIONS_SHOWN;
            write!(f, " and {more} partitions more,")?;
        }
        write!(
            f,
            " WAL positions {positions}; they are kept: bring the newest metadata.db back, or accept this loss (name the \
             folder with --data unless storage.data_dir does) with \
             `streamhouse wal accept-loss --shard {shard} --range {positions}`"
        )
    }
}

impl Log {
    /// Opens a log that is to go on without what `accepted` names, records that, and closes it again. Returns what was lost;
    /// nothing with [`AcceptedLoss::Database`], where nobody knows. No broker may run on the folder.
    ///
    /// # Errors
    /// See [`AcceptLossError`]. Calling it again is safe.
    pub async fn accept_loss(
        parts: LogParts,
        accepted: AcceptedLoss,
    ) -> Result<Option<Loss>, AcceptLossError> {
        let (log, opened) = Self::open_with(parts, Some(accepted)).await?;
        let recorded = match &opened.accepted {
            Some(loss) => log.record_loss(loss.shard).await,
            None => Ok(()),
        };
        log.close();
        recorded?;
        Ok(opened.accepted)
    }

    /// Records what follows, and then that the WAL holds nothing else of the shard.
    async fn record_loss(&self, shard: ShardId) -> Result<(), FlushError> {
        self.flush().await?;
        let _one_at_a_time = self.flush_lock.lock().await;
        self.settle_commit().await?;
        let (Some(wal), Some(dir)) = (self.wal(), self.wal_dir) else {
            return Ok(());
        };
        let position = wal.durable_to().0;
        let part = self.empty_part(shard, WalEnd { dir, position });
        self.commit_flush(Sealed {
            object: None,
            parts: vec![part],
            loser: None,
        })
        .await
    }

    /// A manifest that changes nothing and covers the WAL.
    fn empty_part(&self, shard: ShardId, covered: WalEnd) -> SealedPart {
        let inner = self.shard_of(shard).lock();
        let wal_end = Some(covered);
        let manifest = Manifest {
            shard,
            lsn: inner.recorded.next_lsn,
            epoch: inner.epoch,
            incarnation: inner.incarnation,
            flush_seq: 0,
            prev: inner.recorded.last_flush,
            stamp: inner.recorded.state.stamp,
            wal_end,
            data: None,
            entries: Vec::new(),
        };
        let commit = ManifestCommit {
            shard,
            epoch: manifest.epoch,
            incarnation: manifest.incarnation,
            lsn: manifest.lsn,
            body: manifest.encode(),
            wal_end,
            released: Vec::new(),
            clears_wal_dir: false,
        };
        SealedPart {
            ticket: 0,
            manifest,
            commit,
            taken: Vec::new(),
            data_bytes: 0,
            runs: 0,
        }
    }
}
