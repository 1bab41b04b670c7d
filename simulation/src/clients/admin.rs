//! The administrator: trims partitions, makes topics and deletes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use streamhouse_log::append::Acks;
use streamhouse_log::shard_for_partition;
use streamhouse_metadata::store::{CreateTopicError, NewTopic};
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::names::TopicName;

use super::Sky;
use super::producer::produce_plain;
use crate::broker::{Broker, SHARDS};
use crate::network::Whom;

/// The administrator, and the short-lived topics that it made.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    made: u128,
    /// By slot: the topic that lives there.
    slots: BTreeMap<u8, TopicId>,
}

/// A topic as it is created.
pub(crate) fn new_topic(id: TopicId, partitions: i32) -> NewTopic {
    let shards = (0..partitions)
        .map(|index| shard_for_partition(TopicPartition::new(id, PartitionIndex(index)), SHARDS));
    NewTopic {
        id,
        name: TopicName::new(&format!("t-{:x}", id.0)).expect("letters and digits make a name"),
        partitions: shards.collect(),
        configs: BTreeMap::new(),
        created_ms: 0,
    }
}

/// DeleteRecords up to `per_mille` of what is known to be there.
pub(crate) async fn trim(sky: &Sky, at: TopicPartition, per_mille: u64) {
    let (floor, to) = {
        let mut model = sky.model.lock();
        let floor = model.floor(at);
        let end = model.known_end(at).unsigned_abs();
        let to = i64::try_from(end * per_mille / 1000).unwrap_or(0);
        model.trim_asked(at, to);
        (floor, to)
    };
    let trim = move |broker: Arc<Broker>| async move { broker.trim(at, to).await }.boxed();
    if let Ok((Ok(log_start), _)) = sky.call(Whom::Leader(at), trim).await {
        sky.world().note(log_start.unsigned_abs());
        let judged = sky.model.lock().trimmed(at, floor, to, log_start);
        sky.world().judge(judged);
    }
}

impl Admin {
    /// Makes the topic of a slot and writes to it; or deletes it, if it is there.
    pub(crate) async fn turn_over(&mut self, sky: &Sky, slot: u8) {
        match self.slots.remove(&slot) {
            Some(topic) => delete(sky, topic).await,
            None => self.create(sky, slot).await,
        }
    }

    async fn create(&mut self, sky: &Sky, slot: u8) {
        self.made += 1;
        let id = TopicId(0x1_0000 + self.made);
        let topic = new_topic(id, 2);
        let create = move |broker: Arc<Broker>| {
            async move {
                match broker.create_topic(topic).await {
                    Ok(()) | Err(CreateTopicError::Exists { .. }) => true,
                    Err(CreateTopicError::NameCollision { .. } | CreateTopicError::Store(_)) => {
                        false
                    }
                }
            }
            .boxed()
        };
        if let Ok((true, _)) = sky.call(Whom::Anyone, create).await {
            self.slots.insert(slot, id);
            for index in 0..2 {
                let at = TopicPartition::new(id, PartitionIndex(index));
                produce_plain(sky, at, 2, Acks::All).await;
            }
        }
    }
}

async fn delete(sky: &Sky, topic: TopicId) {
    for index in 0..2 {
        let at = TopicPartition::new(topic, PartitionIndex(index));
        let mut model = sky.model.lock();
        model.partitions.entry(at).or_default().is_deleted = true;
    }
    let delete = move |broker: Arc<Broker>| async move { broker.delete_topic(topic).await }.boxed();
    // If it did not happen, the topic stays: it costs nothing.
    let _ = sky.call(Whom::Anyone, delete).await;
}
