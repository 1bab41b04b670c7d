//! Setting aside: what only the WAL holds of a stopped shard moves to a file of its own, so that the shard does not keep
//! the log of all others from being recycled.
//!
//! Order: the copy is durable, then the shard lets go of the log, then the log is recycled. A crash between any two leaves
//! the records in at least one place, and they are replayed once. The next start replays them first; if they follow by
//! then, the shard serves and its next flush records them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use streamhouse_runtime::planted;
use streamhouse_storage::wal::{AppendClass, SetAsideError, WalLocation, WalPosition};

use crate::Log;
use crate::format::entry::Entry;
use crate::shard::unrecorded::Unrecorded;
use crate::shard::{Inner, Shard};

/// The pause before records that could not be set aside are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What became of one shard's records.
enum Moved {
    /// Nothing of it is in the log alone.
    Done,
    /// Later, when the disk has room or the log is synced.
    Later,
}

impl Log {
    /// Sets the records of stopped shards aside as they stop. Ends at shutdown.
    pub(crate) async fn set_aside_loop(self) {
        loop {
            tokio::select! {
                // Both arms may be dropped: a notification that was not taken stays.
                biased;
                () = self.shard_stopped.notified() => {}
                () = self.ambient.tasks.shutdown_requested() => return,
            }
            while !self.set_aside_stopped().await {
                tokio::select! {
                    // Both arms may be dropped: they hold nothing.
                    biased;
                    () = self.ambient.clock.sleep(RETRY_AFTER) => {}
                    () = self.ambient.tasks.shutdown_requested() => return,
                }
            }
        }
    }

    /// Sets aside what only the log holds of stopped shards, and lets the log be recycled. False says that something is
    /// left to do.
    pub(crate) async fn set_aside_stopped(&self) -> bool {
        let _no_flush_meanwhile = self.flush_lock.lock().await;
        // As in a flush: all entries below were published before the shards are looked at.
        let cut = WalPosition(self.published.load(Ordering::Acquire));
        let (mut is_done, mut any) = (true, false);
        for shard in self.shards() {
            let Some(records) = shard.lock().records_to_set_aside() else {
                continue;
            };
            any = true;
            match self.set_aside(shard, records).await {
                Moved::Done => {}
                Moved::Later => is_done = false,
            }
        }
        if any {
            let held = self
                .shards()
                .iter()
                .filter_map(|shard| shard.lock().first_unrecorded());
            let below = held.min().map_or(cut, |held| held.min(cut));
            self.recycle_all(below);
        }
        is_done
    }

    async fn set_aside(&self, shard: &Shard, records: Vec<(WalLocation, AppendClass)>) -> Moved {
        let Some(wal) = self.wal() else {
            return Moved::Done;
        };
        let durable_to = wal.durable_to();
        if records
            .iter()
            .any(|(location, _)| location.end() > durable_to)
        {
            return Moved::Later;
        }
        if planted::bug("let_go_without_aside") {
            shard.lock().forget_set_aside();
            return Moved::Done;
        }
        let (log, owner) = (self.clone(), shard.id.0);
        let entries = records.len();
        let moving = self
            .ambient
            .tasks
            .blocking(move || log.wal().map(|wal| wal.set_aside(owner, &records)));
        match moving.await {
            Ok(Some(Ok(file))) => {
                tracing::warn!(
                    shard = owner,
                    entries,
                    file,
                    "the entries of the stopped shard lie in a file of their own; the next start looks at them first"
                );
                shard.lock().forget_set_aside();
                Moved::Done
            }
            // The process ends, and the next one finds the records in the log.
            Ok(None | Some(Err(SetAsideError::Closed))) | Err(_) => Moved::Done,
            Ok(Some(Err(error))) => {
                tracing::warn!(shard = owner, %error, "the entries of the stopped shard stay in the WAL for now; tried again");
                Moved::Later
            }
        }
    }
}

impl Inner {
    /// What only the log holds of a stopped shard; none if there is nothing, or the shard serves.
    fn records_to_set_aside(&self) -> Option<Vec<(WalLocation, AppendClass)>> {
        self.stopped.as_ref()?;
        let class = |entry: &Entry| match entry {
            Entry::Run(_) => AppendClass::Run,
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => {
                AppendClass::Other
            }
        };
        let partitions = self.partitions.values();
        let unrecorded = partitions.flat_map(|partition| partition.unrecorded.records());
        let staged = self.pending.iter();
        let staged = staged.map(|entry| (entry.location, class(&entry.entry)));
        let held = self.held.iter().copied();
        let records: Vec<_> = held.chain(unrecorded).chain(staged).collect();
        (!records.is_empty()).then_some(records)
    }

    /// The log may go on without what was set aside. Nothing was staged meanwhile: the shard has stopped.
    fn forget_set_aside(&mut self) {
        self.held.clear();
        self.pending.clear();
        for partition in self.partitions.values_mut() {
            partition.unrecorded = Unrecorded::default();
            partition.tail.clear();
        }
    }
}
