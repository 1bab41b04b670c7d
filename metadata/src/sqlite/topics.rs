//! The topics shelf in SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};
use streamhouse_protocol::ids::{BrokerId, TopicId};
use streamhouse_protocol::names::TopicName;

use super::SqliteStore;
use super::cluster::{revise, revision, shard_count};
use super::columns::{id, number_u32, shard};
use super::fault::{Failure, Fallible, Fault};
use crate::store::laws::{bug, check_added, check_topic};
use crate::store::{
    AddPartitions, AddPartitionsError, ConfigChange, ConfigTarget, Configs, CreateTopicError,
    DeleteTopicError, NewTopic, RecordedDrop, Revision, SetConfigsError, ShardId, StoreError,
    TopicRow, TopicShelf, TopicTombstone, Topics,
};

/// `broker_configs.broker_id` of what is set for all brokers. On disk: never change.
const ALL_BROKERS: i32 = -1;

fn topic_name(stored: &str) -> Fallible<TopicName> {
    TopicName::new(stored).map_err(|error| Fault::Damaged(error.to_string()))
}

fn read_topics(transaction: &Transaction<'_>) -> Fallible<Topics> {
    let mut topics = topic_rows(transaction)?;
    fill_partitions(transaction, &mut topics)?;
    fill_configs(transaction, &mut topics)?;
    let mut topics: Vec<TopicRow> = topics.into_values().collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let (broker_defaults, broker_configs) = broker_configs(transaction)?;
    let tombstones = tombstones(transaction)?;
    Ok(Topics {
        revision: revision(transaction)?,
        topics,
        tombstones,
        broker_defaults,
        broker_configs,
    })
}

fn topic_rows(transaction: &Transaction<'_>) -> Fallible<BTreeMap<TopicId, TopicRow>> {
    let mut statement =
        transaction.prepare_cached("SELECT topic_id, name, created_ms FROM topics")?;
    let mut rows = statement.query([])?;
    let mut topics = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let topic = TopicRow {
            id: TopicId(id(row, "topic_id")?),
            name: topic_name(&row.get::<_, String>("name")?)?,
            partitions: Vec::new(),
            configs: Configs::new(),
            created_ms: row.get("created_ms")?,
        };
        topics.insert(topic.id, topic);
    }
    Ok(topics)
}

fn fill_partitions(
    transaction: &Transaction<'_>,
    topics: &mut BTreeMap<TopicId, TopicRow>,
) -> Fallible<()> {
    let mut statement = transaction.prepare_cached(
        "SELECT topic_id, partition, shard FROM partitions ORDER BY topic_id, partition",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let topic = TopicId(id(row, "topic_id")?);
        let partition = number_u32(row, "partition")?;
        let partitions = topics.get_mut(&topic).map(|topic| &mut topic.partitions);
        match partitions.filter(|partitions| u32::try_from(partitions.len()) == Ok(partition)) {
            Some(partitions) => partitions.push(shard(row, "shard")?),
            None => {
                return Err(Fault::Damaged(format!(
                    "partition {partition} of topic id {topic} has no neighbour"
                )));
            }
        }
    }
    Ok(())
}

fn fill_configs(
    transaction: &Transaction<'_>,
    topics: &mut BTreeMap<TopicId, TopicRow>,
) -> Fallible<()> {
    let mut statement =
        transaction.prepare_cached("SELECT topic_id, name, value FROM topic_configs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let topic = TopicId(id(row, "topic_id")?);
        match topics.get_mut(&topic) {
            Some(owner) => owner.configs.insert(row.get("name")?, row.get("value")?),
            None => {
                return Err(Fault::Damaged(format!(
                    "topic id {topic} has configurations and no row"
                )));
            }
        };
    }
    Ok(())
}

