//! Assembly: the only file that chooses which store, which log and which network a broker is made of.
//!
//! Order: lock the data folder, bind the ports (a taken one is told before anything else happens), open the database,
//! the objects and the log (recovery), load the groups, and only then accept connections. Backwards at the end: stop
//! accepting, answer what was accepted, let the tasks end, close the WAL, close the database.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::{Loaded, Settings};
use streamhouse_coordinator::Groups;
use streamhouse_coordinator::service::{Grant, Shelves};
use streamhouse_log::append::producers::ProducerBounds;
use streamhouse_log::open::LogParts;
use streamhouse_log::recovery::Recovered;
use streamhouse_log::{Log, LogSettings};
use streamhouse_metadata::sqlite::SqliteStore;
use streamhouse_metadata::{
    Durability, Incarnation, MetadataStore, NewCluster, ShardId, TopicCatalogue,
};
use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::Ambient;
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::Objects;
use streamhouse_storage::wal::{EXIT_WAL_FAILED, SystemIo, WalFailure, WalSettings};
use tokio::signal::unix::{SignalKind, signal};

use crate::background::Background;
use crate::data_dir::DataDir;
use crate::dispatch::Dispatch;
use crate::handlers::APIS;
use crate::network::{ConnectionQuota, Connections, Limits, Listener, RequestMemory};
use crate::ops::{Metrics, Ops, Watched};
use crate::partitions::{FetchLimits, Partitions};
use crate::producer_ids::ProducerIds;
use crate::reach::{Broker, Cluster, LogDirs, Parts, ShardLeader, ShardLeaders};
use crate::security::{Access, AllowAll};
use crate::topics::{TopicRules, Topics};

mod accept_loss;
mod listen;
mod start_error;
mod wal_loss;

pub use accept_loss::{AcceptError, accept_loss};
use listen::{advertised, bind_listeners, bind_ops};
pub use start_error::StartError;
pub use wal_loss::{FoundDamage, accept_wal_damage, command as accept_loss_command, wal_damage};

/// The longest that a fetch waits, whatever the client asks for.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(300);

/// The folders of the WAL and of the objects below the data folder.
const WAL_FOLDER: &str = "wal";
const OBJECTS_FOLDER: &str = "objects";

/// How the broker was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `streamhouse dev`.
    Dev,
    /// `streamhouse serve`.
    Serve,
}

/// What a started broker tells.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where clients connect, with the ports that were picked.
    pub addresses: Vec<SocketAddr>,
    /// Where metrics and health are served.
    pub metrics_address: Option<SocketAddr>,
    /// Where data is kept.
    pub data_dir: PathBuf,
    /// What was recovered.
    pub recovered: Recovered,
    /// How long the start took.
    pub took: Duration,
}

/// Runs a broker until SIGINT or SIGTERM, or until a task of it fails. `announce` is called once, when clients are
/// served.
///
/// # Errors
/// See [`StartError`].
pub async fn serve(
    loaded: Loaded,
    mode: Mode,
    announce: &mut (dyn FnMut(&Ready) + Send),
) -> Result<(), StartError> {
    let ambient = Ambient::system();
    // Heard from the first moment on, so that a stop during the start is a graceful one too.
    let stop = stop_signal().map_err(StartError::Signals)?;
    let metrics = Metrics::install();
    let (running, ready) = start(&loaded, mode, ambient.clone(), metrics).await?;
    announce(&ready);
    tokio::select! {
        name = stop => tracing::info!(signal = name, "stopping: answering what was accepted"),
        () = ambient.tasks.shutdown_requested() => {}
    }
    running.stop().await;
    if ambient.tasks.has_failed() {
        Err(StartError::TaskFailed)
    } else {
        Ok(())
    }
}

fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// A broker that serves.
#[derive(Debug)]
struct Running {
    ambient: Ambient,
    ops: Ops,
    log: Log,
    store: Arc<dyn MetadataStore>,
    _data_dir: DataDir,
}

impl Running {
    async fn stop(self) {
        self.ops.set_ready(false);
        self.ambient.tasks.shut_down();
        self.ambient.tasks.finished().await;
        let log = self.log.clone();
        if self
            .ambient
            .tasks
            .blocking(move || log.close())
            .await
            .is_err()
        {
            tracing::error!(
                "closing the WAL failed; unrecorded records are replayed on the next start"
            );
        }
        self.store.close().await;
    }
}

