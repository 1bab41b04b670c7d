//! JoinGroup: becoming a member, and rejoining.

use std::sync::Arc;
use std::time::Duration;

use super::super::error::{CoordinatorError, JoinError};
use super::super::request::{GROUP_ID_BYTES_MAX, JoinAnswer, JoinRequest, JoinedMember, MemberId};
use super::super::settings::GroupSettings;
use super::member::{MEMBER_OVERHEAD_BYTES, Member};
use super::{Context, Effects, Group, Rebalance, State, Ticket};

/// A JoinGroup that reached its group.
#[derive(Clone, Debug)]
pub struct Join {
    /// What was asked.
    pub request: JoinRequest,
    /// Names the parked request.
    pub ticket: Ticket,
    /// The id for a member that has none; no other member has it.
    pub fresh_member: MemberId,
}

/// What can be refused without looking at the group.
pub fn check_join(request: &JoinRequest, settings: &GroupSettings) -> Result<(), JoinError> {
    if !(1..=GROUP_ID_BYTES_MAX).contains(&request.group.as_str().len()) {
        return Err(JoinError::InvalidGroupId);
    }
    let session = u64::try_from(request.session_timeout_ms).map(Duration::from_millis);
    let allowed = settings.session_timeout_min..=settings.session_timeout_max;
    if !session.is_ok_and(|asked| allowed.contains(&asked)) {
        return Err(JoinError::InvalidSessionTimeout);
    }
    if request.protocol_type.is_empty() || request.protocols.is_empty() {
        return Err(JoinError::InconsistentGroupProtocol);
    }
    Ok(())
}

/// What a member that joins like this will occupy, in bytes.
#[must_use]
pub fn join_bytes(request: &JoinRequest) -> usize {
    let instance = request.instance.as_ref();
    let names = request.client_id.len() + instance.map_or(0, |instance| instance.len());
    let protocols = request.protocols.iter();
    let protocols = protocols.map(|one| one.name.len() + one.metadata.len());
    MEMBER_OVERHEAD_BYTES + 2 * names + protocols.sum::<usize>()
}

impl Group {
    /// JoinGroup. The answer comes with this transition or with a later one.
    pub fn join(&mut self, join: Join, context: Context<'_>) -> Effects {
        let mut effects = Effects::default();
        let ticket = join.ticket;
        if let Err(error) = self.try_join(join, context, &mut effects) {
            effects.joins.push((ticket, Err(error)));
        }
        effects
    }

