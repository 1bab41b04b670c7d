//! What the broker's handlers call: one function per Kafka API.

use std::collections::BTreeMap;
use std::time::Duration;

use streamhouse_protocol::ids::{Timestamp, TopicPartition};
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::deadline;
use tokio::sync::oneshot;

use super::shard::{Gate, OffsetChanges, Slot};
use super::{Groups, Inner, Place};
use crate::group::classic::{Effects, Join, Now, State, Sync, Ticket, check_join};
use crate::group::{
    AnyGroup, CommitError, CommitOffsets, CommittedOffset, CoordinatorError, DescribedGroup,
    FetchError, FetchOffsets, FetchedOffset, GROUP_ID_BYTES_MAX, GroupSettings, Heartbeat,
    HeartbeatError, JoinAnswer, JoinError, JoinRequest, LeaveError, LeaveRequest, ListedGroup,
    OffsetError, SyncAnswer, SyncError, SyncRequest,
};
use streamhouse_runtime::planted;

/// An unchanged offset is written again when a commit finds it older than this part of the retention, so that a
/// simple consumer that commits the same offset for a long time does not lose it.
const REFRESH_PART: u32 = 8;

impl Groups {
    /// JoinGroup. Waits until the rebalance is complete; the future may be dropped when the client is gone.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, JoinError> {
        let inner = &self.inner;
        check_join(&request, &inner.settings)?;
        let (waiter, parked) = oneshot::channel();
        {
            let mut served = inner.served.lock();
            let ticket = served.ticket();
            let id = request.group.clone();
            let bytes = served.bytes();
            let shard = inner.shard_for(&mut served, &id)?;
            if !inner.has_room_for(bytes, shard.growth(&request)) {
                return Err(CoordinatorError::Overloaded.into());
            }
            let context = inner.context();
            let slot = if request.member.is_none() {
                shard.group_or_new(&id, context.now, inner.settings.groups_per_shard_max)?
            } else {
                shard
                    .groups
                    .get_mut(&id)
                    .ok_or(JoinError::UnknownMemberId)?
            };
            if slot.group.is_dead() {
                return Err(CoordinatorError::NotAvailable.into());
            }
            slot.group.open_to_classic(context.now);
            // As in Kafka, the id of a static member begins with its instance id.
            let named_after = request.instance.as_ref().unwrap_or(&request.client_id);
            let fresh_member = inner.fresh_member(named_after);
            let join = Join {
                request,
                ticket,
                fresh_member,
            };
            let effects = match &mut slot.group {
                AnyGroup::Classic(group) => group.join(join, context),
                AnyGroup::Consumer(group) => {
                    let topics = inner.topics()?;
                    let left = inner.settings.bytes_max.saturating_sub(bytes);
                    group.join_classic(&join, inner.consumer_context(&topics, left))
                }
            };
            slot.joins.insert(ticket, waiter);
            shard.settle(&id, effects);
            let shard = shard.grant.shard;
            inner.wake(&served, shard);
        }
        let (result, gate) = parked.await.map_err(|_| CoordinatorError::NotCoordinator)?;
        let answer = result?;
        inner.pass(gate).await?;
        Ok(answer)
    }

    /// SyncGroup. Followers wait for the leader; the future may be dropped when the client is gone.
    pub async fn sync(&self, request: SyncRequest) -> Result<SyncAnswer, SyncError> {
        let inner = &self.inner;
        if request.group.as_str().is_empty() {
            return Err(SyncError::InvalidGroupId);
        }
        let (waiter, parked) = oneshot::channel();
        {
            let mut served = inner.served.lock();
            let ticket = served.ticket();
            let id = request.group.clone();
            let lines = request.assignments.iter();
            let assigned: usize = lines.map(|line| line.assignment.len()).sum();
            let reserved = inner.settings.bytes_max / 4;
            let bytes = served.bytes().saturating_sub(reserved);
            let shard = inner.shard_for(&mut served, &id)?;
            let slot = shard
                .groups
                .get_mut(&id)
                .ok_or(SyncError::UnknownMemberId)?;
            if !inner.has_room_for(bytes, assigned) {
                return Err(CoordinatorError::Overloaded.into());
            }
            let sync = Sync { request, ticket };
            let effects = match &mut slot.group {
                AnyGroup::Classic(group) => group.sync(sync, inner.context()),
                AnyGroup::Consumer(group) => {
                    let topics = inner.topics()?;
                    group.sync_classic(&sync, inner.consumer_context(&topics, usize::MAX))
                }
            };
            slot.syncs.insert(ticket, waiter);
            shard.settle(&id, effects);
            let shard = shard.grant.shard;
            inner.wake(&served, shard);
        }
        let (result, gate) = parked.await.map_err(|_| CoordinatorError::NotCoordinator)?;
        let answer = result?;
        inner.pass(gate).await?;
        Ok(answer)
    }

    /// Heartbeat. It reveals nothing that is not written and never waits.
    pub async fn heartbeat(&self, request: Heartbeat) -> Result<(), HeartbeatError> {
        let inner = &self.inner;
        if request.group.as_str().is_empty() {
            return Err(HeartbeatError::InvalidGroupId);
        }
        let mut served = inner.served.lock();
        let shard = inner.shard_for(&mut served, &request.group)?;
        let slot = shard
            .groups
            .get_mut(&request.group)
            .ok_or(HeartbeatError::UnknownMemberId)?;
        let result = match &mut slot.group {
            AnyGroup::Classic(group) => group.heartbeat(&request, inner.context()),
            AnyGroup::Consumer(group) => group.heartbeat_classic(&request, inner.context()),
        };
        shard.settle(&request.group, Effects::default());
        let shard = shard.grant.shard;
        inner.wake(&served, shard);
        result
    }

    /// LeaveGroup. The results line up with `request.members`.
    pub async fn leave(
        &self,
        request: LeaveRequest,
    ) -> Result<Vec<Result<(), LeaveError>>, LeaveError> {
        let inner = &self.inner;
        if request.group.as_str().is_empty() {
            return Err(LeaveError::InvalidGroupId);
        }
        let (result, gate) = {
            let mut served = inner.served.lock();
            let shard = inner.shard_for(&mut served, &request.group)?;
            let Some(slot) = shard.groups.get_mut(&request.group) else {
                return Ok(vec![
                    Err(LeaveError::UnknownMemberId);
                    request.members.len()
                ]);
            };
            let (result, effects) = slot.group.leave(&request.members, inner.context());
            let must_wait = effects.store;
            shard.settle(&request.group, effects);
            let gate = shard
                .groups
                .get(&request.group)
                .filter(|_| must_wait)
                .and_then(Slot::gate);
            let shard = shard.grant.shard;
            inner.wake(&served, shard);
            (result, gate)
        };
        inner.pass(gate).await?;
        result
    }

    /// OffsetCommit. `Ok` says that every line with `Ok` is written; the lines line up with `request.offsets`. An error
    /// says by [`CoordinatorError::outcome`] whether it may be.
    pub async fn commit_offsets(
        &self,
        request: CommitOffsets,
    ) -> Result<Vec<Result<(), OffsetError>>, CommitError> {
        let inner = &self.inner;
        if request.group.as_str().len() > GROUP_ID_BYTES_MAX {
            return Err(CommitError::InvalidGroupId);
        }
        let (results, written) = {
            let mut served = inner.served.lock();
            let bytes = served.bytes();
            let shard = inner.shard_for(&mut served, &request.group)?;
            let context = inner.context();
            if !shard.groups.contains_key(&request.group) && request.generation >= 0 {
                return Err(CommitError::GroupIdNotFound);
            }
            let groups_max = inner.settings.groups_per_shard_max;
            let slot = shard.group_or_new(&request.group, context.now, groups_max)?;
            let checked = slot.group.check_commit(&request, context);
            let (results, changes) = judge_offsets(slot, &request, &inner.settings, context.now);
            let has_room = inner.has_room_for(bytes, slot.growth(&changes));
            let is_full = !has_room
                || shard.queued_offsets > 0
                    && shard.queued_offsets + changes.len() > inner.settings.queued_offsets_max;
            let (waiter, written) = oneshot::channel();
            let group = request.group.clone();
            if checked.is_ok() && !is_full && !changes.is_empty() {
                shard.enqueue(OffsetChanges {
                    group,
                    changes,
                    waiter: Some(waiter),
                });
            } else if checked.is_ok() && !is_full {
                // Everything is written already, or refused line by line.
                let _ = waiter.send(Ok(()));
            } else {
                let _ = waiter.send(Err(CoordinatorError::Overloaded));
            }
            shard.settle(&request.group, Effects::default());
            let shard = shard.grant.shard;
            inner.wake(&served, shard);
            checked?;
            (results, written)
        };
        if !planted::bug("offsets_answered_before_written") {
            inner.in_time(written).await??;
        }
        Ok(results)
    }

    /// OffsetFetch for one group. Only written offsets are shown, and never while the group is loading: a consumer that
    /// hears "none" starts over.
    pub async fn fetch_offsets(
        &self,
        request: FetchOffsets,
    ) -> Result<Vec<FetchedOffset>, FetchError> {
        let inner = &self.inner;
        let mut served = inner.served.lock();
        let shard = inner.shard_for(&mut served, &request.group)?;
        let none = BTreeMap::new();
        let slot = shard.groups.get(&request.group);
        if let Some(slot) = slot {
            slot.group.check_fetch(&request)?;
        }
        let offsets = slot.map_or(&none, |slot| &slot.offsets);
        let line = |partition: TopicPartition| FetchedOffset {
            partition,
            committed: offsets.get(&partition).cloned(),
        };
        Ok(match request.partitions {
            Some(partitions) => partitions.into_iter().map(line).collect(),
            None => offsets.keys().copied().map(line).collect(),
        })
    }

    /// DescribeGroups for one group; `None` if there is no classic group of that id.
    pub async fn describe(&self, group: &GroupId) -> Result<Option<DescribedGroup>, FetchError> {
        let inner = &self.inner;
        let (described, gate) = {
            let mut served = inner.served.lock();
            let shard = inner.shard_for(&mut served, group)?;
            match shard.groups.get(group).map(|slot| (&slot.group, slot)) {
                Some((AnyGroup::Classic(group), slot)) if group.state() != State::Dead => {
                    (Some(group.describe()), slot.gate())
                }
                Some(_) | None => (None, None),
            }
        };
        inner.pass(gate).await?;
        Ok(described)
    }

    /// ListGroups: the groups that this broker coordinates.
    pub async fn list(&self) -> Result<Vec<ListedGroup>, FetchError> {
        let served = self.inner.served.lock();
        let mut listed = Vec::new();
        for place in served.shards.values() {
            let shard = match place {
                Place::Loaded(shard) if shard.is_leaving => continue,
                Place::Loaded(shard) => shard,
                Place::Loading(_) => return Err(CoordinatorError::LoadInProgress.into()),
            };
            let alive = shard
                .groups
                .iter()
                .filter(|(_, slot)| !slot.group.is_dead());
            listed.extend(alive.map(|(id, slot)| ListedGroup {
                group: id.clone(),
                protocol_type: slot.group.protocol_type(),
                group_type: slot.group.group_type(),
                state: slot.group.state(),
            }));
        }
        Ok(listed)
    }
}

