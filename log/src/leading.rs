//! Leading with `shared` durability, where shards come and go: a shard is granted in the database first, loaded here, and
//! serves from then on; it is drained before it is handed over, and ceded when somebody else leads it.
//!
//! With `local` durability a broker leads all shards of its data folder from [`Log::open`] on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use streamhouse_metadata::store::{Incarnation, Lsn, MetadataStore, ShardId, ShardRow, StoreError};
use streamhouse_protocol::ids::{LeaderEpoch, TopicId};
use streamhouse_runtime::{Ambient, planted};
use streamhouse_storage::cache::BlockCache;
use streamhouse_storage::objects::Objects;
use tokio::sync::Notify;

use crate::flush::hedge::Hedging;
use crate::flush::pace::Pace;
use crate::flush::shared::{SharedFlush, SharedSettings};
use crate::garbage::Abandoned;
use crate::journal::{Journal, Staging};
use crate::recovery::lives::Lives;
use crate::recovery::{RecoverError, load_shard, lost_suffix};
use crate::shard::unrecorded::FlushWindow;
use crate::shard::{Inner, Shard, Standing};
use crate::state::recorded::Recorded;
use crate::tail::TailBudget;
use crate::{Core, DirtyShards, Log, LogSettings};

/// How the reason begins for which a shard stops when the database forgot commits.
const REGRESSION: &str = "metadata_regression";

/// Everything a log with `shared` durability is made of.
pub struct SharedParts {
    /// Clock, chance, tasks.
    pub ambient: Ambient,
    /// The database.
    pub store: Arc<dyn MetadataStore>,
    /// The object store.
    pub objects: Objects,
    /// Reads of objects go through it.
    pub cache: BlockCache,
    /// The cluster's id.
    pub cluster: u128,
    /// This life of the broker.
    pub incarnation: Incarnation,
    /// The log's limits.
    pub settings: LogSettings,
    /// The limits of flushing.
    pub shared: SharedSettings,
}

impl fmt::Debug for SharedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedParts")
            .field("settings", &self.settings)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// A shard that holds nothing any more that is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The shard.
    pub shard: ShardId,
    /// The grant under which it was led.
    pub epoch: LeaderEpoch,
    /// This life of the broker.
    pub incarnation: Incarnation,
}

impl Log {
    /// Opens a log that leads no shard yet ([`Log::lead`]), and starts its flushes.
    ///
    /// # Errors
    /// If the metadata store failed.
    pub async fn open_shared(parts: SharedParts) -> Result<Self, StoreError> {
        let rows = parts.store.shards().await?;
        let shard_stopped = Arc::new(Notify::new());
        let shards = rows.iter().map(|row| {
            let inner = Inner {
                on_stop: Arc::clone(&shard_stopped),
                ..Inner::elsewhere(parts.incarnation)
            };
            Shard::new(row.shard, inner)
        });
        let settings = parts.settings;
        let pace = Pace::new(parts.shared, settings.flush_bytes, settings.flush_interval);
        let core = Core {
            dirty: DirtyShards::new(rows.len()),
            written_due: DirtyShards::new(rows.len()),
            producer_bounds: Mutex::default(),
            flushed: AtomicU64::new(0),
            unflushed_entries: AtomicU64::new(0),
            in_doubt: Mutex::default(),
            shards: shards.collect(),
            shard_stopped,
            published: AtomicU64::new(0),
            tail: TailBudget::new(settings.tail_bytes),
            flush_window: FlushWindow::default(),
            flush_due: Notify::new(),
            flush_lock: tokio::sync::Mutex::new(()),
            settings,
            ambient: parts.ambient,
            cluster: parts.cluster,
            incarnation: parts.incarnation,
            wal_dir: None,
            journal: Journal::Memory(Staging::new(parts.shared.staging_bytes)),
            shared: Some(SharedFlush::new(
                pace,
                Hedging::new(parts.shared.hedged_share),
            )),
            objects: parts.objects,
            cache: parts.cache,
            store: parts.store,
            object_seq: AtomicU64::new(1),
            abandoned: Abandoned::default(),
            orphans_due: Notify::new(),
            lives: Lives::default(),
        };
        let log = Self {
            core: Arc::new(core),
        };
        log.saw(log.store().timeline(), log.store().revision().await?);
        let tasks = &log.ambient.tasks;
        tasks.spawn("shared-flush-loop", log.clone().shared_flush_loop());
        tasks.spawn("shared-checkpoints", log.clone().shared_checkpoint_loop());
        tasks.spawn("orphans", log.clone().sweep_orphans_later());
        tasks.spawn("abandoned", log.clone().give_up_loop());
        Ok(log)
    }

