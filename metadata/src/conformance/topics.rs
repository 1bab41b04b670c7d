//! Laws of the topics shelf.

use std::collections::BTreeMap;

use streamhouse_protocol::ids::{BrokerId, TopicId};
use streamhouse_protocol::names::TopicName;

use super::{House, NOW_MS, lead};
use crate::store::{
    AddPartitions, AddPartitionsError, Class, ConfigChange, ConfigTarget, Configs,
    CreateTopicError, DeleteTopicError, Incarnation, NewTopic, RecordedDrop, SetConfigsError,
    ShardId, ShardRow, TopicRow, TopicTombstone, Topics,
};

pub(super) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

pub(super) fn topic(id: u128, text: &str, shards: &[u32]) -> NewTopic {
    NewTopic {
        id: TopicId(id),
        name: name(text),
        partitions: shards.iter().map(|shard| ShardId(*shard)).collect(),
        configs: configs(&[("retention.ms", "1000")]),
        created_ms: NOW_MS,
    }
}

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn row(new: NewTopic) -> TopicRow {
    let NewTopic {
        id,
        name,
        partitions,
        configs,
        created_ms,
    } = new;
    TopicRow {
        id,
        name,
        partitions,
        configs,
        created_ms,
    }
}

pub(super) async fn a_topic_is_found_after_a_restart(house: House) {
    let store = house.started().await;
    store
        .create_topic(topic(u128::MAX, "b", &[3, 0, 3]))
        .await
        .unwrap();
    let revision = store.create_topic(topic(1, "a", &[1])).await.unwrap();
    let store = house.reopen(store).await;
    let topics = vec![
        row(topic(1, "a", &[1])),
        row(topic(u128::MAX, "b", &[3, 0, 3])),
    ];
    assert_eq!(
        store.topics().await.unwrap(),
        Topics {
            revision,
            topics,
            ..Topics::default()
        }
    );
}

pub(super) async fn a_name_belongs_to_one_topic(house: House) {
    let store = house.started().await;
    let revision = store.create_topic(topic(1, "a", &[1])).await.unwrap();
    let store = house.reopen(store).await;
    let error = store.create_topic(topic(2, "a", &[1])).await.unwrap_err();
    assert_eq!(
        error,
        CreateTopicError::Exists {
            name: name("a"),
            id: TopicId(1)
        }
    );
    assert_eq!(
        store.revision().await.unwrap(),
        revision,
        "a refused write makes no revision"
    );
    store.create_topic(topic(2, "A", &[1])).await.unwrap();
}

pub(super) async fn names_that_differ_only_in_dot_and_underscore_collide(house: House) {
    let store = house.started().await;
    store.create_topic(topic(1, "a.b_c", &[1])).await.unwrap();
    let store = house.reopen(store).await;
    let error = store
        .create_topic(topic(2, "a_b.c", &[1]))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        CreateTopicError::NameCollision {
            name: name("a_b.c"),
            with: name("a.b_c")
        }
    );
    store.delete_topic(TopicId(1)).await.unwrap();
    store.create_topic(topic(2, "a_b.c", &[1])).await.unwrap();
}

pub(super) async fn a_deleted_topic_frees_its_name_and_stays_until_every_shard_dropped_it(
    house: House,
) {
    let store = house.started().await;
    store.create_topic(topic(1, "a", &[3, 0, 3])).await.unwrap();
    store.delete_topic(TopicId(1)).await.unwrap();
    assert_eq!(
        store.delete_topic(TopicId(1)).await.unwrap_err(),
        DeleteTopicError::UnknownTopic { topic: TopicId(1) }
    );
    store.create_topic(topic(2, "a", &[1])).await.unwrap();
    let store = house.reopen(store).await;
    let tombstone = |pending: &[u32]| TopicTombstone {
        id: TopicId(1),
        name: name("a"),
        pending: pending.iter().map(|shard| ShardId(*shard)).collect(),
    };
    let topics = store.topics().await.unwrap();
    assert_eq!(topics.tombstones, [tombstone(&[0, 3])]);
    assert_eq!(topics.topics, [row(topic(2, "a", &[1]))]);
    let dropped = |row: &ShardRow| RecordedDrop {
        topic: TopicId(1),
        shard: row.shard,
        epoch: row.epoch,
        incarnation: Incarnation(10),
    };
    let (first, third) = (lead(&*store, 10, 0).await, lead(&*store, 10, 3).await);
    let noted = store.drop_recorded(dropped(&third)).await.unwrap();
    assert_eq!(noted.number, topics.revision.number + 1);
    assert_eq!(
        store.drop_recorded(dropped(&third)).await.unwrap(),
        noted,
        "nothing new"
    );
    assert_eq!(store.topics().await.unwrap().tombstones, [tombstone(&[0])]);
    let store = house.reopen(store).await;
    store.drop_recorded(dropped(&first)).await.unwrap();
    assert_eq!(store.topics().await.unwrap().tombstones, []);
    store.drop_recorded(dropped(&first)).await.unwrap();
}

