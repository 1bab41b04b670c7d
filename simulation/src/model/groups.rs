//! What clients know of groups: offsets that were committed, generations and their owners.

use std::collections::BTreeMap;

use streamhouse_protocol::ids::TopicPartition;

use super::breach;
use crate::invariant::{Invariant, Violation};

/// The committed offset of one partition, as far as it is known.
#[derive(Debug, Default)]
struct Committed {
    /// The last commit that was acknowledged: when it was sent, and its offset.
    acknowledged: Option<(u64, i64)>,
    /// Commits without an answer.
    open: BTreeMap<u64, Open>,
    /// What was acknowledged may be lost; the next one that is acknowledged counts again.
    is_lost: bool,
}

/// A commit without an answer.
#[derive(Clone, Copy, Debug)]
struct Open {
    offset: i64,
    /// How often a broker had stood still when it was sent; none if one did.
    pauses: Option<u64>,
}

/// All that clients know of groups, by number.
#[derive(Debug, Default)]
pub(crate) struct GroupModel {
    sent: u64,
    offsets: BTreeMap<(usize, TopicPartition), Committed>,
    /// Who owns a partition in a generation.
    owners: BTreeMap<(usize, i32, TopicPartition), String>,
    newest: BTreeMap<usize, i32>,
    /// The database lost writes of groups, and that is not settled yet.
    is_doubtful: bool,
    /// How often it did.
    losses: u64,
}

impl GroupModel {
    /// A commit is about to be sent; returns its number.
    pub(crate) fn commit(
        &mut self,
        group: usize,
        at: TopicPartition,
        offset: i64,
        pauses: Option<u64>,
    ) -> u64 {
        self.sent += 1;
        let committed = self.offsets.entry((group, at)).or_default();
        committed.open.insert(self.sent, Open { offset, pauses });
        self.sent
    }

    /// The broker acknowledged a commit.
    pub(crate) fn acknowledged(&mut self, group: usize, at: TopicPartition, number: u64) {
        let committed = self.offsets.entry((group, at)).or_default();
        let Some(Open { offset, .. }) = committed.open.remove(&number) else {
            return;
        };
        if committed.acknowledged.is_none_or(|(last, _)| last < number) {
            committed.acknowledged = Some((number, offset));
            committed.is_lost = self.is_doubtful;
        }
    }

    /// The broker said that a commit did not happen.
    pub(crate) fn refused(&mut self, group: usize, at: TopicPartition, number: u64) {
        let committed = self.offsets.entry((group, at)).or_default();
        committed.open.remove(&number);
    }

    /// When a fetch of offsets is sent: what must be known by then.
    pub(crate) fn floor(&self, group: usize, at: TopicPartition) -> Option<(u64, i64)> {
        self.offsets.get(&(group, at))?.acknowledged
    }

    /// Holds a fetched offset against what was known when it was asked for.
    pub(crate) fn fetched(
        &self,
        group: usize,
        at: TopicPartition,
        floor: Option<(u64, i64)>,
        found: Option<i64>,
        pauses: Option<u64>,
    ) -> Result<(), Violation> {
        let known = self.offsets.get(&(group, at));
        let is_acknowledged = match (floor, found) {
            (None, None) => true,
            (Some((_, offset)), Some(found)) => offset == found,
            (None, Some(_)) | (Some(_), None) => false,
        };
        let since = floor.map_or(0, |(number, _)| number);
        let is_later = known.is_some_and(|known| {
            // What was sent to a broker that stood still arrives when it goes on, behind what was sent later.
            let lingers = |open: &Open| open.pauses.is_none() || open.pauses != pauses;
            let open = known.open.iter();
            let open = open.filter(|(number, open)| **number >= since || lingers(open));
            let open = open.map(|(_, open)| open.offset);
            let acknowledged = known.acknowledged.filter(|(number, _)| *number >= since);
            let mut possible = open.chain(acknowledged.map(|(_, offset)| offset));
            found.is_some_and(|found| possible.any(|offset| offset == found))
        });
        // A commit between the two that was acknowledged while the fetch was under way is not remembered any more.
        let has_moved =
            known.is_some_and(|known| known.acknowledged.map(|(n, _)| n) > floor.map(|(n, _)| n));
        let is_lost = self.is_doubtful || known.is_some_and(|known| known.is_lost);
        if is_acknowledged || is_later || has_moved || is_lost {
            return Ok(());
        }
        breach(
            Invariant::Groups,
            format!(
                "group {group} committed {floor:?} (commit, offset) for {at}, the broker says {found:?}"
            ),
        )
    }

    /// A member was told that it owns partitions in a generation.
    pub(crate) fn owns(
        &mut self,
        group: usize,
        generation: i32,
        member: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), Violation> {
        if self.is_doubtful {
            return Ok(());
        }
        for at in partitions {
            let owner = self.owners.entry((group, generation, *at));
            let owner = owner.or_insert_with(|| member.to_owned());
            if owner != member {
                return breach(
                    Invariant::Groups,
                    format!(
                        "{owner} and {member} own {at} in generation {generation} of group {group}"
                    ),
                );
            }
        }
        Ok(())
    }

    /// A member was told of a generation. Returns whether nobody was before.
    pub(crate) fn generation(&mut self, group: usize, generation: i32) -> bool {
        if self.is_doubtful {
            return false;
        }
        let newest = self.newest.entry(group).or_insert(-1);
        let is_new = generation > *newest;
        *newest = (*newest).max(generation);
        is_new
    }

    /// The database lost writes of groups: what is answered proves nothing until that is settled.
    pub(crate) fn doubt(&mut self) {
        self.is_doubtful = true;
        self.losses += 1;
    }

    /// It is settled: whatever was known before may be lost.
    pub(crate) fn settle(&mut self) {
        self.is_doubtful = false;
        self.losses += 1;
        self.owners.clear();
        self.newest.clear();
        for committed in self.offsets.values_mut() {
            committed.is_lost = true;
        }
    }

    /// Whether something was lost since `losses` was read, or may be.
    pub(crate) fn has_lost_since(&self, losses: u64) -> bool {
        self.is_doubtful || self.losses != losses
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses
    }

    /// The newest generation that anybody was told of.
    pub(crate) fn newest(&self, group: usize) -> i32 {
        self.newest.get(&group).copied().unwrap_or(-1)
    }
}
