//! Recovery: from the database, the objects and the WAL back to the shards as they were.
//!
//! 1. Look whether the database is the one that the WAL's last writer knew ([`older_database`]).
//! 2. Take the grants: from here on no earlier process can commit anything.
//! 3. For each shard load the checkpoint, then apply the manifests behind it: that is the *recorded* state.
//! 4. Replay the WAL. A record is applied if its epoch belongs to the unbroken tenure of this WAL folder and it lies
//!    behind the shard's recorded `wal_end`; that gives the *live* state. The offsets only verify: a record that does not
//!    follow is never dropped. It stops its shard (`replay.rs`), the others serve; what only the WAL holds of the stopped
//!    one moves to a file of its own (`aside.rs`), until the database is back or the loss is accepted (`loss.rs`).
//!
//! Nothing is served before all of it is done. A second crash anywhere in here comes to the same result.

pub(crate) mod aside;
mod error;
pub(crate) mod lives;
pub mod loss;
pub(crate) mod lost_suffix;
pub mod older_database;
mod replay;

use std::collections::{BTreeMap, BTreeSet};

use streamhouse_metadata::store::{
    CheckpointRow, GrantOutcome, GrantRequest, Incarnation, Lsn, MetadataStore, ShardId, ShardRow,
};
use streamhouse_protocol::ids::TopicId;
use streamhouse_storage::objects::{GetError, ObjectClass, ObjectKey, ObjectKind, Objects};
use streamhouse_storage::wal::{ReplayVerdict, Replayed, WalPosition};

use crate::format::checkpoint;
use crate::format::manifest::Manifest;
use crate::format::wal_record::WalHead;
use crate::read::gather::object_id;
use crate::shard::unrecorded::FlushWindow;
use crate::shard::{Flushing, Inner, Shard};
use crate::state::recorded::{RecordError, Recorded};
pub use error::RecoverError;
use loss::{AcceptedLoss, Loss};
use replay::Recovering;
use streamhouse_runtime::planted;

/// Manifests that are read from the database at once.
const MANIFESTS_PER_READ: usize = 1000;

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
    /// Who led shards before.
    predecessors: BTreeSet<Incarnation>,
    wal_dir: u128,
    topics: KnownTopics,
    failure: Option<RecoverError>,
    pub(crate) found: Recovered,
}

/// What recovery ends with.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) shards: Vec<Shard>,
    pub(crate) found: Recovered,
    /// The loss that was accepted.
    pub(crate) accepted: Option<Loss>,
}

impl KnownTopics {
    fn contains(&self, topic: TopicId) -> bool {
        self.known.contains(&topic) || self.deleted.contains(&topic)
    }
}

impl Recovery {
    /// Steps 2 and 3.
    pub(crate) async fn begin(
        store: &dyn MetadataStore,
        objects: &Objects,
        incarnation: Incarnation,
        wal_dir: u128,
        topics: KnownTopics,
    ) -> Result<Self, RecoverError> {
        let before = store.shards().await?;
        let shards = before.iter().map(|row| row.shard);
        let request = GrantRequest::own(incarnation, Some(wal_dir), shards);
        let outcomes = store.grant(request).await?;
        let mut recovery = Self {
            shards: Vec::new(),
            predecessors: before.iter().filter_map(|row| row.incarnation).collect(),
            wal_dir,
            topics,
            failure: None,
            found: Recovered::default(),
        };
        for (asked, outcome) in before.iter().zip(outcomes) {
            let row = granted(asked.shard, outcome)?;
            let recovering = match load_shard(store, objects, &row).await {
                Ok(loaded) => {
                    recovery.found.manifests += loaded.manifests;
                    let mut inner = Inner::granted(row.epoch, incarnation, loaded.recorded);
                    inner.flushing = loaded.flushing;
                    inner.dropped.clone_from(&recovery.topics.deleted);
                    Recovering::new(row, inner)
                }
                Err(error) if error.stops_one_shard() => {
                    let inner = Inner::granted(row.epoch, incarnation, Recorded::default());
                    Recovering::unusable(row, inner, error.to_string())
                }
                Err(error) => return Err(error),
            };
            recovery.shards.push(recovering);
        }
        Ok(recovery)
    }

    /// Runs that the replay joins end where windows do.
    pub(crate) fn join_runs_within(&mut self, window: FlushWindow) {
        for recovering in &mut self.shards {
            recovering.inner.flushing.window = window;
        }
    }

