//! How partitions are shared out: pure, deterministic, and the same on every broker.
//!
//! Invariants of every assignor: each partition of a topic that somebody subscribes to goes to exactly one member that
//! subscribes to it, and nobody gets anything else.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use streamhouse_config::ConsumerAssignor;
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};

use super::super::request::MemberId;
use super::Partitions;

/// A member as assignors see it.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) id: &'a MemberId,
    pub(super) instance: Option<&'a str>,
    /// What it subscribes to, as indexes into [`Plan::topics`], ascending.
    pub(super) topics: Rc<[usize]>,
    /// Its target before.
    pub(super) before: &'a Partitions,
}

/// What is to be shared out, and among whom.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    /// The topics and how many partitions they have.
    pub(super) topics: Vec<(TopicId, i32)>,
    /// The members, by id.
    pub(super) candidates: Vec<Candidate<'a>>,
}

impl Plan<'_> {
    /// Whether all subscribe to the same.
    fn is_homogeneous(&self) -> bool {
        let mut all = self.candidates.iter();
        let Some(first) = all.next() else {
            return true;
        };
        all.all(|one| Rc::ptr_eq(&one.topics, &first.topics) || one.topics == first.topics)
    }
}

/// What each candidate is to have, in their order.
pub(super) fn assign(assignor: ConsumerAssignor, plan: &Plan<'_>) -> Vec<Partitions> {
    match assignor {
        ConsumerAssignor::Uniform => uniform::assign(plan),
        ConsumerAssignor::Range => range::assign(plan),
    }
}

/// Partition `index` of topic `topic`.
fn partition(topic: TopicId, index: usize) -> TopicPartition {
    let index = i32::try_from(index).expect("the index of a partition comes from an i32");
    TopicPartition::new(topic, PartitionIndex(index))
}

/// The number of partitions of a topic.
fn size(topic: (TopicId, i32)) -> usize {
    usize::try_from(topic.1).unwrap_or(0)
}