impl super::Served {
    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }
}

impl Inner {
    /// Waits until what an answer reveals is written.
    pub(super) async fn pass(&self, gate: Option<Gate>) -> Result<(), CoordinatorError> {
        let Some(Gate { mut saved, version }) = gate else {
            return Ok(());
        };
        if planted::bug("generation_told_before_stored") {
            return Ok(());
        }
        let written = async move {
            saved
                .wait_for(|newest| *newest >= version)
                .await
                .map(|_| ())
        };
        self.in_time(written).await
    }

    /// Waits for a write as long as an offset commit may take. `E` says that the shard is gone. Only the wait is given
    /// up when time is over, never the write.
    pub(super) async fn in_time<T, E>(
        &self,
        written: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CoordinatorError> {
        let clock = &*self.ambient.clock;
        let until = clock.monotonic() + self.settings.offset_commit_timeout;
        match deadline(clock, until, written).await {
            Some(Ok(done)) => Ok(done),
            Some(Err(_)) => Err(CoordinatorError::NotCoordinator),
            None => Err(CoordinatorError::OutcomeUnknown),
        }
    }
}

type Judged = (
    Vec<Result<(), OffsetError>>,
    Vec<(TopicPartition, Option<CommittedOffset>)>,
);

/// Judges each line of a commit; also returns what must be written for the accepted ones.
fn judge_offsets(
    slot: &Slot,
    request: &CommitOffsets,
    settings: &GroupSettings,
    now: Now,
) -> Judged {
    let mut changes = BTreeMap::new();
    let mut results = Vec::with_capacity(request.offsets.len());
    for line in &request.offsets {
        if line.metadata.len() > settings.offset_metadata_bytes_max {
            results.push(Err(OffsetError::OffsetMetadataTooLarge));
            continue;
        }
        results.push(Ok(()));
        let retention = request.retention_ms.filter(|retention| *retention >= 0);
        let committed = CommittedOffset {
            offset: line.offset,
            leader_epoch: line.leader_epoch,
            metadata: std::sync::Arc::clone(&line.metadata),
            committed_at: now.wall,
            expires_at: retention.map(|ms| Timestamp(now.wall.0.saturating_add(ms))),
        };
        changes.insert(line.partition, Some(committed));
    }
    // Two lines for one partition: the last one decides, and it decides alone.
    changes.retain(|partition, change| {
        let line = change
            .as_ref()
            .expect("every change of a commit has an offset");
        !is_written(slot, *partition, line, settings.offsets_retention, now)
    });
    (results, changes.into_iter().collect())
}

/// Whether the store holds exactly this already, and no other change is on its way.
fn is_written(
    slot: &Slot,
    partition: TopicPartition,
    line: &CommittedOffset,
    retention: Duration,
    now: Now,
) -> bool {
    let refresh = i64::try_from((retention / REFRESH_PART).as_millis()).unwrap_or(i64::MAX);
    !slot.queued.contains_key(&partition)
        && slot.offsets.get(&partition).is_some_and(|known| {
            known.offset == line.offset
                && known.leader_epoch == line.leader_epoch
                && known.metadata == line.metadata
                && known.expires_at.is_none()
                && line.expires_at.is_none()
                && now.wall.0.saturating_sub(known.committed_at.0) < refresh
        })
}