    fn try_join(
        &mut self,
        join: Join,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<(), JoinError> {
        check_join(&join.request, context.settings)?;
        if self.state == State::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let id = join.request.member.clone();
        if !self.has_room_for(&join.request, context.settings) {
            // As in Kafka, a member of the previous generation that finds the group full is out.
            if self.forget_pending(&id) || self.remove_member(&id, effects) {
                self.after_removal(context, effects);
            }
            return Err(JoinError::GroupMaxSizeReached);
        }
        if !self.supports_protocols_of(&join.request) {
            return Err(JoinError::InconsistentGroupProtocol);
        }
        let instance = join.request.instance.as_ref();
        let newcomer = if id.is_none() {
            if let Some(holder) = instance.and_then(|instance| self.holder_of(instance)) {
                let holder = holder.clone();
                return self.replace_static(&holder, &join, context, effects);
            }
            // A static member is known by its instance id: no ghost of it can stay behind.
            if instance.is_none() && join.request.requires_known_member_id {
                return Err(self.hand_out_id(join, context));
            }
            join.fresh_member.clone()
        } else if instance.is_none() && self.forget_pending(&id) {
            id
        } else {
            self.identify(&id, instance)?;
            return self.rejoin(&id, &join, context, effects);
        };
        self.add_member(newcomer, &join, context);
        self.prepare_or_complete(context, effects);
        Ok(())
    }

    /// `group.max.size` and the bound of bytes. A member that is already counted is always let in, and so is a static
    /// one that takes the place of its former self.
    fn has_room_for(&self, request: &JoinRequest, settings: &GroupSettings) -> bool {
        let known = self.joining(request).map(|(_, member)| member);
        let in_place = match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.join.is_some())
                    || self
                        .members
                        .values()
                        .filter(|member| member.join.is_some())
                        .count()
                        < settings.group_size_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || self.members.len() < settings.group_size_max
            }
        };
        in_place && self.bytes.saturating_add(self.growth(request)) <= settings.group_bytes_max
    }

    /// Who joins: the member that the request names, or whose place it takes.
    fn joining(&self, request: &JoinRequest) -> Option<(&MemberId, &Member)> {
        let instance = request.instance.as_ref();
        let id = instance
            .filter(|_| request.member.is_none())
            .and_then(|instance| self.holder_of(instance))
            .unwrap_or(&request.member);
        self.members.get_key_value(id)
    }

    /// How many bytes more the group holds after this join than before, if it is let in.
    #[must_use]
    pub fn growth(&self, request: &JoinRequest) -> usize {
        let before = self
            .joining(request)
            .map_or(0, |(id, member)| member.bytes(id));
        join_bytes(request).saturating_sub(before)
    }

    fn supports_protocols_of(&self, request: &JoinRequest) -> bool {
        if self.members.is_empty() {
            return true;
        }
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request
                .protocols
                .iter()
                .any(|protocol| self.votes.is_common(&protocol.name, self.members.len()))
    }

    /// KIP-394: the member gets an id to come back with, so that a join whose answer is lost leaves no ghost.
    fn hand_out_id(&mut self, join: Join, context: Context<'_>) -> JoinError {
        let session = u64::try_from(join.request.session_timeout_ms).unwrap_or(0);
        let until = context.now.monotonic + Duration::from_millis(session);
        let member = join.fresh_member;
        self.bytes += MEMBER_OVERHEAD_BYTES + member.as_str().len();
        self.pending.insert(member.clone(), until);
        self.wake_by(until);
        JoinError::MemberIdRequired { member }
    }

    /// Takes an id off the pending ones; says whether it was there.
    pub(super) fn forget_pending(&mut self, id: &MemberId) -> bool {
        let was_pending = self.pending.remove(id).is_some();
        if was_pending {
            self.bytes -= MEMBER_OVERHEAD_BYTES + id.as_str().len();
        }
        was_pending
    }

    fn add_member(&mut self, id: MemberId, join: &Join, context: Context<'_>) {
        let until = context.now.monotonic + context.settings.new_member_timeout;
        let mut member = Member::joining(&join.request, self.next_order, until);
        member.join = Some(join.ticket);
        self.next_order += 1;
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::clone(&join.request.protocol_type));
        }
        if let Some(Rebalance::Initial { extended, .. }) = &mut self.rebalance {
            *extended = true;
        }
        self.enroll(id, member);
        self.wake_by(until);
    }

    /// A member that is known joins again: it has something new to say, or it missed an answer.
    fn rejoin(
        &mut self,
        id: &MemberId,
        join: &Join,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<(), JoinError> {
        let is_leader = self.leader.as_ref() == Some(id);
        let is_unchanged = self
            .members
            .get(id)
            .is_some_and(|member| member.matches(&join.request.protocols));
        match self.state {
            State::PreparingRebalance => {}
            State::CompletingRebalance if is_unchanged => {
                return self.answer_current(id, join.ticket, context, effects);
            }
            // The leader rejoins when it saw something that needs a new assignment, such as more partitions.
            State::Stable if is_unchanged && !is_leader => {
                return self.answer_current(id, join.ticket, context, effects);
            }
            State::CompletingRebalance | State::Stable => {}
            State::Empty | State::Dead => return Err(JoinError::UnknownMemberId),
        }
        self.update_member(id, join, effects);
        self.prepare_or_complete(context, effects);
        Ok(())
    }

    fn answer_current(
        &mut self,
        id: &MemberId,
        ticket: Ticket,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<(), JoinError> {
        self.touch(id, context);
        let answer = self.join_answer(id);
        effects.joins.push((ticket, Ok(answer)));
        Ok(())
    }

    /// Counts a member in.
    pub(super) fn enroll(&mut self, id: MemberId, member: Member) {
        self.votes.add(&member.protocols);
        self.bytes += member.bytes(&id) + member.assignment.len();
        if let Some(instance) = &member.instance {
            self.instances.insert(Arc::clone(instance), id.clone());
        }
        self.members.insert(id, member);
    }

    fn update_member(&mut self, id: &MemberId, join: &Join, effects: &mut Effects) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let before = member.bytes(id);
        self.votes.remove(&member.protocols);
        let updated = Member::joining(&join.request, member.order, member.session_until);
        member.client_id = updated.client_id;
        member.client_host = updated.client_host;
        member.session_timeout = updated.session_timeout;
        member.rebalance_timeout = updated.rebalance_timeout;
        member.protocols = updated.protocols;
        if let Some(replaced) = member.join.replace(join.ticket) {
            // The client gave up on that one, or sends two at once: either way this one counts.
            effects
                .joins
                .push((replaced, Err(JoinError::RebalanceInProgress)));
        }
        self.votes.add(&member.protocols);
        self.bytes = self.bytes - before + member.bytes(id);
    }

    /// The answer for a member of the current generation.
    pub(super) fn join_answer(&self, id: &MemberId) -> JoinAnswer {
        let leader = self.leader.clone().unwrap_or_else(MemberId::none);
        let empty: Arc<str> = "".into();
        // A Stable group answers a follower only; a leader that missed its answer needs the members again.
        let members = if leader == *id {
            self.joined_members()
        } else {
            Vec::new()
        };
        JoinAnswer {
            generation: self.generation,
            protocol_type: self
                .protocol_type
                .clone()
                .unwrap_or_else(|| Arc::clone(&empty)),
            protocol: self.protocol.clone().unwrap_or(empty),
            leader,
            member: id.clone(),
            members,
            skip_assignment: false,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let mut members: Vec<(&MemberId, &Member)> = self.members.iter().collect();
        members.sort_by_key(|(_, member)| member.order);
        let line = |(id, member): (&MemberId, &Member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(self.protocol.as_ref()),
        };
        members.into_iter().map(line).collect()
    }
}
