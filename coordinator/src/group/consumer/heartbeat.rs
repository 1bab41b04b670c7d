//! ConsumerGroupHeartbeat: joining, subscribing, and following the target assignment, all in one request.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::ConsumerAssignor;

use super::super::classic::Now;
use super::super::error::CoordinatorError;
use super::super::request::{GROUP_ID_BYTES_MAX, MemberId};
use super::super::settings::GroupSettings;
use super::member::{Member, Said};
use super::{
    ConsumerGroup, ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerHeartbeatError, Context,
    Effects, JOINING_EPOCH, LEAVING_EPOCH, Resolution, STATIC_LEAVING_EPOCH, Word,
};

/// What can be refused without looking at the group (Kafka: `throwIfConsumerGroupHeartbeatRequestIsInvalid`).
pub fn check_heartbeat(
    beat: &ConsumerHeartbeat,
    assignors: &[ConsumerAssignor],
) -> Result<(), ConsumerHeartbeatError> {
    if let Some(wrong) = contradiction(beat) {
        return Err(ConsumerHeartbeatError::InvalidRequest(wrong));
    }
    match &beat.assignor {
        Some(name) if assignor_named(name, assignors).is_none() => Err(
            ConsumerHeartbeatError::UnsupportedAssignor(name.chars().take(100).collect()),
        ),
        Some(_) | None => Ok(()),
    }
}

fn assignor_named(name: &str, allowed: &[ConsumerAssignor]) -> Option<ConsumerAssignor> {
    ConsumerAssignor::named(name).filter(|assignor| allowed.contains(assignor))
}

fn contradiction(beat: &ConsumerHeartbeat) -> Option<&'static str> {
    let is_empty = |text: &Option<Arc<str>>| text.as_ref().is_some_and(|text| text.is_empty());
    let needs_member = beat.draws_member_id || beat.epoch > 0 || beat.epoch == LEAVING_EPOCH;
    if beat.group.as_str().is_empty() {
        Some("GroupId can't be empty.")
    } else if beat.group.as_str().len() > GROUP_ID_BYTES_MAX {
        Some("GroupId can't be longer than 1024 bytes.")
    } else if needs_member && beat.member.is_none() {
        Some("MemberId can't be empty.")
    } else if is_empty(&beat.instance) {
        Some("InstanceId can't be empty.")
    } else if is_empty(&beat.rack) {
        Some("RackId can't be empty.")
    } else if beat.epoch < STATIC_LEAVING_EPOCH {
        Some("MemberEpoch is invalid.")
    } else if beat.epoch == STATIC_LEAVING_EPOCH && beat.instance.is_none() {
        Some("InstanceId can't be null.")
    } else if beat.rebalance_timeout_ms < -1 {
        Some("RebalanceTimeoutMs must not be negative.")
    } else if beat.epoch == JOINING_EPOCH {
        contradiction_of_joining(beat)
    } else {
        None
    }
}

fn contradiction_of_joining(beat: &ConsumerHeartbeat) -> Option<&'static str> {
    if beat.rebalance_timeout_ms == -1 {
        Some("RebalanceTimeoutMs must be provided in first request.")
    } else if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
        Some("TopicPartitions must be empty when (re-)joining.")
    } else if beat.names.is_none() && beat.regex.is_none() {
        Some(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        )
    } else {
        None
    }
}

/// As what a heartbeat is let in.
enum Admission {
    /// As the member that it is.
    Known,
    /// As a new member.
    New,
    /// As the static member that left for a while under this id.
    Returning(MemberId),
}

impl ConsumerGroup {
    /// ConsumerGroupHeartbeat. A member that has no id yet gets one from the caller first. `resolution` is what
    /// [`ConsumerGroup::unresolved_regex`] asked for.
    pub fn heartbeat(
        &mut self,
        beat: &ConsumerHeartbeat,
        resolution: Option<Resolution>,
        context: Context<'_>,
    ) -> (
        Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError>,
        Effects,
    ) {
        let mut effects = Effects::default();
        let word = Word {
            classic: None,
            resolution,
        };
        let result = self.try_heartbeat(beat, word, context, &mut effects);
        (result, effects)
    }