fn broker_configs(
    transaction: &Transaction<'_>,
) -> Fallible<(Configs, BTreeMap<BrokerId, Configs>)> {
    let mut statement =
        transaction.prepare_cached("SELECT broker_id, name, value FROM broker_configs")?;
    let mut rows = statement.query([])?;
    let mut brokers: BTreeMap<BrokerId, Configs> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let broker = BrokerId(row.get("broker_id")?);
        brokers
            .entry(broker)
            .or_default()
            .insert(row.get("name")?, row.get("value")?);
    }
    let defaults = brokers.remove(&BrokerId(ALL_BROKERS)).unwrap_or_default();
    Ok((defaults, brokers))
}

fn tombstones(transaction: &Transaction<'_>) -> Fallible<Vec<TopicTombstone>> {
    let pending = "SELECT t.topic_id, t.name, s.shard FROM topic_tombstones t \
                   JOIN topic_tombstone_shards s ON s.topic_id = t.topic_id ORDER BY t.topic_id, s.shard";
    let mut statement = transaction.prepare_cached(pending)?;
    let mut rows = statement.query([])?;
    let mut tombstones: Vec<TopicTombstone> = Vec::new();
    while let Some(row) = rows.next()? {
        let (topic, shard) = (TopicId(id(row, "topic_id")?), shard(row, "shard")?);
        match tombstones.last_mut().filter(|last| last.id == topic) {
            Some(last) => last.pending.push(shard),
            None => {
                let name = topic_name(&row.get::<_, String>("name")?)?;
                tombstones.push(TopicTombstone {
                    id: topic,
                    name,
                    pending: vec![shard],
                });
            }
        }
    }
    Ok(tombstones)
}

fn check_new_topic(
    transaction: &Transaction<'_>,
    topic: &NewTopic,
) -> Result<(), Failure<CreateTopicError>> {
    let same: Option<[u8; 16]> = transaction
        .prepare_cached("SELECT topic_id FROM topics WHERE name = ?1")?
        .query_row([topic.name.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(id) = same {
        let id = TopicId(u128::from_be_bytes(id));
        return Err(Failure::Refused(CreateTopicError::Exists {
            name: topic.name.clone(),
            id,
        }));
    }
    let alike: Option<String> = transaction
        .prepare_cached("SELECT name FROM topics WHERE collision_key = ?1")?
        .query_row([topic.name.collision_key()], |row| row.get(0))
        .optional()?;
    if let Some(with) = alike {
        let with = topic_name(&with)?;
        return Err(Failure::Refused(CreateTopicError::NameCollision {
            name: topic.name.clone(),
            with,
        }));
    }
    let used: i64 = transaction
        .prepare_cached(
            "SELECT (SELECT count(*) FROM topics WHERE topic_id = ?1)
                  + (SELECT count(*) FROM topic_tombstones WHERE topic_id = ?1)",
        )?
        .query_row([topic.id.0.to_be_bytes()], |row| row.get(0))?;
    if used > 0 {
        return Err(bug(
            "create a topic",
            format!("topic id {} was used before", topic.id),
        )
        .into());
    }
    Ok(check_topic(topic, shard_count(transaction)?)?)
}

fn insert_topic(
    transaction: &Transaction<'_>,
    topic: &NewTopic,
) -> Result<(), Failure<CreateTopicError>> {
    check_new_topic(transaction, topic)?;
    transaction
        .prepare_cached("INSERT INTO topics (topic_id, name, collision_key, created_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            topic.id.0.to_be_bytes(),
            topic.name.as_str(),
            topic.name.collision_key(),
            topic.created_ms
        ])?;
    insert_partitions(transaction, topic.id, 0, &topic.partitions)?;
    for (name, value) in &topic.configs {
        put_config(transaction, ConfigTarget::Topic(topic.id), name, value)?;
    }
    Ok(())
}

fn insert_partitions(
    transaction: &Transaction<'_>,
    topic: TopicId,
    from: u32,
    shards: &[ShardId],
) -> Fallible<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO partitions (topic_id, partition, shard) VALUES (?1, ?2, ?3)",
    )?;
    for (partition, shard) in (from..).zip(shards) {
        insert.execute(params![topic.0.to_be_bytes(), partition, shard.0])?;
    }
    Ok(())
}

