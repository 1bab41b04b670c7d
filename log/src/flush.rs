//! Flushing: what the WAL holds alone goes into one object for all shards, and its manifests into the database.
//!
//! A flush takes every durable entry below one WAL position (the *cut*), so that a manifest covers its shard's WAL without
//! holes. It streams: the batches go from the tail or the WAL into the object one by one. When the manifests are
//! committed the entries are recorded, and the WAL below the cut may be recycled. One flush runs at a time.
//!
//! A flush that fails loses nothing: the entries stay in the WAL, and the next flush takes them again into another object.

pub(crate) mod collect;
pub(crate) mod commit;
pub mod hedge;
pub(crate) mod pace;
pub mod shared;
pub(crate) mod staged;
pub(crate) mod turn;
pub(crate) mod write;

use std::sync::atomic::Ordering;

use streamhouse_metadata::store::{CommitError, StoreError};
use streamhouse_storage::wal::WalPosition;

use crate::Log;
use collect::{Cut, ShardPart};
use streamhouse_runtime::planted;

/// Why a flush did not record what it took. Nothing is lost: the WAL still holds it.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The object could not be written.
    #[error("the object could not be written: {0}")]
    Object(String),
    /// No attempt can write the object, however often it is made.
    #[error("the flush cannot be written, now or later: {0}")]
    Unwritable(String),
    /// A batch could not be read back from the WAL.
    #[error("a batch could not be read from the write-ahead log: {0}")]
    Wal(String),
    /// The manifests could not be committed.
    #[error("the manifests could not be committed: {0}")]
    Commit(#[from] CommitError),
    /// The outcome of a commit could not be resolved.
    #[error("the outcome of a commit could not be resolved: {0}")]
    Resolve(#[from] StoreError),
    /// A commit was refused although the shard is granted to this broker: what was flushed is tried again.
    #[error("a commit in shard {0} was refused although this broker leads it; it is tried again")]
    NotFenced(u32),
    /// A flush before it failed, or its shards are led no more.
    #[error("a flush that this one follows failed")]
    Void,
    /// The database holds less than it acknowledged, or another broker leads the shard.
    #[error("shard {shard} stopped: {reason}")]
    Stopped {
        /// The shard.
        shard: u32,
        /// Why.
        reason: String,
    },
}

impl FlushError {
    /// Whether the same flush would fail in the same way again before anything of it left this process (`shared`).
    fn is_for_good(&self) -> bool {
        match self {
            Self::Unwritable(_) | Self::Wal(_) => true,
            Self::Object(_)
            | Self::Commit(_)
            | Self::Resolve(_)
            | Self::NotFenced(_)
            | Self::Void
            | Self::Stopped { .. } => false,
        }
    }
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Shards that had something to record, at most in any step.
    pub shards: usize,
    /// Bytes of record batches.
    pub bytes: u64,
    /// Runs.
    pub runs: usize,
}

impl Flushed {
    fn add(&mut self, step: Self) {
        self.shards = self.shards.max(step.shards);
        self.bytes += step.bytes;
        self.runs += step.runs;
    }
}

impl Log {
    /// Records every entry that is durable now; if that is much, in several steps, each of which lets its part of the WAL
    /// go.
    ///
    /// # Errors
    /// See [`FlushError`]. What earlier steps recorded stays recorded.
    pub async fn flush(&self) -> Result<Flushed, FlushError> {
        let _one_at_a_time = self.flush_lock.lock().await;
        let end = self.published.load(Ordering::Acquire);
        let mut flushed = Flushed::default();
        loop {
            let cut = self.next_cut();
            flushed.add(self.flush_to(cut).await?);
            if cut.position.0 >= end {
                return Ok(flushed);
            }
        }
    }

    /// Everything, unless that is more than two windows hold: whoever waits for room in the WAL should not wait for all of
    /// it.
    fn next_cut(&self) -> Cut {
        let end = WalPosition(self.published.load(Ordering::Acquire));
        let from = WalPosition(self.flushed.load(Ordering::Acquire));
        let bounded = self.flush_window.end_of_next(from);
        Cut {
            position: bounded.min(end),
            is_end: end <= bounded,
        }
    }

    async fn flush_to(&self, cut: Cut) -> Result<Flushed, FlushError> {
        self.settle_commit().await?;
        let all_entries = self.unflushed_entries.load(Ordering::Acquire);
        if planted::bug("wal_recycled_before_commit") {
            self.recycle_all(cut.position);
        }
        let parts = self.collect(cut);
        let taken: usize = parts.iter().map(ShardPart::wal_records).sum();
        let flushed = self.flush_parts(parts).await?;
        self.flushed.fetch_max(cut.position.0, Ordering::AcqRel);
        // With the last step go those that stopped shards hold back, too.
        let entries = if cut.is_end {
            all_entries
        } else {
            taken as u64
        };
        self.unflushed_entries.fetch_sub(entries, Ordering::AcqRel);
        self.recycle(cut.position);
        self.checkpoint_due().await;
        Ok(flushed)
    }

    async fn flush_parts(&self, parts: Vec<ShardPart>) -> Result<Flushed, FlushError> {
        if parts.is_empty() {
            return Ok(Flushed::default());
        }
        let mut flushed = Flushed {
            shards: parts.len(),
            ..Flushed::default()
        };
        let mut sealed = self.write_object(parts).await?;
        for part in &sealed.parts {
            flushed.bytes += part.data_bytes;
            flushed.runs += part.runs;
        }
        for part in &mut sealed.parts {
            self.release(part);
        }
        self.commit_flush(sealed).await?;
        Ok(flushed)
    }

    /// Lets the WAL go up to the cut, or up to the first entry that a stopped shard could not record.
    fn recycle(&self, cut: WalPosition) {
        let held = self
            .shards()
            .iter()
            .filter_map(|shard| shard.lock().first_unrecorded())
            .min();
        self.recycle_all(held.map_or(cut, |held| held.min(cut)));
    }

    pub(crate) fn recycle_all(&self, below: WalPosition) {
        if let Some(wal) = self.wal() {
            wal.recycle_to(below);
        }
    }

    /// Wakes the flusher when enough came since the last flush. Called after each group of the WAL. What a stopped shard or
    /// a pinned file holds back does not count: another flush would not free it.
    pub(crate) fn flush_if_due(&self) {
        let Some(usage) = self.wal_usage() else {
            return;
        };
        let published = self.published.load(Ordering::Acquire);
        let bytes = published.saturating_sub(self.flushed.load(Ordering::Acquire));
        let due = bytes >= self.flush_window.bytes()
            || self.unflushed_entries.load(Ordering::Acquire) >= usage.entries_max / 2;
        if due {
            self.flush_due.notify_one();
        }
    }

    /// Flushes when enough is unrecorded, and at the latest after the interval. Ends at shutdown.
    pub(crate) async fn flush_loop(self) {
        let mut failures = 0_u32;
        loop {
            let pause = match failures {
                0 => self.settings.flush_interval,
                n => self.retry_pause(n),
            };
            tokio::select! {
                // Every arm may be dropped: a notification that was not taken stays, a sleep holds nothing. No arm is
                // drawn, so that a simulation repeats itself.
                biased;
                () = self.flush_due.notified(), if failures == 0 => {}
                () = self.ambient.clock.sleep(pause) => {}
                () = self.ambient.tasks.shutdown_requested() => return,
            }
            match self.flush().await {
                Ok(flushed) => {
                    failures = 0;
                    tracing::debug!(
                        shards = flushed.shards,
                        bytes = flushed.bytes,
                        runs = flushed.runs,
                        "flushed"
                    );
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "a flush failed; its records stay in the WAL and are tried again");
                }
            }
        }
    }

    pub(crate) fn retry_pause(&self, failures: u32) -> std::time::Duration {
        let ceiling_ms = 100_u64 << failures.min(6);
        std::time::Duration::from_millis(50 + self.ambient.chance.below(ceiling_ms))
    }
}