    /// Loads a shard that was granted to this life of the broker; when it returns, the shard serves, or it has stopped for
    /// the reason that [`Log::stopped_shards`] gives.
    ///
    /// # Errors
    /// If the stores did not answer: try again. A grant of somebody else is refused.
    pub async fn lead(&self, row: &ShardRow) -> Result<(), RecoverError> {
        if row.incarnation != Some(self.incarnation) {
            return Err(RecoverError::LedElsewhere(row.shard.0));
        }
        let shard = self
            .shard(row.shard)
            .map_err(|_| RecoverError::UnknownShard(row.shard.0))?;
        if shard.lock().is_led_under(row.epoch, self.incarnation) {
            return Ok(());
        }
        self.lives.mark(self.objects(), self.incarnation).await?;
        let topics = self.store().topics().await?;
        let deleted: BTreeSet<TopicId> = topics.tombstones.iter().map(|topic| topic.id).collect();
        let loaded = load_shard(self.store(), self.objects(), row).await;
        let mut granted = match loaded {
            Ok(mut loaded) => {
                if planted::bug("producers_forgotten_at_takeover") {
                    loaded.recorded = loaded.recorded.without_producers();
                }
                let lost_lives = self.lives.lost(self.store(), self.objects()).await?;
                let (store, objects) = (self.store(), self.objects());
                let lost = lost_suffix::find(store, objects, row, lost_lives).await?;
                Inner {
                    stopped: lost.map(|lost| format!("{REGRESSION}: {lost}")),
                    flushing: loaded.flushing,
                    ..Inner::granted(row.epoch, self.incarnation, loaded.recorded)
                }
            }
            Err(error) if error.stops_one_shard() => Inner {
                stopped: Some(error.to_string()),
                ..Inner::granted(row.epoch, self.incarnation, Recorded::default())
            },
            Err(error) => return Err(error),
        };
        let (led_under, seen) = {
            let inner = shard.lock();
            (inner.epoch, inner.recorded.next_lsn)
        };
        if led_under > LeaderEpoch(0)
            && let Some(lost) = self.lost_by(row, led_under, seen).await?
        {
            granted.stopped = Some(format!("{REGRESSION}: {lost}"));
        }
        // A shard that stopped for it goes on to know what it has seen.
        granted.recorded.next_lsn = granted.recorded.next_lsn.max(seen);
        granted.dropped = deleted;
        let seq = self.store().coordination_seq(row.shard).await?;
        granted.coordination_seq = seq.unwrap_or(0);
        granted.on_stop = Arc::clone(&self.shard_stopped);
        if let Some(reason) = &granted.stopped {
            tracing::error!(shard = row.shard.0, %reason, "the shard does not serve; the others do");
        }
        let mut inner = shard.lock();
        if inner.epoch < granted.epoch || inner.standing == Standing::Elsewhere {
            self.let_go(&mut inner);
            *inner = granted;
            // Whoever led it before may have died between an upload and its commit.
            self.orphans_due.notify_one();
        }
        Ok(())
    }

    /// The shards that this broker leads, with the epochs of their grants. Those that stopped are among them.
    #[must_use]
    pub fn led(&self) -> Vec<(ShardId, LeaderEpoch)> {
        let led = self.shards().iter().filter_map(|shard| {
            let inner = shard.lock();
            (inner.standing != Standing::Elsewhere).then_some((shard.id, inner.epoch))
        });
        led.collect()
    }

    /// Stages nothing more in a shard, and waits until everything that was staged in it is recorded. Then it may be granted
    /// to another broker. None if this broker does not lead it, stops to, or the shard has stopped.
    pub async fn drain(&self, shard: ShardId) -> Option<Drained> {
        let flush = self.shared.as_ref()?;
        let slot = self.shard(shard).ok()?;
        let epoch = {
            let mut inner = slot.lock();
            if inner.standing == Standing::Elsewhere {
                return None;
            }
            inner.standing = Standing::Drains;
            inner.epoch
        };
        loop {
            let settled = flush.settled.notified();
            {
                let inner = slot.lock();
                if inner.stopped.is_some() || !inner.is_led_under(epoch, self.incarnation) {
                    return None;
                }
                if inner.pending.is_empty() && inner.in_flight.is_empty() {
                    return Some(Drained {
                        shard,
                        epoch,
                        incarnation: self.incarnation,
                    });
                }
            }
            settled.await;
        }
    }

    /// A drained shard is not handed over after all: it serves again.
    pub fn resume(&self, drained: Drained) {
        let mut inner = self.shard_of(drained.shard).lock();
        if inner.standing == Standing::Drains
            && inner.is_led_under(drained.epoch, drained.incarnation)
        {
            inner.standing = Standing::Leads;
        }
    }

