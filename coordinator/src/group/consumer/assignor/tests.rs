//! The assignors against what every assignment must be, and against what each of them promises.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::scale::cases;

/// Members with their subscriptions, as numbers of topics.
#[derive(Clone, Debug)]
struct Cast {
    ids: Vec<MemberId>,
    subscriptions: Vec<Rc<[usize]>>,
    before: Vec<Partitions>,
    sizes: Vec<i32>,
}

fn topic(index: usize) -> TopicId {
    TopicId(index as u128 + 1)
}

impl Cast {
    fn new(sizes: &[i32], subscriptions: &[&[usize]]) -> Self {
        Self {
            ids: (0..subscriptions.len())
                .map(|index| MemberId::from(format!("m{index:04}").as_str()))
                .collect(),
            subscriptions: subscriptions.iter().map(|all| Rc::from(*all)).collect(),
            before: vec![Partitions::new(); subscriptions.len()],
            sizes: sizes.to_vec(),
        }
    }

    fn same(sizes: &[i32], members: usize) -> Self {
        let all: Vec<usize> = (0..sizes.len()).collect();
        Self::new(sizes, &vec![&all[..]; members])
    }

    fn plan(&self) -> Plan<'_> {
        let sizes = self.sizes.iter().copied().enumerate();
        let candidates = self.ids.iter().enumerate().map(|(index, id)| Candidate {
            id,
            instance: None,
            topics: Rc::clone(&self.subscriptions[index]),
            before: &self.before[index],
        });
        Plan {
            topics: sizes.map(|(index, size)| (topic(index), size)).collect(),
            candidates: candidates.collect(),
        }
    }

    fn assign(&mut self, assignor: ConsumerAssignor) -> &[Partitions] {
        self.before = assign(assignor, &self.plan());
        self.check();
        &self.before
    }

    /// Every partition that somebody subscribes to has one owner, who subscribes to it.
    fn check(&self) {
        let mut owners = BTreeMap::new();
        for (member, share) in self.before.iter().enumerate() {
            for one in share {
                let index = usize::try_from(one.topic.0).unwrap() - 1;
                assert!(self.subscriptions[member].contains(&index), "{one:?}");
                assert!(one.partition.0 < self.sizes[index]);
                assert_eq!(owners.insert(*one, member), None, "{one:?} has two owners");
            }
        }
        let is_wanted = |index: &usize| self.subscriptions.iter().any(|all| all.contains(index));
        let wanted = (0..self.sizes.len()).filter(is_wanted);
        let total: i32 = wanted.map(|index| self.sizes[index]).sum();
        assert_eq!(owners.len(), usize::try_from(total).unwrap());
    }

    fn loads(&self) -> Vec<usize> {
        self.before.iter().map(Partitions::len).collect()
    }
}

fn moved(before: &[Partitions], after: &[Partitions]) -> usize {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| after.difference(before).count())
        .sum()
}

fn indexes(share: &Partitions, topic: TopicId) -> Vec<i32> {
    let all = share.iter().filter(|one| one.topic == topic);
    all.map(|one| one.partition.0).collect()
}

#[test]
fn range_gives_consecutive_partitions_and_the_same_ones_of_equal_topics() {
    let mut cast = Cast::same(&[5, 5], 2);
    let shares = cast.assign(ConsumerAssignor::Range).to_vec();
    for which in [topic(0), topic(1)] {
        assert_eq!(indexes(&shares[0], which), [0, 1, 2]);
        assert_eq!(indexes(&shares[1], which), [3, 4]);
    }
}

#[test]
fn range_puts_static_members_first() {
    let cast = Cast::same(&[4], 2);
    let mut plan = cast.plan();
    plan.candidates[1].instance = Some("z");
    let shares = assign(ConsumerAssignor::Range, &plan);
    assert_eq!(indexes(&shares[1], topic(0)), [0, 1]);
    assert_eq!(indexes(&shares[0], topic(0)), [2, 3]);
}

#[test]
fn uniform_moves_only_what_a_new_member_gets() {
    let mut cast = Cast::same(&[6, 6], 3);
    let before = cast.assign(ConsumerAssignor::Uniform).to_vec();
    assert_eq!(cast.loads(), [4, 4, 4]);
    let mut grown = Cast::same(&[6, 6], 4);
    grown.before[..3].clone_from_slice(&before);
    let mut old = before;
    old.push(Partitions::new());
    let after = grown.assign(ConsumerAssignor::Uniform).to_vec();
    assert_eq!(grown.loads(), [3, 3, 3, 3]);
    assert_eq!(moved(&old, &after), 3);
}