async fn start(
    loaded: &Loaded,
    mode: Mode,
    ambient: Ambient,
    metrics: Option<Metrics>,
) -> Result<(Running, Ready), StartError> {
    let began = ambient.clock.monotonic();
    let settings = &loaded.settings;
    let path = &settings.storage.data_dir;
    let mut data_dir = DataDir::open(
        path,
        settings.broker.cluster_id.as_deref(),
        &*ambient.chance,
    )?;
    let listeners = bind_listeners(settings)?;
    let ops_socket = bind_ops(settings, mode).await?;
    let stores = Stores::open(settings, &data_dir, &ambient).await?;
    let (log, recovered) = open_log(settings, &data_dir, &ambient, &stores).await?;
    data_dir.complete()?;
    let watched = Watched {
        log: log.clone(),
        objects: stores.objects.clone(),
        cache: stores.cache.clone(),
    };
    let ops = Ops::new(metrics, watched, ambient.clone());
    let parts = parts(loaded, &data_dir, &ambient, &stores, &log, &listeners).await?;
    Background::new(parts.partitions.clone(), ambient.clone(), &settings.log).start();
    let addresses = accept(settings, &ambient, parts, listeners);
    ambient.tasks.spawn("metrics-upkeep", ops.clone().upkeep());
    let metrics_address = ops_socket.as_ref().map(|(_, address)| *address);
    if let Some((socket, _)) = ops_socket {
        ambient.tasks.spawn("ops", ops.clone().serve(socket));
    }
    ops.set_ready(true);
    let ready = Ready {
        addresses,
        metrics_address,
        data_dir: data_dir.path.clone(),
        recovered,
        took: ambient.clock.monotonic() - began,
    };
    let running = Running {
        ambient,
        ops,
        log,
        store: stores.metadata,
        _data_dir: data_dir,
    };
    Ok((running, ready))
}

/// The durable parts of a broker.
struct Stores {
    metadata: Arc<dyn MetadataStore>,
    objects: Objects,
    cache: BlockCache,
    cluster: u128,
    shards: u32,
}

impl Stores {
    async fn open(
        settings: &Settings,
        data_dir: &DataDir,
        ambient: &Ambient,
    ) -> Result<Self, StartError> {
        let metadata = SqliteStore::open(&data_dir.path.join("metadata.db"), ambient.clone())?;
        let metadata: Arc<dyn MetadataStore> = Arc::new(metadata);
        let wanted = u32::from(settings.metadata.shards);
        let cluster = NewCluster {
            cluster_id: ambient.chance.next_u128(),
            shards: wanted,
            durability: Durability::Local,
        };
        let cluster = metadata.initialise(cluster).await?;
        if cluster.shards != wanted {
            return Err(StartError::Shards {
                wanted,
                found: cluster.shards,
            });
        }
        let objects = Objects::open_folder(&data_dir.path.join(OBJECTS_FOLDER), ambient.clone())?;
        let cache_settings = BlockCacheSettings {
            capacity_bytes: settings.storage.block_cache_bytes.bytes(),
            ..BlockCacheSettings::default()
        };
        Ok(Self {
            metadata,
            cache: BlockCache::new(objects.clone(), ambient.clone(), cache_settings),
            objects,
            cluster: cluster.cluster_id,
            shards: cluster.shards,
        })
    }
}

async fn open_log(
    settings: &Settings,
    data_dir: &DataDir,
    ambient: &Ambient,
    stores: &Stores,
) -> Result<(Log, Recovered), StartError> {
    let parts = log_parts(settings, data_dir, ambient, stores)?;
    let parts = wal_loss::with_accepted(parts, data_dir).await?;
    let opened = Log::open(parts).await;
    let (log, recovered) = opened.map_err(|error| StartError::of_log(error, &data_dir.path))?;
    log.bound_producers(ProducerBounds {
        per_partition: settings.log.producers_per_partition_max as usize,
        per_shard: settings.log.producers_per_shard_max as usize,
    });
    Ok((log, recovered))
}

fn log_parts(
    settings: &Settings,
    data_dir: &DataDir,
    ambient: &Ambient,
    stores: &Stores,
) -> Result<LogParts, StartError> {
    let path = data_dir.path.join(WAL_FOLDER);
    let wal_io = SystemIo::open(&path).map_err(|source| StartError::WalDir {
        path: path.clone(),
        source,
    })?;
    let wal = &settings.wal;
    let wal_settings = WalSettings {
        file_bytes: wal.file_bytes.bytes(),
        cap_bytes: wal.max_bytes.bytes(),
        entries_max: u64::from(wal.max_entries),
        pool_files: wal.pool_files as usize,
        group_bytes_max: wal.group_bytes.as_usize(),
        seal_after: wal.seal_after,
        ..WalSettings::new(path)
    };
    let log = &settings.log;
    Ok(LogParts {
        ambient: ambient.clone(),
        store: Arc::clone(&stores.metadata),
        objects: stores.objects.clone(),
        cache: stores.cache.clone(),
        wal_io: Arc::new(wal_io),
        wal_settings,
        cluster: stores.cluster,
        wal_dir: data_dir.wal_dir,
        incarnation: Incarnation(ambient.chance.next_u128()),
        settings: LogSettings {
            tail_bytes: log.hot_tail_bytes.as_usize(),
            flush_bytes: log.flush_bytes.bytes(),
            flush_interval: log.flush_interval,
            checkpoint_manifests: u64::from(log.checkpoint_manifests),
            checkpoint_bytes: log.checkpoint_bytes.bytes(),
            object_grace: settings.storage.object_grace,
        },
        on_wal_failure: Box::new(end_process),
    })
}

