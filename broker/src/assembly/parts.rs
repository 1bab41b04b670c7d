//! What handlers reach: topics, partitions, groups, and this broker's place in the cluster.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::Loaded;
use streamhouse_config::Settings;
use streamhouse_coordinator::Groups;
use streamhouse_coordinator::service::{Grant, Shelves};
use streamhouse_log::Log;
use streamhouse_metadata::{ShardId, TopicCatalogue};
use streamhouse_runtime::Ambient;

use super::home::Home;
use super::place::Place;
use super::stores::Stores;
use super::{OBJECTS_FOLDER, StartError, WAL_FOLDER};
use crate::loggers::Loggers;
use crate::partitions::{FetchLimits, Partitions};
use crate::producer_ids::ProducerIds;
use crate::reach::{Cluster, LogDirs, Parts};
use crate::security::{Access, AllowAll};
use crate::topics::{TopicRules, Topics};

/// The longest that a fetch waits, whatever the client asks for.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(300);

pub(super) async fn parts(
    (loaded, loggers): (&Loaded, &Loggers),
    home: &Home,
    ambient: &Ambient,
    stores: &Stores,
    log: &Log,
    place: &Place,
) -> Result<Parts, StartError> {
    let settings = &loaded.settings;
    let broker = place.broker();
    let catalogue = Arc::new(TopicCatalogue::load(&*stores.metadata).await?);
    let cluster = Cluster {
        cluster_id: stores.cluster_id.as_str().into(),
        broker,
        brokers: place.brokers(),
        log_dirs: log_dirs(home, stores),
        access: Access::new(Arc::new(AllowAll)),
    };
    let rules = TopicRules {
        num_partitions: settings.broker.num_partitions.unsigned_abs(),
        auto_create: settings.broker.auto_create_topics_enable,
        may_delete: settings.broker.delete_topic_enable,
        defaults: settings.topic_defaults.clone(),
        broker,
    };
    let store = Arc::clone(&stores.metadata);
    let topics = Topics::new(
        store,
        Arc::clone(&catalogue),
        ambient.clone(),
        rules,
        place.brokers(),
        stores.shards,
    );
    let fetch = FetchLimits {
        bytes_max: settings.broker.fetch_max_bytes.as_usize(),
        wait_max: FETCH_WAIT_MAX,
        memory_bytes: settings.listener.fetch_memory.as_usize(),
    };
    let clock = Arc::clone(&ambient.clock);
    let leaders = place.leaders(log, stores.shards);
    let reached = (cluster.clone(), Arc::clone(&leaders));
    let partitions = Partitions::new(log.clone(), topics.clone(), reached, clock, fetch);
    Ok(Parts {
        groups: load_groups(settings, ambient, stores, log).await?,
        leaders,
        settings: streamhouse_config::kafka::describe_broker(settings, &loaded.provenance).into(),
        loggers: loggers.clone(),
        producer_ids: Arc::new(ProducerIds::new(Arc::clone(&stores.metadata))),
        cluster,
        topics,
        catalogue,
        partitions,
    })
}

/// The places of records by their full paths, as Kafka names its log dirs. With `shared` durability there is one: records
/// are in objects, or not there.
fn log_dirs(home: &Home, stores: &Stores) -> LogDirs {
    let Some(folder) = home.folder() else {
        return LogDirs {
            wal: None,
            objects: stores.objects.place().into(),
        };
    };
    let full = std::path::absolute(&folder.path).unwrap_or_else(|_| folder.path.clone());
    let name = |place: &str| full.join(place).to_string_lossy().as_ref().into();
    LogDirs {
        wal: Some(name(WAL_FOLDER)),
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
