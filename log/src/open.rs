//! Opening a log: recovery, then the WAL's thread and the flusher.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use streamhouse_metadata::store::{Incarnation, MetadataStore};
use streamhouse_protocol::ids::TopicId;
use streamhouse_runtime::Ambient;
use streamhouse_storage::cache::BlockCache;
use streamhouse_storage::objects::Objects;
use streamhouse_storage::wal::{
    Wal, WalFailure, WalIdentity, WalIo, WalListener, WalOpenError, WalPosition, WalSettings,
};
use tokio::sync::Notify;

use crate::garbage::Abandoned;
use crate::journal::Journal;
use crate::recovery::lives::Lives;
use crate::recovery::loss::{AcceptedLoss, Loss};
use crate::recovery::older_database::{Seen, check_note};
use crate::recovery::{KnownTopics, RecoverError, Recovered, Recovery};
use crate::shard::Shard;
use crate::shard::unrecorded::FlushWindow;
use crate::tail::TailBudget;
use crate::{Core, DirtyShards, Log, LogSettings};

/// Everything a log is made of.
pub struct LogParts {
    /// Clock, chance, tasks.
    pub ambient: Ambient,
    /// The database.
    pub store: Arc<dyn MetadataStore>,
    /// The object store.
    pub objects: Objects,
    /// Reads of objects go through it.
    pub cache: BlockCache,
    /// The WAL's files.
    pub wal_io: Arc<dyn WalIo>,
    /// The WAL's limits.
    pub wal_settings: WalSettings,
    /// The cluster's id.
    pub cluster: u128,
    /// The id of the WAL folder.
    pub wal_dir: u128,
    /// This life of the broker.
    pub incarnation: Incarnation,
    /// The log's own limits.
    pub settings: LogSettings,
    /// Called once when the WAL fails: nothing may be acknowledged any more, the process must end with exit code 74.
    pub on_wal_failure: Box<dyn Fn(&WalFailure) + Send + Sync>,
}

impl LogParts {
    /// Half of the WAL at most: the other half is for what comes meanwhile.
    fn flush_window(&self) -> FlushWindow {
        FlushWindow::of(
            self.settings
                .flush_bytes
                .min(self.wal_settings.cap_bytes / 2),
        )
    }
}

