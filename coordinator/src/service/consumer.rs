//! ConsumerGroupHeartbeat and ConsumerGroupDescribe (KIP-848).

use std::sync::Arc;

use streamhouse_metadata::Catalogue;
use streamhouse_protocol::names::{GroupId, TopicName};
use tracing::info;

use super::shard::{SLOT_OVERHEAD_BYTES, Slot};
use super::{Groups, Inner};
use crate::group::classic::{Effects, State};
use crate::group::consumer::{
    ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerHeartbeatError, Context,
    DescribedConsumerGroup, JOINING_EPOCH, Pattern, Resolution, check_heartbeat,
};
use crate::group::{AnyGroup, CoordinatorError, FetchError, GroupState};

impl Groups {
    /// ConsumerGroupHeartbeat. What the answer reveals is written first; a heartbeat that changes nothing waits for nothing.
    /// `may_see` says which topics a regex of this member may match.
    pub async fn consumer_heartbeat(
        &self,
        mut beat: ConsumerHeartbeat,
        topics: &Arc<Catalogue>,
        may_see: impl Fn(&TopicName) -> bool,
    ) -> Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError> {
        let inner = &self.inner;
        check_heartbeat(&beat, &inner.settings.consumer.assignors)?;
        if beat.member.is_none() {
            beat.member = inner.fresh_member(&beat.client_id);
        }
        let resolution = match inner.unresolved_regex(&beat, topics)? {
            Some(regex) => {
                let resolution = inner.resolve(&regex, topics).await?;
                Some(resolution.visible(may_see))
            }
            None => None,
        };
        let (result, gate) = inner.beat(&beat, resolution, topics)?;
        let answer = result?;
        inner.pass(gate).await?;
        Ok(answer)
    }

    /// ConsumerGroupDescribe for one group; `None` if there is no consumer group of that id.
    pub async fn describe_consumer(
        &self,
        group: &GroupId,
    ) -> Result<Option<DescribedConsumerGroup>, FetchError> {
        let inner = &self.inner;
        let (described, gate) = {
            let mut served = inner.served.lock();
            let shard = inner.shard_for(&mut served, group)?;
            match shard.groups.get(group).map(|slot| (&slot.group, slot)) {
                Some((AnyGroup::Consumer(group), slot)) if !group.is_dead() => {
                    (Some(group.describe(&inner.settings)), slot.gate())
                }
                Some(_) | None => (None, None),
            }
        };
        inner.pass(gate).await?;
        Ok(described)
    }
}

impl Slot {
    /// Brings a heartbeat to the group; says whether that must be stored. Only a join changes the protocol of a group, and
    /// only if it succeeds where members are in it.
    fn beat(
        &mut self,
        beat: &ConsumerHeartbeat,
        resolution: Option<Resolution>,
        context: Context<'_>,
    ) -> Result<(Answered, bool), ConsumerHeartbeatError> {
        let is_joining = beat.epoch == JOINING_EPOCH;
        if is_joining
            && !self.group.is_vacant()
            && self.group.is_open_to_consumers(context.settings)
        {
            let Some(mut upgraded) = self.group.upgraded(context) else {
                let is_unreadable = self.group.state() == GroupState::Classic(State::Stable);
                return Err(if is_unreadable {
                    ConsumerHeartbeatError::GroupIdNotFound
                } else {
                    CoordinatorError::NotAvailable.into()
                });
            };
            let (result, effects) = upgraded.heartbeat(beat, resolution, context);
            if result.is_ok() {
                info!(group = %beat.group, "the group changes to the consumer protocol");
                self.group = AnyGroup::Consumer(Box::new(upgraded));
            }
            return Ok((result, effects.store));
        }
        let group = match &mut self.group {
            AnyGroup::Consumer(group) => Some(&mut **group),
            classic if is_joining => classic.as_consumer(context.now),
            AnyGroup::Classic(_) => None,
        };
        let group = group.ok_or(ConsumerHeartbeatError::GroupIdNotFound)?;
        let (result, effects) = group.heartbeat(beat, resolution, context);
        Ok((result, effects.store))
    }
}

