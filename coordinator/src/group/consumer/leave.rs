//! Leaving a consumer group: for good, for a while, or by silence.

use super::super::classic::Now;
use super::super::request::MemberId;
use super::member::{Member, MemberState};
use super::{
    ConsumerGroup, ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerHeartbeatError, Effects,
    Partitions, STATIC_LEAVING_EPOCH,
};

impl ConsumerGroup {
    /// A heartbeat with epoch -1 or -2. The member's epoch does not matter: it gives up everything.
    pub(super) fn leave(
        &mut self,
        beat: &ConsumerHeartbeat,
        now: Now,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError> {
        let id = &beat.member;
        if let Some(instance) = &beat.instance {
            match self.instances.get(instance) {
                None => return Err(ConsumerHeartbeatError::UnknownMemberId),
                Some(holder) if holder != id => {
                    return Err(ConsumerHeartbeatError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if beat.epoch == STATIC_LEAVING_EPOCH {
            self.send_away(id, effects)?;
        } else if self.remove(id).is_some() {
            self.after_removal(now);
            effects.store = true;
        } else {
            return Err(ConsumerHeartbeatError::UnknownMemberId);
        }
        Ok(ConsumerHeartbeatAnswer {
            member: id.clone(),
            epoch: beat.epoch,
            interval: std::time::Duration::ZERO,
            assigned: None,
        })
    }

    /// A static member is away and comes back before its session ends, or never. What it was to give up is free; the rest
    /// waits for it.
    pub(super) fn send_away(
        &mut self,
        id: &MemberId,
        effects: &mut Effects,
    ) -> Result<(), ConsumerHeartbeatError> {
        let member = self
            .members
            .get(id)
            .ok_or(ConsumerHeartbeatError::UnknownMemberId)?;
        effects.store |= !member.is_away();
        let assigned = member.assigned.clone();
        self.hand_over(id, assigned, Partitions::new());
        if let Some(member) = self.members.get_mut(id) {
            member.epoch = STATIC_LEAVING_EPOCH;
            member.state = MemberState::Stable;
            member.revoke_until = None;
        }
        Ok(())
    }

    /// Takes a member out; what it had is free. [`ConsumerGroup::after_removal`] must follow.
    pub(super) fn remove(&mut self, id: &MemberId) -> Option<Member> {
        self.hand_over(id, Partitions::new(), Partitions::new());
        let member = self.take_out(id)?;
        self.drop_unused_regex(member.said.regex.as_ref());
        Some(member)
    }

    /// Somebody is gone: the next heartbeat of anybody shares out what it had.
    pub(super) fn after_removal(&mut self, now: Now) {
        self.move_epoch();
        self.topics_seen = None;
        if self.members.is_empty() {
            self.empty_since = now.wall;
            self.wake_at = None;
            // Nobody is left to share out to.
            self.assignment_epoch = self.epoch;
        }
    }
}
