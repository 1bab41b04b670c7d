//! A broker and its clients.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_broker::api::Peer;
use streamhouse_broker::background::Background;
use streamhouse_broker::dispatch::Dispatch;
use streamhouse_broker::handlers::APIS;
use streamhouse_broker::loggers::Loggers;
use streamhouse_broker::membership::lease::Lease;
use streamhouse_broker::network::{CloseReason, Connections, Limits, RequestMemory};
use streamhouse_broker::ops::{ConsumerLag, Watched};
use streamhouse_broker::partitions::{FetchLimits, Partitions};
use streamhouse_broker::producer_ids::ProducerIds;
use streamhouse_broker::reach::{
    Broker, Brokers, Cluster, Endpoint, KnownBroker, LogDirs, Parts, ShardLeader, ShardLeaders,
};
use streamhouse_broker::running_settings::RunningSettings;
use streamhouse_broker::security::{Access, AllowAll, Authorizer, Principal};
use streamhouse_broker::topics::{TopicRules, Topics};
use streamhouse_config::kafka::describe_broker;
use streamhouse_config::{Provenance, Settings, TopicDefaults};
use streamhouse_coordinator::Groups;
use streamhouse_coordinator::group::GroupSettings;
use streamhouse_coordinator::service::{Grant, Shelves};
use streamhouse_log::open::LogParts;
use streamhouse_log::{Log, LogSettings};
use streamhouse_metadata::{
    ClusterShelf, Durability, Incarnation, MemoryStore, MetadataStore, NewCluster, ShardId,
    TopicCatalogue,
};
use streamhouse_protocol::Request;
use streamhouse_protocol::ids::BrokerId;
use streamhouse_protocol::request::encode_request;
use streamhouse_protocol::response::decode_response;
use streamhouse_runtime::{
    Ambient, Clock, ManualClock, SeededChance, SystemClock, Tasks, deadline,
};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::{FaultStore, Faults, Objects};
use streamhouse_storage::wal::WalSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::slow_disk::SlowDisk;

pub(crate) const BROKER: i32 = 7;
pub(crate) const CLUSTER_ID: &str = "c3RyZWFtaG91c2UtdGVzdA";
/// Where the broker says that its records lie.
pub(crate) const WAL_DIR: &str = "/data/wal";
pub(crate) const OBJECTS_DIR: &str = "/data/objects";
const SHARDS: u32 = 4;

/// After this long without an answer a test has failed; it bounds nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test wants to be otherwise.
pub(crate) struct Wanted {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) rules: TopicRules,
    pub(crate) limits: Limits,
    pub(crate) log: LogSettings,
    /// Memory of answers whose records are not in the hot tail, in bytes.
    pub(crate) fetch_memory: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            authorizer: Arc::new(AllowAll),
            rules: TopicRules {
                num_partitions: 3,
                auto_create: true,
                may_delete: true,
                defaults: TopicDefaults::default(),
                broker: BrokerId(BROKER),
            },
            limits: Limits::default(),
            log: LogSettings::default(),
            fetch_memory: 8 << 20,
        }
    }
}

