//! SyncGroup: the leader gives everyone an assignment, everyone gets it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::error::{CoordinatorError, SyncError};
use super::super::request::{MemberId, SyncAnswer, SyncRequest};
use super::{Context, Effects, Group, State, Ticket};

/// A SyncGroup that reached its group.
#[derive(Clone, Debug)]
pub struct Sync {
    /// What was asked.
    pub request: SyncRequest,
    /// Names the parked request.
    pub ticket: Ticket,
}

impl Group {
    /// SyncGroup. Followers wait for the leader's.
    pub fn sync(&mut self, sync: Sync, context: Context<'_>) -> Effects {
        let mut effects = Effects::default();
        let ticket = sync.ticket;
        if let Err(error) = self.try_sync(sync, context, &mut effects) {
            effects.syncs.push((ticket, Err(error)));
        }
        effects
    }

    fn try_sync(
        &mut self,
        sync: Sync,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<(), SyncError> {
        let Sync { request, ticket } = sync;
        self.check_sync(&request)?;
        let id = request.member.clone();
        match self.state {
            State::Empty | State::Dead => Err(SyncError::UnknownMemberId),
            State::PreparingRebalance => Err(SyncError::RebalanceInProgress),
            State::CompletingRebalance if self.leader.as_ref() == Some(&id) => {
                self.assign(request, context)?;
                self.park(&id, ticket, effects);
                effects.store = true;
                self.answer_syncs(context, effects);
                Ok(())
            }
            State::CompletingRebalance => {
                self.park(&id, ticket, effects);
                Ok(())
            }
            State::Stable => {
                self.mark_synced(&id);
                self.touch(&id, context);
                effects.syncs.push((ticket, Ok(self.sync_answer(&id))));
                Ok(())
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), SyncError> {
        if request.group.as_str().is_empty() {
            return Err(SyncError::InvalidGroupId);
        }
        if self.state == State::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        self.identify(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            return Err(SyncError::IllegalGeneration);
        }
        let differs = |asked: &Option<_>, ours: &Option<_>| asked.is_some() && asked != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(SyncError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// The leader's word: who is not in it gets nothing.
    fn assign(&mut self, request: SyncRequest, context: Context<'_>) -> Result<(), SyncError> {
        let mut given: BTreeMap<MemberId, Bytes> = request
            .assignments
            .into_iter()
            .filter(|line| self.members.contains_key(&line.member))
            .map(|line| (line.member, line.assignment))
            .collect();
        let bytes: usize = given.values().map(Bytes::len).sum();
        if self.bytes.saturating_add(bytes) > context.settings.group_bytes_max {
            return Err(SyncError::AssignmentTooLarge);
        }
        for (id, member) in &mut self.members {
            member.assignment = given.remove(id).unwrap_or_default();
        }
        self.bytes += bytes;
        self.state = State::Stable;
        Ok(())
    }

    fn park(&mut self, id: &MemberId, ticket: Ticket, effects: &mut Effects) {
        self.mark_synced(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some(replaced) = member.sync.replace(ticket) {
            // The client gave up on that one, or sends two at once: either way this one counts.
            effects
                .syncs
                .push((replaced, Err(SyncError::RebalanceInProgress)));
        }
    }

    fn mark_synced(&mut self, id: &MemberId) {
        if let Some(member) = self.members.get_mut(id) {
            member.has_synced = true;
        }
        if self.members.values().all(|member| member.has_synced) {
            self.sync_until = None;
        }
    }

    fn answer_syncs(&mut self, context: Context<'_>, effects: &mut Effects) {
        let parked: Vec<(MemberId, Ticket)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| member.sync.take().map(|ticket| (id.clone(), ticket)))
            .collect();
        for (id, ticket) in parked {
            self.touch(&id, context);
            effects.syncs.push((ticket, Ok(self.sync_answer(&id))));
        }
    }

    fn sync_answer(&self, id: &MemberId) -> SyncAnswer {
        SyncAnswer {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| "".into()),
            protocol: self.protocol.clone().unwrap_or_else(|| "".into()),
            assignment: self
                .members
                .get(id)
                .map_or_else(Bytes::new, |one| one.assignment.clone()),
        }
    }
}
