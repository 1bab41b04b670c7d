//! What handlers may touch: one small set of handles per subject, and the broker that has them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use streamhouse_config::kafka::ConfigEntry;
use streamhouse_coordinator::Groups;
use streamhouse_metadata::{ShardId, TopicCatalogue};
use streamhouse_protocol::ids::{BrokerId, LeaderEpoch};

use crate::loggers::Loggers;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;
use crate::security::Access;
use crate::topics::Topics;

/// Everything that requests are answered from.
#[derive(Clone, Debug)]
pub struct Broker {
    /// The cluster and this broker's place in it.
    pub cluster: Cluster,
    /// Topics, to change them.
    pub administration: Administration,
    /// Topics and their leaders, to show them.
    pub directory: Directory,
    /// Configs of topics and of this broker.
    pub configs: Configs,
    /// Producer ids.
    pub producers: Producers,
    /// Consumer groups.
    pub groups: GroupReach,
    /// The log.
    pub partitions: Partitions,
}

impl Broker {
    /// Puts a broker together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            cluster,
            topics,
            catalogue,
            leaders,
            settings,
            loggers,
            producer_ids,
            groups,
            partitions,
        } = parts;
        let access = cluster.access.clone();
        groups.follow_topics(&catalogue);
        Self {
            administration: Administration {
                topics: topics.clone(),
                access: access.clone(),
            },
            directory: Directory {
                cluster: cluster.clone(),
                topics: topics.clone(),
                leaders: Arc::clone(&leaders),
            },
            configs: Configs {
                topics,
                broker: cluster.broker,
                settings,
                loggers,
                access: access.clone(),
            },
            producers: Producers {
                ids: producer_ids,
                access: access.clone(),
            },
            groups: GroupReach {
                groups,
                catalogue,
                cluster: cluster.clone(),
                leaders,
                access,
            },
            partitions,
            cluster,
        }
    }
}

/// What a broker is made of.
#[derive(Debug)]
pub struct Parts {
    /// The cluster and this broker's place in it.
    pub cluster: Cluster,
    /// The topics.
    pub topics: Topics,
    /// The catalogue that `topics` has, too.
    pub catalogue: Arc<TopicCatalogue>,
    /// Who leads which shard.
    pub leaders: Arc<ShardLeaders>,
    /// The settings of this broker as DescribeConfigs shows them.
    pub settings: Arc<[ConfigEntry]>,
    /// The loggers of this broker.
    pub loggers: Loggers,
    /// Where producer ids come from.
    pub producer_ids: Arc<ProducerIds>,
    /// The group coordinator.
    pub groups: Groups,
    /// The log, by the names that clients use.
    pub partitions: Partitions,
}

/// A part of the [`Broker`] that a handler asks for.
pub trait Reach: Send + Sync + 'static {
    /// The part of `broker`.
    fn of(broker: &Broker) -> &Self;
}

macro_rules! parts {
    ($($part:ident: $field:ident;)*) => {
        $(impl Reach for $part {
            fn of(broker: &Broker) -> &Self {
                &broker.$field
            }
        })*
    };
}
parts! {
    Cluster: cluster;
    Administration: administration;
    Directory: directory;
    Configs: configs;
    Producers: producers;
    GroupReach: groups;
}

/// Where clients are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or address.
    pub host: String,
    /// A port.
    pub port: u16,
}

/// A broker that clients are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBroker {
    /// Its number.
    pub broker: BrokerId,
    /// The zone that it runs in.
    pub rack: Option<Arc<str>>,
    /// `advertised.listeners`: by the name of the listener that a client came through.
    pub endpoints: BTreeMap<Arc<str>, Endpoint>,
}

/// The brokers whose leases hold, as far as this broker knows, by number; it is always one of them. Replaced as a whole.
#[derive(Debug)]
pub struct Brokers {
    newest: ArcSwap<Vec<KnownBroker>>,
}

impl Brokers {
    /// A cluster of one broker.
    #[must_use]
    pub fn alone(broker: KnownBroker) -> Self {
        Self {
            newest: ArcSwap::from_pointee(vec![broker]),
        }
    }

    /// Takes `brokers`, by number, for all that is known.
    pub fn replace(&self, brokers: Vec<KnownBroker>) {
        self.newest.store(Arc::new(brokers));
    }

    /// All that is known. One request should take it once.
    #[must_use]
    pub fn current(&self) -> Arc<Vec<KnownBroker>> {
        self.newest.load_full()
    }
}

/// A broker as the clients of one listener reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// Its number.
    pub broker: BrokerId,
    /// The zone that it runs in.
    pub rack: Option<Arc<str>>,
    /// Where it is reached.
    pub endpoint: Endpoint,
}

/// The cluster and this broker's place in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The id of the cluster: 22 characters of base64, as Kafka's.
    pub cluster_id: Arc<str>,
    /// The number of this broker.
    pub broker: BrokerId,
    /// All brokers, this one among them.
    pub brokers: Arc<Brokers>,
    /// Where this broker keeps records.
    pub log_dirs: LogDirs,
    /// Who may do what.
    pub access: Access,
}