type Answered = Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError>;
type Beaten = (
    Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError>,
    Option<super::shard::Gate>,
);

impl Inner {
    /// The topics of the cluster, once somebody said where they are.
    pub(super) fn topics(&self) -> Result<Arc<Catalogue>, CoordinatorError> {
        let topics = self.topics.get();
        topics
            .map(|topics| topics.current())
            .ok_or(CoordinatorError::NotAvailable)
    }

    pub(super) fn consumer_context<'a>(
        &'a self,
        topics: &'a Catalogue,
        bytes_left: usize,
    ) -> Context<'a> {
        Context {
            now: self.now(),
            settings: &self.settings,
            topics,
            bytes_left,
        }
    }

    /// The regex that must be looked up before `beat` can be answered.
    fn unresolved_regex(
        &self,
        beat: &ConsumerHeartbeat,
        topics: &Catalogue,
    ) -> Result<Option<Arc<str>>, CoordinatorError> {
        if beat.epoch < JOINING_EPOCH {
            return Ok(None);
        }
        let mut served = self.served.lock();
        let shard = self.shard_for(&mut served, &beat.group)?;
        Ok(
            match shard.groups.get(&beat.group).map(|slot| &slot.group) {
                Some(AnyGroup::Consumer(group)) => {
                    group.unresolved_regex(beat, self.consumer_context(topics, 0))
                }
                Some(AnyGroup::Classic(_)) | None => {
                    beat.regex.clone().filter(|regex| !regex.is_empty())
                }
            },
        )
    }

    /// Looks a regex up, on a thread that may take its time: nobody else waits for it.
    async fn resolve(
        &self,
        regex: &Arc<str>,
        topics: &Arc<Catalogue>,
    ) -> Result<Resolution, ConsumerHeartbeatError> {
        let regex = Arc::clone(regex);
        let topics = Arc::clone(topics);
        let at = self.ambient.clock.monotonic();
        let work = move || Pattern::new(&regex).map(|pattern| pattern.resolve(&topics, at));
        let resolved = self.ambient.tasks.blocking(work).await;
        let resolved = resolved.map_err(|_| CoordinatorError::NotAvailable)?;
        resolved
            .map_err(|error| ConsumerHeartbeatError::InvalidRegularExpression(error.to_string()))
    }

    fn beat(
        &self,
        beat: &ConsumerHeartbeat,
        resolution: Option<Resolution>,
        topics: &Catalogue,
    ) -> Result<Beaten, ConsumerHeartbeatError> {
        let mut served = self.served.lock();
        let id = &beat.group;
        let left = self.settings.bytes_max.saturating_sub(served.bytes());
        let shard = self.shard_for(&mut served, id)?;
        let new_slot = if shard.groups.contains_key(id) {
            0
        } else {
            SLOT_OVERHEAD_BYTES + id.as_str().len()
        };
        let context = self.consumer_context(topics, left.saturating_sub(new_slot));
        let slot = if beat.epoch == JOINING_EPOCH {
            shard.group_or_new(id, context.now, self.settings.groups_per_shard_max)?
        } else {
            shard
                .groups
                .get_mut(id)
                .ok_or(ConsumerHeartbeatError::GroupIdNotFound)?
        };
        if slot.group.is_dead() {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let (result, stores) = slot.beat(beat, resolution, context)?;
        let mut effects = Effects {
            store: stores,
            ..Effects::default()
        };
        slot.group.downgrade(self.context(), &mut effects);
        shard.settle(id, effects);
        let gate = shard.groups.get(id).and_then(Slot::gate);
        let shard = shard.grant.shard;
        self.wake(&served, shard);
        Ok((result, gate))
    }
}
