//! Properties of the placement, over clusters of every shape.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use streamhouse_metadata::{Incarnation, ShardId};
use streamhouse_protocol::ids::BrokerId;

use super::{Actions, Candidate, Holder, Own, Placed, View, assignment, decide};

/// A candidate whose life has an order of its own: nothing may hang on it.
fn candidate(number: i32) -> Candidate {
    let life = u128::from(number.unsigned_abs()) * 7_919 % 101 + 1;
    Candidate {
        broker: BrokerId(number),
        incarnation: Incarnation(life),
    }
}

fn life(number: i32) -> Incarnation {
    candidate(number).incarnation
}

/// Up to five brokers, and shards that one of them holds (living or not), or nobody.
fn views() -> impl Strategy<Value = View> {
    let living = prop::collection::btree_set(0..5_i32, 1..=5);
    let shard = (prop::option::weighted(0.9, 0..7_i32), any::<bool>());
    (living, prop::collection::vec(shard, 1..40)).prop_map(|(living, shards)| {
        let placed = shards
            .into_iter()
            .zip(0..)
            .map(|((holder, is_written), shard)| Placed {
                shard: ShardId(shard),
                holder: match holder {
                    None => Holder::Nobody,
                    Some(number) if living.contains(&number) => Holder::Living(life(number)),
                    Some(_) => Holder::Expired,
                },
                is_written,
            });
        View {
            shards: placed.collect(),
            living: living.iter().map(|number| candidate(*number)).collect(),
        }
    })
}

fn own(view: &View, one: Candidate) -> Own {
    let is_mine = |placed: &&Placed| placed.holder == Holder::Living(one.incarnation);
    Own {
        incarnation: one.incarnation,
        may_take_expired: true,
        movable: view
            .shards
            .iter()
            .filter(is_mine)
            .map(|placed| placed.shard)
            .collect(),
    }
}

fn counts(view: &View) -> BTreeMap<Incarnation, usize> {
    let mut counts: BTreeMap<Incarnation, usize> =
        view.living.iter().map(|one| (one.incarnation, 0)).collect();
    for placed in &view.shards {
        if let Holder::Living(holder) = placed.holder {
            *counts.entry(holder).or_default() += 1;
        }
    }
    counts
}

fn is_even(counts: &BTreeMap<Incarnation, usize>) -> bool {
    let (most, least) = (counts.values().max(), counts.values().min());
    most.zip(least)
        .is_some_and(|(most, least)| most - least <= 1)
}

fn give(view: &mut View, shard: ShardId, to: Incarnation) {
    let placed = view.shards.iter_mut().find(|placed| placed.shard == shard);
    placed.unwrap().holder = Holder::Living(to);
}

/// How many living holders must lose a shard, at the least.
fn fewest_moves(view: &View) -> usize {
    let (brokers, shards) = (view.living.len(), view.shards.len());
    let mut held: Vec<usize> = counts(view).into_values().collect();
    held.sort_unstable();
    let shares = held.iter().rev().enumerate().map(|(place, count)| {
        let share = shards / brokers + usize::from(place < shards % brokers);
        count.saturating_sub(share)
    });
    shares.sum()
}

