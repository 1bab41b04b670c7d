//! Who should lead which shard: every broker computes the same answer from the same facts, and does its own part of it.
//!
//! There is no controller. The facts are the brokers whose leases hold and the holders of the shards. From them follows one
//! placement: as even as numbers allow, with as few moves as possible. A broker takes what nobody holds and what is meant for
//! it, and hands over what it has too much of. Even means each topic too: its partitions lie on consecutive shards, so what a
//! broker keeps must not be a block of them. Two brokers that see different facts for a moment may want the same shard: the
//! grant, which names the one before it, lets one of them win.
//!
//! Pure: no clock, no chance, no store.

use std::collections::{BTreeMap, BTreeSet};

use streamhouse_metadata::{Incarnation, ShardId};
use streamhouse_protocol::ids::BrokerId;

/// A broker whose lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Its number.
    pub broker: BrokerId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// Who has the right to lead a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: it was never granted, or the life that held it is known to be dead.
    Nobody,
    /// A life whose lease is over, and which nobody has declared dead.
    Expired,
    /// A life whose lease holds.
    Living(Incarnation),
}

/// A shard as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub shard: ShardId,
    /// Who holds it.
    pub holder: Holder,
    /// Whether its log was ever written. What was not moves without anybody noticing.
    pub is_written: bool,
}

/// What everybody sees, or should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The brokers whose leases hold.
    pub living: BTreeSet<Candidate>,
    /// All shards.
    pub shards: Vec<Placed>,
}

/// What one broker knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its life.
    pub incarnation: Incarnation,
    /// Whether it has been in touch with the database for a whole lease: what seems expired may only be unheard of since
    /// the database was away.
    pub may_take_expired: bool,
    /// Its shards that may move: they have been here long enough, or nothing is in them. None while one is on the move.
    pub movable: BTreeSet<ShardId>,
}

/// What one broker does about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Shards to take.
    pub take: Vec<ShardId>,
    /// A shard to hand over, and to whom.
    pub hand_over: Option<(ShardId, Incarnation)>,
}

/// What the broker does: its part of [`assignment`].
#[must_use]
pub fn decide(view: &View, own: &Own) -> Actions {
    let assigned = assignment(view);
    let me = Holder::Living(own.incarnation);
    let mut actions = Actions::default();
    let mut surplus = Vec::new();
    for placed in &view.shards {
        let Some(&heir) = assigned.get(&placed.shard) else {
            continue;
        };
        let is_free = match placed.holder {
            Holder::Nobody => true,
            Holder::Expired => own.may_take_expired,
            Holder::Living(_) => false,
        };
        if heir == own.incarnation && is_free {
            actions.take.push(placed.shard);
        } else if heir != own.incarnation
            && placed.holder == me
            && own.movable.contains(&placed.shard)
        {
            surplus.push((*placed, heir));
        }
    }
    // What is kept last goes first: another broker may come before the last one went.
    let first = surplus
        .into_iter()
        .max_by_key(|(placed, _)| keeping_order(view, placed));
    actions.hand_over = first.map(|(placed, heir)| (placed.shard, heir));
    actions
}

/// Who should lead each shard; empty if nobody lives.
///
/// The numbers of shards differ by one at most. A broker keeps what it has up to its share, first what was written; the rest goes
/// to the broker that is preferred for it, if that has room, else to who has most.
#[must_use]
pub fn assignment(view: &View) -> BTreeMap<ShardId, Incarnation> {
    let mut shares = shares(view);
    let mut assigned = BTreeMap::new();
    let mut held: Vec<&Placed> = view.shards.iter().collect();
    held.sort_by_key(|placed| keeping_order(view, placed));
    for placed in held {
        let Holder::Living(holder) = placed.holder else {
            continue;
        };
        if let Some(share) = shares.iter_mut().find(|share| share.of == holder)
            && share.room > 0
        {
            share.room -= 1;
            assigned.insert(placed.shard, holder);
        }
    }
    let mut left: Vec<ShardId> = view.shards.iter().map(|placed| placed.shard).collect();
    left.sort_unstable();
    left.retain(|shard| !assigned.contains_key(shard));
    for shard in &left {
        if let Some(preferred) = preferred(view, *shard)
            && let Some(share) = shares.iter_mut().find(|share| share.of == preferred)
            && share.room > 0
        {
            share.room -= 1;
            assigned.insert(*shard, preferred);
        }
    }
    left.retain(|shard| !assigned.contains_key(shard));
    for shard in left {
        // Of several with the same room the last one is found, so the order is turned around.
        let roomiest = shares.iter_mut().rev().max_by_key(|share| share.room);
        if let Some(share) = roomiest {
            share.room = share.room.saturating_sub(1);
            assigned.insert(shard, share.of);
        }
    }
    assigned
}

/// The broker that a shard would have if nobody held any: neighbouring shards, which hold the partitions of one topic, have
/// different ones.
fn preferred(view: &View, shard: ShardId) -> Option<Incarnation> {
    let turn = usize::try_from(shard.0).ok()? % view.living.len().max(1);
    view.living.iter().nth(turn).map(|one| one.incarnation)
}

/// What a broker with too many shards keeps first: what was written, then what it is preferred for. Of the rest the order of
/// the reversed bits, of which each beginning is spread over all shards: lower numbers first would leave the lowest topics
/// to the broker that came first, and none of the others.
fn keeping_order(view: &View, placed: &Placed) -> (bool, bool, u32) {
    let is_preferred =
        preferred(view, placed.shard).is_some_and(|life| placed.holder == Holder::Living(life));
    (
        !placed.is_written,
        !is_preferred,
        placed.shard.0.reverse_bits(),
    )
}

/// How many shards a broker may still get.
struct Share {
    of: Incarnation,
    room: usize,
}

/// The share of each living broker, by number. Where they cannot be equal, those that have more already get one more.
fn shares(view: &View) -> Vec<Share> {
    let brokers = view.living.len();
    if brokers == 0 {
        return Vec::new();
    }
    let mut counts: BTreeMap<Incarnation, usize> = BTreeMap::new();
    for placed in &view.shards {
        if let Holder::Living(holder) = placed.holder {
            *counts.entry(holder).or_default() += 1;
        }
    }
    let count = |life: &Incarnation| counts.get(life).copied().unwrap_or(0);
    let mut by_count: Vec<&Candidate> = view.living.iter().collect();
    by_count.sort_by_key(|one| (std::cmp::Reverse(count(&one.incarnation)), **one));
    let (base, extra) = (view.shards.len() / brokers, view.shards.len() % brokers);
    let richer: BTreeSet<Incarnation> = by_count
        .iter()
        .take(extra)
        .map(|one| one.incarnation)
        .collect();
    let share = |one: &Candidate| Share {
        of: one.incarnation,
        room: base + usize::from(richer.contains(&one.incarnation)),
    };
    view.living.iter().map(share).collect()
}

#[cfg(test)]
mod tests;