/// It got through because nothing in the tests went on after another life had taken its shards.
pub(super) async fn a_drop_noted_under_an_earlier_grant_changes_nothing(house: House) {
    let store = house.started().await;
    store.create_topic(topic(1, "a", &[3])).await.unwrap();
    let before = lead(&*store, 10, 3).await;
    let after = lead(&*store, 11, 3).await;
    store.delete_topic(TopicId(1)).await.unwrap();
    let topics = store.topics().await.unwrap();
    let dropped = |row: &ShardRow, life| RecordedDrop {
        topic: TopicId(1),
        shard: row.shard,
        epoch: row.epoch,
        incarnation: Incarnation(life),
    };
    for stale in [
        dropped(&before, 10),
        dropped(&after, 10),
        dropped(&before, 11),
    ] {
        let answer = store.drop_recorded(stale).await.unwrap();
        assert_eq!(answer, topics.revision);
        assert_eq!(store.topics().await.unwrap(), topics);
    }
    store.drop_recorded(dropped(&after, 11)).await.unwrap();
    assert_eq!(store.topics().await.unwrap().tombstones, []);
}

pub(super) async fn an_id_is_never_used_twice(house: House) {
    let store = house.started().await;
    store.create_topic(topic(1, "a", &[0])).await.unwrap();
    assert_eq!(
        store
            .create_topic(topic(1, "b", &[0]))
            .await
            .unwrap_err()
            .class(),
        Class::Bug
    );
    store.delete_topic(TopicId(1)).await.unwrap();
    let store = house.reopen(store).await;
    assert_eq!(
        store
            .create_topic(topic(1, "a", &[0]))
            .await
            .unwrap_err()
            .class(),
        Class::Bug
    );
}

pub(super) async fn partitions_are_added_behind_the_others(house: House) {
    let store = house.started().await;
    store.create_topic(topic(1, "a", &[2])).await.unwrap();
    let add = |topic, current, shards: &[u32]| AddPartitions {
        topic: TopicId(topic),
        current,
        shards: shards.iter().map(|shard| ShardId(*shard)).collect(),
    };
    store.add_partitions(add(1, 1, &[1, 0])).await.unwrap();
    let store = house.reopen(store).await;
    assert_eq!(
        store.topics().await.unwrap().topics[0].partitions,
        [ShardId(2), ShardId(1), ShardId(0)]
    );
    let changed = AddPartitionsError::Changed {
        topic: TopicId(1),
        partitions: 3,
    };
    assert_eq!(
        store.add_partitions(add(1, 1, &[1])).await.unwrap_err(),
        changed
    );
    let unknown = AddPartitionsError::UnknownTopic { topic: TopicId(2) };
    assert_eq!(
        store.add_partitions(add(2, 1, &[1])).await.unwrap_err(),
        unknown
    );
    assert_eq!(
        store
            .add_partitions(add(1, 3, &[4]))
            .await
            .unwrap_err()
            .class(),
        Class::Bug
    );
    assert_eq!(
        store
            .add_partitions(add(1, 3, &[]))
            .await
            .unwrap_err()
            .class(),
        Class::Bug
    );
    assert_eq!(store.topics().await.unwrap().topics[0].partitions.len(), 3);
}

pub(super) async fn configurations_change_in_order(house: House) {
    let store = house.started().await;
    store.create_topic(topic(1, "a", &[0])).await.unwrap();
    let set = |name: &str, value: &str| ConfigChange::Set {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let delete = |name: &str| ConfigChange::Delete {
        name: name.to_owned(),
    };
    let of_topic = ConfigTarget::Topic(TopicId(1));
    let changes = vec![
        set("x", "1"),
        set("y", "2"),
        set("x", "3"),
        delete("retention.ms"),
        delete("none"),
    ];
    store.set_configs(of_topic, changes).await.unwrap();
    store
        .set_configs(ConfigTarget::BrokerDefaults, vec![set("d", "0")])
        .await
        .unwrap();
    store
        .set_configs(ConfigTarget::Broker(BrokerId(0)), vec![set("b", "0")])
        .await
        .unwrap();
    store
        .set_configs(ConfigTarget::Broker(BrokerId(1)), vec![set("b", "1")])
        .await
        .unwrap();
    let store = house.reopen(store).await;
    let topics = store.topics().await.unwrap();
    assert_eq!(topics.topics[0].configs, configs(&[("x", "3"), ("y", "2")]));
    assert_eq!(topics.broker_defaults, configs(&[("d", "0")]));
    let of_brokers = [
        (BrokerId(0), configs(&[("b", "0")])),
        (BrokerId(1), configs(&[("b", "1")])),
    ];
    assert_eq!(topics.broker_configs, BTreeMap::from(of_brokers));

    let replace = ConfigChange::Replace(configs(&[("z", "9")]));
    store
        .set_configs(of_topic, vec![replace, set("w", "")])
        .await
        .unwrap();
    store
        .set_configs(
            ConfigTarget::Broker(BrokerId(1)),
            vec![ConfigChange::Replace(Configs::new())],
        )
        .await
        .unwrap();
    let topics = store.topics().await.unwrap();
    assert_eq!(topics.topics[0].configs, configs(&[("w", ""), ("z", "9")]));
    assert_eq!(
        topics.broker_configs.keys().collect::<Vec<_>>(),
        [&BrokerId(0)]
    );
    let unknown = store
        .set_configs(ConfigTarget::Topic(TopicId(2)), vec![set("x", "1")])
        .await
        .unwrap_err();
    assert_eq!(unknown, SetConfigsError::UnknownTopic { topic: TopicId(2) });
}

pub(super) async fn a_partition_needs_a_shard_that_exists(house: House) {
    let store = house.started().await;
    for shards in [&[0, 4][..], &[]] {
        assert_eq!(
            store
                .create_topic(topic(1, "a", shards))
                .await
                .unwrap_err()
                .class(),
            Class::Bug
        );
    }
    assert_eq!(store.topics().await.unwrap(), Topics::default());
}
