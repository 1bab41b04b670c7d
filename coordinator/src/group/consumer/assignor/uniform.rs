//! The uniform assignor: everybody gets equally many partitions, as far as subscriptions allow, and as few as possible
//! change hands.
//!
//! Where all subscribe to the same, nobody has two more than another, and only what must move does. Else the members that
//! have most hand over to those that have least, topic by topic, until no single partition would make it more even.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use streamhouse_protocol::ids::TopicId;

use super::super::Partitions;
use super::{Plan, partition, size};

/// How often members hand over to each other at most. Subscriptions that differ in every way need a few rounds.
const ROUNDS_MAX: usize = 64;

pub(super) fn assign(plan: &Plan<'_>) -> Vec<Partitions> {
    let shares = if plan.is_homogeneous() {
        share_evenly(plan)
    } else {
        share_by_subscription(plan)
    };
    let to_partitions = |share: Share| {
        let all = share.into_iter().flat_map(|(topic, indexes)| {
            let id = plan.topics[topic].0;
            indexes.into_iter().map(move |index| partition(id, index))
        });
        all.collect()
    };
    shares.into_iter().map(to_partitions).collect()
}

/// What one member gets: topics by their place in the plan, partitions in the order in which it got them.
type Share = BTreeMap<usize, Vec<usize>>;

/// What nobody has yet.
struct Free(Vec<Vec<bool>>);

impl Free {
    fn all(plan: &Plan<'_>) -> Self {
        Self(
            plan.topics
                .iter()
                .map(|topic| vec![true; size(*topic)])
                .collect(),
        )
    }

    /// Takes a partition; says whether it was there and free.
    fn take(&mut self, topic: usize, index: usize) -> bool {
        let slot = self.0.get_mut(topic).and_then(|all| all.get_mut(index));
        slot.is_some_and(std::mem::take)
    }

    fn left(&self, topic: usize) -> impl Iterator<Item = usize> + '_ {
        let all = self.0.get(topic).into_iter().flatten();
        all.enumerate()
            .filter(|(_, is_free)| **is_free)
            .map(|(index, _)| index)
    }
}

/// What candidate `member` had before and may keep, in order.
fn before<'a>(
    plan: &'a Plan<'_>,
    places: &'a BTreeMap<TopicId, usize>,
    member: usize,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let candidate = &plan.candidates[member];
    candidate.before.iter().filter_map(move |one| {
        let topic = *places.get(&one.topic)?;
        candidate.topics.binary_search(&topic).ok()?;
        Some((topic, usize::try_from(one.partition.0).ok()?))
    })
}

fn places(plan: &Plan<'_>) -> BTreeMap<TopicId, usize> {
    let topics = plan.topics.iter().enumerate();
    topics.map(|(place, topic)| (topic.0, place)).collect()
}

fn share_evenly(plan: &Plan<'_>) -> Vec<Share> {
    let count = plan.candidates.len();
    let Some(first) = plan.candidates.first() else {
        return Vec::new();
    };
    let total: usize = first
        .topics
        .iter()
        .map(|&topic| size(plan.topics[topic]))
        .sum();
    let (quota, mut extra) = (total / count, total % count);
    let places = places(plan);
    let mut free = Free::all(plan);
    let mut shares = vec![Share::new(); count];
    let mut missing = vec![0; count];
    for (member, share) in shares.iter_mut().enumerate() {
        let mut kept = 0;
        for (topic, index) in before(plan, &places, member) {
            // Who has more than the quota keeps one more, as long as there are enough for that.
            let may_keep = kept < quota || kept == quota && extra > 0;
            if may_keep && free.take(topic, index) {
                extra -= usize::from(kept == quota);
                kept += 1;
                share.entry(topic).or_default().push(index);
            }
        }
        missing[member] = quota.saturating_sub(kept);
    }
    // The partitions over go to those that have no more than the quota.
    let has_extra = |share: &Share| share.values().map(Vec::len).sum::<usize>() > quota;
    for (member, share) in shares.iter().enumerate() {
        if extra > 0 && !has_extra(share) {
            missing[member] += 1;
            extra -= 1;
        }
    }
    deal(plan, &free, &missing, &mut shares);
    shares
}