/// After a failed write or fsync of the WAL nothing may be acknowledged any more, and no second try may be believed:
/// only a new process, which reads the disk again, knows what is durable.
fn end_process(failure: &WalFailure) {
    tracing::error!(%failure, "the write-ahead log failed; the broker ends, and what was not acknowledged may be lost");
    std::process::exit(EXIT_WAL_FAILED);
}

async fn parts(
    loaded: &Loaded,
    data_dir: &DataDir,
    ambient: &Ambient,
    stores: &Stores,
    log: &Log,
    listeners: &[Listener],
) -> Result<Parts, StartError> {
    let settings = &loaded.settings;
    let broker = BrokerId(settings.broker.node_id);
    let catalogue = Arc::new(TopicCatalogue::load(&*stores.metadata).await?);
    let cluster = Cluster {
        cluster_id: data_dir.cluster_id.as_str().into(),
        broker,
        rack: settings.broker.rack.as_deref().map(Arc::from),
        advertised: Arc::new(advertised(settings, listeners)),
        log_dirs: log_dirs(data_dir),
        access: Access::new(Arc::new(AllowAll)),
    };
    let rules = TopicRules {
        num_partitions: settings.broker.num_partitions.unsigned_abs(),
        auto_create: settings.broker.auto_create_topics_enable,
        may_delete: settings.broker.delete_topic_enable,
        defaults: settings.topic_defaults.clone(),
    };
    let store = Arc::clone(&stores.metadata);
    let topics = Topics::new(
        store,
        Arc::clone(&catalogue),
        ambient.clone(),
        rules,
        broker,
        stores.shards,
    );
    let fetch = FetchLimits {
        bytes_max: settings.broker.fetch_max_bytes.as_usize(),
        wait_max: FETCH_WAIT_MAX,
        memory_bytes: settings.listener.fetch_memory.as_usize(),
    };
    let clock = Arc::clone(&ambient.clock);
    let partitions = Partitions::new(log.clone(), topics.clone(), cluster.clone(), clock, fetch);
    Ok(Parts {
        groups: load_groups(settings, ambient, stores, log).await?,
        leaders: leaders(log, broker, stores.shards),
        settings: streamhouse_config::kafka::describe_broker(settings, &loaded.provenance).into(),
        producer_ids: Arc::new(ProducerIds::new(Arc::clone(&stores.metadata))),
        cluster,
        topics,
        catalogue,
        partitions,
    })
}

/// The places of records by their full paths, as Kafka names its log dirs.
fn log_dirs(data_dir: &DataDir) -> LogDirs {
    let folder = std::path::absolute(&data_dir.path).unwrap_or_else(|_| data_dir.path.clone());
    let name = |place: &str| folder.join(place).to_string_lossy().as_ref().into();
    LogDirs {
        wal: name(WAL_FOLDER),
        objects: name(OBJECTS_FOLDER),
    }
}

async fn load_groups(
    settings: &Settings,
    ambient: &Ambient,
    stores: &Stores,
    log: &Log,
) -> Result<Groups, StartError> {
    let shelves = Shelves {
        groups: Arc::clone(&stores.metadata) as _,
    };
    let groups = Groups::start(
        shelves,
        ambient.clone(),
        (&settings.coordinator).into(),
        stores.shards,
    );
    for shard in (0..stores.shards).map(ShardId) {
        if let Ok((epoch, incarnation)) = log.grant(shard) {
            groups
                .load(Grant {
                    shard,
                    epoch,
                    incarnation,
                })
                .await?;
        }
    }
    Ok(groups)
}

/// This broker leads every shard that its log has.
fn leaders(log: &Log, broker: BrokerId, shards: u32) -> Arc<ShardLeaders> {
    let grants = (0..shards).map(ShardId).filter_map(|shard| {
        let (epoch, _) = log.grant(shard).ok()?;
        Some((shard, ShardLeader { broker, epoch }))
    });
    let leaders = ShardLeaders::default();
    leaders.replace(grants.collect());
    Arc::new(leaders)
}

fn accept(
    settings: &Settings,
    ambient: &Ambient,
    parts: Parts,
    listeners: Vec<Listener>,
) -> Vec<SocketAddr> {
    let limits = Limits::new(&settings.listener, settings.broker.shutdown_timeout);
    let dispatch = Dispatch::new(
        Arc::new(Broker::new(parts)),
        Arc::clone(&ambient.clock),
        APIS,
    );
    let connections = Connections {
        service: Arc::new(dispatch),
        ambient: ambient.clone(),
        limits,
        memory: RequestMemory::of(&settings.listener),
    };
    let quota = ConnectionQuota::new(Arc::clone(&ambient.clock), limits);
    let addresses = listeners.iter().map(Listener::address).collect();
    for listener in listeners {
        ambient
            .tasks
            .spawn("listener", listener.run(connections.clone(), quota.clone()));
    }
    addresses
}