impl fmt::Debug for LogParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogParts")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Why a log could not be opened. Nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state could not be recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The WAL could not be opened.
    #[error(transparent)]
    Wal(#[from] WalOpenError),
    /// The WAL's thread could not be started.
    #[error("the WAL thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// What opening found.
pub(crate) struct Opened {
    pub(crate) recovered: Recovered,
    /// The loss that was accepted.
    pub(crate) accepted: Option<Loss>,
}

impl Log {
    /// Takes the grants of all shards, recovers their state, and starts the WAL and the flusher. When it returns, the log
    /// serves; shards whose WAL does not follow the database are stopped ([`Log::stopped_shards`]), and their records lie in
    /// files of their own.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(parts: LogParts) -> Result<(Self, Recovered), OpenError> {
        let (log, opened) = Self::open_with(parts, None).await?;
        Ok((log, opened.recovered))
    }

    /// As [`Log::open`], going on without what `accepted` names.
    pub(crate) async fn open_with(
        parts: LogParts,
        accepted: Option<AcceptedLoss>,
    ) -> Result<(Self, Opened), OpenError> {
        let (log, opened, listener) = Self::recover(parts, accepted).await?;
        if let Some(wal) = log.wal() {
            wal.start(Arc::new(listener)).map_err(OpenError::Thread)?;
        }
        log.serve().await;
        Ok((log, opened))
    }

    async fn recover(
        mut parts: LogParts,
        accepted: Option<AcceptedLoss>,
    ) -> Result<(Self, Opened, Publisher), OpenError> {
        let identity = WalIdentity {
            cluster: parts.cluster,
            dir: parts.wal_dir,
            incarnation: parts.incarnation.0,
        };
        let mut recovery = load_recorded(&parts, &identity, accepted).await?;
        recovery.join_runs_within(parts.flush_window());
        let seen = Seen::read(&*parts.store)
            .await
            .map_err(RecoverError::from)?;
        parts.wal_settings.note = Some(seen.encode());
        let (wal, found) = Wal::open(
            Arc::clone(&parts.wal_io),
            parts.wal_settings.clone(),
            identity,
            parts.ambient.clone(),
            &mut |replayed| recovery.replay(replayed),
        )?;
        recovery.raise_epoch(&*parts.store, accepted).await?;
        let finished = recovery.finish(found.resumed_at, accepted)?;
        let opened = Opened {
            recovered: finished.found,
            accepted: finished.accepted,
        };
        let (log, listener) = Self::assemble(parts, wal, finished.shards, &opened.recovered);
        Ok((log, opened, listener))
    }

    /// Begins what runs beside the requests.
    async fn serve(&self) {
        for (shard, reason) in self.stopped_shards() {
            tracing::error!(shard = shard.0, %reason, "the shard does not serve; the others do");
        }
        // What cannot be set aside now is tried again by the loop.
        self.set_aside_stopped().await;
        // What the last life left unrecorded is flushed without waiting for the interval if it is much.
        self.flush_if_due();
        let tasks = &self.ambient.tasks;
        tasks.spawn("flush", self.clone().flush_loop());
        tasks.spawn("set-aside", self.clone().set_aside_loop());
        tasks.spawn("orphans", self.clone().sweep_orphans_later());
        tasks.spawn("abandoned", self.clone().give_up_loop());
        self.orphans_due.notify_one();
    }

    fn assemble(
        parts: LogParts,
        wal: Wal,
        shards: Vec<Shard>,
        recovered: &Recovered,
    ) -> (Self, Publisher) {
        let resumed_at = wal.durable_to().0;
        let shard_stopped = Arc::new(Notify::new());
        for shard in &shards {
            shard.lock().on_stop = Arc::clone(&shard_stopped);
        }
        // Some may have stopped before anybody listened.
        shard_stopped.notify_one();
        let flush_window = parts.flush_window();
        let core = Core {
            dirty: DirtyShards::new(shards.len()),
            written_due: DirtyShards::new(shards.len()),
            producer_bounds: Mutex::default(),
            flushed: AtomicU64::new(resumed_at.saturating_sub(recovered.wal_bytes)),
            unflushed_entries: AtomicU64::new(recovered.wal_records),
            in_doubt: Mutex::default(),
            shards,
            shard_stopped,
            published: AtomicU64::new(resumed_at),
            tail: TailBudget::new(parts.settings.tail_bytes),
            flush_window,
            flush_due: Notify::new(),
            flush_lock: tokio::sync::Mutex::new(()),
            settings: parts.settings,
            ambient: parts.ambient,
            cluster: parts.cluster,
            incarnation: parts.incarnation,
            wal_dir: Some(parts.wal_dir),
            journal: Journal::Wal(wal),
            shared: None,
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
        let listener = Publisher {
            log: log.clone(),
            on_failure: parts.on_wal_failure,
        };
        (log, listener)
    }
}

/// Steps 1 to 3 of [`crate::recovery`]: everything before the WAL is opened.
async fn load_recorded(
    parts: &LogParts,
    identity: &WalIdentity,
    accepted: Option<AcceptedLoss>,
) -> Result<Recovery, OpenError> {
    let may_be_older = accepted == Some(AcceptedLoss::Database);
    if !may_be_older {
        let last = Wal::last_written(&*parts.wal_io, &parts.wal_settings, identity)?;
        check_note(&*parts.store, last.note).await?;
    }
    let topics = parts.store.topics().await.map_err(RecoverError::from)?;
    let deleted: BTreeSet<TopicId> = topics.tombstones.iter().map(|topic| topic.id).collect();
    let known = topics.topics.iter().map(|topic| topic.id).collect();
    let recovery = Recovery::begin(
        &*parts.store,
        &parts.objects,
        parts.incarnation,
        parts.wal_dir,
        KnownTopics { known, deleted },
    )
    .await?;
    if !may_be_older {
        recovery.check_next_objects(&parts.objects).await?;
    }
    Ok(recovery)
}

/// Hears the WAL.
struct Publisher {
    log: Log,
    on_failure: Box<dyn Fn(&WalFailure) + Send + Sync>,
}

impl WalListener for Publisher {
    fn written(&self, up_to: WalPosition) {
        self.log.publish_written(up_to);
    }

    fn durable(&self, up_to: WalPosition) {
        self.log.publish_durable(up_to);
    }

    fn failed(&self, error: &WalFailure) {
        for shard in self.log.shards() {
            shard.lock().stop("the write-ahead log failed".to_owned());
        }
        (self.on_failure)(error);
    }
}