/// A running broker.
pub(crate) struct Bench {
    pub(crate) clock: ManualClock,
    pub(crate) tasks: Tasks,
    pub(crate) connections: Connections,
    pub(crate) store: MemoryStore,
    pub(crate) leaders: Arc<ShardLeaders>,
    pub(crate) log: Log,
    /// What its metrics are read from.
    pub(crate) watched: Watched,
    /// How far its groups are.
    pub(crate) lag: ConsumerLag,
    /// How requests to the object store fail.
    pub(crate) faults: Faults,
    /// Where the WAL lies.
    pub(crate) disk: SlowDisk,
    partitions: Partitions,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Wanted::default()).await
    }

    pub(crate) async fn with(wanted: Wanted) -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        let tasks = Tasks::new();
        let ambient = Ambient {
            clock: Arc::new(clock.clone()),
            chance: Arc::new(SeededChance::new(11)),
            tasks: tasks.clone(),
        };
        let store = MemoryStore::new(ambient.clone());
        let leaders = Arc::new(ShardLeaders::default());
        let shared = Arc::new(store.clone());
        let disk = SlowDisk::default();
        let (watched, faults) = stored(&shared, &ambient, &disk, wanted.log).await;
        let log = watched.log.clone();
        let groups = lead_all(&store, &ambient, &log, &leaders).await;
        let catalogue = Arc::new(TopicCatalogue::load(&store).await.unwrap());
        let cluster = cluster(wanted.authorizer);
        let topics = Topics::new(
            Arc::clone(&shared) as Arc<dyn MetadataStore>,
            Arc::clone(&catalogue),
            ambient.clone(),
            wanted.rules,
            Arc::clone(&cluster.brokers),
            SHARDS,
        );
        let fetch = fetch_limits(wanted.fetch_memory);
        let clock_of_partitions = Arc::clone(&ambient.clock);
        let partitions = Partitions::new(
            log.clone(),
            topics.clone(),
            (cluster.clone(), Arc::clone(&leaders)),
            clock_of_partitions,
            fetch,
        );
        let lag = lag(&groups, &catalogue, &log);
        let settings = describe_broker(&Settings::default(), &Provenance::default());
        let broker = Broker::new(Parts {
            cluster,
            topics,
            catalogue,
            leaders: Arc::clone(&leaders),
            settings: settings.into(),
            loggers: Loggers::new("info", |_| Ok(())),
            producer_ids: Arc::new(ProducerIds::new(shared)),
            groups,
            partitions: partitions.clone(),
        });
        let lease = Lease::for_ever(Arc::clone(&ambient.clock));
        let dispatch = Dispatch::new(Arc::new(broker), Arc::clone(&ambient.clock), lease, APIS);
        let connections = Connections {
            service: Arc::new(dispatch),
            ambient,
            limits: wanted.limits,
            memory: RequestMemory::new(1 << 22, 1 << 22, 1 << 22),
        };
        Self {
            clock,
            tasks,
            connections,
            store,
            leaders,
            log,
            watched,
            lag,
            faults,
            disk,
            partitions,
        }
    }

    /// Starts what a broker does without being asked.
    pub(crate) fn work_in_background(&self) {
        let ambient = self.connections.ambient.clone();
        let topics = self.partitions.topics.clone();
        let settings = RunningSettings::new(Settings::default(), topics);
        Background::new(self.partitions.clone(), ambient, settings).start();
    }

    /// Runs `work` to its end while the clock turns: retries and pauses pass.
    pub(crate) async fn turning<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = async {
            loop {
                settle().await;
                self.clock.advance(Duration::from_millis(10));
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = turn => unreachable!("the clock turns for ever"),
        }
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> Client {
        let (stream, served) = tokio::io::duplex(256 * 1024);
        let peer = Arc::new(Peer {
            connection: 1,
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
            listener: "PLAINTEXT".into(),
            principal: Principal::anonymous(),
            fetch_reader: Arc::default(),
        });
        let connections = self.connections.clone();
        let serving = async move { connections.serve(served, peer).await };
        Client::of(stream, &self.tasks, serving)
    }
}

/// Lets every task run until all of them wait.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn fetch_limits(memory_bytes: usize) -> FetchLimits {
    FetchLimits {
        bytes_max: 1 << 20,
        wait_max: Duration::from_secs(60),
        memory_bytes,
    }
}

fn lag(groups: &Groups, catalogue: &Arc<TopicCatalogue>, log: &Log) -> ConsumerLag {
    ConsumerLag {
        groups: groups.clone(),
        catalogue: Arc::clone(catalogue),
        log: log.clone(),
    }
}

fn cluster(authorizer: Arc<dyn Authorizer>) -> Cluster {
    let endpoint = Endpoint {
        host: "broker.test".to_owned(),
        port: 9092,
    };
    let own = KnownBroker {
        broker: BrokerId(BROKER),
        rack: Some("zone-a".into()),
        endpoints: BTreeMap::from([("PLAINTEXT".into(), endpoint)]),
    };
    Cluster {
        cluster_id: CLUSTER_ID.into(),
        broker: BrokerId(BROKER),
        brokers: Arc::new(Brokers::alone(own)),
        log_dirs: LogDirs {
            wal: Some(WAL_DIR.into()),
            objects: OBJECTS_DIR.into(),
        },
        access: Access::new(authorizer),
    }
}

