//! Clients of the classic protocol in the random lives of a group: they join when they are told to, give up what they must
//! first, and take what they get.

use super::super::classics::{asks, subscription_to};
use super::*;
use crate::group::{HeartbeatError, JoinError, JoinRequest, LeavingMember, Protocol, SyncError};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By ConsumerGroupHeartbeat.
    Consumer,
    /// By JoinGroup, before which it gives up everything.
    Eager,
    /// By JoinGroup; it goes on reading what it may keep.
    Cooperative,
}

/// What a client of the classic protocol sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Join,
    Sync,
    Heartbeat,
}

impl World {
    /// The next request of a client of the classic protocol; its answer may be lost.
    pub(super) fn step(&mut self, index: usize, is_lost: bool) {
        match self.clients[index].next {
            Next::Join => self.join(index, is_lost),
            Next::Sync => self.sync(index, is_lost),
            Next::Heartbeat => self.heartbeat(index, is_lost),
        }
    }

    fn join(&mut self, index: usize, is_lost: bool) {
        self.lives += 1;
        let fresh = format!("{index}-{}", self.lives);
        let client = &mut self.clients[index];
        if client.kind == Kind::Eager {
            client.owned.clear();
        }
        let (names, _) = SUBSCRIPTIONS[client.subscription];
        let owned = client.owned.iter();
        let owned: Vec<_> = owned
            .map(|one| (name_of(one.topic), one.partition.0))
            .collect();
        let request = JoinRequest {
            instance: client.instance.clone(),
            protocols: vec![Protocol {
                name: "range".into(),
                metadata: subscription_to(names, &owned),
            }],
            requires_known_member_id: false,
            ..asks(&client.member, &[])
        };
        let answer = self.bench.join_as(request, &fresh);
        if is_lost {
            return;
        }
        match answer {
            Ok(answer) => {
                assert!(
                    answer.generation >= client.epoch,
                    "the generation went back"
                );
                client.member = answer.member.as_str().to_owned();
                client.epoch = answer.generation;
                client.next = Next::Sync;
            }
            Err(JoinError::UnknownMemberId | JoinError::FencedInstanceId) => client.start_over(),
            Err(other) => panic!("{other}"),
        }
    }

    fn sync(&mut self, index: usize, is_lost: bool) {
        let client = &mut self.clients[index];
        let answer = self.bench.sync(&client.member, client.epoch);
        client.next = Next::Join;
        if is_lost {
            return;
        }
        match answer {
            Ok(assigned) => {
                // An eager one has nothing at this moment.
                if client.owned.is_subset(&assigned) {
                    client.next = Next::Heartbeat;
                }
                client.owned = assigned;
            }
            Err(SyncError::RebalanceInProgress) => {}
            Err(SyncError::UnknownMemberId | SyncError::IllegalGeneration) => client.start_over(),
            Err(other) => panic!("{other}"),
        }
    }

    fn heartbeat(&mut self, index: usize, is_lost: bool) {
        let client = &mut self.clients[index];
        let answer = self.bench.live(&client.member, client.epoch);
        match answer {
            _ if is_lost => {}
            Ok(()) => {}
            Err(HeartbeatError::RebalanceInProgress) => client.next = Next::Join,
            Err(HeartbeatError::UnknownMemberId | HeartbeatError::IllegalGeneration) => {
                client.start_over();
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Nobody reads a topic that is gone. Members of the classic protocol say what they have by name, so that the coordinator
    /// takes it for given up; a cluster never brings it back under its old id, as these catalogues do.
    pub(super) fn forget_topics_that_are_gone(&mut self) {
        let topics = &self.bench.topics;
        for client in self.clients.iter_mut().filter(|one| one.is_classic()) {
            client.owned.retain(|one| topics.by_id(one.topic).is_some());
        }
    }

    /// LeaveGroup.
    pub(super) fn leave_group(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let leaving = LeavingMember {
            member: MemberId::from(client.member.as_str()),
            instance: None,
        };
        let now = self.bench.now;
        let (_, effects) = self.bench.group.leave_classic(&[leaving], now);
        self.bench.note(effects);
        client.start_over();
    }
}

/// What a topic is called that some catalogue has.
fn name_of(id: TopicId) -> &'static str {
    let mut rows = CATALOGUES.iter().flat_map(|topics| topics.iter());
    let row = rows.find(|(_, one, _)| TopicId(*one) == id);
    row.map(|(name, _, _)| *name).unwrap()
}
