//! The topics shelf in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use streamhouse_protocol::ids::TopicId;

use super::{Facts, MemoryStore};
use crate::store::laws::{bug, check_added, check_topic};
use crate::store::{
    AddPartitions, AddPartitionsError, ConfigChange, ConfigTarget, Configs, CreateTopicError,
    DeleteTopicError, NewTopic, RecordedDrop, Revision, SetConfigsError, ShardId, StoreError,
    TopicRow, TopicShelf, TopicTombstone, Topics,
};

impl Facts {
    fn shard_count(&self) -> u32 {
        self.cluster.map_or(0, |cluster| cluster.shards)
    }

    fn check_new_topic(&self, topic: &NewTopic) -> Result<(), CreateTopicError> {
        if let Some(same) = self.topics.values().find(|row| row.name == topic.name) {
            return Err(CreateTopicError::Exists {
                name: topic.name.clone(),
                id: same.id,
            });
        }
        let key = topic.name.collision_key();
        if let Some(alike) = self
            .topics
            .values()
            .find(|row| row.name.collision_key() == key)
        {
            return Err(CreateTopicError::NameCollision {
                name: topic.name.clone(),
                with: alike.name.clone(),
            });
        }
        if self.topics.contains_key(&topic.id) || self.topic_tombstones.contains_key(&topic.id) {
            return Err(bug(
                "create a topic",
                format!("topic id {} was used before", topic.id),
            )
            .into());
        }
        Ok(check_topic(topic, self.shard_count())?)
    }

    fn configs_of(&mut self, target: ConfigTarget) -> Option<&mut Configs> {
        match target {
            ConfigTarget::Topic(id) => self.topics.get_mut(&id).map(|row| &mut row.configs),
            ConfigTarget::BrokerDefaults => Some(&mut self.broker_defaults),
            ConfigTarget::Broker(broker) => Some(self.broker_configs.entry(broker).or_default()),
        }
    }
}

fn change(configs: &mut Configs, change: ConfigChange) {
    match change {
        ConfigChange::Set { name, value } => {
            configs.insert(name, value);
        }
        ConfigChange::Delete { name } => {
            configs.remove(&name);
        }
        ConfigChange::Replace(all) => *configs = all,
    }
}

#[async_trait]
impl TopicShelf for MemoryStore {
    async fn topics(&self) -> Result<Topics, StoreError> {
        let facts = self.facts("read the topics")?;
        let mut topics: Vec<TopicRow> = facts.topics.values().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Topics {
            revision: facts.revision(),
            topics,
            tombstones: facts.topic_tombstones.values().cloned().collect(),
            broker_defaults: facts.broker_defaults.clone(),
            broker_configs: facts.broker_configs.clone(),
        })
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<Revision, CreateTopicError> {
        let mut facts = self.facts("create a topic")?;
        facts.check_new_topic(&topic)?;
        let NewTopic {
            id,
            name,
            partitions,
            configs,
            created_ms,
        } = topic;
        facts.topics.insert(
            id,
            TopicRow {
                id,
                name,
                partitions,
                configs,
                created_ms,
            },
        );
        let revision = facts.revise(&self.ambient);
        self.wake();
        Ok(revision)
    }

    async fn add_partitions(&self, request: AddPartitions) -> Result<Revision, AddPartitionsError> {
        let mut facts = self.facts("add partitions")?;
        let topic = request.topic;
        let shards = facts.shard_count();
        let row = facts
            .topics
            .get_mut(&topic)
            .ok_or(AddPartitionsError::UnknownTopic { topic })?;
        let partitions = u32::try_from(row.partitions.len()).unwrap_or(u32::MAX);
        if partitions != request.current {
            return Err(AddPartitionsError::Changed { topic, partitions });
        }
        check_added(&request, shards)?;
        row.partitions.extend(request.shards);
        let revision = facts.revise(&self.ambient);
        self.wake();
        Ok(revision)
    }

    async fn set_configs(
        &self,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    ) -> Result<Revision, SetConfigsError> {
        let mut facts = self.facts("set configurations")?;
        let Some(configs) = facts.configs_of(target) else {
            return Err(match target {
                ConfigTarget::Topic(topic) => SetConfigsError::UnknownTopic { topic },
                ConfigTarget::BrokerDefaults | ConfigTarget::Broker(_) => bug(
                    "set configurations",
                    "a broker's configuration always exists",
                )
                .into(),
            });
        };
        for each in changes {
            change(configs, each);
        }
        facts
            .broker_configs
            .retain(|_, configs| !configs.is_empty());
        let revision = facts.revise(&self.ambient);
        self.wake();
        Ok(revision)
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<Revision, DeleteTopicError> {
        let mut facts = self.facts("delete a topic")?;
        let row = facts
            .topics
            .remove(&topic)
            .ok_or(DeleteTopicError::UnknownTopic { topic })?;
        let pending: BTreeSet<ShardId> = row.partitions.into_iter().collect();
        let tombstone = TopicTombstone {
            id: topic,
            name: row.name,
            pending: pending.into_iter().collect(),
        };
        facts.topic_tombstones.insert(topic, tombstone);
        let revision = facts.revise(&self.ambient);
        self.wake();
        Ok(revision)
    }

    async fn drop_recorded(&self, drop: RecordedDrop) -> Result<Revision, StoreError> {
        let topic = drop.topic;
        let mut facts = self.facts("note a dropped topic")?;
        let is_granted = facts.shards.get(&drop.shard).is_some_and(|shard| {
            shard.row.epoch == drop.epoch && shard.row.incarnation == Some(drop.incarnation)
        });
        if !is_granted {
            return Ok(facts.revision());
        }
        let Some(tombstone) = facts.topic_tombstones.get_mut(&topic) else {
            return Ok(facts.revision());
        };
        let before = tombstone.pending.len();
        tombstone.pending.retain(|pending| *pending != drop.shard);
        if tombstone.pending.len() == before {
            return Ok(facts.revision());
        }
        if tombstone.pending.is_empty() {
            facts.topic_tombstones.remove(&topic);
        }
        let revision = facts.revise(&self.ambient);
        self.wake();
        Ok(revision)
    }
}