/// A log over objects in memory, with what its metrics are read from, and how requests for objects fail.
async fn stored(
    store: &Arc<MemoryStore>,
    ambient: &Ambient,
    disk: &SlowDisk,
    settings: LogSettings,
) -> (Watched, Faults) {
    let (inner, faults) = FaultStore::in_memory(ambient.clone());
    let objects = Objects::new(Arc::new(inner), ambient.clone());
    let cache_settings = BlockCacheSettings::default();
    let cache = BlockCache::new(objects.clone(), ambient.clone(), cache_settings);
    let log = open_log(store, ambient, (&objects, &cache), (disk, settings)).await;
    let watched = Watched {
        log,
        objects,
        cache,
        membership: None,
    };
    (watched, faults)
}

/// Creates a cluster and opens the log of all of its shards, with every disk in memory.
async fn open_log(
    store: &Arc<MemoryStore>,
    ambient: &Ambient,
    (objects, cache): (&Objects, &BlockCache),
    (disk, settings): (&SlowDisk, LogSettings),
) -> Log {
    let cluster = NewCluster {
        cluster_id: 5,
        shards: SHARDS,
        durability: Durability::Local,
    };
    store.initialise(cluster).await.unwrap();
    let file_bytes = 1 << 20;
    let parts = LogParts {
        cache: cache.clone(),
        objects: objects.clone(),
        store: Arc::clone(store) as Arc<dyn MetadataStore>,
        wal_io: Arc::new(disk.clone()),
        wal_settings: WalSettings {
            file_bytes,
            cap_bytes: 16 << 20,
            ..WalSettings::new("wal")
        },
        cluster: 5,
        wal_dir: 1,
        incarnation: Incarnation(99),
        settings,
        on_wal_failure: Box::new(|failure| panic!("{failure}")),
        ambient: ambient.clone(),
    };
    Log::open(parts).await.unwrap().0
}

/// Loads the groups of all shards and says who leads them.
async fn lead_all(
    store: &MemoryStore,
    ambient: &Ambient,
    log: &Log,
    leaders: &ShardLeaders,
) -> Groups {
    let shelves = Shelves {
        groups: Arc::new(store.clone()),
    };
    let settings = GroupSettings {
        initial_rebalance_delay: Duration::ZERO,
        busy_write_interval: Duration::ZERO,
        ..GroupSettings::default()
    };
    let groups = Groups::start(shelves, ambient.clone(), settings, SHARDS);
    let mut known = BTreeMap::new();
    for shard in (0..SHARDS).map(ShardId) {
        let (epoch, incarnation) = log.grant(shard).unwrap();
        groups
            .load(Grant {
                shard,
                epoch,
                incarnation,
            })
            .await
            .unwrap();
        known.insert(
            shard,
            ShardLeader {
                broker: BrokerId(BROKER),
                epoch,
            },
        );
    }
    leaders.replace(known);
    groups
}

/// One connection of a client.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    pub(crate) serving: streamhouse_runtime::Running<()>,
    ended: tokio::sync::oneshot::Receiver<CloseReason>,
    next_correlation_id: i32,
}

impl Client {
    /// A client at one end of a stream, while the broker is `serving` the other one.
    pub(crate) fn of(
        stream: DuplexStream,
        tasks: &Tasks,
        serving: impl Future<Output = CloseReason> + Send + 'static,
    ) -> Self {
        let (told, ended) = tokio::sync::oneshot::channel();
        let serving = tasks.spawn("connection", async move {
            // The test may have stopped listening.
            let _ = told.send(serving.await);
        });
        Self {
            stream,
            serving,
            ended,
            next_correlation_id: 100,
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation_id = self.send(version, request).await;
        self.answer::<R>(version, correlation_id).await
    }

    /// Sends a request and returns its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.next_correlation_id += 1;
        let frame = encode_request(self.next_correlation_id, "it", version, request).unwrap();
        self.stream.write_all(&frame).await.unwrap();
        self.next_correlation_id
    }

    /// Waits for the answer to a request that was sent.
    pub(crate) async fn answer<R: Request>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> R::Response {
        let frame = self.frame().await.expect("the connection is open");
        let (answered, response) = decode_response::<R>(version, frame).unwrap();
        assert_eq!(answered, correlation_id);
        response
    }

    /// The next frame; none if the connection is closed.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let clock = SystemClock::new();
        let patience = clock.monotonic() + PATIENCE;
        let frame = deadline(&clock, patience, self.read_frame()).await;
        frame.expect("an answer, or the end of the connection")
    }

    async fn read_frame(&mut self) -> Option<Bytes> {
        let size = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    /// Why the connection was closed.
    pub(crate) async fn closed(self) -> CloseReason {
        self.ended.await.unwrap()
    }
}
