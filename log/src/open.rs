//! Opening a log: recovery, then the WAL's thread and the flusher.

use std::collections::{BTreeSet, HashMap};
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

use crate::recovery::{KnownTopics, RecoverError, Recovered, Recovery};
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

impl Log {
    /// Takes the grants of all shards, recovers their state, and starts the WAL and the flusher. When it returns, the log
    /// serves.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(parts: LogParts) -> Result<(Self, Recovered), OpenError> {
        let (log, recovered, listener) = Self::recover(parts).await?;
        log.wal()
            .start(Arc::new(listener))
            .map_err(OpenError::Thread)?;
        log.serve();
        Ok((log, recovered))
    }

    /// As [`Log::open`], but the WAL has no threads: whoever holds the [`WalDriver`] does their work, turn by turn.
    ///
    /// # Errors
    /// See [`OpenError`].
    #[cfg(feature = "test-support")]
    pub async fn open_driven(parts: LogParts) -> Result<(Self, Recovered, WalDriver), OpenError> {
        let (log, recovered, listener) = Self::recover(parts).await?;
        log.serve();
        Ok((log, recovered, WalDriver { listener }))
    }

    async fn recover(parts: LogParts) -> Result<(Self, Recovered, Publisher), OpenError> {
        let topics = parts.store.topics().await.map_err(RecoverError::from)?;
        let deleted: BTreeSet<TopicId> = topics.tombstones.iter().map(|topic| topic.id).collect();
        let known = topics.topics.iter().map(|topic| topic.id).collect();
        let mut recovery = Recovery::begin(
            &*parts.store,
            &parts.objects,
            parts.incarnation,
            parts.wal_dir,
            KnownTopics { known, deleted },
        )
        .await?;
        let identity = WalIdentity {
            cluster: parts.cluster,
            dir: parts.wal_dir,
            incarnation: parts.incarnation.0,
        };
        let (wal, found) = Wal::open(
            Arc::clone(&parts.wal_io),
            parts.wal_settings.clone(),
            identity,
            parts.ambient.clone(),
            &mut |replayed| recovery.replay(replayed),
        )?;
        let (shards, recovered) = recovery.finish(found.resumed_at)?;
        let core = Core {
            dirty: DirtyShards::new(shards.len()),
            written_due: DirtyShards::new(shards.len()),
            producer_bounds: Mutex::default(),
            flushed: AtomicU64::new(found.resumed_at.0.saturating_sub(recovered.wal_bytes)),
            unflushed_entries: AtomicU64::new(recovered.wal_records),
            in_doubt: Mutex::default(),
            shards,
            published: AtomicU64::new(found.resumed_at.0),
            tail: TailBudget::new(parts.settings.tail_bytes),
            flush_due: Notify::new(),
            flush_lock: tokio::sync::Mutex::new(()),
            settings: parts.settings,
            ambient: parts.ambient,
            cluster: parts.cluster,
            incarnation: parts.incarnation,
            wal_dir: parts.wal_dir,
            wal,
            objects: parts.objects,
            cache: parts.cache,
            store: parts.store,
            object_seq: AtomicU64::new(1),
            object_sizes: Mutex::new(HashMap::new()),
        };
        let log = Self {
            core: Arc::new(core),
        };
        let listener = Publisher {
            log: log.clone(),
            on_failure: parts.on_wal_failure,
        };
        Ok((log, recovered, listener))
    }

    /// What the last life left unrecorded is flushed without waiting for the interval if it is much.
    fn serve(&self) {
        self.flush_if_due();
        let flusher = self.clone();
        self.ambient.tasks.spawn("flush", flusher.flush_loop());
    }
}

/// Does the work of the WAL's threads when it is told to.
#[cfg(feature = "test-support")]
pub struct WalDriver {
    listener: Publisher,
}

#[cfg(feature = "test-support")]
impl fmt::Debug for WalDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalDriver").finish_non_exhaustive()
    }
}

#[cfg(feature = "test-support")]
impl WalDriver {
    /// What the WAL's thread does in one go: writes and syncs one group, and publishes it.
    pub fn turn(&self) -> streamhouse_storage::wal::Turn {
        self.listener.log.wal().turn(&self.listener)
    }

    /// One piece of the upkeep thread's work; false if there is none now.
    pub fn upkeep(&self) -> bool {
        self.listener.log.wal().upkeep()
    }
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
