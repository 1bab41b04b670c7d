//! The clients of a simulated cluster: producers, consumers, an administrator, members of groups.
//!
//! Each does one thing at a time, as a client with one connection does; an operation for a client that is still busy is
//! left out.

pub(crate) mod admin;
pub(crate) mod consumer;
pub(crate) mod crowd;
pub(crate) mod member;
pub(crate) mod producer;

use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};

use crate::model::Model;
use crate::model::groups::GroupModel;
use crate::network::Network;
use crate::world::World;

/// The topic that everything happens to.
pub(crate) const TOPIC: TopicId = TopicId(0x7070);
/// The topic that retention trims.
pub(crate) const RETAINED: TopicId = TopicId(0x7171);
/// Partitions of [`TOPIC`].
pub(crate) const PARTITIONS: i32 = 3;

/// What every client has.
#[derive(Clone, Debug)]
pub(crate) struct Sky {
    pub(crate) net: Arc<dyn Network>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) groups: Arc<Mutex<GroupModel>>,
}

impl Sky {
    pub(crate) fn world(&self) -> &World {
        self.net.world()
    }
}

/// The partition that an operation names by a small number: those of the topic, then the retained one.
pub(crate) fn partition(number: u8) -> TopicPartition {
    let index = i32::from(number) % (PARTITIONS + 1);
    if index == PARTITIONS {
        TopicPartition::new(RETAINED, PartitionIndex(0))
    } else {
        TopicPartition::new(TOPIC, PartitionIndex(index))
    }
}

/// How many numbers [`partition`] tells apart.
pub(crate) const PARTITION_NUMBERS: u64 = PARTITIONS as u64 + 1;
