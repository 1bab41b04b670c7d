//! Flushing with `shared` durability: when a flush begins, and what becomes of it.
//!
//! A producer waits for its flush, and every object costs money: a flush begins when enough bytes are staged, when the
//! first of them has waited for the interval, or earlier when nothing more is about to come: whoever could send waits for
//! an answer. Early flushes are paid from a small budget of uploads per second, so that a trickle of records costs no more
//! than the interval would, and from the bytes that are staged: a flush that is large enough is worth its request.
//!
//! Flushes run side by side (`staged.rs`) and commit in order (`turn.rs`). One that fails is followed by another one that
//! takes the same entries again; one whose commit has an unknown outcome goes on until it is known, since its numbers and
//! offsets may be facts already, and those behind it wait. One that cannot be written however often it is tried is cut
//! into its shards, and a shard that cannot be written alone stops where everybody sees it: its producers would wait for
//! ever, and so would all others.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_metadata::store::{Incarnation, Revision, ShardId};
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_runtime::{Monotonic, planted};
use tokio::sync::Notify;

use super::FlushError;
use super::collect::ShardPart;
use super::hedge::{HedgeCounts, Hedging};
use super::pace::{Backlog, Pace, Step};
use super::write::Sealed;
use crate::Log;

/// How long what was accepted may still be flushed after the shutdown began.
const LAST_FLUSHES: Duration = Duration::from_secs(20);

/// How the log flushes with `shared` durability. Every field has a bound that the settings crate checks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedSettings {
    /// Bytes that are staged and not recorded, at most; above it producers wait, and are refused in the end.
    pub staging_bytes: u64,
    /// Flushes that run side by side, also of one shard.
    pub uploads: usize,
    /// Uploads per second, on average, up to which a flush may begin before its time.
    pub early_uploads_per_second: f64,
    /// How many of these may come at once.
    pub early_uploads_burst: f64,
    /// Staged bytes that pay for one more of them.
    pub early_upload_bytes: u64,
    /// The part of all uploads that may be made twice because they are slow, 0 to 1.
    pub hedged_share: f64,
}

impl Default for SharedSettings {
    /// Two uploads side by side, four a second and one for 256 KiB, twenty at once; 64 MiB; one of twenty twice.
    fn default() -> Self {
        Self {
            staging_bytes: 64 << 20,
            uploads: 2,
            early_uploads_per_second: 4.0,
            early_uploads_burst: 20.0,
            early_upload_bytes: 256 << 10,
            hedged_share: 0.05,
        }
    }
}

/// What flushing with `shared` durability remembers.
#[derive(Debug)]
pub(crate) struct SharedFlush {
    /// A leaf lock: it may be taken under a shard's lock.
    pace: Mutex<Pace>,
    /// Flushes are numbered as they begin.
    next_ticket: AtomicU64,
    /// Requests that may stage something soon.
    arriving: AtomicUsize,
    /// Told when a flush may be due.
    due: Notify,
    /// Told when something was recorded, or a shard is led no more.
    pub(crate) settled: Notify,
    /// Told when a checkpoint may be due.
    checkpoint_due: Notify,
    hedging: Hedging,
    /// Timeline and newest revision, as the database last told. A leaf lock.
    seen: Mutex<(u32, Revision)>,
}

/// A request that is being read or checked and may stage something soon. While there is one, no flush begins before its
/// time; whoever dawdles holds nothing up for longer than `shared.flush_interval`.
#[derive(Debug)]
pub struct Arriving {
    log: Log,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(flush) = &self.log.shared
            && flush.arriving.fetch_sub(1, Ordering::AcqRel) == 1
        {
            flush.due.notify_one();
        }
    }
}

/// A shard in a flush, by its grant.
#[derive(Clone, Copy)]
struct Tenure {
    shard: ShardId,
    epoch: LeaderEpoch,
    incarnation: Incarnation,
}

impl SharedFlush {
    pub(crate) fn new(pace: Pace, hedging: Hedging) -> Self {
        Self {
            hedging,
            seen: Mutex::default(),
            pace: Mutex::new(pace),
            next_ticket: AtomicU64::new(0),
            arriving: AtomicUsize::new(0),
            due: Notify::new(),
            settled: Notify::new(),
            checkpoint_due: Notify::new(),
        }
    }