fn add_partitions(
    transaction: &Transaction<'_>,
    request: &AddPartitions,
) -> Result<(), Failure<AddPartitionsError>> {
    let topic = request.topic;
    if !topic_exists(transaction, topic)? {
        return Err(Failure::Refused(AddPartitionsError::UnknownTopic { topic }));
    }
    let partitions: u32 = transaction
        .prepare_cached("SELECT count(*) FROM partitions WHERE topic_id = ?1")?
        .query_row([topic.0.to_be_bytes()], |row| row.get(0))?;
    if partitions != request.current {
        return Err(Failure::Refused(AddPartitionsError::Changed {
            topic,
            partitions,
        }));
    }
    check_added(request, shard_count(transaction)?)?;
    Ok(insert_partitions(
        transaction,
        topic,
        partitions,
        &request.shards,
    )?)
}

fn topic_exists(transaction: &Transaction<'_>, topic: TopicId) -> Fallible<bool> {
    let mut statement = transaction.prepare_cached("SELECT 1 FROM topics WHERE topic_id = ?1")?;
    Ok(statement.exists([topic.0.to_be_bytes()])?)
}

fn put_config(
    transaction: &Transaction<'_>,
    target: ConfigTarget,
    name: &str,
    value: &str,
) -> Fallible<()> {
    match target {
        ConfigTarget::Topic(topic) => transaction
            .prepare_cached("INSERT OR REPLACE INTO topic_configs (topic_id, name, value) VALUES (?1, ?2, ?3)")?
            .execute(params![topic.0.to_be_bytes(), name, value])?,
        ConfigTarget::BrokerDefaults | ConfigTarget::Broker(_) => transaction
            .prepare_cached("INSERT OR REPLACE INTO broker_configs (broker_id, name, value) VALUES (?1, ?2, ?3)")?
            .execute(params![broker_column(target), name, value])?,
    };
    Ok(())
}

/// Removes one key of a target, or all.
fn remove_configs(
    transaction: &Transaction<'_>,
    target: ConfigTarget,
    name: Option<&str>,
) -> Fallible<()> {
    match target {
        ConfigTarget::Topic(topic) => transaction
            .prepare_cached(
                "DELETE FROM topic_configs WHERE topic_id = ?1 AND name = coalesce(?2, name)",
            )?
            .execute(params![topic.0.to_be_bytes(), name])?,
        ConfigTarget::BrokerDefaults | ConfigTarget::Broker(_) => transaction
            .prepare_cached(
                "DELETE FROM broker_configs WHERE broker_id = ?1 AND name = coalesce(?2, name)",
            )?
            .execute(params![broker_column(target), name])?,
    };
    Ok(())
}

fn broker_column(target: ConfigTarget) -> i32 {
    match target {
        ConfigTarget::Broker(broker) => broker.0,
        ConfigTarget::BrokerDefaults | ConfigTarget::Topic(_) => ALL_BROKERS,
    }
}

fn set_configs(
    transaction: &Transaction<'_>,
    target: ConfigTarget,
    changes: &[ConfigChange],
) -> Result<(), Failure<SetConfigsError>> {
    if let ConfigTarget::Topic(topic) = target
        && !topic_exists(transaction, topic)?
    {
        return Err(Failure::Refused(SetConfigsError::UnknownTopic { topic }));
    }
    for change in changes {
        match change {
            ConfigChange::Set { name, value } => put_config(transaction, target, name, value)?,
            ConfigChange::Delete { name } => remove_configs(transaction, target, Some(name))?,
            ConfigChange::Replace(all) => {
                remove_configs(transaction, target, None)?;
                for (name, value) in all {
                    put_config(transaction, target, name, value)?;
                }
            }
        }
    }
    Ok(())
}

