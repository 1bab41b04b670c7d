//! Members of consumer groups, and simple consumers that only commit.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use streamhouse_coordinator::group::{
    CommitError, CommitOffsets, FetchOffsets, Heartbeat, HeartbeatError, JoinAnswer, JoinError,
    JoinRequest, LeaveRequest, LeavingMember, MemberAssignment, MemberId, OffsetCommit, Outcome,
    Protocol, SyncError, SyncRequest,
};
use streamhouse_protocol::ids::{LeaderEpoch, TopicPartition};
use streamhouse_protocol::names::GroupId;

use super::{PARTITION_NUMBERS, Sky, partition};
use crate::broker::Broker;
use crate::encounters::Encounter;
use crate::executor::ProcessId;
use crate::invariant::Invariant;
use crate::network::{NoAnswer, Whom};

/// A member of the group of its number, or a simple consumer of it.
#[derive(Debug)]
pub(crate) struct Member {
    group: usize,
    id: MemberId,
    generation: i32,
    owned: Vec<TopicPartition>,
    committed: i64,
    /// The generation that it was in before, and a partition that it had.
    before: Option<(i32, TopicPartition)>,
    /// Who took its last commit.
    coordinator: Option<ProcessId>,
}

pub(crate) fn group_id(number: usize) -> GroupId {
    GroupId(format!("group-{number}").into())
}

/// What an assignment says: partitions by number.
fn decode(assignment: &Bytes) -> Vec<TopicPartition> {
    assignment.iter().map(|number| partition(*number)).collect()
}

impl Member {
    pub(crate) fn new(group: usize) -> Self {
        Self {
            group,
            id: MemberId::none(),
            generation: -1,
            owned: Vec::new(),
            committed: 0,
            before: None,
            coordinator: None,
        }
    }

    fn fall_out(&mut self, keeps_id: bool) {
        if let Some(at) = self.owned.first() {
            self.before = Some((self.generation, *at));
        }
        self.generation = -1;
        self.owned.clear();
        if !keeps_id {
            self.id = MemberId::none();
        }
    }

    /// The next thing that a member does: join, or one of heartbeat, commit, fetch and leave.
    pub(crate) async fn act(&mut self, sky: &Sky, step: u8) {
        if step >= 60
            && let Some((generation, at)) = self.before
        {
            // What was polled before the rebalance is committed after it, as a slow application does.
            return self.commit_in(sky, at, generation).await;
        }
        if self.generation < 0 {
            return self.join(sky).await;
        }
        match step % 8 {
            0 => self.leave(sky).await,
            1..4 => self.heartbeat(sky).await,
            4..6 => self.fetch(sky, step).await,
            _ => self.commit(sky, step).await,
        }
    }

