//! Recovery: from the database, the objects and the WAL back to the shards as they were.
//!
//! 1. Take the grants: from here on no earlier process can commit anything.
//! 2. For each shard load the checkpoint, then apply the manifests behind it: that is the *recorded* state.
//! 3. Replay the WAL. A record is applied if its epoch belongs to the unbroken tenure of this WAL folder and it lies
//!    behind the shard's recorded `wal_end`; that gives the *live* state. The offsets only verify: a record that does not
//!    follow is never dropped, it stops the start with `metadata_regression`.
//!
//! Nothing is served before all of it is done. A second crash anywhere in here comes to the same result.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use streamhouse_metadata::store::{
    GrantOutcome, GrantRequest, Incarnation, Lsn, MetadataStore, ShardId, ShardRow, StoreError,
};
use streamhouse_protocol::ids::{ProducerId, Timestamp, TopicId};
use streamhouse_protocol::record_batch::RecordBatch;
use streamhouse_storage::objects::{ObjectClass, ObjectKind, Objects};
use streamhouse_storage::wal::{ReplayVerdict, Replayed, WalLocation, WalPosition};

use crate::append::stage::BatchProducer;
use crate::format::bytes::FormatError;
use crate::format::checkpoint;
use crate::format::entry::{Entry, Run};
use crate::format::manifest::Manifest;
use crate::format::wal_record::{WalHead, WalKind};
use crate::read::gather::object_id;
use crate::shard::partition::Unrecorded;
use crate::shard::{Flushing, Inner, Shard};
use crate::state::recorded::{RecordError, Recorded};

/// Manifests that are read from the database at once.
const MANIFESTS_PER_READ: usize = 1000;

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
    /// The metadata store knows no such shard.
    #[error("the metadata store has no shard {0}")]
    UnknownShard(u32),
    /// A checkpoint cannot be read.
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
    /// A WAL record does not follow the recorded state: the database has lost manifests, or the WAL records.
    #[error(
        "metadata_regression: WAL record at {position} of shard {shard}: {reason}; the WAL is kept"
    )]
    Regression {
        /// The shard.
        shard: u32,
        /// Where in the WAL.
        position: u64,
        /// What does not follow.
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

/// What recovery found, for the start message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Partitions that hold something.
    pub partitions: usize,
    /// Manifests replayed behind the checkpoints.
    pub manifests: u64,
    /// WAL records that are not in any object yet.
    pub wal_records: u64,
    /// Their bytes.
    pub wal_bytes: u64,
}

/// The topics that records may belong to.
#[derive(Debug)]
pub(crate) struct KnownTopics {
    pub(crate) known: BTreeSet<TopicId>,
    /// Their tombstones are there still: nothing is staged for them any more.
    pub(crate) deleted: BTreeSet<TopicId>,
}

/// Shards on their way back.
#[derive(Debug)]
pub(crate) struct Recovery {
    shards: Vec<Recovering>,
    wal_dir: u128,
    topics: KnownTopics,
    failure: Option<RecoverError>,
    pub(crate) found: Recovered,
}

#[derive(Debug)]
struct Recovering {
    row: ShardRow,
    inner: Inner,
}

impl KnownTopics {
    fn contains(&self, topic: TopicId) -> bool {
        self.known.contains(&topic) || self.deleted.contains(&topic)
    }
}

impl Recovery {
    /// Steps 1 and 2.
    pub(crate) async fn begin(
        store: &dyn MetadataStore,
        objects: &Objects,
        incarnation: Incarnation,
        wal_dir: u128,
        topics: KnownTopics,
    ) -> Result<Self, RecoverError> {
        let before = store.shards().await?;
        let shards = before.iter().map(|row| row.shard).collect();
        let request = GrantRequest {
            incarnation,
            wal_dir: Some(wal_dir),
            timeline: 0,
            shards,
        };
        let outcomes = store.grant(request).await?;
        let mut recovery = Self {
            shards: Vec::new(),
            wal_dir,
            topics,
            failure: None,
            found: Recovered::default(),
        };
        for (asked, outcome) in before.iter().zip(outcomes) {
            let row = match outcome {
                GrantOutcome::Granted(row) => row,
                GrantOutcome::WalElsewhere { wal_dir } => {
                    return Err(RecoverError::WalElsewhere {
                        shard: asked.shard.0,
                        wal_dir,
                    });
                }
                GrantOutcome::UnknownShard => {
                    return Err(RecoverError::UnknownShard(asked.shard.0));
                }
            };
            let (recorded, flushing) = recovery.load(store, objects, &row).await?;
            let mut inner = Inner::granted(row.epoch, incarnation, recorded);
            inner.flushing = flushing;
            inner.dropped.clone_from(&recovery.topics.deleted);
            recovery.shards.push(Recovering { row, inner });
        }
        Ok(recovery)
    }