/// Deals what is free to those that miss something, one at a time, so that each gets some of every topic.
fn deal(plan: &Plan<'_>, free: &Free, missing: &[usize], shares: &mut [Share]) {
    let topics = &plan.candidates[0].topics;
    let mut cards = topics
        .iter()
        .flat_map(|&topic| free.left(topic).map(move |index| (topic, index)));
    let mut hungry: std::collections::VecDeque<(usize, usize)> = missing
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, missing)| *missing > 0)
        .collect();
    while let Some((member, missing)) = hungry.pop_front()
        && let Some((topic, index)) = cards.next()
    {
        shares[member].entry(topic).or_default().push(index);
        if missing > 1 {
            hungry.push_back((member, missing - 1));
        }
    }
}

fn share_by_subscription(plan: &Plan<'_>) -> Vec<Share> {
    let places = places(plan);
    let mut free = Free::all(plan);
    let mut shares = vec![Share::new(); plan.candidates.len()];
    let mut loads = vec![0_usize; plan.candidates.len()];
    for (member, share) in shares.iter_mut().enumerate() {
        for (topic, index) in before(plan, &places, member) {
            if free.take(topic, index) {
                share.entry(topic).or_default().push(index);
                loads[member] += 1;
            }
        }
    }
    let mut subscribers = vec![Vec::new(); plan.topics.len()];
    for (member, candidate) in plan.candidates.iter().enumerate() {
        for &topic in &*candidate.topics {
            subscribers[topic].push(member);
        }
    }
    // Topics with few subscribers first: the others can still make up for them.
    let mut order: Vec<usize> = (0..plan.topics.len()).collect();
    order.sort_by_key(|&topic| subscribers[topic].len());
    for &topic in &order {
        let waiting = subscribers[topic]
            .iter()
            .map(|&member| Reverse((loads[member], member)));
        let mut waiting: BinaryHeap<_> = waiting.collect();
        for index in free.left(topic) {
            let Some(Reverse((load, member))) = waiting.pop() else {
                break;
            };
            shares[member].entry(topic).or_default().push(index);
            loads[member] = load + 1;
            waiting.push(Reverse((load + 1, member)));
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut has_moved = false;
        for &topic in &order {
            has_moved |= even_out(topic, &subscribers[topic], &mut loads, &mut shares);
        }
        if !has_moved {
            break;
        }
    }
    shares
}

/// Moves partitions of one topic from those that have most to those that have least; says whether any moved.
fn even_out(
    topic: usize,
    subscribers: &[usize],
    loads: &mut [usize],
    shares: &mut [Share],
) -> bool {
    let mut takers: BTreeSet<(usize, usize)> = subscribers
        .iter()
        .map(|&member| (loads[member], member))
        .collect();
    let mut givers: BTreeSet<(usize, usize)> = takers
        .iter()
        .copied()
        .filter(|(_, member)| {
            shares[*member]
                .get(&topic)
                .is_some_and(|all| !all.is_empty())
        })
        .collect();
    let mut has_moved = false;
    while let Some(&(most, from)) = givers.last()
        && let Some(&(least, to)) = takers.first()
        && most >= least + 2
    {
        // What it got last it has least reason to keep.
        let Some(index) = shares[from].get_mut(&topic).and_then(Vec::pop) else {
            givers.remove(&(most, from));
            continue;
        };
        shares[to].entry(topic).or_default().push(index);
        for (member, before, after) in [(from, most, most - 1), (to, least, least + 1)] {
            takers.remove(&(before, member));
            givers.remove(&(before, member));
            takers.insert((after, member));
            if shares[member]
                .get(&topic)
                .is_some_and(|all| !all.is_empty())
            {
                givers.insert((after, member));
            }
            loads[member] = after;
        }
        has_moved = true;
    }
    has_moved
}
