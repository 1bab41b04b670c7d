//! The rebalance: waiting for the members, and starting the next generation.

use std::sync::Arc;

use bytes::Bytes;
use streamhouse_protocol::ids::Timestamp;

use super::super::error::{JoinError, SyncError};
use super::super::request::MemberId;
use super::member::Member;
use super::{Context, Effects, Group, Rebalance, State, Ticket};

impl Group {
    /// Somebody joined: start a rebalance, or see whether the running one is complete.
    pub(super) fn prepare_or_complete(&mut self, context: Context<'_>, effects: &mut Effects) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(context, effects);
            }
            State::PreparingRebalance => self.maybe_complete_join(context, effects),
            State::Dead => {}
        }
    }

    /// Somebody is gone: the others must share what it had.
    pub(super) fn after_removal(&mut self, context: Context<'_>, effects: &mut Effects) {
        match self.state {
            State::Empty | State::Dead => {}
            State::PreparingRebalance => self.maybe_complete_join(context, effects),
            State::CompletingRebalance | State::Stable => self.prepare_rebalance(context, effects),
        }
    }

    pub(super) fn prepare_rebalance(&mut self, context: Context<'_>, effects: &mut Effects) {
        if self.state == State::CompletingRebalance {
            self.send_back_syncs(context, effects);
        }
        self.sync_until = None;
        let is_initial = self.state == State::Empty;
        self.state = State::PreparingRebalance;
        let delay = context.settings.initial_rebalance_delay;
        if is_initial && !delay.is_zero() {
            let until = context.now.monotonic + delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.rebalance = Some(Rebalance::Initial {
                until,
                delay,
                remaining,
                extended: false,
            });
            self.wake_by(until);
        } else if is_initial || self.all_have_joined() {
            self.complete_join(context, effects);
        } else {
            let until = context.now.monotonic + self.rebalance_timeout();
            self.rebalance = Some(Rebalance::Rejoin { until });
            self.wake_by(until);
        }
    }

    /// Completes the join phase if everyone is there. The first rebalance of a group waits for its delay instead.
    pub(super) fn maybe_complete_join(&mut self, context: Context<'_>, effects: &mut Effects) {
        let is_initial = matches!(self.rebalance, Some(Rebalance::Initial { .. }));
        if self.state == State::PreparingRebalance && !is_initial && self.all_have_joined() {
            self.complete_join(context, effects);
        }
    }

    /// Pending members count: they were told to come back at once.
    fn all_have_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.join.is_some())
    }

    /// The wait of an initial rebalance is over: wait once more if somebody came and there is time.
    pub(super) fn end_initial_wait(&mut self, context: Context<'_>, effects: &mut Effects) {
        let Some(Rebalance::Initial {
            delay,
            remaining,
            extended,
            ..
        }) = self.rebalance
        else {
            return;
        };
        if !extended || remaining.is_zero() {
            self.complete_join(context, effects);
            return;
        }
        let next = context.settings.initial_rebalance_delay.min(remaining);
        let until = context.now.monotonic + next;
        self.rebalance = Some(Rebalance::Initial {
            until,
            delay: next,
            remaining: remaining.saturating_sub(delay),
            extended: false,
        });
        self.wake_by(until);
    }

    /// Starts the next generation with those who are here, and with static members that are not: they keep their place
    /// until their session ends. If nobody is here but some are still expected, the wait goes on.
    pub(super) fn complete_join(&mut self, context: Context<'_>, effects: &mut Effects) {
        self.rebalance = None;
        let absent: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.join.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in absent {
            self.remove_member(&id, effects);
        }
        let is_anybody_here = self.members.values().any(|member| member.join.is_some());
        if !is_anybody_here && !self.members.is_empty() {
            let until = context.now.monotonic + self.rebalance_timeout();
            self.rebalance = Some(Rebalance::Rejoin { until });
            self.wake_by(until);
            return;
        }
        self.generation = self.generation.saturating_add(1);
        effects.store = true;
        if self.members.is_empty() {
            self.become_empty(context.now.wall);
            return;
        }
        self.elect_leader();
        self.protocol = self.choose_protocol();
        self.state = State::CompletingRebalance;
        let until = context.now.monotonic + self.rebalance_timeout();
        self.sync_until = Some(until);
        self.wake_by(until);
        self.answer_joins(context, effects);
    }

    fn become_empty(&mut self, wall: Timestamp) {
        self.state = State::Empty;
        self.protocol = None;
        self.leader = None;
        self.empty_since = wall;
    }

    fn answer_joins(&mut self, context: Context<'_>, effects: &mut Effects) {
        let mut parked: Vec<(MemberId, Option<Ticket>)> = Vec::with_capacity(self.members.len());
        for (id, member) in &mut self.members {
            member.is_new = false;
            member.has_synced = false;
            self.bytes -= member.assignment.len();
            member.assignment = Bytes::new();
            parked.push((id.clone(), member.join.take()));
        }
        for (id, ticket) in parked {
            // As in Kafka, a static member that is away gets another session to come back in.
            self.touch(&id, context);
            if let Some(ticket) = ticket {
                effects.joins.push((ticket, Ok(self.join_answer(&id))));
            }
        }
    }

    /// The leader stays as long as it rejoins; then the member that joined first follows. A static member that is away
    /// cannot lead.
    fn elect_leader(&mut self) {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_none_or(|leader| leader.join.is_none()) {
            let here = self
                .members
                .iter()
                .filter(|(_, member)| member.join.is_some());
            let first = here.min_by_key(|(_, member)| member.order);
            self.leader = first.map(|(id, _)| id.clone());
        }
    }

    /// Every member votes for its favourite among the protocols that all understand. A tie goes to what the leader
    /// prefers.
    pub(super) fn choose_protocol(&self) -> Option<Arc<str>> {
        let count = self.members.len();
        let favourite = |member: &Member| {
            let common = member
                .protocols
                .iter()
                .find(|one| self.votes.is_common(&one.name, count));
            common.map(|one| Arc::clone(&one.name))
        };
        let mut ballots = std::collections::BTreeMap::<Arc<str>, usize>::new();
        for name in self.members.values().filter_map(favourite) {
            *ballots.entry(name).or_insert(0) += 1;
        }
        let leader = self
            .leader
            .as_ref()
            .and_then(|leader| self.members.get(leader))?;
        let mut best: Option<(&Arc<str>, usize)> = None;
        for protocol in &leader.protocols {
            let ballot = ballots.get(&protocol.name).copied().unwrap_or(0);
            if ballot > best.map_or(0, |(_, most)| most) {
                best = Some((&protocol.name, ballot));
            }
        }
        best.map(|(name, _)| Arc::clone(name))
    }

    /// A generation ends before its assignment was known: whoever waits for it joins again.
    fn send_back_syncs(&mut self, context: Context<'_>, effects: &mut Effects) {
        let mut sent_back = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(ticket) = member.sync.take() {
                effects
                    .syncs
                    .push((ticket, Err(SyncError::RebalanceInProgress)));
                sent_back.push(id.clone());
            }
        }
        for id in sent_back {
            self.touch(&id, context);
        }
    }

    /// Restarts a member's session.
    pub(super) fn touch(&mut self, id: &MemberId, context: Context<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.is_new {
            return;
        }
        let until = context.now.monotonic + member.session_timeout;
        member.session_until = until;
        self.wake_by(until);
    }

    /// Takes a member out and answers what it waits for; says whether it was there.
    pub(super) fn remove_member(&mut self, id: &MemberId, effects: &mut Effects) -> bool {
        let Some(member) = self.strike_off(id) else {
            return false;
        };
        if let Some(ticket) = member.join {
            effects
                .joins
                .push((ticket, Err(JoinError::UnknownMemberId)));
        }
        if let Some(ticket) = member.sync {
            effects
                .syncs
                .push((ticket, Err(SyncError::UnknownMemberId)));
        }
        true
    }

    /// Counts a member out; what it waits for is the caller's to answer.
    pub(super) fn strike_off(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.votes.remove(&member.protocols);
        self.bytes -= member.bytes(id) + member.assignment.len();
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        Some(member)
    }
}
