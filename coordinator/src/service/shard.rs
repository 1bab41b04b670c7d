//! The groups of one shard in memory, and what of them is not written yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use streamhouse_metadata::CoordinationWrite;
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::Monotonic;
use tokio::sync::{oneshot, watch};

use super::Grant;
use crate::group::classic::{Effects, Now, Ticket, join_bytes};
use crate::group::{
    AnyGroup, CommittedOffset, CoordinatorError, JoinAnswer, JoinError, JoinRequest, SyncAnswer,
    SyncError,
};

/// What a group costs beside what its members, its id and its offsets occupy.
pub(super) const SLOT_OVERHEAD_BYTES: usize = 1_024;
/// What an offset costs beside its metadata.
const OFFSET_OVERHEAD_BYTES: usize = 128;

fn offset_bytes(metadata: usize) -> usize {
    OFFSET_OVERHEAD_BYTES + metadata
}

/// An answer to a parked request, and what must be written before it may go out.
pub(super) type Parked<T, E> = (Result<T, E>, Option<Gate>);

/// Opens when a version of a group is written.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) saved: watch::Receiver<u64>,
    pub(super) version: u64,
}

/// Everything of one shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) grant: Grant,
    /// The coordination `seq` that the next write names.
    pub(super) seq: u64,
    pub(super) groups: BTreeMap<GroupId, Slot>,
    /// Groups whose stored form must be written, or removed.
    pub(super) unsaved: BTreeSet<GroupId>,
    /// Offsets to write, in order. Bound: `queued_offsets_max`; more are refused with a definite error.
    pub(super) queue: VecDeque<OffsetChanges>,
    /// How many offsets the queue and the write under way hold.
    pub(super) queued_offsets: usize,
    pub(super) in_flight: Option<InFlight>,
    /// After a failure: when to try again, and how long to wait after the next one.
    pub(super) retry: Option<Retry>,
    /// What its groups occupy, as [`Shard::settle`] counted it.
    pub(super) bytes: usize,
    /// It is about to be given away: what was accepted is written, and nothing else happens.
    pub(super) is_leaving: bool,
    timers: BTreeSet<(Monotonic, GroupId)>,
}

/// One group and its offsets.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) group: AnyGroup,
    /// What is written, and nothing else.
    pub(super) offsets: BTreeMap<TopicPartition, CommittedOffset>,
    /// What they occupy.
    offset_bytes: usize,
    /// What of this group its shard counts.
    counted_bytes: usize,
    /// How many changes of a partition's offset are on their way.
    pub(super) queued: BTreeMap<TopicPartition, usize>,
    /// Counts the stored forms that the group asked for.
    pub(super) version: u64,
    /// The newest stored form, until it is written.
    pub(super) stored: Option<Bytes>,
    /// The version that is written.
    pub(super) saved: watch::Sender<u64>,
    /// Parked requests; every one is answered by the group, or dropped with the shard.
    pub(super) joins: BTreeMap<Ticket, oneshot::Sender<Parked<JoinAnswer, JoinError>>>,
    pub(super) syncs: BTreeMap<Ticket, oneshot::Sender<Parked<SyncAnswer, SyncError>>>,
    timer: Option<Monotonic>,
}

/// Changes of offsets of one group that are written together.
#[derive(Debug)]
pub(super) struct OffsetChanges {
    pub(super) group: GroupId,
    /// The partition and its offset, `None` to remove it.
    pub(super) changes: Vec<(TopicPartition, Option<CommittedOffset>)>,
    /// Who waits for it: nobody when offsets expire, or when the waiter has been told that the outcome is unknown.
    pub(super) waiter: Option<oneshot::Sender<Result<(), CoordinatorError>>>,
}

/// A write that was handed to the metadata store.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Exactly what was handed over, so that it can be repeated.
    pub(super) write: CoordinationWrite,
    /// Which versions of which groups it holds.
    pub(super) versions: Vec<(GroupId, u64)>,
    /// Groups that it removes.
    pub(super) removed: Vec<GroupId>,
    pub(super) offsets: Vec<OffsetChanges>,
    /// Whether the store failed to say what became of it. Nothing else of the shard is written until that is known.
    pub(super) is_unknown: bool,
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) at: Monotonic,
    pub(super) wait: Duration,
}

impl Shard {
    pub(super) fn new(grant: Grant, seq: u64) -> Self {
        Self {
            grant,
            seq,
            groups: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            queue: VecDeque::new(),
            queued_offsets: 0,
            in_flight: None,
            retry: None,
            bytes: 0,
            is_leaving: false,
            timers: BTreeSet::new(),
        }
    }

    /// The group, made if it is not there.
    pub(super) fn group_or_new(
        &mut self,
        id: &GroupId,
        now: Now,
        groups_max: usize,
    ) -> Result<&mut Slot, CoordinatorError> {
        if !self.groups.contains_key(id) && self.groups.len() >= groups_max {
            return Err(CoordinatorError::Overloaded);
        }
        Ok(self
            .groups
            .entry(id.clone())
            .or_insert_with(|| Slot::new(AnyGroup::new(now))))
    }

    /// How many bytes more the shard holds after this join, if it is let in.
    pub(super) fn growth(&self, request: &JoinRequest) -> usize {
        let known = self.groups.get(&request.group);
        known.map_or_else(
            || SLOT_OVERHEAD_BYTES + request.group.as_str().len() + join_bytes(request),
            |slot| slot.group.growth(request),
        )
    }

