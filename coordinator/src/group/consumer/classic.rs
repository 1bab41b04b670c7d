//! Members that speak the classic protocol in a group of the consumer protocol: while an application is restarted process by
//! process from one protocol to the other, both kinds are in its group.
//!
//! To such a member the group looks like one in which somebody else leads: JoinGroup is answered at once with its member epoch
//! as the generation, SyncGroup with what it may have. Heartbeat tells it to join again when there is something to give up or
//! to get. It says what it has in JoinGroup: an eager one has given up everything by then.

use std::sync::Arc;
use std::time::Duration;

use super::super::classic::{self, CONSUMER, Join, Now, Sync, check_join};
use super::super::error::{
    CoordinatorError, HeartbeatError, JoinError, LeaveError, Stranger, SyncError,
};
use super::super::request::{
    Heartbeat, JoinAnswer, JoinRequest, LeavingMember, MemberId, Protocol, SyncAnswer, SyncRequest,
};
use super::embedded::{Subscription, read_subscription, write_assignment};
use super::member::{Member, MemberState};
use super::{
    ConsumerGroup, ConsumerHeartbeat, ConsumerHeartbeatError, Context, Effects, JOINING_EPOCH,
    Partitions, Word,
};

/// What a member says that speaks the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Classic {
    /// It chooses its session timeout itself.
    pub(super) session_timeout: Duration,
    /// Never empty; the first is the one that it is answered by.
    pub(super) protocols: Vec<Protocol>,
}

impl Classic {
    /// What it occupies.
    pub(super) fn bytes(&self) -> usize {
        let protocols = self.protocols.iter();
        protocols
            .map(|one| one.name.len() + one.metadata.len())
            .sum()
    }

    fn understands(&self, name: &str) -> bool {
        self.protocols.iter().any(|one| &*one.name == name)
    }
}

impl ConsumerGroup {
    /// JoinGroup. The answer comes with this transition.
    pub fn join_classic(&mut self, join: &Join, context: Context<'_>) -> classic::Effects {
        let mut effects = Effects::default();
        // A refusal changes nothing.
        let mut joined = self.clone();
        let result = joined.try_join_classic(join, context, &mut effects);
        if result.is_ok() {
            *self = joined;
        } else {
            effects = Effects::default();
        }
        classic::Effects {
            store: effects.store,
            joins: vec![(join.ticket, result)],
            ..classic::Effects::default()
        }
    }