    /// Timeline and newest revision, as the database last told.
    pub(crate) fn seen(&self) -> (u32, Revision) {
        *self.seen.lock()
    }

    /// `more` is staged.
    pub(crate) fn staged(&self, more: Backlog, now: Monotonic) {
        let nobody_comes = self.arriving.load(Ordering::Acquire) == 0;
        if self.pace.lock().staged(more, now) || nobody_comes {
            self.due.notify_one();
        }
    }

    /// What a shard had queued waits no more. Its lock is held.
    pub(crate) fn unqueued(&self, gone: Backlog) {
        if gone.entries > 0 {
            self.pace.lock().unqueued(gone);
        }
    }
}

impl Log {
    /// Notes what the database told of itself with a heartbeat: sections of objects say it, for a rebuild.
    pub fn saw(&self, timeline: u32, revision: Revision) {
        if let Some(flush) = &self.shared {
            *flush.seen.lock() = (timeline, revision);
        }
    }

    /// Says that a request was begun that may stage something, until the guard is dropped. None with `local`
    /// durability, which waits for nobody.
    #[must_use]
    pub fn arriving(&self) -> Option<Arriving> {
        self.shared
            .as_ref()?
            .arriving
            .fetch_add(1, Ordering::AcqRel);
        Some(Arriving { log: self.clone() })
    }

    /// How many uploads were made twice; none with `local` durability.
    #[must_use]
    pub fn hedge_counts(&self) -> Option<HedgeCounts> {
        Some(self.shared.as_ref()?.hedging.counts())
    }

