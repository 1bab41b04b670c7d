//! Several brokers over one database and one object store, on one clock, in one process: real logs, groups, dispatchers and
//! memberships, and what happens when one of them dies, stands still, comes back or leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use streamhouse_broker::api::Peer;
use streamhouse_broker::dispatch::Dispatch;
use streamhouse_broker::handlers::APIS;
use streamhouse_broker::loggers::Loggers;
use streamhouse_broker::membership::history::Seen;
use streamhouse_broker::membership::{JoinError, LifeOver, Membership, MembershipParts, Rooms};
use streamhouse_broker::network::{Connections, Limits, RequestMemory};
use streamhouse_broker::partitions::{FetchLimits, Partitions};
use streamhouse_broker::producer_ids::ProducerIds;
use streamhouse_broker::reach::{Broker, Cluster, Endpoint, KnownBroker, LogDirs, Parts};
use streamhouse_broker::security::{Access, AllowAll, Principal};
use streamhouse_broker::topics::{TopicRules, Topics};
use streamhouse_config::kafka::describe_broker;
use streamhouse_config::membership::MembershipSettings;
use streamhouse_config::{Provenance, Settings};
use streamhouse_coordinator::Groups;
use streamhouse_coordinator::group::GroupSettings;
use streamhouse_coordinator::service::Shelves;
use streamhouse_log::flush::shared::SharedSettings;
use streamhouse_log::leading::SharedParts;
use streamhouse_log::{Log, LogSettings};
use streamhouse_metadata::{
    ClusterShelf, Durability, Incarnation, MemoryStore, MetadataStore, NewCluster, ShardId,
    ShardShelf, TopicCatalogue,
};
use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::{Ambient, ManualClock, Scheduler, SeededChance, Tasks};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::{FaultStore, Objects};
use tokio::sync::watch;

use crate::bench::{CLUSTER_ID, Client, OBJECTS_DIR, Wanted, settle};

pub(crate) const SHARDS: u32 = 12;
const WALL_MS: i64 = 1_700_000_000_000;

/// Stops the tasks of one broker whose names are held: a process that is stopped, or a part of it that gets nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Brake {
    held: Arc<watch::Sender<Held>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    Task(&'static str),
    Everything,
}

/// A task behind the brake.
struct Braked {
    name: &'static str,
    held: watch::Receiver<Held>,
    task: BoxFuture<'static, ()>,
    changed: Option<BoxFuture<'static, ()>>,
}

impl Future for Braked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let held = self.held.borrow_and_update().clone();
            let is_held = match held {
                Held::Nothing => false,
                Held::Task(name) => name == self.name,
                Held::Everything => true,
            };
            if !is_held {
                self.changed = None;
                return self.task.as_mut().poll(context);
            }
            let mut held = self.held.clone();
            let changed = self.changed.get_or_insert_with(|| {
                Box::pin(async move {
                    let _ = held.changed().await;
                })
            });
            if changed.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.changed = None;
        }
    }
}

impl Scheduler for Brake {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what runs the tasks here"
    )]
    fn schedule(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let held = self.held.subscribe();
        let changed = None;
        tokio::spawn(Braked {
            name,
            held,
            task,
            changed,
        });
    }
}

/// What all brokers share.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    objects: Arc<FaultStore>,
    settings: MembershipSettings,
    lives: u128,
}