/// The places where a broker keeps records, by the names that DescribeLogDirs gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirs {
    /// The WAL: records that are durable here and not in objects yet. None with `shared` durability.
    pub wal: Option<Arc<str>>,
    /// The object store.
    pub objects: Arc<str>,
}

impl Cluster {
    /// The brokers that clients of `listener` can reach, by number. One that does not have this listener is not for them.
    #[must_use]
    pub fn reachable(&self, listener: &str) -> Vec<Reachable> {
        let brokers = self.brokers.current();
        let reachable = brokers.iter().filter_map(|known| {
            Some(Reachable {
                broker: known.broker,
                rack: known.rack.clone(),
                endpoint: known.endpoints.get(listener)?.clone(),
            })
        });
        reachable.collect()
    }

    /// The broker that is called the controller: all take administration requests, so any will do, and all name the same.
    #[must_use]
    pub fn controller(&self) -> BrokerId {
        let brokers = self.brokers.current();
        brokers.first().map_or(self.broker, |first| first.broker)
    }
}

/// Topics, to change them.
#[derive(Clone, Debug)]
pub struct Administration {
    /// The topics.
    pub topics: Topics,
    /// Who may do what.
    pub access: Access,
}

/// Topics and their leaders, to show them.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The brokers.
    pub cluster: Cluster,
    /// The topics.
    pub topics: Topics,
    /// Who leads which shard.
    pub leaders: Arc<ShardLeaders>,
}

impl Directory {
    /// The leaders that clients of `listener` can reach.
    #[must_use]
    pub fn visible_leaders(&self, listener: &str) -> VisibleLeaders {
        VisibleLeaders::new(&self.cluster, &self.leaders, listener)
    }
}

/// Configs of topics and of this broker.
#[derive(Clone, Debug)]
pub struct Configs {
    /// The topics.
    pub topics: Topics,
    /// The number of this broker.
    pub broker: BrokerId,
    /// The settings that this broker started with, by name.
    pub settings: Arc<[ConfigEntry]>,
    /// The loggers of this broker.
    pub loggers: Loggers,
    /// Who may do what.
    pub access: Access,
}

/// Producer ids.
#[derive(Clone, Debug)]
pub struct Producers {
    /// Where they come from.
    pub ids: Arc<ProducerIds>,
    /// Who may do what.
    pub access: Access,
}

/// Consumer groups.
#[derive(Clone, Debug)]
pub struct GroupReach {
    /// The coordinator.
    pub groups: Groups,
    /// The topics: clients commit by name, offsets are kept by id.
    pub catalogue: Arc<TopicCatalogue>,
    /// Where coordinators are reached.
    pub cluster: Cluster,
    /// Who leads which shard, and so coordinates its groups.
    pub leaders: Arc<ShardLeaders>,
    /// Who may do what.
    pub access: Access,
}

/// Who leads a shard: the leader of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLeader {
    /// The broker.
    pub broker: BrokerId,
    /// The epoch of its grant: the leader epoch of the partitions.
    pub epoch: LeaderEpoch,
}

/// Who leads which shard, as far as this broker knows. Read by every Metadata request, replaced as a whole.
#[derive(Debug, Default)]
pub struct ShardLeaders {
    newest: ArcSwap<BTreeMap<ShardId, ShardLeader>>,
}

impl ShardLeaders {
    /// Takes `leaders` for all that is known.
    pub fn replace(&self, leaders: BTreeMap<ShardId, ShardLeader>) {
        self.newest.store(Arc::new(leaders));
    }

    /// All that is known. One request should take it once.
    #[must_use]
    pub fn current(&self) -> Arc<BTreeMap<ShardId, ShardLeader>> {
        self.newest.load_full()
    }
}

/// Who leads which shard, as the clients of one listener are told: a leader that they cannot reach is none to them.
#[derive(Clone, Debug)]
pub struct VisibleLeaders {
    leaders: Arc<BTreeMap<ShardId, ShardLeader>>,
    /// The brokers that they can reach, by number.
    pub brokers: Vec<Reachable>,
}

impl VisibleLeaders {
    /// What clients of `listener` are told now.
    #[must_use]
    pub fn new(cluster: &Cluster, leaders: &ShardLeaders, listener: &str) -> Self {
        Self {
            leaders: leaders.current(),
            brokers: cluster.reachable(listener),
        }
    }

    /// The leader of a shard, if there is one.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Option<ShardLeader> {
        let leader = *self.leaders.get(&shard)?;
        self.broker(leader.broker).map(|_| leader)
    }

    /// A broker that they can reach.
    #[must_use]
    pub fn broker(&self, broker: BrokerId) -> Option<&Reachable> {
        self.brokers.iter().find(|known| known.broker == broker)
    }
}
