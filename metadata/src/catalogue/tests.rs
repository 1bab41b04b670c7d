//! The catalogue shows what was written, and never goes back.

use std::sync::Arc;

use streamhouse_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use streamhouse_protocol::names::TopicName;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use super::{Catalogue, TopicCatalogue};
use crate::memory::MemoryStore;
use crate::store::{
    ClusterShelf, ConfigChange, ConfigTarget, Configs, Durability, NewCluster, NewTopic, ShardId,
    TopicShelf, Topics,
};

async fn store() -> MemoryStore {
    let (clock, chance) = (
        Arc::new(ManualClock::new(0)),
        Arc::new(SeededChance::new(1)),
    );
    let store = MemoryStore::new(Ambient {
        clock,
        chance,
        tasks: Tasks::new(),
    });
    store
        .initialise(NewCluster {
            cluster_id: 1,
            shards: 4,
            durability: Durability::Local,
        })
        .await
        .unwrap();
    store
}

fn topic(id: u128, name: &str) -> NewTopic {
    NewTopic {
        id: TopicId(id),
        name: TopicName::new(name).unwrap(),
        partitions: vec![ShardId(3), ShardId(1)],
        configs: Configs::new(),
        created_ms: 0,
    }
}

#[tokio::test]
async fn a_topic_is_found_by_name_by_id_and_by_partition() {
    let store = store().await;
    store.create_topic(topic(7, "a")).await.unwrap();
    let catalogue = TopicCatalogue::load(&store).await.unwrap().current();
    let name = TopicName::new("a").unwrap();
    assert_eq!(catalogue.by_name(&name).unwrap().id, TopicId(7));
    assert_eq!(catalogue.by_id(TopicId(7)).unwrap().name, name);
    assert_eq!(catalogue.by_id(TopicId(8)), None);
    let shard = |partition| catalogue.shard(TopicId(7), PartitionIndex(partition));
    assert_eq!(
        [shard(0), shard(1), shard(2), shard(-1)],
        [Some(ShardId(3)), Some(ShardId(1)), None, None]
    );
    assert_eq!(
        (catalogue.topics().len(), catalogue.partition_count()),
        (1, 2)
    );
}

#[tokio::test]
async fn a_refresh_shows_what_was_written_and_tells_the_watchers() {
    let store = store().await;
    let catalogue = TopicCatalogue::load(&store).await.unwrap();
    let mut changes = catalogue.watch();
    let before = catalogue.current();
    let revision = store.create_topic(topic(7, "a")).await.unwrap();
    assert_eq!(
        catalogue.current().topics().len(),
        0,
        "nothing is read before a refresh"
    );
    let after = catalogue.refresh(&store).await.unwrap();
    assert_eq!((after.revision(), after.topics().len()), (revision, 1));
    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow_and_update(), revision);
    assert_eq!(
        before.topics().len(),
        0,
        "a snapshot that is held does not change"
    );
    catalogue.refresh(&store).await.unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing was written");
}

#[tokio::test]
async fn tombstones_and_broker_configurations_are_shown() {
    let store = store().await;
    store.create_topic(topic(7, "a")).await.unwrap();
    store.delete_topic(TopicId(7)).await.unwrap();
    let set = |value: &str| {
        vec![ConfigChange::Set {
            name: "x".to_owned(),
            value: value.to_owned(),
        }]
    };
    store
        .set_configs(ConfigTarget::BrokerDefaults, set("all"))
        .await
        .unwrap();
    store
        .set_configs(ConfigTarget::Broker(BrokerId(1)), set("one"))
        .await
        .unwrap();
    let catalogue = TopicCatalogue::load(&store).await.unwrap().current();
    assert_eq!(
        catalogue.tombstone(TopicId(7)).unwrap().pending,
        [ShardId(1), ShardId(3)]
    );
    assert_eq!(catalogue.tombstones().len(), 1);
    assert_eq!(
        catalogue
            .shards_with_drops()
            .into_iter()
            .collect::<Vec<_>>(),
        [ShardId(1), ShardId(3)]
    );
    assert_eq!(catalogue.broker_defaults()["x"], "all");
    assert_eq!(catalogue.broker_configs(BrokerId(1)).unwrap()["x"], "one");
    assert_eq!(catalogue.broker_configs(BrokerId(0)), None);
}

#[tokio::test]
async fn a_slow_refresh_does_not_bring_an_older_snapshot_back() {
    let store = store().await;
    let catalogue = TopicCatalogue::load(&store).await.unwrap();
    store.create_topic(topic(7, "a")).await.unwrap();
    let slow = store.topics().await.unwrap();
    store.create_topic(topic(8, "b")).await.unwrap();
    catalogue.refresh(&store).await.unwrap();
    assert!(!catalogue.replace(slow));
    assert_eq!(catalogue.current().topics().len(), 2);
}

#[test]
fn an_empty_catalogue_knows_nothing() {
    let catalogue = Catalogue::new(Topics::default());
    assert_eq!(
        (catalogue.topics().len(), catalogue.partition_count()),
        (0, 0)
    );
}