proptest! {
    #[test]
    fn every_shard_is_assigned_to_the_living_and_evenly(view in views()) {
        let assigned = assignment(&view);
        prop_assert_eq!(assigned.len(), view.shards.len());
        let mut after = view.clone();
        for (shard, to) in &assigned {
            prop_assert!(view.living.iter().any(|one| one.incarnation == *to));
            give(&mut after, *shard, *to);
        }
        prop_assert!(is_even(&counts(&after)), "{:?}", counts(&after));
    }

    #[test]
    fn no_more_shards_move_than_must(view in views()) {
        let assigned = assignment(&view);
        let moved = view.shards.iter().filter(|placed| {
            let stays = placed.holder == Holder::Living(assigned[&placed.shard]);
            matches!(placed.holder, Holder::Living(_)) && !stays
        });
        prop_assert_eq!(moved.count(), fewest_moves(&view));
    }

    #[test]
    fn the_order_in_which_facts_are_listed_has_no_say(view in views(), turn in 0_usize..40) {
        let mut turned = view.clone();
        let by = turn % turned.shards.len();
        turned.shards.rotate_left(by);
        turned.shards.reverse();
        prop_assert_eq!(assignment(&view), assignment(&turned));
    }

    #[test]
    fn one_round_gives_every_shard_of_the_dead_to_somebody(view in views()) {
        let mut after = view.clone();
        for one in &view.living {
            for shard in decide(&view, &own(&view, *one)).take {
                give(&mut after, shard, one.incarnation);
            }
        }
        let is_led = |placed: &Placed| matches!(placed.holder, Holder::Living(_));
        prop_assert!(after.shards.iter().all(is_led));
    }

    #[test]
    fn nobody_takes_what_another_living_broker_holds(view in views()) {
        for one in &view.living {
            let mine = own(&view, *one);
            let Actions { take, hand_over } = decide(&view, &mine);
            for placed in &view.shards {
                let is_taken = take.contains(&placed.shard);
                prop_assert!(!is_taken || !matches!(placed.holder, Holder::Living(_)));
            }
            if let Some((shard, to)) = hand_over {
                prop_assert!(mine.movable.contains(&shard) && to != one.incarnation);
            }
        }
    }

    /// Brokers act one after the other, in any order, each on what it sees then: nobody gives anything back.
    #[test]
    fn any_state_comes_to_rest_and_no_shard_moves_twice(
        view in views(),
        order in prop::collection::vec(0_usize..5, 0..200),
    ) {
        let mut view = view;
        let living: Vec<Candidate> = view.living.iter().copied().collect();
        let fewest = fewest_moves(&view);
        let mut moved = BTreeSet::new();
        let to_the_end = (0..living.len()).cycle().take(living.len() * 50);
        for turn in order.into_iter().chain(to_the_end) {
            let one = living[turn % living.len()];
            let actions = decide(&view, &own(&view, one));
            for shard in actions.take {
                give(&mut view, shard, one.incarnation);
            }
            if let Some((shard, to)) = actions.hand_over {
                prop_assert!(moved.insert(shard), "{shard} moved twice");
                give(&mut view, shard, to);
            }
        }
        prop_assert!(is_even(&counts(&view)));
        prop_assert!(moved.len() <= fewest, "{} moves instead of {fewest}", moved.len());
        for one in &living {
            prop_assert_eq!(decide(&view, &own(&view, *one)), Actions::default());
        }
    }

    /// Brokers act on what they saw a while ago. Grants that do not find what they expect do nothing.
    #[test]
    fn stale_views_delay_the_end_but_do_not_prevent_it(
        view in views(),
        order in prop::collection::vec((0_usize..5, 0_usize..4), 0..60),
    ) {
        let mut past = vec![view];
        let living: Vec<Candidate> = past[0].living.iter().copied().collect();
        let fresh = (0..living.len()).cycle().take(living.len() * 60).map(|turn| (turn, 0));
        for (turn, age) in order.into_iter().chain(fresh) {
            let one = living[turn % living.len()];
            let seen = &past[past.len().saturating_sub(1 + age)];
            let actions = decide(seen, &own(seen, one));
            let mut now = past[past.len() - 1].clone();
            let given = actions.take.into_iter().map(|shard| (shard, one.incarnation));
            for (shard, to) in given.chain(actions.hand_over) {
                let place = |view: &View| view.shards.iter().find(|it| it.shard == shard).copied();
                if place(seen) == place(&now) {
                    give(&mut now, shard, to);
                }
            }
            past.push(now);
        }
        prop_assert!(is_even(&counts(&past[past.len() - 1])));
    }
}

fn small(holders: &[(Option<i32>, bool)], living: &[i32]) -> View {
    let shards = holders
        .iter()
        .zip(0..)
        .map(|((holder, is_written), shard)| Placed {
            shard: ShardId(shard),
            holder: holder.map_or(Holder::Expired, |number| Holder::Living(life(number))),
            is_written: *is_written,
        });
    View {
        shards: shards.collect(),
        living: living.iter().map(|number| candidate(*number)).collect(),
    }
}