    async fn join(&mut self, sky: &Sky) {
        let request = JoinRequest {
            group: group_id(self.group),
            member: self.id.clone(),
            instance: None,
            client_id: "c".into(),
            client_host: "h".into(),
            protocol_type: "consumer".into(),
            protocols: vec![Protocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"m"),
            }],
            session_timeout_ms: 2_000,
            rebalance_timeout_ms: 1_000,
            requires_known_member_id: true,
            can_skip_assignment: false,
        };
        let join =
            move |broker: Arc<Broker>| async move { broker.groups.join(request).await }.boxed();
        let losses = sky.groups.lock().losses();
        match sky.ask(Whom::Coordinator(self.group), join).await {
            Ok((Ok(joined), _)) => self.joined(sky, joined, losses).await,
            Ok((Err(JoinError::MemberIdRequired { member }), _)) => self.id = member,
            Ok((Err(JoinError::UnknownMemberId), _)) => self.fall_out(false),
            Ok((Err(_), _)) | Err(_) => {}
        }
    }

    async fn joined(&mut self, sky: &Sky, joined: JoinAnswer, losses: u64) {
        self.id = joined.member.clone();
        if sky.groups.lock().has_lost_since(losses) {
            return;
        }
        let is_new = sky.groups.lock().generation(self.group, joined.generation);
        if is_new {
            sky.world().count(|counts| counts.generations += 1);
        }
        sky.world()
            .note(u64::from(joined.generation.unsigned_abs()));
        let mut members: Vec<MemberId> = joined.members.iter().map(|m| m.member.clone()).collect();
        members.sort_unstable();
        let mut assignments = Vec::new();
        if joined.leader == self.id {
            for (place, member) in members.iter().enumerate() {
                let numbers = (0..PARTITION_NUMBERS).filter(|number| {
                    usize::try_from(*number).unwrap_or(0) % members.len() == place
                });
                let numbers: Vec<u8> = numbers.filter_map(|n| u8::try_from(n).ok()).collect();
                assignments.push(MemberAssignment {
                    member: member.clone(),
                    assignment: numbers.into(),
                });
            }
        }
        let request = SyncRequest {
            group: group_id(self.group),
            member: self.id.clone(),
            instance: None,
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments,
        };
        let sync =
            move |broker: Arc<Broker>| async move { broker.groups.sync(request).await }.boxed();
        match sky.ask(Whom::Coordinator(self.group), sync).await {
            Ok((Ok(synced), _)) => {
                self.generation = joined.generation;
                self.owned = decode(&synced.assignment);
                let mut groups = sky.groups.lock();
                if groups.has_lost_since(losses) {
                    return;
                }
                let judged =
                    groups.owns(self.group, self.generation, self.id.as_str(), &self.owned);
                drop(groups);
                sky.world().judge(judged);
            }
            Ok((Err(SyncError::UnknownMemberId), _)) => self.fall_out(false),
            Ok((Err(_), _)) | Err(_) => self.fall_out(true),
        }
    }

    /// The newest generation that anybody was told of, and how often writes of groups were lost until then.
    fn newest(&self, sky: &Sky) -> (i32, u64) {
        let groups = sky.groups.lock();
        (groups.newest(self.group), groups.losses())
    }

    async fn heartbeat(&mut self, sky: &Sky) {
        let (newest, losses) = self.newest(sky);
        let request = Heartbeat {
            group: group_id(self.group),
            member: self.id.clone(),
            instance: None,
            generation: self.generation,
        };
        let beat = move |broker: Arc<Broker>| {
            async move { broker.groups.heartbeat(request).await }.boxed()
        };
        match sky.ask(Whom::Coordinator(self.group), beat).await {
            Ok((Ok(()), _))
                if self.generation < newest && !sky.groups.lock().has_lost_since(losses) =>
            {
                let what = format!(
                    "a heartbeat of generation {} was taken, {newest} was seen before",
                    self.generation
                );
                sky.world().breach(Invariant::Groups, what);
            }
            Ok((Err(HeartbeatError::UnknownMemberId), _)) => self.fall_out(false),
            Ok((
                Err(HeartbeatError::IllegalGeneration | HeartbeatError::RebalanceInProgress),
                _,
            )) => {
                self.fall_out(true);
            }
            Ok((Ok(()) | Err(_), _)) | Err(_) => {}
        }
    }

    async fn leave(&mut self, sky: &Sky) {
        let request = LeaveRequest {
            group: group_id(self.group),
            members: vec![LeavingMember {
                member: self.id.clone(),
                instance: None,
            }],
        };
        self.fall_out(false);
        let leave =
            move |broker: Arc<Broker>| async move { broker.groups.leave(request).await }.boxed();
        // If it did not happen, the session ends it.
        let _ = sky.call(Whom::Coordinator(self.group), leave).await;
    }

    /// Commits one of the partitions that it owns; a simple consumer commits any.
    pub(crate) async fn commit(&mut self, sky: &Sky, pick: u8) {
        let at = match self.owned.get(usize::from(pick) % self.owned.len().max(1)) {
            Some(at) => *at,
            None if self.generation < 0 => partition(pick),
            None => return,
        };
        self.commit_in(sky, at, self.generation).await;
    }

    async fn commit_in(&mut self, sky: &Sky, at: TopicPartition, generation: i32) {
        self.committed += 1;
        let offset = self.committed;
        let (newest, losses) = self.newest(sky);
        let number = {
            let pauses = sky.world().pauses();
            sky.groups.lock().commit(self.group, at, offset, pauses)
        };
        let request = CommitOffsets {
            group: group_id(self.group),
            member: self.id.clone(),
            instance: None,
            generation,
            knows_member_epochs: false,
            retention_ms: None,
            offsets: vec![OffsetCommit {
                partition: at,
                offset,
                leader_epoch: LeaderEpoch(-1),
                metadata: "".into(),
            }],
        };
        let commit = move |broker: Arc<Broker>| {
            async move { broker.groups.commit_offsets(request).await }.boxed()
        };
        let answer = sky.call(Whom::Coordinator(self.group), commit).await;
        let mut groups = sky.groups.lock();
        match answer {
            Ok((Ok(_), process)) => {
                let before = self.coordinator.replace(process);
                if before.is_some_and(|before| before != process) {
                    sky.world().met(Encounter::GroupsMoved);
                }
                let is_known = !groups.has_lost_since(losses);
                if is_known {
                    groups.acknowledged(self.group, at, number);
                }
                drop(groups);
                sky.world().count(|counts| counts.offsets_committed += 1);
                if generation >= 0 && generation < newest && is_known {
                    let what = format!(
                        "a commit of generation {generation} was taken, {newest} was seen before"
                    );
                    sky.world().breach(Invariant::Groups, what);
                }
            }
            Ok((Err(CommitError::Coordinator(error)), _)) => {
                if error.outcome() == Outcome::DidNotHappen {
                    groups.refused(self.group, at, number);
                }
            }
            Ok((Err(error), _)) => {
                groups.refused(self.group, at, number);
                drop(groups);
                self.fall_out(error != CommitError::UnknownMemberId);
            }
            Err(NoAnswer::Refused) => groups.refused(self.group, at, number),
            Err(NoAnswer::Unknown) => {}
        }
    }

    /// Asks how far its group has come.
    pub(crate) async fn fetch(&mut self, sky: &Sky, pick: u8) {
        let at = partition(pick);
        let (_, losses) = self.newest(sky);
        let floor = sky.groups.lock().floor(self.group, at);
        let request = FetchOffsets {
            group: group_id(self.group),
            member: None,
            epoch: -1,
            partitions: Some(vec![at]),
        };
        let fetch = move |broker: Arc<Broker>| {
            async move { broker.groups.fetch_offsets(request).await }.boxed()
        };
        if let Ok((Ok(fetched), _)) = sky.ask(Whom::Coordinator(self.group), fetch).await {
            let found = fetched.first().and_then(|line| line.committed.as_ref());
            let found = found.map(|committed| committed.offset);
            sky.world().note(found.unwrap_or(-1).unsigned_abs());
            let groups = sky.groups.lock();
            let is_known = !groups.has_lost_since(losses);
            let judged = groups.fetched(self.group, at, floor, found, sky.world().pauses());
            drop(groups);
            if is_known {
                sky.world().judge(judged);
            }
        }
    }
}

/// Whether the broker still coordinates a group that it should.
pub(crate) fn is_let_go(broker: &Broker, group: usize) -> bool {
    use streamhouse_coordinator::service::Standing;
    let standing = broker.groups.coordinator_of(&group_id(group)).standing;
    standing == Standing::Elsewhere
}
