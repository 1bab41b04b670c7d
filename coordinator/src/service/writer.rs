//! The one task that writes groups and offsets: the writes of many shards go to the metadata store together.
//!
//! Per shard, writes follow each other by `seq`. A write whose outcome is unknown stops its shard, and only its shard,
//! until the store says what became of it; then the shard goes on with the identical write or with the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_metadata::{
    Coordination, CoordinationOutcome, CoordinationWrite, GroupChange, GroupRow, OffsetKey,
    OffsetRow, Outcome, ShardId, StoreError,
};
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::Monotonic;
use tracing::{error, warn};

use super::shard::{InFlight, OffsetChanges, Retry, Shard};
use super::{Grant, Inner, Place};
use crate::group::classic::Effects;
use crate::group::{CommittedOffset, CoordinatorError};

/// How many changes of one shard go into one write, so that one busy shard does not hold up the others.
const CHANGES_MAX: usize = 2_000;
/// How many bytes of groups of one shard go into one write; the last group may exceed it.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A write with so many changes is one of a busy broker: the next one waits for more.
const BUSY_CHANGES: usize = 4;
/// The first wait after a failure; it doubles up to [`RETRY_WAIT_MAX`].
const RETRY_WAIT_MIN: Duration = Duration::from_millis(50);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(inner: Arc<Inner>) {
    let clock = Arc::clone(&inner.ambient.clock);
    while !inner.ambient.tasks.is_shutting_down() {
        inner.resolve_unknown().await;
        let began = clock.monotonic();
        let changes = inner.write_once().await;
        if changes >= BUSY_CHANGES {
            let next = began + inner.settings.busy_write_interval;
            tokio::select! {
                biased;
                () = clock.sleep_until(next) => {}
                () = inner.ambient.tasks.shutdown_requested() => {}
            }
        }
        if changes > 0 {
            continue;
        }
        let retry = inner.next_retry();
        let wait = async {
            match retry {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Every arm may be dropped: a sleep and a shutdown signal have no state, and `notified` keeps its permit. No
        // arm is drawn, so that a simulation repeats itself.
        tokio::select! {
            biased;
            () = wait => {}
            () = inner.unwritten.notified() => {}
            () = inner.ambient.tasks.shutdown_requested() => {}
        }
    }
    // What was accepted before the shutdown is written if the store lets us; then nobody is served any more.
    while inner.write_once().await > 0 {}
    inner.served.lock().shards.clear();
}

/// What became of a write whose outcome was unknown.
enum Verdict {
    Happened,
    /// It did not happen, and may be repeated.
    DidNotHappen,
    /// The shard is another's.
    Fenced,
    /// The store forgot writes that it had confirmed, or saw some that nobody made.
    Regressed,
    StillUnknown,
}

impl Inner {
    /// Writes what waits, once; says how many changes that were.
    async fn write_once(&self) -> usize {
        let batch = self.take_batch();
        if batch.is_empty() {
            return 0;
        }
        let changes: usize = batch.iter().map(|write| write.changes.len()).sum();
        let result = self.shelves.groups.write_groups(batch.clone()).await;
        let did_not_happen = result
            .as_ref()
            .is_err_and(|error| error.outcome() == Outcome::DidNotHappen);
        if did_not_happen && batch.len() > 1 {
            // One sick shard must not fail the others: each is tried alone.
            for write in batch {
                let result = self.shelves.groups.write_groups(vec![write.clone()]).await;
                self.conclude(&[write], result);
            }
        } else {
            self.conclude(&batch, result);
        }
        // A write without changes is one, too.
        changes.max(1)
    }

    /// One write per shard that has something to write and is not waiting for anything.
    fn take_batch(&self) -> Vec<CoordinationWrite> {
        let mut served = self.served.lock();
        let now = self.ambient.clock.monotonic();
        let mut batch = Vec::new();
        for place in served.shards.values_mut() {
            let Place::Loaded(shard) = place else {
                continue;
            };
            let is_waiting = shard.retry.is_some_and(|retry| retry.at > now);
            if shard.in_flight.is_none() && shard.has_unwritten() && !is_waiting {
                let in_flight = shard.take_unwritten();
                batch.push(in_flight.write.clone());
                shard.in_flight = Some(in_flight);
            }
        }
        batch
    }

    fn conclude(
        &self,
        batch: &[CoordinationWrite],
        result: Result<Vec<CoordinationOutcome>, StoreError>,
    ) {
        let mut served = self.served.lock();
        let now = self.ambient.clock.monotonic();
        for (index, write) in batch.iter().enumerate() {
            let Some(shard) = shard_of_write(&mut served.shards, write) else {
                continue;
            };
            match &result {
                Ok(outcomes) => match outcomes.get(index) {
                    Some(CoordinationOutcome::Committed { seq }) => shard.written(*seq),
                    Some(CoordinationOutcome::Refused) => shard.refused(now),
                    None => shard.outcome_unknown(now),
                },
                Err(error) => {
                    warn!(shard = %write.shard, %error, "groups could not be written");
                    match error.outcome() {
                        Outcome::DidNotHappen => shard.not_written(now),
                        Outcome::MayHaveHappened => shard.outcome_unknown(now),
                    }
                }
            }
        }
        self.settled.notify_waiters();
    }

    /// Finds out about the writes whose outcome is unknown, and repeats those that did not happen.
    async fn resolve_unknown(&self) {
        for (grant, write) in self.unknown_writes() {
            match self.judge(grant, &write).await {
                Verdict::Happened => {
                    let seq = write.seq + 1;
                    self.conclude(&[write], Ok(vec![CoordinationOutcome::Committed { seq }]));
                }
                Verdict::DidNotHappen => {
                    let result = self.shelves.groups.write_groups(vec![write.clone()]).await;
                    match &result {
                        Ok(_) => self.conclude(&[write], result),
                        // Whoever waited was told that the outcome is unknown, so it is still this write's turn.
                        Err(error) => {
                            warn!(shard = %write.shard, %error, "groups could not be written again");
                            self.keep_unknown(&write);
                        }
                    }
                }
                Verdict::Fenced => {
                    warn!(shard = %grant.shard, "another broker leads the shard; its groups are let go");
                    self.unload(grant.shard, Some(grant));
                }
                Verdict::Regressed => {
                    error!(
                        shard = %grant.shard,
                        "metadata_regression: the store does not hold what it confirmed; the groups of the shard stop"
                    );
                    self.unload(grant.shard, Some(grant));
                }
                Verdict::StillUnknown => self.keep_unknown(&write),
            }
        }
    }

    fn unknown_writes(&self) -> Vec<(Grant, CoordinationWrite)> {
        let served = self.served.lock();
        let now = self.ambient.clock.monotonic();
        let mut unknown = Vec::new();
        for place in served.shards.values() {
            let Place::Loaded(shard) = place else {
                continue;
            };
            let is_waiting = shard.retry.is_some_and(|retry| retry.at > now);
            if let Some(in_flight) = &shard.in_flight
                && in_flight.is_unknown
                && !is_waiting
            {
                unknown.push((shard.grant, in_flight.write.clone()));
            }
        }
        unknown
    }

    async fn judge(&self, grant: Grant, write: &CoordinationWrite) -> Verdict {
        let row = match self.shelves.groups.coordination(&[write.shard]).await {
            Ok(rows) => rows.into_iter().next().flatten(),
            Err(_) => return Verdict::StillUnknown,
        };
        // While the grant holds, nobody else wrote before.
        let is_ours = |row: &Coordination| {
            row.epoch == grant.epoch && row.incarnation == Some(grant.incarnation)
        };
        match row.filter(is_ours) {
            None => Verdict::Fenced,
            Some(row) if row.seq == write.seq => Verdict::DidNotHappen,
            Some(row) if row.seq == write.seq + 1 => Verdict::Happened,
            Some(_) => Verdict::Regressed,
        }
    }

    fn keep_unknown(&self, write: &CoordinationWrite) {
        let now = self.ambient.clock.monotonic();
        if let Some(shard) = shard_of_write(&mut self.served.lock().shards, write) {
            shard.outcome_unknown(now);
        }
    }

    fn next_retry(&self) -> Option<Monotonic> {
        let served = self.served.lock();
        let retry = |place: &Place| match place {
            Place::Loaded(shard) if shard.in_flight.is_some() || shard.has_unwritten() => {
                shard.retry.map(|retry| retry.at)
            }
            Place::Loaded(_) | Place::Loading(_) => None,
        };
        served.shards.values().filter_map(retry).min()
    }
}

/// The shard that `write` came from, if it is still held under the same grant and still waits for it.
fn shard_of_write<'a>(
    shards: &'a mut BTreeMap<ShardId, Place>,
    write: &CoordinationWrite,
) -> Option<&'a mut Shard> {
    let Some(Place::Loaded(shard)) = shards.get_mut(&write.shard) else {
        return None;
    };
    let is_same = shard.grant.epoch == write.epoch
        && shard.grant.incarnation == write.incarnation
        && shard
            .in_flight
            .as_ref()
            .is_some_and(|in_flight| in_flight.write.seq == write.seq);
    is_same.then_some(shard)
}