    /// Step 4, one record. A failure is kept and ends the start after the replay.
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
        let location = replayed.location;
        let position = location.position.0;
        let (head, batch) = WalHead::decode(replayed.payload)
            .map_err(|source| RecoverError::WalRecord { position, source })?;
        let mut shards = self.shards.iter_mut();
        let Some(recovering) = shards.find(|recovering| recovering.row.shard == head.shard) else {
            return Err(RecoverError::StrayRecord {
                shard: head.shard.0,
                position,
            });
        };
        let recorded_to = recovering
            .row
            .wal_end
            .filter(|end| end.dir == self.wal_dir)
            .map_or(0, |end| end.position);
        let is_forgotten =
            planted::bug("earlier_epochs_forgotten") && head.epoch.0 + 1 < recovering.row.epoch.0;
        if head.epoch < recovering.row.wal_since_epoch || position < recorded_to || is_forgotten {
            return Ok(ReplayVerdict::Recorded);
        }
        let bytes = batch.len() as u64;
        let is_known = self.topics.contains(head.at.topic);
        if recovering.replay(&head, batch, (location, replayed.class), is_known) {
            self.found.wal_records += 1;
            self.found.wal_bytes += bytes;
        }
        Ok(ReplayVerdict::Keep)
    }

    /// Raises the epoch of the shard whose loss is accepted above every epoch that clients may have seen.
    pub(crate) async fn raise_epoch(
        &mut self,
        store: &dyn MetadataStore,
        accepted: Option<AcceptedLoss>,
    ) -> Result<(), RecoverError> {
        let of = |accepted: AcceptedLoss| accepted.shard();
        let Some(shard) = accepted.and_then(of) else {
            return Ok(());
        };
        let mut shards = self.shards.iter_mut();
        let Some(recovering) = shards.find(|recovering| recovering.row.shard == shard) else {
            return Err(RecoverError::UnknownShard(shard.0));
        };
        while recovering.row.epoch <= recovering.highest_epoch {
            let life = recovering.inner.incarnation;
            let request = GrantRequest::own(life, Some(self.wal_dir), [shard]);
            let outcomes = store.grant(request).await?;
            let Some(outcome) = outcomes.into_iter().next() else {
                return Err(RecoverError::UnknownShard(shard.0));
            };
            recovering.row = granted(shard, outcome)?;
            recovering.inner.epoch = recovering.row.epoch;
        }
        Ok(())
    }

    /// The shards, ready to serve or stopped. `resumed_at` is where the WAL goes on.
    pub(crate) fn finish(
        mut self,
        resumed_at: WalPosition,
        accepted: Option<AcceptedLoss>,
    ) -> Result<Finished, RecoverError> {
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
        let mut shards: BTreeMap<ShardId, Shard> = BTreeMap::new();
        let mut was_accepted = None;
        for recovering in self.shards {
            let shard = recovering.row.shard;
            let (inner, loss) = recovering.finish(accepted)?;
            was_accepted = was_accepted.or(loss);
            self.found.partitions += inner.live.partitions.len();
            shards.insert(shard, Shard::new(shard, inner));
        }
        Ok(Finished {
            shards: shards.into_values().collect(),
            found: self.found,
            accepted: was_accepted,
        })
    }
}

/// The recorded state of a shard.
#[derive(Debug)]
pub(crate) struct LoadedShard {
    pub(crate) recorded: Recorded,
    /// What its flushes remember.
    pub(crate) flushing: Flushing,
    /// Manifests that were applied behind the checkpoint.
    manifests: u64,
}

/// Step 3 for one shard: its checkpoint and the manifests behind it.
pub(crate) async fn load_shard(
    store: &dyn MetadataStore,
    objects: &Objects,
    row: &ShardRow,
) -> Result<LoadedShard, RecoverError> {
    let shard = row.shard.0;
    let mut loaded = LoadedShard {
        recorded: load_checkpoint(objects, row).await?,
        flushing: Flushing::default(),
        manifests: 0,
    };
    let (recorded, flushing) = (&mut loaded.recorded, &mut loaded.flushing);
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
            loaded.manifests += 1;
        }
    }
    if recorded.next_lsn < row.next_lsn {
        let source = RecordError::Lsn {
            expected: recorded.next_lsn.0,
            found: row.next_lsn.0,
        };
        return Err(RecoverError::Chain { shard, source });
    }
    Ok(loaded)
}

fn granted(asked: ShardId, outcome: GrantOutcome) -> Result<ShardRow, RecoverError> {
    match outcome {
        GrantOutcome::Granted(row) => Ok(row),
        GrantOutcome::WalElsewhere { wal_dir } => Err(RecoverError::WalElsewhere {
            shard: asked.0,
            wal_dir,
        }),
        GrantOutcome::Held { by, .. } => Err(RecoverError::NotGranted {
            shard: asked.0,
            reason: format!("incarnation {by} leads it and its lease holds"),
        }),
        GrantOutcome::Changed { epoch, .. } => Err(RecoverError::NotGranted {
            shard: asked.0,
            reason: format!("it is at epoch {} now", epoch.0),
        }),
        GrantOutcome::Dead { incarnation } => Err(RecoverError::NotGranted {
            shard: asked.0,
            reason: format!("incarnation {incarnation} was declared dead"),
        }),
        GrantOutcome::UnknownShard => Err(RecoverError::UnknownShard(asked.0)),
    }
}

async fn load_checkpoint(objects: &Objects, row: &ShardRow) -> Result<Recorded, RecoverError> {
    let Some(pointer) = row.checkpoint else {
        return Ok(Recorded {
            next_lsn: Lsn(0),
            ..Recorded::default()
        });
    };
    let key = object_id(pointer.object).key(ObjectKind::Checkpoint);
    let read = || read_checkpoint(objects, row.shard, &key, pointer);
    objects
        .read_twice(&key, ObjectClass::Checkpoint, read)
        .await
}

async fn read_checkpoint(
    objects: &Objects,
    shard: ShardId,
    key: &ObjectKey,
    pointer: CheckpointRow,
) -> Result<Recorded, RecoverError> {
    let number = shard.0;
    let failed = |reason: String| RecoverError::Checkpoint {
        shard: number,
        reason,
    };
    let bytes = objects
        .get_range(key, 0..pointer.bytes, ObjectClass::Checkpoint)
        .await
        .map_err(|source| match source {
            GetError::Unavailable { .. } => RecoverError::CheckpointUnavailable {
                shard: number,
                source,
            },
            GetError::NotFound { .. } | GetError::Short { .. } => failed(source.to_string()),
        })?;
    if xxhash_rust::xxh3::xxh3_64(&bytes) != pointer.state_hash {
        return Err(failed(
            "its hash is not the one that the database names".to_owned(),
        ));
    }
    let recorded = checkpoint::decode(shard, bytes).map_err(|error| failed(error.to_string()))?;
    if recorded.next_lsn == pointer.lsn {
        Ok(recorded)
    } else {
        Err(failed(format!(
            "it ends at manifest {}, the database says {}",
            recorded.next_lsn, pointer.lsn
        )))
    }
}
