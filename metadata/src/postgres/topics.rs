//! The topics shelf in PostgreSQL. Every write locks the row of the cluster first: names, ids and revisions have one
//! writer at a time in the whole cluster.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::FutureExt;
use streamhouse_protocol::ids::{BrokerId, TopicId};

use super::PostgresStore;
use super::cluster::{lock, revise, revision};
use super::columns::{
    WHOLE, column, free_text, id_bytes, number_u32, shard, shard_number, topic_id, topic_name,
    whole,
};
use super::fault::{Failure, Fallible, Fault};
use super::session::Session;
use crate::store::laws::{bug, check_added, check_topic};
use crate::store::{
    AddPartitions, AddPartitionsError, ConfigChange, ConfigTarget, Configs, CreateTopicError,
    DeleteTopicError, NewTopic, RecordedDrop, Revision, SetConfigsError, ShardId, StoreError,
    TopicRow, TopicShelf, TopicTombstone, Topics,
};

/// `broker_configs.broker_id` of what is set for all brokers. In the database: never change.
const ALL_BROKERS: i32 = -1;

async fn read_topics(session: &mut Session) -> Fallible<Topics> {
    let mut topics = topic_rows(session).await?;
    fill_partitions(session, &mut topics).await?;
    fill_configs(session, &mut topics).await?;
    let mut topics: Vec<TopicRow> = topics.into_values().collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let (broker_defaults, broker_configs) = broker_configs(session).await?;
    let tombstones = tombstones(session).await?;
    Ok(Topics {
        revision: revision(session).await?,
        topics,
        tombstones,
        broker_defaults,
        broker_configs,
    })
}

async fn topic_rows(session: &mut Session) -> Fallible<BTreeMap<TopicId, TopicRow>> {
    let all = "SELECT topic_id, name, created_ms FROM topics LIMIT $1";
    let rows = whole(session.query(all, &[&WHOLE]).await?, "topics")?;
    rows.iter()
        .map(|row| {
            let topic = TopicRow {
                id: topic_id(row)?,
                name: topic_name(row)?,
                partitions: Vec::new(),
                configs: Configs::new(),
                created_ms: column(row, "created_ms")?,
            };
            Ok((topic.id, topic))
        })
        .collect()
}