    /// Another broker leads the shard, under an epoch above `epoch`: this one serves nothing of it any more. Those who wait
    /// for what is staged hear that it may have happened.
    pub fn cede(&self, shard: ShardId, epoch: LeaderEpoch) {
        let Ok(slot) = self.shard(shard) else { return };
        let mut inner = slot.lock();
        let is_over = inner.epoch > epoch || inner.standing == Standing::Elsewhere;
        if is_over || planted::bug("ceded_shard_serves_on") {
            return;
        }
        self.let_go(&mut inner);
        let mut ended = Inner {
            epoch: inner.epoch,
            on_stop: Arc::clone(&self.shard_stopped),
            ..Inner::elsewhere(self.incarnation)
        };
        // What was seen committed is not forgotten: the database may come back without it.
        ended.recorded.next_lsn = inner.recorded.next_lsn;
        *inner = ended;
        drop(inner);
        if let Some(flush) = &self.shared {
            flush.settled.notify_waiters();
        }
    }

    /// Holds the database against what this log saw committed, also of shards that it has ceded since: another server may
    /// answer for it that lacks the last commits. Shards of which it lacks any stop, so that nothing is acknowledged on top;
    /// shards that were granted to others are ceded. Says of how many commits are gone, those included that stopped for it
    /// before.
    ///
    /// # Errors
    /// If the metadata store failed: ask again.
    pub async fn check_recorded(&self) -> Result<usize, StoreError> {
        // Before the rows are read: what is committed meanwhile may be in them or not.
        let seen = self.shards().iter().filter_map(|shard| {
            let inner = shard.lock();
            let has_led = inner.epoch > LeaderEpoch(0) && inner.stopped.is_none();
            has_led.then_some((shard.id, inner.epoch, inner.recorded.next_lsn))
        });
        let seen: Vec<_> = seen.collect();
        let rows = self.store().shards().await?;
        // A commit that failed may have found it first.
        let stopped = self.stopped_shards();
        let found = stopped
            .iter()
            .filter(|(_, reason)| reason.starts_with(REGRESSION));
        let mut stopped = found.count();
        for (id, epoch, next_lsn) in seen {
            let row = rows.iter().find(|row| row.shard == id);
            let lost = match row {
                None => Some("the database has lost the shard's row".to_owned()),
                Some(row) => self.lost_by(row, epoch, next_lsn).await?,
            };
            let Some(lost) = lost else { continue };
            let reason = format!("{REGRESSION}: {lost}");
            let mut inner = self.shard_of(id).lock();
            if inner.epoch == epoch && inner.stopped.is_none() {
                tracing::error!(shard = id.0, %reason, "the shard stopped; its objects are kept");
                inner.stop(reason);
                stopped += 1;
            }
        }
        Ok(stopped)
    }

    /// What the database has lost of a shard that this broker led under `epoch` up to `next_lsn`. If it lost nothing and
    /// the shard is led elsewhere by now, it is ceded.
    async fn lost_by(
        &self,
        row: &ShardRow,
        epoch: LeaderEpoch,
        next_lsn: Lsn,
    ) -> Result<Option<String>, StoreError> {
        let is_ours = row.epoch == epoch && row.incarnation == Some(self.incarnation);
        let found = if is_ours || row.epoch < epoch {
            row.next_lsn
        } else {
            // Whoever came after us may have written since: what he began with counts.
            let grants = self.store().grants(row.shard).await?;
            let later = grants.into_iter().find(|grant| grant.epoch > epoch);
            later.map_or(row.next_lsn, |grant| grant.at_lsn)
        };
        if found < next_lsn && !planted::bug("regression_unnoticed") {
            return Ok(Some(format!(
                "the database ends at manifest {found}, this broker saw {next_lsn} committed"
            )));
        }
        if row.epoch < epoch || (row.epoch == epoch && !is_ours) {
            return Ok(Some(format!(
                "the database grants it under epoch {}, this broker leads it under {epoch}",
                row.epoch
            )));
        }
        if !is_ours {
            self.cede(row.shard, epoch);
        }
        Ok(None)
    }

    /// Gives back the room of what is staged, and tells those who wait.
    pub(crate) fn let_go(&self, inner: &mut Inner) {
        if let Some(flush) = &self.shared {
            flush.unqueued(std::mem::take(&mut inner.queued));
        }
        for pending in inner.pending.drain(..) {
            if let Some(staging) = self.journal.staging() {
                staging.release(pending.location);
            }
        }
        inner.in_flight.clear();
        for partition in inner.partitions.values_mut() {
            partition.wake(usize::MAX);
        }
    }
}

impl Inner {
    /// A shard that somebody else leads, or nobody.
    fn elsewhere(incarnation: Incarnation) -> Self {
        Self {
            standing: Standing::Elsewhere,
            ..Self::granted(LeaderEpoch(0), incarnation, Recorded::default())
        }
    }

    /// Whether this broker leads the shard, under this very grant.
    pub(crate) fn is_led_under(&self, epoch: LeaderEpoch, incarnation: Incarnation) -> bool {
        self.standing != Standing::Elsewhere
            && self.epoch == epoch
            && self.incarnation == incarnation
    }
}