impl Shard {
    /// Takes what waits, up to a bound, into one write.
    fn take_unwritten(&mut self) -> InFlight {
        let mut changes = Vec::new();
        let mut versions = Vec::new();
        let mut removed = Vec::new();
        let mut bytes = 0;
        while changes.len() < CHANGES_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(id) = self.unsaved.pop_first()
        {
            let Some(slot) = self.groups.get(&id) else {
                continue;
            };
            if slot.group.is_dead() {
                let keys = slot.offsets.keys().map(|partition| key(&id, *partition));
                changes.extend(keys.map(GroupChange::DeleteOffset));
                changes.push(GroupChange::DeleteGroup(id.clone()));
                removed.push(id);
            } else if let Some(blob) = slot.stored.clone() {
                bytes += blob.len();
                changes.push(GroupChange::PutGroup(GroupRow {
                    group: id.clone(),
                    blob,
                }));
                versions.push((id, slot.version));
            }
        }
        // Several commits of one partition: the last one decides, and only that one is written.
        let mut newest = BTreeMap::<OffsetKey, GroupChange>::new();
        let mut offsets = Vec::new();
        while changes.len() + newest.len() < CHANGES_MAX
            && let Some(next) = self.queue.pop_front()
        {
            for (partition, offset) in &next.changes {
                let key = key(&next.group, *partition);
                let change = match offset {
                    Some(offset) => GroupChange::PutOffset(row(&key, offset)),
                    None => GroupChange::DeleteOffset(key.clone()),
                };
                newest.insert(key, change);
            }
            offsets.push(next);
        }
        changes.extend(newest.into_values());
        let Grant {
            shard,
            epoch,
            incarnation,
        } = self.grant;
        let write = CoordinationWrite {
            shard,
            epoch,
            incarnation,
            seq: self.seq,
            changes,
        };
        InFlight {
            write,
            versions,
            removed,
            offsets,
            is_unknown: false,
        }
    }