    /// The recorded state of a shard, and what its flushes remember.
    async fn load(
        &mut self,
        store: &dyn MetadataStore,
        objects: &Objects,
        row: &ShardRow,
    ) -> Result<(Recorded, Flushing), RecoverError> {
        let shard = row.shard.0;
        let mut recorded = load_checkpoint(objects, row).await?;
        let mut flushing = Flushing::default();
        let mut next = row.first_lsn.min(recorded.next_lsn);
        while next < row.next_lsn {
            let rows = store.manifests(row.shard, next, MANIFESTS_PER_READ).await?;
            let Some(last) = rows.last() else { break };
            next = Lsn(last.lsn.0.saturating_add(1));
            for manifest in rows {
                let body = manifest.body;
                let lsn = manifest.lsn.0;
                let decoded = Manifest::decode(body.clone())
                    .map_err(|source| RecoverError::Manifest { shard, lsn, source })?;
                flushing.note(&decoded, &body);
                if decoded.lsn < recorded.next_lsn {
                    // The checkpoint holds it. It is kept for its age, or because no object holds its body yet.
                    flushing.checkpointed();
                    continue;
                }
                recorded
                    .apply(&decoded)
                    .map_err(|source| RecoverError::Chain { shard, source })?;
                self.found.manifests += 1;
            }
        }
        if recorded.next_lsn < row.next_lsn {
            let source = RecordError::Lsn {
                expected: recorded.next_lsn.0,
                found: row.next_lsn.0,
            };
            return Err(RecoverError::Chain { shard, source });
        }
        Ok((recorded, flushing))
    }

    /// Step 3, one record. A failure is kept and ends the start after the replay.
    pub(crate) fn replay(&mut self, replayed: Replayed) -> ReplayVerdict {
        if self.failure.is_some() {
            return ReplayVerdict::Keep;
        }
        match self.replay_record(replayed) {
            Ok(verdict) => verdict,
            Err(failure) => {
                self.failure = Some(failure);
                ReplayVerdict::Keep
            }
        }
    }

    fn replay_record(&mut self, replayed: Replayed) -> Result<ReplayVerdict, RecoverError> {
        let position = replayed.location.position.0;
        let (head, batch) = WalHead::decode(replayed.payload)
            .map_err(|source| RecoverError::WalRecord { position, source })?;
        let regression = |reason: String| RecoverError::Regression {
            shard: head.shard.0,
            position,
            reason,
        };
        let Some(recovering) = self
            .shards
            .iter_mut()
            .find(|recovering| recovering.row.shard == head.shard)
        else {
            return Err(regression("the shard does not exist".to_owned()));
        };
        if head.epoch < recovering.row.wal_since_epoch {
            return Ok(ReplayVerdict::Recorded);
        }
        if head.epoch >= recovering.row.epoch {
            return Err(regression(format!(
                "it was written under epoch {}, which the database has not granted before",
                head.epoch
            )));
        }
        let recorded_to = recovering
            .row
            .wal_end
            .filter(|end| end.dir == self.wal_dir)
            .map_or(0, |end| end.position);
        if position < recorded_to {
            return Ok(ReplayVerdict::Recorded);
        }
        if !self.topics.contains(head.at.topic) {
            return Err(regression(format!(
                "topic {} is neither known nor deleted",
                head.at.topic
            )));
        }
        let bytes = batch.len() as u64;
        let entry = entry_of(&head, batch).map_err(regression)?;
        recovering
            .inner
            .replay(entry, head.stamp, replayed.location)
            .map_err(regression)?;
        self.found.wal_records += 1;
        self.found.wal_bytes += bytes;
        Ok(ReplayVerdict::Keep)
    }