#[test]
fn uniform_gives_each_member_some_of_every_topic() {
    let mut cast = Cast::same(&[4, 4], 2);
    let shares = cast.assign(ConsumerAssignor::Uniform).to_vec();
    for share in &shares {
        assert_eq!(indexes(share, topic(0)).len(), 2);
        assert_eq!(indexes(share, topic(1)).len(), 2);
    }
}

#[test]
fn nobody_gets_anything_of_topics_without_partitions_or_members() {
    assert!(assign(ConsumerAssignor::Uniform, &Cast::same(&[3], 0).plan()).is_empty());
    assert!(assign(ConsumerAssignor::Range, &Cast::same(&[3], 0).plan()).is_empty());
    let mut cast = Cast::same(&[], 3);
    cast.assign(ConsumerAssignor::Uniform);
    cast.assign(ConsumerAssignor::Range);
    assert_eq!(cast.loads(), [0, 0, 0]);
}

#[test]
fn ten_thousand_partitions_and_a_thousand_members_are_no_trouble() {
    let mut cast = Cast::same(&[1_000; 10], 1_000);
    let before = cast.assign(ConsumerAssignor::Uniform).to_vec();
    assert_eq!(cast.loads(), vec![10; 1_000]);
    cast.subscriptions[7] = Rc::from([0, 1]);
    let after = cast.assign(ConsumerAssignor::Uniform).to_vec();
    assert!(moved(&before, &after) <= 20, "{}", moved(&before, &after));
    cast.assign(ConsumerAssignor::Range);
}

#[test]
fn different_subscriptions_come_out_even_where_they_can() {
    // The first member alone may read topic 0; the others have to leave it the least of topic 1.
    let mut cast = Cast::new(&[4, 8], &[&[0, 1], &[1], &[1]]);
    cast.assign(ConsumerAssignor::Uniform);
    assert_eq!(cast.loads(), [4, 4, 4]);
}

fn cast() -> impl Strategy<Value = Cast> {
    let sizes = prop::collection::vec(0..12_i32, 1..5);
    let subscriptions = prop::collection::vec(prop::collection::btree_set(0..4_usize, 0..5), 1..9);
    (sizes, subscriptions, any::<bool>()).prop_map(|(sizes, subscriptions, is_same)| {
        if is_same {
            return Cast::same(&sizes, subscriptions.len());
        }
        let known = |all: &std::collections::BTreeSet<usize>| -> Vec<usize> {
            all.iter()
                .copied()
                .filter(|&one| one < sizes.len())
                .collect()
        };
        let all: Vec<Vec<usize>> = subscriptions.iter().map(known).collect();
        let all: Vec<&[usize]> = all.iter().map(Vec::as_slice).collect();
        Cast::new(&sizes, &all)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(256)))]

    #[test]
    fn every_partition_has_one_owner(mut cast in cast()) {
        cast.assign(ConsumerAssignor::Range);
        cast.assign(ConsumerAssignor::Uniform);
    }

    #[test]
    fn an_unchanged_group_keeps_what_it_has(mut cast in cast()) {
        let before = cast.assign(ConsumerAssignor::Uniform).to_vec();
        let again = cast.assign(ConsumerAssignor::Uniform).to_vec();
        prop_assert_eq!(before, again);
    }

    #[test]
    fn equal_subscriptions_differ_by_one_at_most_and_move_what_they_must(
        sizes in prop::collection::vec(1..12_i32, 1..5),
        from in 1..9_usize,
        to in 1..9_usize,
    ) {
        let mut cast = Cast::same(&sizes, from);
        let mut before = cast.assign(ConsumerAssignor::Uniform).to_vec();
        let mut next = Cast::same(&sizes, to);
        before.resize(to, Partitions::new());
        next.before.clone_from(&before);
        let after = next.assign(ConsumerAssignor::Uniform).to_vec();
        let loads = next.loads();
        let (most, least) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
        prop_assert!(most - least <= 1, "{loads:?}");
        // Whoever had less than its share must get the difference, and nothing else has to move.
        let needed: usize = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.len().saturating_sub(before.len()))
            .sum();
        prop_assert_eq!(moved(&before, &after), needed);
    }

    /// Nobody could give one partition to somebody who may read it and has at least two less.
    #[test]
    fn different_subscriptions_cannot_be_evened_out_by_one_move(mut cast in cast()) {
        cast.assign(ConsumerAssignor::Uniform);
        let loads = cast.loads();
        for (from, share) in cast.before.iter().enumerate() {
            for one in share {
                let index = usize::try_from(one.topic.0).unwrap() - 1;
                for (to, wanted) in cast.subscriptions.iter().enumerate() {
                    prop_assert!(!wanted.contains(&index) || loads[from] < loads[to] + 2);
                }
            }
        }
    }
}