    fn try_join_classic(
        &mut self,
        join: &Join,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<JoinAnswer, JoinError> {
        let request = &join.request;
        check_join(request, context.settings)?;
        if self.is_dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        if !self.fits_classic(request) {
            return Err(JoinError::InconsistentGroupProtocol);
        }
        let protocol = request.protocols.first();
        let subscription = protocol
            .and_then(|protocol| read_subscription(&protocol.metadata, context.topics))
            .ok_or(JoinError::InconsistentGroupProtocol)?;
        let instance = request.instance.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance).cloned());
        let id = if !request.member.is_none() {
            // An id that was handed out is not known yet.
            if instance.is_some() || self.members.contains_key(&request.member) {
                self.identify(&request.member, instance)?;
            }
            request.member.clone()
        } else if instance.is_none() && request.requires_known_member_id {
            let member = join.fresh_member.clone();
            return Err(JoinError::MemberIdRequired { member });
        } else {
            join.fresh_member.clone()
        };
        if let Some(holder) = holder.filter(|holder| *holder != id) {
            // As in a classic group, the process that came last has the instance id.
            self.send_away(&holder, effects).map_err(refusal)?;
        }
        let beat = self.as_heartbeat(&id, request, subscription);
        let word = Word {
            classic: Some(Arc::new(said(request))),
            resolution: None,
        };
        let mut beaten = Effects::default();
        let answer = self.try_heartbeat(&beat, word, context, &mut beaten);
        effects.store |= beaten.store;
        let answer = answer.map_err(refusal)?;
        self.expect(&id, context.now);
        Ok(JoinAnswer {
            generation: answer.epoch,
            protocol_type: CONSUMER.into(),
            protocol: protocol.map_or_else(|| "".into(), |one| Arc::clone(&one.name)),
            leader: MemberId::none(),
            member: id,
            members: Vec::new(),
            skip_assignment: false,
        })
    }

    /// Whether there is a protocol that all members of the classic kind would understand.
    fn fits_classic(&self, request: &JoinRequest) -> bool {
        let instance = request.instance.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance));
        let is_other = |id: &MemberId| *id != request.member && Some(id) != holder;
        let members = self.members.iter().filter(|(id, _)| is_other(id));
        let others: Vec<&Classic> = members
            .filter_map(|(_, member)| member.said.classic.as_deref())
            .collect();
        let is_common =
            |one: &Protocol| others.iter().all(|classic| classic.understands(&one.name));
        &*request.protocol_type == CONSUMER && request.protocols.iter().any(is_common)
    }

    /// What a member of the other kind would have said.
    fn as_heartbeat(
        &self,
        id: &MemberId,
        request: &JoinRequest,
        subscription: Subscription,
    ) -> ConsumerHeartbeat {
        let known = self.members.get(id);
        let epoch = known.map_or(JOINING_EPOCH, |member| member.epoch);
        let timeout = if request.rebalance_timeout_ms < 0 {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        };
        // Who is new has nothing, whatever it says.
        let owned = known.map_or_else(Partitions::new, |_| subscription.owned);
        ConsumerHeartbeat {
            group: request.group.clone(),
            member: id.clone(),
            epoch,
            instance: request.instance.clone(),
            rack: None,
            rebalance_timeout_ms: timeout,
            names: Some(subscription.names),
            regex: Some("".into()),
            assignor: None,
            owned: Some(owned),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            draws_member_id: false,
        }
    }

    /// SyncGroup: what the member may have.
    pub fn sync_classic(&mut self, sync: &Sync, context: Context<'_>) -> classic::Effects {
        let result = self.try_sync_classic(&sync.request, context);
        classic::Effects {
            syncs: vec![(sync.ticket, result)],
            ..classic::Effects::default()
        }
    }

    fn try_sync_classic(
        &mut self,
        request: &SyncRequest,
        context: Context<'_>,
    ) -> Result<SyncAnswer, SyncError> {
        if self.is_dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let id = &request.member;
        let (member, classic) = self.identify(id, request.instance.as_ref())?;
        if request.generation != member.epoch {
            return Err(SyncError::IllegalGeneration);
        }
        let is_type = |name: &Arc<str>| &**name == CONSUMER;
        let is_known = |name: &Arc<str>| classic.understands(name);
        if !request.protocol_type.as_ref().is_none_or(is_type)
            || !request.protocol.as_ref().is_none_or(is_known)
        {
            return Err(SyncError::InconsistentGroupProtocol);
        }
        if self.must_join_before_sync(member) {
            self.expect(id, context.now);
            return Err(SyncError::RebalanceInProgress);
        }
        let protocol = classic.protocols.first();
        let version = protocol.and_then(|one| read_subscription(&one.metadata, context.topics));
        let version = version.map_or(0, |subscription| subscription.version);
        let answer = SyncAnswer {
            protocol_type: CONSUMER.into(),
            protocol: protocol.map_or_else(|| "".into(), |one| Arc::clone(&one.name)),
            assignment: write_assignment(version, &member.assigned, context.topics),
        };
        if let Some(member) = self.members.get_mut(id) {
            member.act_until = None;
        }
        self.touch(id, context.now, context.settings);
        Ok(answer)
    }

    /// Heartbeat: the member lives, and hears whether it must join again.
    pub fn heartbeat_classic(
        &mut self,
        request: &Heartbeat,
        context: classic::Context<'_>,
    ) -> Result<(), HeartbeatError> {
        if self.is_dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let id = &request.member;
        let (member, _) = self.identify(id, request.instance.as_ref())?;
        if request.generation != member.epoch {
            return Err(HeartbeatError::IllegalGeneration);
        }
        let must_join = self.must_join(member);
        self.touch(id, context.now, context.settings);
        if must_join {
            self.expect(id, context.now);
            return Err(HeartbeatError::RebalanceInProgress);
        }
        Ok(())
    }

    /// LeaveGroup. An administrator may name an instance id alone; the results line up with `leaving`.
    pub fn leave_classic(
        &mut self,
        leaving: &[LeavingMember],
        now: Now,
    ) -> (Result<Vec<Result<(), LeaveError>>, LeaveError>, Effects) {
        if self.is_dead {
            let refused = CoordinatorError::NotAvailable.into();
            return (Err(refused), Effects::default());
        }
        let before = self.members.len();
        let leave = |one: &LeavingMember| {
            let id = match &one.instance {
                Some(instance) if one.member.is_none() => self.instances.get(instance).cloned(),
                instance => {
                    self.identify(&one.member, instance.as_ref())?;
                    Some(one.member.clone())
                }
            };
            self.remove(&id.ok_or(LeaveError::UnknownMemberId)?);
            Ok(())
        };
        let results = leaving.iter().map(leave).collect();
        let store = self.members.len() < before;
        if store {
            self.after_removal(now);
        }
        (Ok(results), Effects { store })
    }

    /// The member of the classic kind that a request comes from. An instance id may be left out, but not wrong.
    fn identify(
        &self,
        id: &MemberId,
        instance: Option<&Arc<str>>,
    ) -> Result<(&Member, &Classic), Stranger> {
        if let Some(instance) = instance {
            let holder = self.instances.get(instance).ok_or(Stranger::Unknown)?;
            if holder != id {
                return Err(Stranger::Fenced);
            }
        }
        let member = self.members.get(id).ok_or(Stranger::Unknown)?;
        let classic = member.said.classic.as_deref();
        Ok((member, classic.ok_or(Stranger::Unknown)?))
    }

    /// A member that has to give something up has joined, and must sync to hear what.
    fn must_join_before_sync(&self, member: &Member) -> bool {
        self.epoch > member.epoch && member.state != MemberState::UnrevokedPartitions
    }

    fn must_join(&self, member: &Member) -> bool {
        let is_free = |partition| !self.owners.contains_key(partition);
        let mut missing = member.target.difference(&member.assigned);
        self.epoch > member.epoch
            || match member.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => missing.all(is_free),
            }
    }

    /// The member has been told to do something: it is out if it has not by the end of its rebalance timeout.
    fn expect(&mut self, id: &MemberId, now: Now) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let until = now.monotonic + member.said.rebalance_timeout;
        let until = *member.act_until.get_or_insert(until);
        self.wake_by(until);
    }

    /// Whether everybody speaks the classic protocol.
    pub(in crate::group) fn has_classic_members_only(&self) -> bool {
        let mut members = self.members.values();
        !self.members.is_empty() && members.all(|member| member.said.classic.is_some())
    }
}

/// What stays of a JoinGroup.
fn said(request: &JoinRequest) -> Classic {
    let session = u64::try_from(request.session_timeout_ms).unwrap_or(0);
    Classic {
        session_timeout: Duration::from_millis(session),
        protocols: request.protocols.clone(),
    }
}

fn refusal(error: ConsumerHeartbeatError) -> JoinError {
    match error {
        ConsumerHeartbeatError::Coordinator(error) => error.into(),
        ConsumerHeartbeatError::GroupMaxSizeReached => JoinError::GroupMaxSizeReached,
        ConsumerHeartbeatError::FencedInstanceId
        | ConsumerHeartbeatError::UnreleasedInstanceId(_) => JoinError::FencedInstanceId,
        ConsumerHeartbeatError::InvalidRequest(_)
        | ConsumerHeartbeatError::UnsupportedAssignor(_)
        | ConsumerHeartbeatError::InvalidRegularExpression(_)
        | ConsumerHeartbeatError::GroupIdNotFound
        | ConsumerHeartbeatError::UnknownMemberId
        | ConsumerHeartbeatError::FencedMemberEpoch { .. } => JoinError::UnknownMemberId,
    }
}