    /// The shards, ready to serve. `resumed_at` is where the WAL goes on.
    pub(crate) fn finish(
        mut self,
        resumed_at: WalPosition,
    ) -> Result<(Vec<Shard>, Recovered), RecoverError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        // Records below what a manifest covers are never replayed: a WAL that starts again there would lose what it acks.
        for recovering in &self.shards {
            let end = recovering.row.wal_end;
            if let Some(end) =
                end.filter(|end| end.dir == self.wal_dir && end.position > resumed_at.0)
            {
                return Err(RecoverError::WalLost {
                    shard: recovering.row.shard.0,
                    wal_end: end.position,
                    found: resumed_at.0,
                });
            }
        }
        self.found.partitions = self
            .shards
            .iter()
            .map(|shard| shard.inner.live.partitions.len())
            .sum();
        let mut shards: BTreeMap<ShardId, Shard> = BTreeMap::new();
        for recovering in self.shards {
            shards.insert(
                recovering.row.shard,
                Shard::new(recovering.row.shard, recovering.inner),
            );
        }
        Ok((shards.into_values().collect(), self.found))
    }
}

async fn load_checkpoint(objects: &Objects, row: &ShardRow) -> Result<Recorded, RecoverError> {
    let Some(pointer) = row.checkpoint else {
        return Ok(Recorded {
            next_lsn: Lsn(0),
            ..Recorded::default()
        });
    };
    let failed = |reason: String| RecoverError::Checkpoint {
        shard: row.shard.0,
        reason,
    };
    let key = object_id(pointer.object).key(ObjectKind::Checkpoint);
    let bytes = objects
        .get_range(&key, 0..pointer.bytes, ObjectClass::Checkpoint)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if xxhash_rust::xxh3::xxh3_64(&bytes) != pointer.state_hash {
        return Err(failed(
            "its hash is not the one that the database names".to_owned(),
        ));
    }
    let recorded =
        checkpoint::decode(row.shard, bytes).map_err(|error| failed(error.to_string()))?;
    if recorded.next_lsn == pointer.lsn {
        Ok(recorded)
    } else {
        Err(failed(format!(
            "it ends at manifest {}, the database says {}",
            recorded.next_lsn, pointer.lsn
        )))
    }
}

/// The entry that a WAL record stands for.
fn entry_of(head: &WalHead, batch: Bytes) -> Result<Entry, String> {
    match head.kind {
        WalKind::Trim => Ok(Entry::Trim {
            at: head.at,
            log_start: head.offset,
        }),
        WalKind::DropPartition => Ok(Entry::DropPartition { at: head.at }),
        WalKind::EvictProducer => Ok(Entry::EvictProducer {
            at: head.at,
            producer: ProducerId(head.offset),
        }),
        WalKind::Batch => {
            let batch = RecordBatch::parse(batch).map_err(|error| error.to_string())?;
            batch.verify_crc().map_err(|error| error.to_string())?;
            Ok(Entry::Run(run_of(head, &batch)))
        }
    }
}

fn run_of(head: &WalHead, batch: &RecordBatch) -> Run {
    let producer = batch.producer_id().is_some().then(|| {
        let producer = BatchProducer {
            id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
        };
        producer.row(head.offset, head.append_time, head.stamp)
    });
    Run {
        at: head.at,
        base_offset: head.offset,
        records: u64::try_from(i64::from(batch.last_offset_delta()) + 1).unwrap_or(0),
        batches: 1,
        bytes: batch.size_bytes() as u64,
        append_epoch: head.epoch,
        max_timestamp: batch.max_timestamp(),
        crc: 0,
        producers: producer.into_iter().collect(),
        points: Vec::new(),
    }
}

impl Inner {
    fn replay(
        &mut self,
        entry: Entry,
        stamp: Timestamp,
        location: WalLocation,
    ) -> Result<(), String> {
        self.live
            .apply(&entry, stamp)
            .map_err(|error| error.to_string())?;
        self.stamp = self.stamp.max(stamp);
        let at = entry.at();
        if matches!(entry, Entry::DropPartition { .. }) {
            self.dropped.insert(at.topic);
        }
        let end = self.high_watermark(at);
        let partition = self.partition_mut(at);
        partition.staged_end = end;
        partition.push_unrecorded(Unrecorded {
            location,
            stamp,
            entry,
            end,
        });
        Ok(())
    }
}
