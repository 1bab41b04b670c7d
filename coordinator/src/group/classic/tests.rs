//! One test per rule of a classic group, on a bench that holds the clock and collects the answers.

mod instances;
mod joining;
mod offsets;
mod properties;
mod staying;
mod stored;
mod subscriptions;
mod syncing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_protocol::ids::Timestamp;
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::Monotonic;

use super::*;
use crate::group::{
    Heartbeat, HeartbeatError, JoinRequest, LeaveError, LeavingMember, MemberAssignment, Protocol,
    SyncRequest,
};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const DELAY: Duration = Duration::from_secs(3);

/// A group, its clock, and the answers so far.
#[derive(Debug)]
struct Bench {
    group: Group,
    settings: GroupSettings,
    now: Now,
    tickets: u64,
    joins: BTreeMap<Ticket, Result<JoinAnswer, JoinError>>,
    syncs: BTreeMap<Ticket, Result<SyncAnswer, SyncError>>,
    stored: u32,
}

/// A JoinGroup of version 3 with the protocol `range`, unless told otherwise.
fn asks(member: &str) -> JoinRequest {
    JoinRequest {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", "topic")],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        requires_known_member_id: false,
        can_skip_assignment: false,
    }
}

/// A first join, or a restart, of the static member `instance`.
fn asks_as(instance: &str) -> JoinRequest {
    JoinRequest {
        instance: Some(shared(instance)),
        requires_known_member_id: true,
        ..asks("")
    }
}

fn protocol(name: &str, metadata: &str) -> Protocol {
    Protocol {
        name: name.into(),
        metadata: Bytes::copy_from_slice(metadata.as_bytes()),
    }
}

fn understands(member: &str, names: &[&str]) -> JoinRequest {
    let protocols = names.iter().map(|name| protocol(name, "topic")).collect();
    JoinRequest {
        protocols,
        ..asks(member)
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(GroupSettings {
            initial_rebalance_delay: Duration::ZERO,
            ..Default::default()
        })
    }

    fn with(settings: GroupSettings) -> Self {
        let now = Now {
            monotonic: Monotonic(Duration::ZERO),
            wall: Timestamp(1_000_000),
        };
        Self {
            group: Group::new(now),
            settings,
            now,
            tickets: 0,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            stored: 0,
        }
    }

    /// A Stable group of `ids`, the first one its leader.
    fn stable(ids: &[&str]) -> Self {
        let mut bench = Self::new();
        bench.completing(ids);
        bench.sync(ids[0], ids);
        for id in &ids[1..] {
            bench.sync(id, &[]);
        }
        assert_eq!(bench.group.state(), State::Stable);
        bench
    }

    /// Brings `ids` into one generation that nobody has synced.
    fn completing(&mut self, ids: &[&str]) {
        for id in ids {
            self.join_as(id, asks(""));
        }
        // The first one made a generation of its own, and the others wait for it.
        if ids.len() > 1 {
            self.join(asks(ids[0]));
        }
        assert_eq!(self.group.state(), State::CompletingRebalance);
    }

    /// Joins; a member without id gets a number as its id.
    fn join(&mut self, request: JoinRequest) -> Ticket {
        let fresh = format!("m{}", self.tickets + 1);
        self.join_as(&fresh, request)
    }

    /// Joins; a member without id becomes `fresh`.
    fn join_as(&mut self, fresh: &str, request: JoinRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let join = Join {
            request,
            ticket,
            fresh_member: MemberId::from(fresh),
        };
        let effects = self.group.join(
            join,
            Context {
                now: self.now,
                settings: &self.settings,
            },
        );
        self.take(effects);
        ticket
    }

    /// Syncs in the current generation; `assigned` get their own name as assignment.
    fn sync(&mut self, member: &str, assigned: &[&str]) -> Ticket {
        let line = |id: &&str| MemberAssignment {
            member: MemberId::from(*id),
            assignment: Bytes::copy_from_slice(id.as_bytes()),
        };
        let request = SyncRequest {
            group: GroupId::from("g"),
            member: MemberId::from(member),
            instance: None,
            generation: self.group.generation(),
            protocol_type: None,
            protocol: None,
            assignments: assigned.iter().map(line).collect(),
        };
        self.sync_with(request)
    }

    fn sync_with(&mut self, request: SyncRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let context = Context {
            now: self.now,
            settings: &self.settings,
        };
        let effects = self.group.sync(Sync { request, ticket }, context);
        self.take(effects);
        ticket
    }

    fn heartbeat(&mut self, member: &str) -> Result<(), HeartbeatError> {
        let generation = self.group.generation();
        self.heartbeat_in(member, generation)
    }

    fn heartbeat_in(&mut self, member: &str, generation: i32) -> Result<(), HeartbeatError> {
        let request = Heartbeat {
            group: GroupId::from("g"),
            member: MemberId::from(member),
            instance: None,
            generation,
        };
        self.group.heartbeat(
            &request,
            Context {
                now: self.now,
                settings: &self.settings,
            },
        )
    }

    fn leave(&mut self, members: &[&str]) -> Vec<Result<(), LeaveError>> {
        let leaving: Vec<LeavingMember> = members
            .iter()
            .map(|id| LeavingMember {
                member: MemberId::from(*id),
                instance: None,
            })
            .collect();
        let context = Context {
            now: self.now,
            settings: &self.settings,
        };
        let (results, effects) = self.group.leave(&leaving, context);
        self.take(effects);
        results.unwrap()
    }

    /// Lets time pass, in the steps that the group asks for.
    fn pass(&mut self, by: Duration) {
        let end = self.now.monotonic + by;
        loop {
            let next = self
                .group
                .wake_at()
                .map_or(end, |at| at.min(end).max(self.now.monotonic));
            let step = next - self.now.monotonic;
            self.now.monotonic = next;
            self.now.wall.0 += i64::try_from(step.as_millis()).unwrap();
            let effects = self.group.tick(Context {
                now: self.now,
                settings: &self.settings,
            });
            self.take(effects);
            if next == end && self.group.wake_at().is_none_or(|at| at > end) {
                return;
            }
        }
    }

    fn take(&mut self, effects: Effects) {
        self.stored += u32::from(effects.store);
        for (ticket, answer) in effects.joins {
            assert!(
                self.joins.insert(ticket, answer).is_none(),
                "{ticket:?} was answered twice"
            );
        }
        for (ticket, answer) in effects.syncs {
            assert!(
                self.syncs.insert(ticket, answer).is_none(),
                "{ticket:?} was answered twice"
            );
        }
    }

    fn joined(&self, ticket: Ticket) -> &JoinAnswer {
        self.joins[&ticket].as_ref().unwrap()
    }

    fn assignment(&self, ticket: Ticket) -> &[u8] {
        &self.syncs[&ticket].as_ref().unwrap().assignment
    }
}

fn members(answer: &JoinAnswer) -> Vec<&str> {
    answer
        .members
        .iter()
        .map(|one| one.member.as_str())
        .collect()
}

fn shared(text: &str) -> Arc<str> {
    text.into()
}