fn delete_topic(
    transaction: &Transaction<'_>,
    topic: TopicId,
) -> Result<(), Failure<DeleteTopicError>> {
    if !topic_exists(transaction, topic)? {
        return Err(Failure::Refused(DeleteTopicError::UnknownTopic { topic }));
    }
    for step in [
        "INSERT INTO topic_tombstones (topic_id, name) SELECT topic_id, name FROM topics WHERE topic_id = ?1",
        "INSERT INTO topic_tombstone_shards (topic_id, shard)
             SELECT DISTINCT topic_id, shard FROM partitions WHERE topic_id = ?1",
        "DELETE FROM partitions WHERE topic_id = ?1",
        "DELETE FROM topic_configs WHERE topic_id = ?1",
        "DELETE FROM topics WHERE topic_id = ?1",
    ] {
        transaction
            .prepare_cached(step)?
            .execute([topic.0.to_be_bytes()])?;
    }
    Ok(())
}

/// Whether there was anything to note.
fn drop_recorded(transaction: &Transaction<'_>, drop: &RecordedDrop) -> Fallible<bool> {
    let topic = drop.topic;
    let noted = transaction
        .prepare_cached(
            "DELETE FROM topic_tombstone_shards WHERE topic_id = ?1 AND shard = ?2
                 AND EXISTS (SELECT 1 FROM shards WHERE shard = ?2 AND epoch = ?3 AND incarnation = ?4)",
        )?
        .execute(params![
            topic.0.to_be_bytes(),
            drop.shard.0,
            drop.epoch.0,
            drop.incarnation.0.to_be_bytes()
        ])?;
    transaction
        .prepare_cached(
            "DELETE FROM topic_tombstones WHERE topic_id = ?1
                 AND NOT EXISTS (SELECT 1 FROM topic_tombstone_shards WHERE topic_id = ?1)",
        )?
        .execute([topic.0.to_be_bytes()])?;
    Ok(noted > 0)
}

#[async_trait]
impl TopicShelf for SqliteStore {
    async fn topics(&self) -> Result<Topics, StoreError> {
        self.worker.read("read the topics", read_topics).await
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<Revision, CreateTopicError> {
        let ambient = self.ambient.clone();
        let written = self
            .worker
            .write("create a topic", move |transaction| {
                insert_topic(transaction, &topic)?;
                Ok(revise(transaction, &ambient)?)
            })
            .await;
        self.wake(written)
    }

    async fn add_partitions(&self, request: AddPartitions) -> Result<Revision, AddPartitionsError> {
        let ambient = self.ambient.clone();
        let written = self
            .worker
            .write("add partitions", move |transaction| {
                add_partitions(transaction, &request)?;
                Ok(revise(transaction, &ambient)?)
            })
            .await;
        self.wake(written)
    }

    async fn set_configs(
        &self,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    ) -> Result<Revision, SetConfigsError> {
        let ambient = self.ambient.clone();
        let written = self
            .worker
            .write("set configurations", move |transaction| {
                set_configs(transaction, target, &changes)?;
                Ok(revise(transaction, &ambient)?)
            })
            .await;
        self.wake(written)
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<Revision, DeleteTopicError> {
        let ambient = self.ambient.clone();
        let written = self
            .worker
            .write("delete a topic", move |transaction| {
                delete_topic(transaction, topic)?;
                Ok(revise(transaction, &ambient)?)
            })
            .await;
        self.wake(written)
    }

    async fn drop_recorded(&self, drop: RecordedDrop) -> Result<Revision, StoreError> {
        let ambient = self.ambient.clone();
        let written = self
            .worker
            .write("note a dropped topic", move |transaction| {
                let noted = drop_recorded(transaction, &drop)?;
                Ok(if noted {
                    revise(transaction, &ambient)?
                } else {
                    revision(transaction)?
                })
            })
            .await;
        self.wake(written)
    }
}