    pub(super) fn try_heartbeat(
        &mut self,
        beat: &ConsumerHeartbeat,
        word: Word,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError> {
        check_heartbeat(beat, &context.settings.consumer.assignors)?;
        if self.is_dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        if beat.epoch < JOINING_EPOCH {
            return self.leave(beat, context.now, effects);
        }
        let admission = self.admit(beat)?;
        let known = match &admission {
            Admission::Known => self.members.get(&beat.member),
            Admission::Returning(id) => self.members.get(id),
            Admission::New => None,
        };
        let before = known.map(|member| member.said.clone());
        let Word {
            classic,
            resolution,
        } = word;
        let assignors = &context.settings.consumer.assignors;
        let said = Said {
            classic,
            ..hear(before.clone(), beat, assignors)
        };
        self.check_room(beat, before.as_ref(), &said, resolution.as_ref(), context)?;
        // From here on nothing is refused.
        let id = &beat.member;
        let is_subscribing = before
            .as_ref()
            .is_none_or(|before| before.names != said.names || before.regex != said.regex);
        let is_new_word = before.as_ref() != Some(&said);
        let regex = said.regex.clone();
        let is_behind = self.enter(beat, admission, said, context);
        let is_resolved = regex.is_some_and(|regex| self.take_resolution(&regex, resolution));
        if is_subscribing {
            self.drop_unused_regex(before.as_ref().and_then(|before| before.regex.as_ref()));
        }
        let has_moved = self.follow_subscriptions(is_subscribing || is_resolved, context);
        let has_target = self.retarget(context);
        let progress = self.reconcile(id, beat.owned.as_ref(), context);
        self.touch(id, context.now, context.settings);
        effects.store = is_new_word || has_moved || has_target || progress.has_moved;
        let is_told = beat.is_full() || is_behind || progress.has_new_assignment;
        Ok(self.answer(id, is_told, context))
    }

    fn answer(
        &self,
        id: &MemberId,
        is_told: bool,
        context: Context<'_>,
    ) -> ConsumerHeartbeatAnswer {
        let member = self.members.get(id);
        ConsumerHeartbeatAnswer {
            member: id.clone(),
            epoch: member.map_or(0, |member| member.epoch),
            interval: context.settings.consumer.heartbeat_interval,
            assigned: member
                .filter(|_| is_told)
                .map(|member| member.assigned.clone()),
        }
    }

    fn admit(&self, beat: &ConsumerHeartbeat) -> Result<Admission, ConsumerHeartbeatError> {
        let id = &beat.member;
        let is_joining = beat.epoch == JOINING_EPOCH;
        let known = self.members.get(id);
        if let Some(instance) = &beat.instance {
            let holder = self.instances.get(instance);
            match holder.and_then(|holder| Some((holder, self.members.get(holder)?))) {
                None if is_joining => {}
                None => return Err(ConsumerHeartbeatError::UnknownMemberId),
                Some((holder, member)) if is_joining && member.is_away() => {
                    return if known.is_some() && holder != id {
                        Err(ConsumerHeartbeatError::InvalidRequest(
                            "MemberId is that of another member.",
                        ))
                    } else {
                        Ok(Admission::Returning(holder.clone()))
                    };
                }
                Some((holder, _)) if holder == id => {}
                Some((holder, _)) if is_joining => {
                    return Err(ConsumerHeartbeatError::UnreleasedInstanceId(
                        holder.to_string(),
                    ));
                }
                Some(_) => return Err(ConsumerHeartbeatError::FencedInstanceId),
            }
        }
        match known {
            Some(member) => check_epoch(member, beat).map(|()| Admission::Known),
            None if is_joining => Ok(Admission::New),
            None => Err(ConsumerHeartbeatError::UnknownMemberId),
        }
    }

    fn check_room(
        &self,
        beat: &ConsumerHeartbeat,
        before: Option<&Said>,
        said: &Said,
        resolution: Option<&Resolution>,
        context: Context<'_>,
    ) -> Result<(), ConsumerHeartbeatError> {
        let settings = context.settings;
        let is_full = before.is_none() && self.members.len() >= settings.consumer.size_max;
        let gone = before.map_or(0, |before| before.bytes());
        let overhead = before.map_or(Member::overhead(&beat.member), |_| 0);
        let regex = said
            .regex
            .as_ref()
            .and_then(|regex| self.resolutions.get(regex));
        let (resolved, resolved_before) = match resolution {
            Some(resolution) => (resolution.bytes(), regex.map_or(0, Resolution::bytes)),
            None => (0, 0),
        };
        let growth = (overhead + said.bytes() + resolved).saturating_sub(gone + resolved_before);
        if is_full || growth > 0 && self.bytes + growth > settings.group_bytes_max {
            return Err(ConsumerHeartbeatError::GroupMaxSizeReached);
        }
        // What is there goes on, however much there is.
        if growth > context.bytes_left {
            return Err(CoordinatorError::Overloaded.into());
        }
        Ok(())
    }

    /// Lets a heartbeat in; says whether the member may not have heard the last answer.
    fn enter(
        &mut self,
        beat: &ConsumerHeartbeat,
        admission: Admission,
        said: Said,
        context: Context<'_>,
    ) -> bool {
        let id = &beat.member;
        if let Some(member) = self.members.get_mut(id)
            && member.said == said
            && !member.is_away()
        {
            member.act_until = None;
            member.shown_epoch = beat.epoch;
            return member.epoch != beat.epoch;
        }
        let mut member = match admission {
            Admission::Known => self.take_out(id),
            Admission::Returning(left) => self.take_out(&left).map(|left| Member {
                epoch: JOINING_EPOCH,
                ..left
            }),
            Admission::New => None,
        }
        .unwrap_or_else(|| Member::joining(said.clone(), context.now.monotonic));
        let is_behind = member.epoch != beat.epoch;
        member.said = said;
        member.act_until = None;
        member.shown_epoch = beat.epoch;
        self.put_in(id, member);
        is_behind
    }

    /// Takes a member out with all that points to it but what it owns; [`ConsumerGroup::put_in`] puts it back.
    pub(super) fn take_out(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.bytes -= member.bytes(id);
        if let Some(instance) = &member.said.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        Some(member)
    }

    pub(super) fn put_in(&mut self, id: &MemberId, member: Member) {
        self.bytes += member.bytes(id);
        if let Some(instance) = &member.said.instance {
            self.instances.insert(Arc::clone(instance), id.clone());
        }
        for partition in member.assigned.iter().chain(&member.revoking) {
            self.owners.insert(*partition, id.clone());
        }
        self.members.insert(id.clone(), member);
    }

    /// Restarts the session of a member.
    pub(super) fn touch(&mut self, id: &MemberId, now: Now, settings: &GroupSettings) {
        if let Some(member) = self.members.get_mut(id) {
            let until = now.monotonic + member.session_timeout(&settings.consumer);
            member.session_until = until;
            self.wake_by(until);
        }
    }
}

/// A member may be one answer behind, as long as it has nothing that it was told to give up.
fn check_epoch(member: &Member, beat: &ConsumerHeartbeat) -> Result<(), ConsumerHeartbeatError> {
    let has_missed_answer = beat.epoch < member.epoch
        && beat.epoch == member.shown_epoch
        && beat
            .owned
            .as_ref()
            .is_some_and(|owned| owned.is_subset(&member.assigned));
    if beat.epoch == member.epoch || has_missed_answer {
        Ok(())
    } else {
        Err(ConsumerHeartbeatError::FencedMemberEpoch {
            known: member.epoch,
            received: beat.epoch,
        })
    }
}

/// What a member says after this heartbeat.
fn hear(before: Option<Said>, beat: &ConsumerHeartbeat, assignors: &[ConsumerAssignor]) -> Said {
    let mut said = before.unwrap_or_else(Said::nothing);
    let replace = |known: &mut Option<Arc<str>>, new: &Option<Arc<str>>| {
        if new.is_some() {
            known.clone_from(new);
        }
    };
    replace(&mut said.instance, &beat.instance);
    replace(&mut said.rack, &beat.rack);
    if let Ok(timeout) = u64::try_from(beat.rebalance_timeout_ms) {
        said.rebalance_timeout = Duration::from_millis(timeout);
    }
    if let Some(names) = &beat.names {
        said.names = Arc::new(names.clone());
    }
    if let Some(regex) = &beat.regex {
        said.regex = Some(Arc::clone(regex)).filter(|regex| !regex.is_empty());
    }
    if let Some(name) = &beat.assignor {
        said.assignor = assignor_named(name, assignors);
    }
    said.client_id = Arc::clone(&beat.client_id);
    said.client_host = Arc::clone(&beat.client_host);
    said
}
