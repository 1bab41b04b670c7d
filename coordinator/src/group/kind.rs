//! A group of either protocol, as the driver sees it: stored, woken, removed and asked in the same way.
//!
//! A group id belongs to one protocol at a time. Once nobody is in the group the other one may take it over; with members in it
//! a group changes by the rules of [`super::consumer`]. Its number goes on, so that no generation and no epoch comes twice.

use std::sync::Arc;

use bytes::Bytes;
use streamhouse_runtime::Monotonic;

use super::classic::{self, Group, Now, StoredGroupError, Subscriptions};
use super::consumer::{self, ConsumerGroup, is_consumer_group};
use super::error::{CommitError, FetchError, LeaveError};
use super::request::{
    CommitOffsets, FetchOffsets, GroupState, GroupType, JoinRequest, LeavingMember,
};
use super::settings::GroupSettings;

/// A group of either protocol.
#[derive(Clone, Debug)]
pub enum AnyGroup {
    /// Of JoinGroup and SyncGroup.
    Classic(Box<Group>),
    /// Of ConsumerGroupHeartbeat (KIP-848).
    Consumer(Box<ConsumerGroup>),
}

impl AnyGroup {
    /// A classic group that nobody has joined. A group of committed offsets alone is one, too.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self::Classic(Box::new(Group::new(now)))
    }

    /// The group that was stored, as its coordinator finds it after a restart.
    pub fn decode(stored: &[u8], context: classic::Context<'_>) -> Result<Self, StoredGroupError> {
        if is_consumer_group(stored) {
            let settings = &context.settings.consumer;
            let group = ConsumerGroup::decode(stored, context.now, settings)?;
            Ok(Self::Consumer(Box::new(group)))
        } else {
            Ok(Self::Classic(Box::new(Group::decode(stored, context)?)))
        }
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Classic(group) => group.encode(),
            Self::Consumer(group) => group.encode(),
        }
    }

    /// Lets everything happen that is due.
    pub fn tick(&mut self, context: classic::Context<'_>) -> classic::Effects {
        match self {
            Self::Classic(group) => group.tick(context),
            Self::Consumer(group) => {
                let mut effects = classic::Effects {
                    store: group.tick(context.now).store,
                    ..classic::Effects::default()
                };
                self.downgrade(context, &mut effects);
                effects
            }
        }
    }

    /// A group of the consumer protocol whose last member of that protocol is gone becomes a classic one.
    pub fn downgrade(&mut self, context: classic::Context<'_>, effects: &mut classic::Effects) {
        if let Self::Consumer(group) = self
            && let Some(group) = group.downgraded(context, effects)
        {
            *self = Self::Classic(Box::new(group));
        }
    }

    /// Whether the members of this classic group may be joined by one of the consumer protocol.
    #[must_use]
    pub fn is_open_to_consumers(&self, settings: &GroupSettings) -> bool {
        match self {
            Self::Classic(group) => {
                settings.consumer.migration.upgrades()
                    && group.is_group_of_consumers()
                    && group.member_count() < settings.consumer.size_max
            }
            Self::Consumer(_) => false,
        }
    }

    /// The group of the consumer protocol that this classic one becomes when it is Stable; `None` while it is not, or if what
    /// its members say cannot be read.
    #[must_use]
    pub fn upgraded(&self, context: consumer::Context<'_>) -> Option<ConsumerGroup> {
        match self {
            Self::Classic(group) if group.is_stable_group_of_consumers() => {
                ConsumerGroup::upgraded(group, context)
            }
            Self::Classic(_) | Self::Consumer(_) => None,
        }
    }

    /// When [`AnyGroup::tick`] must be called next.
    #[must_use]
    pub fn wake_at(&self) -> Option<Monotonic> {
        match self {
            Self::Classic(group) => group.wake_at(),
            Self::Consumer(group) => group.wake_at(),
        }
    }

    /// Whether nobody is in the group or about to join it.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_vacant(),
            Self::Consumer(group) => group.is_vacant(),
        }
    }

    /// Whether the group has no members. Somebody may be about to join.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.state() == classic::State::Empty,
            Self::Consumer(group) => group.is_vacant(),
        }
    }

    /// Whether the group is being removed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        match self {
            Self::Classic(group) => group.state() == classic::State::Dead,
            Self::Consumer(group) => group.is_dead(),
        }
    }

    /// The group is about to be removed; from now on it refuses everything.
    pub fn die(&mut self) {
        match self {
            Self::Classic(group) => group.die(),
            Self::Consumer(group) => group.die(),
        }
    }

    /// Kafka's name of the state.
    #[must_use]
    pub fn state(&self) -> GroupState {
        match self {
            Self::Classic(group) => GroupState::Classic(group.state()),
            Self::Consumer(group) => GroupState::Consumer(group.state()),
        }
    }

    /// The protocol that the group follows.
    #[must_use]
    pub const fn group_type(&self) -> GroupType {
        match self {
            Self::Classic(_) => GroupType::Classic,
            Self::Consumer(_) => GroupType::Consumer,
        }
    }

    /// The protocol type of the members, or of those that were there last; empty where there never were any.
    #[must_use]
    pub fn protocol_type(&self) -> Arc<str> {
        match self {
            Self::Classic(group) => group.protocol_type().cloned().unwrap_or_else(|| "".into()),
            Self::Consumer(_) => classic::CONSUMER.into(),
        }
    }

    /// The generation or the group epoch; 0 before the first member.
    #[must_use]
    pub fn number(&self) -> i32 {
        match self {
            Self::Classic(group) => group.generation(),
            Self::Consumer(group) => group.epoch(),
        }
    }

    /// How many members there are, not counting those that are about to join.
    #[must_use]
    pub fn member_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.member_count(),
            Self::Consumer(group) => group.member_count(),
        }
    }

    /// What members and assignments occupy, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Classic(group) => group.bytes(),
            Self::Consumer(group) => group.bytes(),
        }
    }

    /// How many bytes more the group holds after this JoinGroup, if it is let in.
    #[must_use]
    pub fn growth(&self, request: &JoinRequest) -> usize {
        match self {
            Self::Classic(group) => group.growth(request),
            Self::Consumer(_) => classic::join_bytes(request),
        }
    }

    /// Which topics the members read.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        match self {
            Self::Classic(group) => group.subscriptions(),
            Self::Consumer(group) => group.subscriptions(),
        }
    }

    /// Somebody joins by the classic protocol: a consumer group that nobody is in becomes a classic one.
    pub fn open_to_classic(&mut self, now: Now) {
        if let Self::Consumer(group) = self
            && group.is_vacant()
        {
            *self = Self::Classic(Box::new(Group::succeeding(group.epoch(), now)));
        }
    }

    /// The group as a consumer group. A classic one that nobody is in becomes one.
    pub fn as_consumer(&mut self, now: Now) -> Option<&mut ConsumerGroup> {
        if let Self::Classic(group) = self
            && group.is_vacant()
        {
            let group = ConsumerGroup::succeeding(group.generation(), now);
            *self = Self::Consumer(Box::new(group));
        }
        match self {
            Self::Consumer(group) => Some(group),
            Self::Classic(_) => None,
        }
    }

    /// LeaveGroup. The results line up with `leaving`.
    pub fn leave(
        &mut self,
        leaving: &[LeavingMember],
        context: classic::Context<'_>,
    ) -> (
        Result<Vec<Result<(), LeaveError>>, LeaveError>,
        classic::Effects,
    ) {
        match self {
            Self::Classic(group) => group.leave(leaving, context),
            Self::Consumer(group) => {
                let (result, left) = group.leave_classic(leaving, context.now);
                let mut effects = classic::Effects {
                    store: left.store,
                    ..classic::Effects::default()
                };
                self.downgrade(context, &mut effects);
                (result, effects)
            }
        }
    }

    /// Whether this OffsetCommit is allowed; if it comes from a classic member, its session restarts.
    pub fn check_commit(
        &mut self,
        request: &CommitOffsets,
        context: classic::Context<'_>,
    ) -> Result<(), CommitError> {
        match self {
            Self::Classic(group) => group.check_commit(request, context),
            Self::Consumer(group) => group.check_commit(request),
        }
    }

    /// Whether this OffsetFetch is allowed. Classic groups show their offsets to everybody who may see them.
    pub fn check_fetch(&self, request: &FetchOffsets) -> Result<(), FetchError> {
        match self {
            Self::Classic(_) => Ok(()),
            Self::Consumer(group) => group.check_fetch(request.member.as_ref(), request.epoch),
        }
    }
}