/// One life of one broker.
pub(crate) struct Member {
    pub(crate) number: i32,
    pub(crate) membership: Membership,
    pub(crate) log: Log,
    pub(crate) brake: Brake,
    tasks: Tasks,
    connections: Connections,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = ManualClock::new(WALL_MS);
        let ambient = ambient(&clock, 0, Tasks::new());
        let store = MemoryStore::new(ambient.clone());
        let cluster = NewCluster {
            cluster_id: 5,
            shards: SHARDS,
            durability: Durability::Shared,
        };
        store.initialise(cluster).await.unwrap();
        let (objects, _) = FaultStore::in_memory(ambient);
        Self {
            clock,
            store,
            objects: Arc::new(objects),
            settings: MembershipSettings {
                shard_stay_min: Duration::from_secs(20),
                ..MembershipSettings::default()
            },
            lives: 0,
        }
    }

    /// Starts a broker, and lets the clock go on until it is one.
    pub(crate) async fn start(&mut self, number: i32) -> Member {
        self.try_start(number, Seen::default()).await.unwrap()
    }

    pub(crate) async fn try_start(&mut self, number: i32, seen: Seen) -> Result<Member, JoinError> {
        self.lives += 1;
        let brake = Brake {
            held: Arc::new(watch::Sender::new(Held::Nothing)),
        };
        let tasks = Tasks::on(Arc::new(brake.clone()));
        let seed = u64::try_from(self.lives).unwrap();
        let ambient = ambient(&self.clock, seed, tasks.clone());
        let incarnation = Incarnation(self.lives);
        let own = known(number);
        let joining = Membership::join(MembershipParts {
            ambient: ambient.clone(),
            store: Arc::new(self.store.clone()),
            broker: own,
            incarnation,
            settings: self.settings.clone(),
            seen,
        });
        let membership = self.turning(joining).await?;
        let (log, connections) = self.serve(&membership, number, incarnation, &ambient).await;
        Ok(Member {
            number,
            membership,
            log,
            brake,
            tasks,
            connections,
        })
    }

    async fn serve(
        &self,
        membership: &Membership,
        number: i32,
        incarnation: Incarnation,
        ambient: &Ambient,
    ) -> (Log, Connections) {
        let store: Arc<dyn MetadataStore> = Arc::new(self.store.clone());
        let objects = Objects::new(Arc::clone(&self.objects) as _, ambient.clone());
        let cache = BlockCache::new(
            objects.clone(),
            ambient.clone(),
            BlockCacheSettings::default(),
        );
        let log = Log::open_shared(SharedParts {
            ambient: ambient.clone(),
            store: Arc::clone(&store),
            objects,
            cache,
            cluster: 5,
            incarnation,
            settings: LogSettings {
                flush_interval: Duration::from_millis(20),
                ..LogSettings::default()
            },
            shared: SharedSettings::default(),
        });
        let log = log.await.unwrap();
        let shelves = Shelves {
            groups: Arc::new(self.store.clone()),
        };
        let group_settings = GroupSettings {
            initial_rebalance_delay: Duration::ZERO,
            busy_write_interval: Duration::ZERO,
            ..GroupSettings::default()
        };
        let groups = Groups::start(shelves, ambient.clone(), group_settings, SHARDS);
        let catalogue = Arc::new(TopicCatalogue::load(&self.store).await.unwrap());
        membership
            .lead(Rooms {
                log: log.clone(),
                groups: groups.clone(),
                catalogue: Arc::clone(&catalogue),
            })
            .await;
        let parts = parts(
            membership,
            BrokerId(number),
            &store,
            ambient,
            (&log, groups, catalogue),
        );
        let dispatch = Dispatch::new(
            Arc::new(Broker::new(parts)),
            Arc::clone(&ambient.clock),
            membership.lease(),
            APIS,
        );
        let connections = Connections {
            service: Arc::new(dispatch),
            ambient: ambient.clone(),
            limits: Limits::default(),
            memory: RequestMemory::new(1 << 22, 1 << 22, 1 << 22),
        };
        (log, connections)
    }

    /// Runs `work` to its end while the clock turns.
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

    /// Lets time pass, slowly enough for everybody to do what is due.
    pub(crate) async fn pass(&self, by: Duration) {
        let step = Duration::from_millis(10);
        let mut left = by;
        while !left.is_zero() {
            settle().await;
            self.clock.advance(step.min(left));
            left = left.saturating_sub(step);
        }
        settle().await;
    }

    /// How long it takes until `is_so`, at most a minute.
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) -> Duration {
        let mut passed = Duration::ZERO;
        while !is_so() {
            assert!(passed < Duration::from_secs(60), "it never comes to that");
            let step = Duration::from_millis(10);
            self.pass(step).await;
            passed += step;
        }
        passed
    }

    /// Who leads each shard, by the database: the number of the life, and its epoch.
    pub(crate) async fn holders(&self) -> BTreeMap<ShardId, (u128, i32)> {
        let rows = self.store.shards().await.unwrap();
        let holder = |life: Option<Incarnation>| life.map_or(0, |life| life.0);
        rows.iter()
            .map(|row| (row.shard, (holder(row.incarnation), row.epoch.0)))
            .collect()
    }
}

