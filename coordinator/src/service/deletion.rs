//! Removing groups and offsets because somebody asks for it. As with commits, the answer waits for the store.

use std::pin::pin;

use streamhouse_protocol::ids::TopicPartition;
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::deadline;
use tokio::sync::oneshot;
use tracing::info;

use super::shard::{Gate, OffsetChanges, Shard, Slot};
use super::{Groups, Inner};
use crate::group::classic::{Effects, Subscriptions};
use crate::group::{
    CoordinatorError, DeleteGroupError, DeleteOffsetError, DeleteOffsets, DeleteOffsetsError,
};

/// How far the removal of a group has come.
enum Removal {
    /// It is under way; the gate opens when it is done.
    Begun(Option<Gate>),
    /// Offsets of the group are on their way to the store, and come first.
    Waits,
}

impl Groups {
    /// DeleteGroups for one group: it goes with all its offsets. An error says by [`CoordinatorError::outcome`] whether it
    /// may be gone; asking again is harmless.
    pub async fn delete(&self, group: &GroupId) -> Result<(), DeleteGroupError> {
        let inner = &self.inner;
        let clock = &*inner.ambient.clock;
        let until = clock.monotonic() + inner.settings.offset_commit_timeout;
        let gate = loop {
            let mut settled = pin!(inner.settled.notified());
            // Registered before the look, so that what happens between look and wait is not missed.
            settled.as_mut().enable();
            match inner.remove(group)? {
                Removal::Begun(gate) => break gate,
                Removal::Waits => deadline(clock, until, settled)
                    .await
                    .ok_or(CoordinatorError::NotAvailable)?,
            }
        };
        inner.pass(gate).await?;
        Ok(())
    }

    /// OffsetDelete: the group forgets how far it has read. What it has no offset for is accepted, as in Kafka. The results
    /// line up with `request.partitions`; an error says by [`CoordinatorError::outcome`] whether offsets may be gone.
    pub async fn delete_offsets(
        &self,
        request: DeleteOffsets,
    ) -> Result<Vec<Result<(), DeleteOffsetError>>, DeleteOffsetsError> {
        let inner = &self.inner;
        if request.group.as_str().is_empty() {
            return Err(DeleteOffsetsError::InvalidGroupId);
        }
        let (results, written) = {
            let mut served = inner.served.lock();
            let shard = inner.shard_for(&mut served, &request.group)?;
            let queued_max = inner.settings.queued_offsets_max;
            let begun = shard.remove_offsets(&request, queued_max)?;
            let shard = shard.grant.shard;
            inner.wake(&served, shard);
            begun
        };
        if let Some(written) = written {
            inner.in_time(written).await??;
        }
        Ok(results)
    }
}

impl Inner {
    fn remove(&self, group: &GroupId) -> Result<Removal, DeleteGroupError> {
        let mut served = self.served.lock();
        let shard = self.shard_for(&mut served, group)?;
        let slot = shard
            .groups
            .get(group)
            .ok_or(DeleteGroupError::GroupIdNotFound)?;
        // If it is dead, this was asked before, or it was found to be out of use meanwhile.
        if !slot.group.is_dead() {
            if !slot.group.is_empty() {
                return Err(DeleteGroupError::NonEmptyGroup);
            }
            if !slot.queued.is_empty() {
                return Ok(Removal::Waits);
            }
            info!(%group, offsets = slot.offsets.len(), "removing a group on request");
            shard.bury(group);
        }
        let gate = shard.groups.get(group).and_then(Slot::gate);
        let shard = shard.grant.shard;
        self.wake(&served, shard);
        Ok(Removal::Begun(gate))
    }
}

type Begun = (
    Vec<Result<(), DeleteOffsetError>>,
    Option<oneshot::Receiver<Result<(), CoordinatorError>>>,
);

impl Shard {
    /// A group refuses everything from now on, and is removed from the store.
    pub(super) fn bury(&mut self, id: &GroupId) {
        let Some(slot) = self.groups.get_mut(id) else {
            return;
        };
        slot.group.die();
        slot.version += 1;
        self.unsaved.insert(id.clone());
        self.settle(id, Effects::default());
    }

    fn remove_offsets(
        &mut self,
        request: &DeleteOffsets,
        queued_max: usize,
    ) -> Result<Begun, DeleteOffsetsError> {
        let slot = self.groups.get(&request.group);
        let slot = slot
            .filter(|slot| !slot.group.is_dead())
            .ok_or(DeleteOffsetsError::GroupIdNotFound)?;
        let subscriptions = slot.group.subscriptions();
        if subscriptions == Subscriptions::Foreign {
            return Err(DeleteOffsetsError::NonEmptyGroup);
        }
        let mut results = Vec::with_capacity(request.partitions.len());
        let mut changes = Vec::new();
        for (partition, topic) in &request.partitions {
            if subscriptions.may_include(topic) {
                results.push(Err(DeleteOffsetError::SubscribedToTopic));
                continue;
            }
            results.push(Ok(()));
            if slot.has_or_gets_offset(partition) {
                changes.push((*partition, None));
            }
        }
        if changes.is_empty() {
            return Ok((results, None));
        }
        if self.queued_offsets > 0 && self.queued_offsets + changes.len() > queued_max {
            return Err(CoordinatorError::Overloaded.into());
        }
        let (waiter, written) = oneshot::channel();
        self.enqueue(OffsetChanges {
            group: request.group.clone(),
            changes,
            waiter: Some(waiter),
        });
        Ok((results, Some(written)))
    }
}

impl Slot {
    fn has_or_gets_offset(&self, partition: &TopicPartition) -> bool {
        self.offsets.contains_key(partition) || self.queued.contains_key(partition)
    }
}