    /// Does what a transition of `id` asked for: notes what must be stored, releases the answers, resets the timer,
    /// and forgets a group of which nothing is left to know.
    pub(super) fn settle(&mut self, id: &GroupId, effects: Effects) {
        let Some(slot) = self.groups.get_mut(id) else {
            return;
        };
        if effects.store {
            slot.version += 1;
            slot.stored = Some(slot.group.encode());
            self.unsaved.insert(id.clone());
        }
        slot.answer(effects);
        let due = slot.group.wake_at();
        if due != slot.timer {
            if let Some(before) = slot.timer.take() {
                self.timers.remove(&(before, id.clone()));
            }
            if let Some(at) = due {
                self.timers.insert((at, id.clone()));
            }
            slot.timer = due;
        }
        let bytes =
            SLOT_OVERHEAD_BYTES + id.as_str().len() + slot.group.bytes() + slot.offset_bytes;
        self.bytes = self.bytes - slot.counted_bytes + bytes;
        slot.counted_bytes = bytes;
        if slot.is_blank() {
            self.forget(id);
        }
    }

    /// Takes a group out of memory.
    pub(super) fn forget(&mut self, id: &GroupId) {
        if let Some(slot) = self.groups.remove(id) {
            self.bytes -= slot.counted_bytes;
            if let Some(at) = slot.timer {
                self.timers.remove(&(at, id.clone()));
            }
        }
    }

    /// Puts changes of offsets behind those that wait.
    pub(super) fn enqueue(&mut self, changes: OffsetChanges) {
        if let Some(slot) = self.groups.get_mut(&changes.group) {
            for (partition, _) in &changes.changes {
                *slot.queued.entry(*partition).or_insert(0) += 1;
            }
        }
        self.queued_offsets += changes.changes.len();
        self.queue.push_back(changes);
    }

    /// Takes back what [`Shard::enqueue`] counted.
    pub(super) fn discount(&mut self, changes: &OffsetChanges) {
        self.queued_offsets -= changes.changes.len();
        let Some(slot) = self.groups.get_mut(&changes.group) else {
            return;
        };
        for (partition, _) in &changes.changes {
            if let Some(count) = slot.queued.get_mut(partition) {
                *count -= 1;
                if *count == 0 {
                    slot.queued.remove(partition);
                }
            }
        }
    }

    /// The group whose timer is due, if there is one.
    pub(super) fn due_group(&self, now: Monotonic) -> Option<GroupId> {
        self.timers
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, id)| id.clone())
    }

    pub(super) fn next_due(&self) -> Option<Monotonic> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn has_unwritten(&self) -> bool {
        !self.unsaved.is_empty() || !self.queue.is_empty()
    }
}

impl Slot {
    pub(super) fn new(group: AnyGroup) -> Self {
        Self {
            group,
            offsets: BTreeMap::new(),
            offset_bytes: 0,
            counted_bytes: 0,
            queued: BTreeMap::new(),
            version: 0,
            stored: None,
            saved: watch::Sender::new(0),
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            timer: None,
        }
    }

    /// A group that was read from the store, which thus has it.
    pub(super) fn loaded(group: AnyGroup) -> Self {
        Self {
            version: 1,
            saved: watch::Sender::new(1),
            ..Self::new(group)
        }
    }

    /// Takes note of an offset as it is in the store now.
    pub(super) fn put_offset(
        &mut self,
        partition: TopicPartition,
        offset: Option<CommittedOffset>,
    ) {
        let before = match offset {
            Some(offset) => {
                self.offset_bytes += offset_bytes(offset.metadata.len());
                self.offsets.insert(partition, offset)
            }
            None => self.offsets.remove(&partition),
        };
        if let Some(before) = before {
            self.offset_bytes -= offset_bytes(before.metadata.len());
        }
    }

    /// How many bytes more the group holds when these offsets are committed.
    pub(super) fn growth(&self, changes: &[(TopicPartition, Option<CommittedOffset>)]) -> usize {
        let growth = |(partition, offset): &(TopicPartition, Option<CommittedOffset>)| {
            let after = offset
                .as_ref()
                .map_or(0, |one| offset_bytes(one.metadata.len()));
            let before = self.offsets.get(partition);
            after.saturating_sub(before.map_or(0, |one| offset_bytes(one.metadata.len())))
        };
        changes.iter().map(growth).sum()
    }

    /// What an answer that shows the group as it is now must wait for.
    pub(super) fn gate(&self) -> Option<Gate> {
        let is_saved = *self.saved.borrow() == self.version;
        (!is_saved).then(|| Gate {
            saved: self.saved.subscribe(),
            version: self.version,
        })
    }

    fn answer(&mut self, effects: Effects) {
        for (ticket, result) in effects.joins {
            let gate = if result.is_ok() { self.gate() } else { None };
            if let Some(waiter) = self.joins.remove(&ticket) {
                // A client that is gone is found out by its session.
                let _ = waiter.send((result, gate));
            }
        }
        for (ticket, result) in effects.syncs {
            let gate = if result.is_ok() { self.gate() } else { None };
            if let Some(waiter) = self.syncs.remove(&ticket) {
                // As above.
                let _ = waiter.send((result, gate));
            }
        }
    }

    /// Whether the store knows nothing of the group, and memory need not either.
    fn is_blank(&self) -> bool {
        self.version == 0
            && self.group.number() == 0
            && self.group.is_vacant()
            && self.offsets.is_empty()
            && self.queued.is_empty()
    }

    /// Whether the group may be removed for good: nobody is in it and nothing of it is on its way.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.group.is_dead()
            && self.group.is_vacant()
            && self.queued.is_empty()
            && self.stored.is_none()
    }
}
