//! Static members (KIP-345): who a `group.instance.id` stands for, and what happens when a process with that id restarts.
//!
//! The id is one member's at a time. Whoever joins with it, and without a member id, takes over the member that has it:
//! its place in the order, its assignment, its leadership. The member id before it is fenced from then on. In a Stable
//! group nothing else happens, so a restart within the session costs no rebalance, as long as the group would still agree
//! on the same protocol.
//!
//! Where we differ from Kafka: client id and address are those of the process that came last.

use std::sync::Arc;

use super::super::error::{JoinError, Stranger, SyncError};
use super::super::request::{JoinAnswer, MemberId};
use super::member::Member;
use super::{Context, Effects, Group, Join, State};

impl Group {
    /// The member that an instance id stands for.
    pub(super) fn holder_of(&self, instance: &Arc<str>) -> Option<&MemberId> {
        self.instances.get(instance)
    }

    /// Whether a request comes from the member that it names. An instance id may be left out, but not wrong.
    pub(in crate::group) fn identify(
        &self,
        member: &MemberId,
        instance: Option<&Arc<str>>,
    ) -> Result<(), Stranger> {
        if let Some(instance) = instance {
            let holder = self.holder_of(instance).ok_or(Stranger::Unknown)?;
            if holder != member {
                return Err(Stranger::Fenced);
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(Stranger::Unknown)
        }
    }

    /// A process joins with the instance id of `holder`, which it takes over.
    pub(super) fn replace_static(
        &mut self,
        holder: &MemberId,
        join: &Join,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<(), JoinError> {
        let told_leader = self.leader.clone();
        self.take_over(holder, join, context, effects)?;
        match self.state {
            State::Stable if self.choose_protocol() == self.protocol => {
                if let Some(member) = self.members.get_mut(&join.fresh_member) {
                    member.join = None;
                }
                effects.store = true;
                let answer = self.quiet_answer(join, told_leader);
                effects.joins.push((join.ticket, Ok(answer)));
            }
            // The leader may be assigning to the member id that is gone.
            State::CompletingRebalance | State::Stable => self.prepare_rebalance(context, effects),
            State::PreparingRebalance => self.maybe_complete_join(context, effects),
            State::Empty | State::Dead => {}
        }
        Ok(())
    }

    fn take_over(
        &mut self,
        holder: &MemberId,
        join: &Join,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<(), JoinError> {
        let former = self.strike_off(holder).ok_or(JoinError::UnknownMemberId)?;
        if let Some(ticket) = former.join {
            effects
                .joins
                .push((ticket, Err(JoinError::FencedInstanceId)));
        }
        if let Some(ticket) = former.sync {
            effects
                .syncs
                .push((ticket, Err(SyncError::FencedInstanceId)));
        }
        let mut member = Member::joining(&join.request, former.order, former.session_until);
        member.session_until = context.now.monotonic + member.session_timeout;
        member.assignment = former.assignment;
        member.has_synced = former.has_synced;
        // It has an identity that does not depend on the answer to this join, so it leaves no ghost when it goes away.
        member.is_new = false;
        member.join = Some(join.ticket);
        self.wake_by(member.session_until);
        self.enroll(join.fresh_member.clone(), member);
        if self.leader.as_ref() == Some(holder) {
            self.leader = Some(join.fresh_member.clone());
        }
        Ok(())
    }

    /// The answer to a static member that came back into a generation that goes on. A leader that is not told to skip
    /// the assignment (before KIP-814) must not take itself for the leader: it hears its former id, and syncs like a
    /// follower.
    fn quiet_answer(&self, join: &Join, told_leader: Option<MemberId>) -> JoinAnswer {
        let mut answer = self.join_answer(&join.fresh_member);
        if join.request.can_skip_assignment {
            answer.skip_assignment = answer.leader == answer.member;
        } else {
            answer.leader = told_leader.unwrap_or_else(MemberId::none);
            answer.members.clear();
        }
        answer
    }
}
