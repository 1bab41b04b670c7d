//! How far the groups of this broker are, for whoever watches them.

use streamhouse_protocol::ids::TopicPartition;
use streamhouse_protocol::names::GroupId;

use super::shard::Shard;
use super::{Groups, Place};

/// A group with what it has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupProgress {
    /// The group.
    pub group: GroupId,
    /// How many members it has.
    pub members: usize,
    /// The committed offset of each partition that has one.
    pub offsets: Vec<(TopicPartition, i64)>,
}

/// The groups that this broker coordinates, as far as they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The groups, by shard and id.
    pub groups: Vec<GroupProgress>,
    /// How many groups were left out.
    pub left_out: usize,
}

impl Groups {
    /// Members and offsets of the groups that this broker coordinates, until one more group would make more than `lines_max`
    /// lines; a group counts as one line, and so does each of its offsets. Not held up by what is being written, and no
    /// other request waits for more than one shard's part of it.
    #[must_use]
    pub fn progress(&self, lines_max: usize) -> Progress {
        let mut progress = Progress::default();
        let mut lines = 0;
        let shards: Vec<_> = self.inner.served.lock().shards.keys().copied().collect();
        for shard in shards {
            let served = self.inner.served.lock();
            if let Some(Place::Loaded(shard)) = served.shards.get(&shard)
                && !shard.is_leaving
            {
                shard.progress(&mut progress, &mut lines, lines_max);
            }
        }
        progress
    }
}

impl Shard {
    fn progress(&self, progress: &mut Progress, lines: &mut usize, lines_max: usize) {
        for (id, slot) in &self.groups {
            if slot.group.is_dead() {
                continue;
            }
            let next = *lines + 1 + slot.offsets.len();
            if next > lines_max {
                progress.left_out += 1;
                continue;
            }
            *lines = next;
            let offsets = slot.offsets.iter();
            progress.groups.push(GroupProgress {
                group: id.clone(),
                members: slot.group.member_count(),
                offsets: offsets
                    .map(|(partition, committed)| (*partition, committed.offset))
                    .collect(),
            });
        }
    }
}
