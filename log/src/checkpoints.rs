//! Taking checkpoints: the recorded state of a shard goes into an object, and older manifests leave the database.
//!
//! Due after [`crate::LogSettings::checkpoint_manifests`] manifests or [`crate::LogSettings::checkpoint_bytes`] bytes of
//! their bodies, so that recovery replays a bounded number of manifests whatever the retention. A checkpoint that fails
//! costs nothing but a longer recovery; it is tried again after the next flush.

use bytes::Bytes;
use streamhouse_metadata::store::{CheckpointRow, ObjectId, SetCheckpoint};
use streamhouse_storage::objects::{ObjectClass, ObjectKind};
use xxhash_rust::xxh3::xxh3_64;

use crate::Log;
use crate::format::checkpoint;
use crate::read::gather::object_id;
use crate::recovery::older_database::Seen;
use crate::shard::Shard;
use streamhouse_runtime::planted;

/// Why a checkpoint was not taken. The manifests it would have replaced are still there.
#[derive(Debug, thiserror::Error)]
#[error("no checkpoint of shard {shard} was taken: {reason}")]
pub struct CheckpointTakeError {
    shard: u32,
    reason: String,
}

impl Log {
    /// Takes a checkpoint of every shard that is due, and notes what the database holds now. Failures are logged.
    pub(crate) async fn checkpoint_due(&self) {
        self.note_seen().await;
        for shard in self.shards() {
            let due = {
                let inner = shard.lock();
                inner.stopped.is_none()
                    && (inner.flushing.manifests >= self.settings.checkpoint_manifests
                        || inner.flushing.body_bytes >= self.settings.checkpoint_bytes)
            };
            if due && let Err(error) = self.take_checkpoint(shard).await {
                tracing::warn!(%error, "a checkpoint failed; it is tried again after the next flush");
            }
        }
    }

    /// Takes a checkpoint of every shard that has recorded anything since its last one. For operators and tests.
    ///
    /// # Errors
    /// The first shard that failed.
    pub async fn checkpoint_all(&self) -> Result<(), CheckpointTakeError> {
        let _no_flush_meanwhile = self.flush_lock.lock().await;
        for shard in self.shards() {
            let due = {
                let inner = shard.lock();
                // The state of a stopped shard is not to be trusted.
                inner.stopped.is_none() && inner.flushing.manifests > 0
            };
            if due {
                self.take_checkpoint(shard).await?;
            }
        }
        Ok(())
    }

    /// Lets the WAL files that begin from now on say what the database holds.
    async fn note_seen(&self) {
        let Some(wal) = self.wal() else { return };
        match Seen::read(self.store()).await {
            Ok(seen) => {
                if let Err(error) = wal.set_note(seen.encode()) {
                    tracing::warn!(%error, "what the database holds was not noted");
                }
            }
            // The note of the flush before stays; the next one says more.
            Err(error) => tracing::debug!(%error, "what the database holds was not read"),
        }
    }

    async fn take_checkpoint(&self, shard: &Shard) -> Result<(), CheckpointTakeError> {
        let failed = |reason: String| CheckpointTakeError {
            shard: shard.id.0,
            reason,
        };
        let (bytes, epoch, incarnation, lsn, prune_below) = {
            let mut inner = shard.lock();
            let bytes = if planted::bug("checkpoint_forgets_producers") {
                checkpoint::encode(shard.id, &inner.recorded.without_producers())
            } else {
                checkpoint::encode(shard.id, &inner.recorded)
            };
            let lsn = inner.recorded.next_lsn;
            let prune_below = inner.flushing.prune_below(lsn, self.wall_ms());
            (bytes, inner.epoch, inner.incarnation, lsn, prune_below)
        };
        let object = ObjectId {
            incarnation: incarnation.0,
            seq: self.next_object_seq(),
            attempt: 0,
        };
        let key = object_id(object).key(ObjectKind::Checkpoint);
        let row = CheckpointRow {
            object,
            lsn,
            bytes: bytes.len() as u64,
            state_hash: xxh3_64(&bytes),
        };
        let request = SetCheckpoint {
            shard: shard.id,
            epoch,
            incarnation,
            checkpoint: row,
            key: key.to_string(),
            prune_below,
        };
        if let Err(reason) = self.store_checkpoint(request, bytes).await {
            // If it was set after all, it stays: an object that is needed is never given up.
            self.abandon(object).await;
            return Err(failed(reason));
        }
        shard.lock().flushing.checkpointed();
        Ok(())
    }

    async fn store_checkpoint(&self, request: SetCheckpoint, bytes: Bytes) -> Result<(), String> {
        let key = object_id(request.checkpoint.object).key(ObjectKind::Checkpoint);
        self.objects()
            .put(&key, ObjectClass::Checkpoint, vec![bytes])
            .await
            .map_err(|error| error.to_string())?;
        let set = self.store().set_checkpoint(request).await;
        set.map_err(|error| error.to_string())
    }
}