async fn fill_partitions(
    session: &mut Session,
    topics: &mut BTreeMap<TopicId, TopicRow>,
) -> Fallible<()> {
    let all =
        "SELECT topic_id, partition, shard FROM partitions ORDER BY topic_id, partition LIMIT $1";
    let rows = whole(session.query(all, &[&WHOLE]).await?, "partitions")?;
    for row in &rows {
        let topic = topic_id(row)?;
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

async fn fill_configs(
    session: &mut Session,
    topics: &mut BTreeMap<TopicId, TopicRow>,
) -> Fallible<()> {
    let all = "SELECT topic_id, name, value FROM topic_configs LIMIT $1";
    let rows = whole(session.query(all, &[&WHOLE]).await?, "topic_configs")?;
    for row in &rows {
        let topic = topic_id(row)?;
        match topics.get_mut(&topic) {
            Some(owner) => owner
                .configs
                .insert(column(row, "name")?, free_text(row, "value")?),
            None => {
                return Err(Fault::Damaged(format!(
                    "topic id {topic} has configurations and no row"
                )));
            }
        };
    }
    Ok(())
}

async fn broker_configs(session: &mut Session) -> Fallible<(Configs, BTreeMap<BrokerId, Configs>)> {
    let all = "SELECT broker_id, name, value FROM broker_configs LIMIT $1";
    let rows = whole(session.query(all, &[&WHOLE]).await?, "broker_configs")?;
    let mut brokers: BTreeMap<BrokerId, Configs> = BTreeMap::new();
    for row in &rows {
        let broker = BrokerId(column(row, "broker_id")?);
        brokers
            .entry(broker)
            .or_default()
            .insert(column(row, "name")?, free_text(row, "value")?);
    }
    let defaults = brokers.remove(&BrokerId(ALL_BROKERS)).unwrap_or_default();
    Ok((defaults, brokers))
}

async fn tombstones(session: &mut Session) -> Fallible<Vec<TopicTombstone>> {
    let pending = "SELECT t.topic_id, t.name, s.shard FROM topic_tombstones t \
                   JOIN topic_tombstone_shards s ON s.topic_id = t.topic_id ORDER BY t.topic_id, s.shard LIMIT $1";
    let rows = session.query(pending, &[&WHOLE]).await?;
    let mut tombstones: Vec<TopicTombstone> = Vec::new();
    for row in &whole(rows, "topic_tombstone_shards")? {
        let (topic, shard) = (topic_id(row)?, shard(row, "shard")?);
        match tombstones.last_mut().filter(|last| last.id == topic) {
            Some(last) => last.pending.push(shard),
            None => tombstones.push(TopicTombstone {
                id: topic,
                name: topic_name(row)?,
                pending: vec![shard],
            }),
        }
    }
    Ok(tombstones)
}

async fn check_new_topic(
    session: &mut Session,
    topic: &NewTopic,
    shards: u32,
) -> Result<(), Failure<CreateTopicError>> {
    let same = session
        .query_one(
            "SELECT topic_id FROM topics WHERE name = $1",
            &[&topic.name.as_str()],
        )
        .await?;
    if let Some(row) = same {
        return Err(Failure::Refused(CreateTopicError::Exists {
            name: topic.name.clone(),
            id: topic_id(&row)?,
        }));
    }
    let alike = session
        .query_one(
            "SELECT name FROM topics WHERE collision_key = $1",
            &[&topic.name.collision_key()],
        )
        .await?;
    if let Some(row) = alike {
        return Err(Failure::Refused(CreateTopicError::NameCollision {
            name: topic.name.clone(),
            with: topic_name(&row)?,
        }));
    }
    let used = session
        .query_one(
            "SELECT 1 FROM topics WHERE topic_id = $1 UNION ALL SELECT 1 FROM topic_tombstones WHERE topic_id = $1 LIMIT 1",
            &[&id_bytes(topic.id.0)],
        )
        .await?;
    if used.is_some() {
        let reason = format!("topic id {} was used before", topic.id);
        return Err(bug("create a topic", reason).into());
    }
    Ok(check_topic(topic, shards)?)
}

async fn insert_topic(
    session: &mut Session,
    topic: &NewTopic,
    shards: u32,
) -> Result<(), Failure<CreateTopicError>> {
    check_new_topic(session, topic, shards).await?;
    session
        .execute(
            "INSERT INTO topics (topic_id, name, collision_key, created_ms) VALUES ($1, $2, $3, $4)",
            &[
                &id_bytes(topic.id.0),
                &topic.name.as_str(),
                &topic.name.collision_key(),
                &topic.created_ms,
            ],
        )
        .await?;
    insert_partitions(session, topic.id, 0, &topic.partitions).await?;
    put_configs(session, ConfigTarget::Topic(topic.id), &topic.configs).await?;
    Ok(())
}

async fn insert_partitions(
    session: &mut Session,
    topic: TopicId,
    from: u32,
    shards: &[ShardId],
) -> Fallible<()> {
    let shards: Vec<i32> = shards.iter().copied().map(shard_number).collect();
    session
        .execute(
            "INSERT INTO partitions (topic_id, partition, shard)
             SELECT $1::bytea, ($2::int8 + p.position - 1)::int4, p.shard
             FROM unnest($3::int4[]) WITH ORDINALITY AS p (shard, position)",
            &[&id_bytes(topic.0), &i64::from(from), &shards],
        )
        .await?;
    Ok(())
}

async fn add_partitions(
    session: &mut Session,
    request: &AddPartitions,
    shards: u32,
) -> Result<(), Failure<AddPartitionsError>> {
    let topic = request.topic;
    if !topic_exists(session, topic).await? {
        return Err(Failure::Refused(AddPartitionsError::UnknownTopic { topic }));
    }
    let row = session
        .query_one(
            "SELECT count(*)::int4 AS partitions FROM partitions WHERE topic_id = $1",
            &[&id_bytes(topic.0)],
        )
        .await?;
    let partitions = match &row {
        Some(row) => number_u32(row, "partitions")?,
        None => 0,
    };
    if partitions != request.current {
        return Err(Failure::Refused(AddPartitionsError::Changed {
            topic,
            partitions,
        }));
    }
    check_added(request, shards)?;
    insert_partitions(session, topic, partitions, &request.shards).await?;
    Ok(())
}

async fn topic_exists(session: &mut Session, topic: TopicId) -> Fallible<bool> {
    let one = "SELECT 1 FROM topics WHERE topic_id = $1";
    let row = session.query_one(one, &[&id_bytes(topic.0)]).await?;
    Ok(row.is_some())
}

/// Sets keys of a target, there before or not.
async fn put_configs(
    session: &mut Session,
    target: ConfigTarget,
    configs: &Configs,
) -> Fallible<()> {
    let names: Vec<&str> = configs.keys().map(String::as_str).collect();
    let values: Vec<&[u8]> = configs.values().map(String::as_bytes).collect();
    match target {
        ConfigTarget::Topic(topic) => {
            session
                .execute(
                    "INSERT INTO topic_configs (topic_id, name, value)
                     SELECT $1::bytea, c.name, c.value FROM unnest($2::text[], $3::bytea[]) AS c (name, value)
                     ON CONFLICT (topic_id, name) DO UPDATE SET value = excluded.value",
                    &[&id_bytes(topic.0), &names, &values],
                )
                .await?
        }
        ConfigTarget::BrokerDefaults | ConfigTarget::Broker(_) => {
            session
                .execute(
                    "INSERT INTO broker_configs (broker_id, name, value)
                     SELECT $1::int4, c.name, c.value FROM unnest($2::text[], $3::bytea[]) AS c (name, value)
                     ON CONFLICT (broker_id, name) DO UPDATE SET value = excluded.value",
                    &[&broker_column(target), &names, &values],
                )
                .await?
        }
    };
    Ok(())
}

/// Removes one key of a target, or all.
async fn remove_configs(
    session: &mut Session,
    target: ConfigTarget,
    name: Option<&str>,
) -> Fallible<()> {
    match target {
        ConfigTarget::Topic(topic) => {
            session
                .execute(
                    "DELETE FROM topic_configs WHERE topic_id = $1 AND name = coalesce($2::text, name)",
                    &[&id_bytes(topic.0), &name],
                )
                .await?
        }
        ConfigTarget::BrokerDefaults | ConfigTarget::Broker(_) => {
            session
                .execute(
                    "DELETE FROM broker_configs WHERE broker_id = $1 AND name = coalesce($2::text, name)",
                    &[&broker_column(target), &name],
                )
                .await?
        }
    };
    Ok(())
}

fn broker_column(target: ConfigTarget) -> i32 {
    match target {
        ConfigTarget::Broker(broker) => broker.0,
        ConfigTarget::BrokerDefaults | ConfigTarget::Topic(_) => ALL_BROKERS,
    }
}

async fn set_configs(
    session: &mut Session,
    target: ConfigTarget,
    changes: &[ConfigChange],
) -> Result<(), Failure<SetConfigsError>> {
    if let ConfigTarget::Topic(topic) = target
        && !topic_exists(session, topic).await?
    {
        return Err(Failure::Refused(SetConfigsError::UnknownTopic { topic }));
    }
    for change in changes {
        match change {
            ConfigChange::Set { name, value } => {
                let one = Configs::from([(name.clone(), value.clone())]);
                put_configs(session, target, &one).await?;
            }
            ConfigChange::Delete { name } => remove_configs(session, target, Some(name)).await?,
            ConfigChange::Replace(all) => {
                remove_configs(session, target, None).await?;
                put_configs(session, target, all).await?;
            }
        }
    }
    Ok(())
}

async fn delete_topic(
    session: &mut Session,
    topic: TopicId,
) -> Result<(), Failure<DeleteTopicError>> {
    if !topic_exists(session, topic).await? {
        return Err(Failure::Refused(DeleteTopicError::UnknownTopic { topic }));
    }
    for step in [
        "INSERT INTO topic_tombstones (topic_id, name) SELECT topic_id, name FROM topics WHERE topic_id = $1",
        "INSERT INTO topic_tombstone_shards (topic_id, shard)
             SELECT DISTINCT topic_id, shard FROM partitions WHERE topic_id = $1",
        "DELETE FROM partitions WHERE topic_id = $1",
        "DELETE FROM topic_configs WHERE topic_id = $1",
        "DELETE FROM topics WHERE topic_id = $1",
    ] {
        session.execute(step, &[&id_bytes(topic.0)]).await?;
    }
    Ok(())
}

/// Whether there was anything to note. The lock of the shard's row holds off a grant until this is committed: whoever
/// leads the shard after it finds the tombstone gone only if its predecessor's drop is recorded.
async fn drop_recorded(session: &mut Session, drop: RecordedDrop) -> Fallible<bool> {
    let holder = session
        .query_one(
            "SELECT 1 FROM shards WHERE shard = $1 AND epoch = $2 AND incarnation = $3 FOR SHARE",
            &[
                &shard_number(drop.shard),
                &drop.epoch.0,
                &id_bytes(drop.incarnation.0),
            ],
        )
        .await?;
    let topic = id_bytes(drop.topic.0);
    let noted = match holder {
        Some(_) => {
            session
                .execute(
                    "DELETE FROM topic_tombstone_shards WHERE topic_id = $1 AND shard = $2",
                    &[&topic, &shard_number(drop.shard)],
                )
                .await?
        }
        None => 0,
    };
    session
        .execute(
            "DELETE FROM topic_tombstones WHERE topic_id = $1
                 AND NOT EXISTS (SELECT FROM topic_tombstone_shards WHERE topic_id = $1)",
            &[&topic],
        )
        .await?;
    Ok(noted > 0)
}

#[async_trait]
impl TopicShelf for PostgresStore {
    async fn topics(&self) -> Result<Topics, StoreError> {
        self.snapshot("read the topics", |session| read_topics(session).boxed())
            .await
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<Revision, CreateTopicError> {
        const OPERATION: &str = "create a topic";
        let ambient = self.pool.ambient().clone();
        self.write(OPERATION, move |session| {
            async move {
                let locked = lock(session, OPERATION).await?;
                insert_topic(session, &topic, locked.shards).await?;
                Ok(revise(session, &ambient).await?)
            }
            .boxed()
        })
        .await
    }

    async fn add_partitions(&self, request: AddPartitions) -> Result<Revision, AddPartitionsError> {
        const OPERATION: &str = "add partitions";
        let ambient = self.pool.ambient().clone();
        self.write(OPERATION, move |session| {
            async move {
                let locked = lock(session, OPERATION).await?;
                add_partitions(session, &request, locked.shards).await?;
                Ok(revise(session, &ambient).await?)
            }
            .boxed()
        })
        .await
    }

    async fn set_configs(
        &self,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    ) -> Result<Revision, SetConfigsError> {
        const OPERATION: &str = "set configurations";
        let ambient = self.pool.ambient().clone();
        self.write(OPERATION, move |session| {
            async move {
                lock(session, OPERATION).await?;
                set_configs(session, target, &changes).await?;
                Ok(revise(session, &ambient).await?)
            }
            .boxed()
        })
        .await
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<Revision, DeleteTopicError> {
        const OPERATION: &str = "delete a topic";
        let ambient = self.pool.ambient().clone();
        self.write(OPERATION, move |session| {
            async move {
                lock(session, OPERATION).await?;
                delete_topic(session, topic).await?;
                Ok(revise(session, &ambient).await?)
            }
            .boxed()
        })
        .await
    }

    async fn drop_recorded(&self, drop: RecordedDrop) -> Result<Revision, StoreError> {
        const OPERATION: &str = "note a dropped topic";
        let ambient = self.pool.ambient().clone();
        self.write(OPERATION, move |session| {
            async move {
                lock(session, OPERATION).await?;
                let noted = drop_recorded(session, drop).await?;
                Ok(if noted {
                    revise(session, &ambient).await?
                } else {
                    revision(session).await?
                })
            }
            .boxed()
        })
        .await
    }
}
