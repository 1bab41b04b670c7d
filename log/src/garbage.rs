//! Garbage: objects that no shard needs any more are given up, and after the grace their bytes are deleted.
//!
//! Order: the row becomes a tombstone (from then on no commit can bring the object back), the grace passes, the tombstone
//! is read once more, the bytes are deleted, the row is forgotten. A crash between any two of these steps leaves work for
//! the next pass, never a row without bytes. An object that was written and not committed is given up by the life that
//! wrote it, as soon as the database answers; what a life leaves behind is found by [`orphans`].

pub mod orphans;

use std::collections::BTreeSet;

use parking_lot::Mutex;
use streamhouse_metadata::store::{ObjectId, ObjectRow, StoreError};
use streamhouse_runtime::planted;
use streamhouse_storage::objects::{ObjectKey, ObjectKind};
use tokio::sync::Notify;

use crate::Log;
use crate::read::gather::object_id;

/// How many objects one pass takes at each step.
const OBJECTS_PER_PASS: usize = 1000;
/// Objects that wait to be given up, at most. Others are orphans once this life is over.
const ABANDONED_MAX: usize = 10_000;

/// Objects without a manifest that could not be given up when they should have been.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    waiting: Mutex<BTreeSet<ObjectId>>,
    due: Notify,
}

impl Abandoned {
    /// Keeps an object for later, if there is room.
    fn keep(&self, id: ObjectId) -> bool {
        let mut waiting = self.waiting.lock();
        let has_room = waiting.len() < ABANDONED_MAX;
        if has_room {
            waiting.insert(id);
            self.due.notify_one();
        }
        has_room
    }

    /// Some of those that wait.
    fn some(&self) -> Vec<ObjectId> {
        let waiting = self.waiting.lock();
        waiting.iter().take(OBJECTS_PER_PASS).copied().collect()
    }

    fn forget(&self, ids: &[ObjectId]) {
        let mut waiting = self.waiting.lock();
        for id in ids {
            waiting.remove(id);
        }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects given up.
    pub tombstoned: usize,
    /// Objects whose bytes were deleted.
    pub deleted: usize,
}

impl Log {
    /// One pass. Bytes that cannot be deleted now are tried again by the next one.
    ///
    /// # Errors
    /// If the metadata store failed.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let now = self.wall_ms();
        let mut swept = Swept::default();
        let unreferenced = self.store().unreferenced(OBJECTS_PER_PASS).await?;
        if !unreferenced.is_empty() {
            swept.tombstoned = unreferenced.len();
            if planted::bug("deleted_before_tombstone") {
                self.delete_at_once(&unreferenced).await;
            }
            self.store().tombstone(&unreferenced, now).await?;
        }
        let grace_ms = i64::try_from(self.settings.object_grace.as_millis()).unwrap_or(i64::MAX);
        let due = self
            .store()
            .tombstones_before(now.saturating_sub(grace_ms), OBJECTS_PER_PASS)
            .await?;
        let mut gone = Vec::new();
        for row in due {
            if self.store().is_tombstone(row.id).await? && self.delete_bytes(&row).await {
                gone.push(row.id);
            }
        }
        if !gone.is_empty() {
            swept.deleted = gone.len();
            self.store().forget(&gone).await?;
        }
        Ok(swept)
    }

    /// Gives up an object that was written but not committed; if the database does not answer, later. A late commit of it
    /// fails from then on.
    pub(crate) async fn abandon(&self, id: ObjectId) {
        let Err(error) = self.store().tombstone(&[id], self.wall_ms()).await else {
            return;
        };
        if self.abandoned.keep(id) {
            tracing::warn!(object = %id, %error, "an object without a manifest is given up later");
        } else {
            tracing::warn!(object = %id, %error, "an object without a manifest is not given up, too many others wait; a sweep for orphans will find it");
        }
    }

    /// Gives up an object that was written but not committed, beside everything else.
    pub(crate) fn abandon_later(&self, id: ObjectId) {
        if !self.abandoned.keep(id) {
            tracing::warn!(object = %id, "an object without a manifest is not given up, too many others wait; a sweep for orphans will find it");
        }
    }

    /// Gives up what is kept for later. What is left at shutdown is an orphan.
    pub(crate) async fn give_up_loop(self) {
        let mut failures = 0;
        loop {
            let ids = self.abandoned.some();
            let wait = async {
                if ids.is_empty() {
                    self.abandoned.due.notified().await;
                } else {
                    self.ambient.clock.sleep(self.retry_pause(failures)).await;
                }
            };
            tokio::select! {
                // Both arms may be dropped: they hold nothing.
                biased;
                () = self.ambient.tasks.shutdown_requested() => return,
                () = wait => {}
            }
            if ids.is_empty() {
                continue;
            }
            match self.store().tombstone(&ids, self.wall_ms()).await {
                Ok(_) => {
                    failures = 0;
                    self.abandoned.forget(&ids);
                    tracing::info!(objects = ids.len(), "gave up objects without a manifest");
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%error, failures, "objects without a manifest are not given up yet");
                }
            }
        }
    }

    /// What must never happen: bytes go while no tombstone says so.
    async fn delete_at_once(&self, ids: &[ObjectId]) {
        for id in ids {
            for kind in [ObjectKind::L0, ObjectKind::Checkpoint] {
                let _ = self.objects().delete(&object_id(*id).key(kind)).await;
            }
        }
    }

    async fn delete_bytes(&self, row: &ObjectRow) -> bool {
        // A row without a key was never committed; its id alone does not say what it was to hold.
        let keys = match row
            .key
            .as_deref()
            .and_then(|key| ObjectKey::parse(key).ok())
        {
            Some(key) => vec![key],
            None => vec![
                object_id(row.id).key(ObjectKind::L0),
                object_id(row.id).key(ObjectKind::Checkpoint),
            ],
        };
        for key in keys {
            if let Err(error) = self.objects().delete(&key).await {
                tracing::warn!(object = %row.id, %error, "an object was not deleted; the next pass tries again");
                return false;
            }
            self.cache().forget(&key, row.bytes);
        }
        true
    }
}