#[test]
fn what_was_never_written_moves_first() {
    let mine = [
        (Some(1), false),
        (Some(1), true),
        (Some(1), false),
        (Some(1), true),
    ];
    let view = small(&mine, &[1, 2]);
    let handed = decide(&view, &own(&view, candidate(1))).hand_over;
    assert_eq!(handed, Some((ShardId(2), life(2))));
}

#[test]
fn a_shard_that_must_stay_for_now_lets_another_one_go() {
    let view = small(&[(Some(1), true); 4], &[1, 2]);
    let mut mine = own(&view, candidate(1));
    assert_eq!(decide(&view, &mine).hand_over, Some((ShardId(3), life(2))));
    mine.movable.remove(&ShardId(3));
    assert_eq!(decide(&view, &mine).hand_over, Some((ShardId(1), life(2))));
    mine.movable.clear();
    assert_eq!(decide(&view, &mine), Actions::default());
}

#[test]
fn a_broker_that_just_came_leaves_what_is_only_expired() {
    let mut view = small(&[(None, true), (None, false)], &[1]);
    view.shards[1].holder = Holder::Nobody;
    let mut mine = own(&view, candidate(1));
    mine.may_take_expired = false;
    assert_eq!(decide(&view, &mine).take, [ShardId(1)]);
    mine.may_take_expired = true;
    assert_eq!(decide(&view, &mine).take, [ShardId(0), ShardId(1)]);
}

#[test]
fn neighbouring_shards_of_a_dead_broker_go_to_different_brokers() {
    let view = small(&[(None, true); 6], &[1, 2, 3]);
    let assigned = assignment(&view);
    let to: Vec<Incarnation> = assigned.into_values().collect();
    assert_eq!(to, [life(1), life(2), life(3), life(1), life(2), life(3)]);
}

/// Everybody takes and hands over, in turn, `turns` times at most, or until nothing is left to do.
fn settle(view: &mut View, turns: usize) {
    let living: Vec<Candidate> = view.living.iter().copied().collect();
    let held = |view: &View| -> Vec<Holder> { view.shards.iter().map(|it| it.holder).collect() };
    for _ in 0..turns {
        let before = held(view);
        for one in &living {
            let actions = decide(view, &own(view, *one));
            let taken = actions.take.into_iter().map(|it| (it, one.incarnation));
            for (shard, to) in taken.chain(actions.hand_over) {
                give(view, shard, to);
            }
        }
        if held(view) == before {
            return;
        }
    }
}

/// From now on these live; what the others held is expired.
fn only(view: &mut View, living: &[i32]) {
    view.living = living.iter().map(|number| candidate(*number)).collect();
    for placed in &mut view.shards {
        let is_led = |one: &Candidate| placed.holder == Holder::Living(one.incarnation);
        if !view.living.iter().any(is_led) {
            placed.holder = Holder::Expired;
        }
    }
}

/// However brokers came and went before: a topic lies on consecutive shards, and is led by all of them.
#[test]
fn of_any_twelve_neighbouring_shards_each_of_three_brokers_leads_some() {
    let cluster = [1, 2, 3];
    for early in 0..=40 {
        let mut histories = vec![vec![
            (&[1][..], 99),
            (&[1, 2][..], early),
            (&cluster[..], 99),
        ]];
        let mut rolling = vec![(&[1][..], 99), (&cluster[..], 99)];
        for left in [&[1, 2], &[1, 3], &[2, 3]] {
            rolling.extend([(&left[..], early), (&cluster[..], 99)]);
        }
        histories.push(rolling);
        for (history, is_written) in histories.iter().zip([false, true]) {
            let mut view = small(&[(None, is_written); 64], &[1]);
            for (living, turns) in history {
                only(&mut view, living);
                settle(&mut view, *turns);
            }
            let holders: Vec<Holder> = view.shards.iter().map(|it| it.holder).collect();
            let round: Vec<Holder> = holders.iter().chain(&holders).copied().collect();
            for topic in round.windows(12) {
                for number in cluster {
                    let led = topic
                        .iter()
                        .filter(|it| **it == Holder::Living(life(number)));
                    assert!(led.count() > 0, "after {history:?}: {topic:?}");
                }
            }
        }
    }
}