    /// Begins flushes as they become due. Ends at shutdown, when what was accepted is recorded.
    pub(crate) async fn shared_flush_loop(self) {
        let Some(flush) = &self.shared else { return };
        let mut ends_at = None;
        loop {
            let now = self.ambient.clock.monotonic();
            let arriving = flush.arriving.load(Ordering::Acquire);
            let step = flush
                .pace
                .lock()
                .next(now, arriving > 0 && ends_at.is_none());
            let until = match step {
                Step::Flush => {
                    self.begin_flush(flush, now);
                    continue;
                }
                Step::Idle if ends_at.is_some() => return,
                Step::Idle | Step::Busy => ends_at,
                Step::At(due) => Some(ends_at.map_or(due, |end| due.min(end))),
            };
            if ends_at.is_some_and(|end| now >= end) {
                tracing::warn!(
                    "the last records that were accepted could not be flushed in time; their producers do not know whether they happened"
                );
                return;
            }
            let sleep = async {
                match until {
                    Some(until) => self.ambient.clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Every arm may be dropped: a notification that was not taken stays, a sleep holds nothing. No arm is
                // drawn, so that a simulation repeats itself.
                biased;
                () = flush.due.notified() => {}
                () = self.ambient.tasks.shutdown_requested(), if ends_at.is_none() => {
                    ends_at = Some(now + LAST_FLUSHES);
                }
                () = sleep => {}
            }
        }
    }

    fn begin_flush(&self, flush: &SharedFlush, now: Monotonic) {
        // Not held while shards are locked: whoever stages has the lock of a shard and takes this one.
        let (first, bytes_max) = {
            let pace = flush.pace.lock();
            (pace.first_shard(), pace.bytes_max())
        };
        let ticket = flush.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (parts, next) = self.collect_staged(flush, ticket, first, bytes_max);
        if parts.is_empty() {
            // What waits came to a shard behind this look, or never will.
            flush.pace.lock().found_nothing(now);
            return;
        }
        flush.pace.lock().begun(next, now);
        let tasks = &self.ambient.tasks;
        tasks.spawn("shared-flush", self.clone().run_flush(ticket, parts, now));
    }

    /// One flush, from the upload to its end. It runs in a task of its own: nobody drops a commit.
    async fn run_flush(self, ticket: u64, parts: Vec<ShardPart>, begun: Monotonic) {
        let Some(flush) = &self.shared else { return };
        let tenures: Vec<Tenure> = parts
            .iter()
            .map(|part| Tenure {
                shard: part.shard,
                epoch: part.epoch,
                incarnation: part.incarnation,
            })
            .collect();
        match self.flush_or_stop(flush, &parts).await {
            Ok(()) => flush.pace.lock().succeeded(),
            Err(error) => {
                tracing::warn!(%error, "a flush failed; what it took is tried again");
                let failures = flush.pace.lock().failed();
                let retry = self.ambient.clock.monotonic() + self.retry_pause(failures);
                flush.pace.lock().pause(retry);
            }
        }
        for tenure in tenures {
            self.leave_flush(flush, ticket, tenure, begun);
        }
        flush.pace.lock().ended();
        flush.due.notify_one();
        flush.settled.notify_waiters();
        flush.checkpoint_due.notify_one();
    }

    /// Flushes; shards that no flush can write stop, and the others are flushed without them.
    async fn flush_or_stop(
        &self,
        flush: &SharedFlush,
        parts: &[ShardPart],
    ) -> Result<(), FlushError> {
        let error = match self.flush_shared(flush, parts).await {
            Err(error) if error.is_for_good() => error,
            done => return done,
        };
        if let [part] = parts {
            self.stop_unwritable(part, &error);
            return Ok(());
        }
        tracing::warn!(%error, "a flush is cut into its shards");
        let mut outcome = Ok(());
        for part in parts {
            match self.flush_shared(flush, std::slice::from_ref(part)).await {
                Err(error) if error.is_for_good() => self.stop_unwritable(part, &error),
                done => outcome = outcome.and(done),
            }
        }
        outcome
    }

    /// Stops a shard whose part of a flush cannot be written. What was staged in it did not happen, and is let go.
    fn stop_unwritable(&self, part: &ShardPart, error: &FlushError) {
        let reason = format!("{error}; restart the broker, its producers send again");
        let shard = self.shard_of(part.shard);
        let mut inner = shard.lock();
        if inner.is_led_under(part.epoch, part.incarnation) {
            tracing::error!(shard = part.shard.0, %reason, "the shard stopped; what was staged in it did not happen");
            inner.stop(reason);
            self.let_go(&mut inner);
        }
    }

    async fn flush_shared(
        &self,
        flush: &SharedFlush,
        parts: &[ShardPart],
    ) -> Result<(), FlushError> {
        let mut sealed = self.write_hedged(&flush.hedging, parts).await?;
        self.wait_for_turn(flush, &mut sealed).await;
        if planted::bug("ack_before_commit") {
            self.publish_too_early(&sealed);
        }
        self.commit_shared(sealed).await
    }

    /// What must never happen: producers are answered when the object is stored.
    fn publish_too_early(&self, sealed: &Sealed) {
        for part in &sealed.parts {
            let shard = self.shard_of(part.manifest.shard);
            let told = self.publish_flushed(shard, &mut shard.lock());
            self.tell(told.unwrap_or_default());
        }
    }

    /// A flush has ended in one of its shards: what it took and did not record is queued again.
    fn leave_flush(&self, flush: &SharedFlush, ticket: u64, tenure: Tenure, begun: Monotonic) {
        let mut inner = self.shard_of(tenure.shard).lock();
        if inner.is_led_under(tenure.epoch, tenure.incarnation) {
            let waits = inner.leave_flight(ticket);
            flush.pace.lock().left(waits, begun);
        }
    }

    /// Takes checkpoints as they become due. Ends at shutdown.
    pub(crate) async fn shared_checkpoint_loop(self) {
        let Some(flush) = &self.shared else { return };
        loop {
            tokio::select! {
                // Both arms may be dropped: a notification that was not taken stays.
                biased;
                () = flush.checkpoint_due.notified() => {}
                () = self.ambient.tasks.shutdown_requested() => return,
            }
            let _one_at_a_time = self.flush_lock.lock().await;
            self.checkpoint_due().await;
        }
    }
}

#[cfg(test)]
mod tests;
