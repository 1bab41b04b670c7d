//! The range assignor: of each topic, every member that subscribes to it gets one stretch of consecutive partitions.
//!
//! The members come in one order for all topics: static ones first, by instance id, then the others by member id. So members
//! that subscribe to the same get the same partitions of topics with equally many, and a join needs no shuffle.

use std::collections::BTreeMap;

use super::super::Partitions;
use super::{Plan, partition, size};

pub(super) fn assign(plan: &Plan<'_>) -> Vec<Partitions> {
    let mut order: Vec<usize> = (0..plan.candidates.len()).collect();
    order.sort_by_key(|&index| {
        let candidate = &plan.candidates[index];
        (
            candidate.instance.is_none(),
            candidate.instance,
            candidate.id,
        )
    });
    let mut subscribers = BTreeMap::<usize, Vec<usize>>::new();
    for member in order {
        for &topic in &*plan.candidates[member].topics {
            subscribers.entry(topic).or_default().push(member);
        }
    }
    let mut targets = vec![Partitions::new(); plan.candidates.len()];
    for (topic, members) in subscribers {
        let topic = plan.topics[topic];
        let (quota, extra) = (size(topic) / members.len(), size(topic) % members.len());
        let mut next = 0;
        for (place, member) in members.into_iter().enumerate() {
            let end = next + quota + usize::from(place < extra);
            targets[member].extend((next..end).map(|index| partition(topic.0, index)));
            next = end;
        }
    }
    targets
}