    /// The write under way is durable: show it, and tell whoever waits.
    fn written(&mut self, seq: u64) {
        let Some(done) = self.in_flight.take() else {
            return;
        };
        self.seq = seq;
        self.retry = None;
        for (id, version) in done.versions {
            let Some(slot) = self.groups.get_mut(&id) else {
                continue;
            };
            slot.saved.send_replace(version);
            if slot.version == version {
                slot.stored = None;
            }
        }
        for id in done.removed {
            if let Some(slot) = self.groups.get(&id) {
                slot.saved.send_replace(slot.version);
            }
            self.forget(&id);
        }
        for offsets in done.offsets {
            self.discount(&offsets);
            if let Some(slot) = self.groups.get_mut(&offsets.group) {
                for (partition, offset) in offsets.changes {
                    slot.put_offset(partition, offset);
                }
            }
            self.settle(&offsets.group, Effects::default());
            tell(offsets.waiter, Ok(()));
        }
    }

    /// The write under way did not happen: offsets are refused, groups are written again later.
    fn not_written(&mut self, now: Monotonic) {
        let Some(failed) = self.in_flight.take() else {
            return;
        };
        self.unsaved
            .extend(failed.versions.into_iter().map(|(id, _)| id));
        self.unsaved.extend(failed.removed);
        self.refuse(failed.offsets);
        // What waits behind it would wait for nothing: the store is not there.
        let behind = mem::take(&mut self.queue);
        self.refuse(behind.into());
        self.back_off(now);
    }

    fn refuse(&mut self, refused: Vec<OffsetChanges>) {
        let mut touched = BTreeSet::<GroupId>::new();
        for offsets in refused {
            self.discount(&offsets);
            tell(offsets.waiter, Err(CoordinatorError::NotAvailable));
            touched.insert(offsets.group);
        }
        for id in touched {
            self.settle(&id, Effects::default());
        }
    }

    /// The store refused the write under way, which is a question: whose is the shard, and where does its `seq` stand?
    /// Whoever waits hears the answer.
    fn refused(&mut self, now: Monotonic) {
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        if mem::replace(&mut in_flight.is_unknown, true) {
            self.back_off(now);
        }
    }

    /// Nobody knows what became of the write under way: say so, and find out before anything else is written.
    fn outcome_unknown(&mut self, now: Monotonic) {
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        in_flight.is_unknown = true;
        for offsets in &mut in_flight.offsets {
            tell(offsets.waiter.take(), Err(CoordinatorError::OutcomeUnknown));
        }
        self.back_off(now);
    }

    fn back_off(&mut self, now: Monotonic) {
        let wait = self
            .retry
            .map_or(RETRY_WAIT_MIN, |retry| (retry.wait * 2).min(RETRY_WAIT_MAX));
        self.retry = Some(Retry {
            at: now + wait,
            wait,
        });
    }
}

fn tell(
    waiter: Option<tokio::sync::oneshot::Sender<Result<(), CoordinatorError>>>,
    result: Result<(), CoordinatorError>,
) {
    if let Some(waiter) = waiter {
        // A client that is gone does not need the answer.
        let _ = waiter.send(result);
    }
}

fn key(group: &GroupId, partition: TopicPartition) -> OffsetKey {
    OffsetKey {
        group: group.clone(),
        topic: partition.topic,
        partition: partition.partition,
    }
}

fn row(key: &OffsetKey, offset: &CommittedOffset) -> OffsetRow {
    OffsetRow {
        group: key.group.clone(),
        topic: key.topic,
        partition: key.partition,
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.to_string(),
        commit_ms: offset.committed_at.0,
        expire_ms: offset.expires_at.map(|at| at.0),
    }
}