impl Member {
    /// The shards that it leads by its own account.
    pub(crate) fn led(&self) -> BTreeSet<ShardId> {
        self.log.led().into_iter().map(|(shard, _)| shard).collect()
    }

    /// How many shards others, or it itself, are told to look for at `number`.
    pub(crate) fn shows(&self, number: i32) -> usize {
        let leaders = self.membership.leaders().current();
        leaders
            .values()
            .filter(|leader| leader.broker.0 == number)
            .count()
    }

    /// The process stands still, with everything that it was about to do.
    pub(crate) fn freeze(&self) {
        self.brake.held.send_replace(Held::Everything);
    }

    /// Its heartbeats get nowhere.
    pub(crate) fn hold_heartbeats(&self) {
        self.brake.held.send_replace(Held::Task("heartbeat"));
    }

    pub(crate) fn thaw(&self) {
        self.brake.held.send_replace(Held::Nothing);
    }

    pub(crate) fn is_over(&self) -> Option<LifeOver> {
        use futures::FutureExt;
        self.membership.over().now_or_never()
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_to("PLAINTEXT")
    }

    pub(crate) fn connect_to(&self, listener: &str) -> Client {
        let (stream, served) = tokio::io::duplex(256 * 1024);
        let peer = Arc::new(Peer {
            connection: 1,
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
            listener: listener.into(),
            principal: Principal::anonymous(),
            fetch_reader: Arc::default(),
        });
        let connections = self.connections.clone();
        Client::of(stream, &self.tasks, async move {
            connections.serve(served, peer).await
        })
    }
}

fn ambient(clock: &ManualClock, seed: u64, tasks: Tasks) -> Ambient {
    Ambient {
        clock: Arc::new(clock.clone()),
        chance: Arc::new(SeededChance::new(seed)),
        tasks,
    }
}

/// A broker with two listeners.
fn known(number: i32) -> KnownBroker {
    let endpoint = |port: u16| Endpoint {
        host: format!("broker-{number}.test"),
        port,
    };
    KnownBroker {
        broker: BrokerId(number),
        rack: Some(format!("zone-{number}").as_str().into()),
        endpoints: BTreeMap::from([
            ("PLAINTEXT".into(), endpoint(9092)),
            ("INSIDE".into(), endpoint(9093)),
        ]),
    }
}

fn parts(
    membership: &Membership,
    broker: BrokerId,
    store: &Arc<dyn MetadataStore>,
    ambient: &Ambient,
    (log, groups, catalogue): (&Log, Groups, Arc<TopicCatalogue>),
) -> Parts {
    let cluster = Cluster {
        cluster_id: CLUSTER_ID.into(),
        broker,
        brokers: membership.brokers(),
        log_dirs: LogDirs {
            wal: None,
            objects: OBJECTS_DIR.into(),
        },
        access: Access::new(Arc::new(AllowAll)),
    };
    let topics = Topics::new(
        Arc::clone(store),
        Arc::clone(&catalogue),
        ambient.clone(),
        TopicRules {
            broker,
            ..Wanted::default().rules
        },
        membership.brokers(),
        SHARDS,
    );
    let fetch = FetchLimits {
        bytes_max: 1 << 20,
        wait_max: Duration::from_secs(60),
        memory_bytes: 8 << 20,
    };
    let clock = Arc::clone(&ambient.clock);
    let reached = (cluster.clone(), membership.leaders());
    let partitions = Partitions::new(log.clone(), topics.clone(), reached, clock, fetch);
    Parts {
        cluster,
        topics,
        catalogue,
        leaders: membership.leaders(),
        settings: describe_broker(&Settings::default(), &Provenance::default()).into(),
        loggers: Loggers::new("info", |_| Ok(())),
        producer_ids: Arc::new(ProducerIds::new(Arc::clone(store))),
        groups,
        partitions,
    }
}
