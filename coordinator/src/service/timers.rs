//! The task that wakes groups: it sleeps until the next session, rebalance or sync timer of any group is due.

use std::sync::Arc;

use streamhouse_protocol::ids::TopicPartition;
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::Monotonic;
use tracing::info;

use super::shard::{OffsetChanges, Shard, Slot};
use super::{Inner, Place};
use crate::group::GroupSettings;
use crate::group::classic::{Effects, Now};

pub(super) async fn run(inner: Arc<Inner>) {
    let clock = Arc::clone(&inner.ambient.clock);
    let mut sweep_at = clock.monotonic() + inner.settings.offsets_retention_check_interval;
    loop {
        let now = clock.monotonic();
        if sweep_at <= now {
            inner.expire_offsets();
            sweep_at = now + inner.settings.offsets_retention_check_interval;
        }
        let next = inner.run_due_timers(sweep_at);
        // Every arm may be dropped: a sleep and a shutdown signal have no state, and `notified` keeps its permit. No
        // arm is drawn, so that a simulation repeats itself.
        tokio::select! {
            biased;
            () = clock.sleep_until(next) => {}
            () = inner.earlier.notified() => {}
            () = inner.ambient.tasks.shutdown_requested() => return,
        }
    }
}

impl Inner {
    /// Lets everything happen that is due; returns until when nothing else will be, at most `sweep_at`.
    fn run_due_timers(&self, sweep_at: Monotonic) -> Monotonic {
        let mut served = self.served.lock();
        let mut next = sweep_at;
        let mut has_unwritten = false;
        for place in served.shards.values_mut() {
            let Place::Loaded(shard) = place else {
                continue;
            };
            if shard.is_leaving {
                continue;
            }
            let context = self.context();
            // Each round takes something away or moves its timer on, so this ends.
            while let Some(id) = shard.due_group(context.now.monotonic) {
                let effects = match shard.groups.get_mut(&id) {
                    Some(slot) => slot.group.tick(context),
                    None => Effects::default(),
                };
                shard.settle(&id, effects);
            }
            has_unwritten |= shard.has_unwritten();
            next = shard.next_due().map_or(next, |due| due.min(next));
        }
        served.asleep_until = Some(next);
        if has_unwritten {
            self.unwritten.notify_one();
        }
        next
    }

    /// Removes offsets whose time is over, and empty groups that have none left.
    pub(super) fn expire_offsets(&self) {
        let mut served = self.served.lock();
        let now = self.now();
        for place in served.shards.values_mut() {
            let Place::Loaded(shard) = place else {
                continue;
            };
            if shard.is_leaving {
                continue;
            }
            let ids: Vec<GroupId> = shard.groups.keys().cloned().collect();
            for id in ids {
                shard.expire_group(&id, now, &self.settings);
            }
        }
        self.unwritten.notify_one();
    }
}

impl Shard {
    fn expire_group(&mut self, id: &GroupId, now: Now, settings: &GroupSettings) {
        let Some(slot) = self.groups.get_mut(id).filter(|slot| slot.is_at_rest()) else {
            return;
        };
        let expired = slot.expired(now, settings);
        if expired.len() == slot.offsets.len() {
            info!(group = %id, offsets = expired.len(), "removing a group that is empty for good");
            self.bury(id);
        } else if !expired.is_empty() && self.queued_offsets < settings.queued_offsets_max {
            info!(group = %id, offsets = expired.len(), "removing expired offsets");
            let changes = expired
                .into_iter()
                .map(|partition| (partition, None))
                .collect();
            self.enqueue(OffsetChanges {
                group: id.clone(),
                changes,
                waiter: None,
            });
        }
    }
}

impl Slot {
    fn expired(&self, now: Now, settings: &GroupSettings) -> Vec<TopicPartition> {
        let is_over = |(partition, offset): (&TopicPartition, &_)| {
            let is_over = self
                .group
                .is_expired(offset, settings.offsets_retention, now.wall);
            is_over.then_some(*partition)
        };
        self.offsets.iter().filter_map(is_over).collect()
    }
}
