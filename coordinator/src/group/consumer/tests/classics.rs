//! Members of the classic protocol in a group of the other one, and the ways from one to the other.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use streamhouse_config::MigrationPolicy;

use super::super::embedded::{read_assignment, read_subscription, write_assignment};
use super::*;
use crate::group::classic::{self, Group, Join, State, Sync, Ticket};
use crate::group::{
    CommitError, CommitOffsets, Heartbeat, HeartbeatError, JoinAnswer, JoinError, JoinRequest,
    LeaveError, LeavingMember, MemberAssignment, Protocol, SyncError, SyncRequest,
};

const CLASSIC_SESSION: Duration = Duration::from_secs(10);
const TICKET: Ticket = Ticket(1);

/// A subscription of version 1 to topic `a`, and what its writer has of that.
fn subscription(owned: &[i32]) -> Bytes {
    let owned = owned.iter().map(|index| ("a", *index));
    subscription_to(&["a"], &owned.collect::<Vec<_>>())
}

/// A subscription of version 1: names, and what its writer has.
pub(super) fn subscription_to(names: &[&str], owned: &[(&str, i32)]) -> Bytes {
    let mut out = BytesMut::new();
    let put_name = |out: &mut BytesMut, name: &str| {
        out.put_u16(u16::try_from(name.len()).unwrap());
        out.put_slice(name.as_bytes());
    };
    out.put_i16(1);
    out.put_u32(u32::try_from(names.len()).unwrap());
    for name in names {
        put_name(&mut out, name);
    }
    out.put_i32(-1);
    out.put_u32(u32::try_from(owned.len()).unwrap());
    for (name, index) in owned {
        put_name(&mut out, name);
        out.put_u32(1);
        out.put_i32(*index);
    }
    out.freeze()
}

pub(super) fn asks(member: &str, owned: &[i32]) -> JoinRequest {
    JoinRequest {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: subscription(owned),
        }],
        session_timeout_ms: i32::try_from(CLASSIC_SESSION.as_millis()).unwrap(),
        rebalance_timeout_ms: i32::try_from(REBALANCE.as_millis()).unwrap(),
        requires_known_member_id: true,
        can_skip_assignment: true,
    }
}

fn syncs(member: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        generation,
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        assignments: Vec::new(),
    }
}

fn beats(member: &str, generation: i32) -> Heartbeat {
    Heartbeat {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        instance: None,
        generation,
    }
}

impl Bench {
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            now: self.now,
            settings: &self.settings,
            topics: &self.topics,
            bytes_left: self.bytes_left,
        }
    }

    pub(super) fn classic_context(&self) -> classic::Context<'_> {
        classic::Context {
            now: self.now,
            settings: &self.settings,
        }
    }

    fn join(&mut self, request: JoinRequest) -> Result<JoinAnswer, JoinError> {
        self.join_as(request, "fresh")
    }

    /// JoinGroup; who has no member id gets `fresh`.
    pub(super) fn join_as(
        &mut self,
        request: JoinRequest,
        fresh: &str,
    ) -> Result<JoinAnswer, JoinError> {
        let join = Join {
            request,
            ticket: TICKET,
            fresh_member: MemberId::from(fresh),
        };
        let mut group = self.group.clone();
        let mut effects = group.join_classic(&join, self.context());
        self.group = group;
        self.note(Effects {
            store: effects.store,
        });
        effects.joins.remove(0).1
    }

    pub(super) fn sync(&mut self, member: &str, generation: i32) -> Result<Partitions, SyncError> {
        let sync = Sync {
            request: syncs(member, generation),
            ticket: TICKET,
        };
        let mut group = self.group.clone();
        let mut effects = group.sync_classic(&sync, self.context());
        self.group = group;
        self.check();
        let answer = effects.syncs.remove(0).1?;
        Ok(read_assignment(&answer.assignment, &self.topics).unwrap())
    }

    pub(super) fn live(&mut self, member: &str, generation: i32) -> Result<(), HeartbeatError> {
        let mut group = self.group.clone();
        let result = group.heartbeat_classic(&beats(member, generation), self.classic_context());
        self.group = group;
        self.check();
        result
    }

    /// A classic group of `c`, which has all partitions of topic `a`, goes over.
    fn with_classic(partitions: usize) -> Self {
        let mut bench = Self::of(partitions);
        let group = stable(&bench, partitions);
        assert_eq!((group.state(), group.generation()), (State::Stable, 1));
        bench.group = ConsumerGroup::upgraded(&group, bench.context()).unwrap();
        bench.note(Effects { store: true });
        bench
    }
}

/// A classic group whose leader gave itself everything.
fn stable(bench: &Bench, partitions: usize) -> Group {
    let mut group = Group::new(bench.now);
    let mut settings = bench.settings.clone();
    settings.initial_rebalance_delay = Duration::ZERO;
    let context = classic::Context {
        now: bench.now,
        settings: &settings,
    };
    let join = Join {
        request: JoinRequest {
            requires_known_member_id: false,
            ..asks("", &[])
        },
        ticket: TICKET,
        fresh_member: MemberId::from("c"),
    };
    group.join(join, context);
    let all: Vec<i32> = (0..i32::try_from(partitions).unwrap()).collect();
    let assignment = write_assignment(1, &super::partitions(1, &all), &bench.topics);
    let mut request = syncs("c", 1);
    request.assignments = vec![MemberAssignment {
        member: MemberId::from("c"),
        assignment,
    }];
    group.sync(
        Sync {
            request,
            ticket: TICKET,
        },
        context,
    );
    group
}

#[test]
fn an_eager_member_gives_up_everything_and_gets_its_share() {
    let mut bench = Bench::with_classic(4);
    assert_eq!(bench.group.epoch(), 1);
    assert_eq!(bench.live("c", 1), Ok(()));
    let joined = bench.beat(&join("n", &["a"])).unwrap();
    assert_eq!(
        (joined.epoch, joined.assigned),
        (2, Some(partitions(1, &[])))
    );
    assert_eq!(bench.live("c", 1), Err(HeartbeatError::RebalanceInProgress));
    assert_eq!(bench.sync("c", 1), Err(SyncError::RebalanceInProgress));
    let answer = bench.join(asks("c", &[])).unwrap();
    assert_eq!((answer.generation, &*answer.protocol), (2, "range"));
    assert_eq!(answer.leader, MemberId::none());
    assert_eq!(bench.sync("c", 2), Ok(partitions(1, &[0, 1])));
    assert_eq!(bench.live("c", 2), Ok(()));
    let got = bench.beat(&beat("n", 2)).unwrap();
    assert_eq!(got.assigned, Some(partitions(1, &[2, 3])));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn a_cooperative_member_gives_up_what_it_must_before_another_gets_it() {
    let mut bench = Bench::with_classic(4);
    bench.beat(&join("n", &["a"])).unwrap();
    let answer = bench.join(asks("c", &[0, 1, 2, 3])).unwrap();
    assert_eq!(answer.generation, 1);
    assert_eq!(bench.sync("c", 1), Ok(partitions(1, &[0, 1])));
    assert_eq!(bench.beat(&beat("n", 2)).unwrap().assigned, None);
    assert_eq!(bench.live("c", 1), Err(HeartbeatError::RebalanceInProgress));
    let answer = bench.join(asks("c", &[0, 1])).unwrap();
    assert_eq!(answer.generation, 2);
    assert_eq!(bench.sync("c", 2), Ok(partitions(1, &[0, 1])));
    let got = bench.beat(&beat("n", 2)).unwrap();
    assert_eq!(got.assigned, Some(partitions(1, &[2, 3])));
}

#[test]
fn a_member_that_waits_for_partitions_hears_when_they_are_free() {
    let mut bench = Bench::of(4);
    let first = bench.beat(&join("n", &["a"])).unwrap();
    let id = match bench.join(asks("", &[])) {
        Err(JoinError::MemberIdRequired { member }) => member,
        other => panic!("{other:?}"),
    };
    let answer = bench.join(asks(id.as_str(), &[])).unwrap();
    assert_eq!(answer.generation, 2);
    assert_eq!(bench.sync("fresh", 2), Ok(partitions(1, &[])));
    assert_eq!(bench.live("fresh", 2), Ok(()));
    let told = bench.beat(&beat("n", first.epoch)).unwrap();
    let done = owning("n", first.epoch, &told.assigned.unwrap());
    bench.beat(&done).unwrap();
    assert_eq!(
        bench.live("fresh", 2),
        Err(HeartbeatError::RebalanceInProgress)
    );
    assert_eq!(bench.join(asks("fresh", &[])).unwrap().generation, 2);
    assert_eq!(bench.sync("fresh", 2).unwrap().len(), 2);
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn who_does_not_join_when_told_is_out_after_its_rebalance_timeout() {
    let mut bench = Bench::with_classic(2);
    bench.beat(&join("n", &["a"])).unwrap();
    let mut time = Duration::ZERO;
    while time < REBALANCE + CLASSIC_SESSION {
        let _ = bench.live("c", 1);
        let _ = bench.beat(&beat("n", 2));
        bench.pass(CLASSIC_SESSION / 2);
        time += CLASSIC_SESSION / 2;
    }
    assert_eq!(bench.live("c", 1), Err(HeartbeatError::UnknownMemberId));
    let known = bench.settled(&["n"]);
    assert_eq!(known[0].1, partitions(1, &[0, 1]));
}

#[test]
fn it_is_out_when_its_own_session_ends() {
    let mut bench = Bench::with_classic(2);
    bench.beat(&join("n", &["a"])).unwrap();
    bench.pass(CLASSIC_SESSION);
    assert!(!bench.group.has_member(&MemberId::from("c")));
    assert!(bench.group.has_member(&MemberId::from("n")));
}

#[test]
fn a_group_goes_back_when_the_last_of_the_new_kind_is_gone() {
    let mut bench = Bench::with_classic(2);
    bench.beat(&join("n", &["a"])).unwrap();
    let mut effects = classic::Effects::default();
    let context = bench.classic_context();
    assert!(bench.group.downgraded(context, &mut effects).is_none());
    bench.beat(&beat("n", LEAVING_EPOCH)).unwrap();
    let epoch = bench.group.epoch();
    let context = bench.classic_context();
    let group = bench.group.downgraded(context, &mut effects).unwrap();
    assert!(effects.store);
    assert_eq!(group.state(), State::PreparingRebalance);
    assert_eq!((group.generation(), group.member_count()), (epoch, 1));
    let again = Group::decode(&group.encode(), context).unwrap();
    assert_eq!(again.member_count(), 1);
    let mut closed = bench.settings.clone();
    closed.consumer.migration = MigrationPolicy::Upgrade;
    let context = classic::Context {
        settings: &closed,
        ..context
    };
    assert!(bench.group.downgraded(context, &mut effects).is_none());
}

#[test]
fn what_cannot_be_read_does_not_go_over() {
    let bench = Bench::of(2);
    let mut group = stable(&bench, 2);
    assert!(ConsumerGroup::upgraded(&group, bench.context()).is_some());
    let request = SyncRequest {
        assignments: vec![MemberAssignment {
            member: MemberId::from("c"),
            assignment: Bytes::from_static(b"\0\x01\0\0\0\x07"),
        }],
        ..syncs("c", 2)
    };
    let join = Join {
        request: asks("c", &[0]),
        ticket: TICKET,
        fresh_member: MemberId::from("fresh"),
    };
    group.join(join, bench.classic_context());
    let sync = Sync {
        request,
        ticket: TICKET,
    };
    group.sync(sync, bench.classic_context());
    assert_eq!(group.state(), State::Stable);
    assert!(ConsumerGroup::upgraded(&group, bench.context()).is_none());
}

#[test]
fn members_of_both_kinds_are_there_after_a_restart() {
    let mut bench = Bench::with_classic(4);
    bench.beat(&join("n", &["a"])).unwrap();
    bench.restart();
    assert_eq!(bench.live("c", 1), Err(HeartbeatError::RebalanceInProgress));
    assert_eq!(bench.join(asks("c", &[])).unwrap().generation, 2);
    let before = bench.group.encode();
    bench.restart();
    assert_eq!(bench.group.encode(), before);
    assert_eq!(bench.sync("c", 2), Ok(partitions(1, &[0, 1])));
    bench.pass(CLASSIC_SESSION);
    assert!(!bench.group.has_member(&MemberId::from("c")));
    bench.beat(&beat("n", 2)).unwrap();
    assert_eq!(bench.group.encode()[0], 129);
}

#[test]
fn a_static_member_that_restarts_keeps_what_it_had() {
    let mut bench = Bench::of(2);
    bench.beat(&join("n", &["a"])).unwrap();
    let request = JoinRequest {
        instance: Some("i".into()),
        ..asks("", &[])
    };
    assert_eq!(
        bench.join(request.clone()).unwrap().member.as_str(),
        "fresh"
    );
    let old = MemberId::from("fresh");
    let join = Join {
        request,
        ticket: TICKET,
        fresh_member: MemberId::from("later"),
    };
    let mut group = bench.group.clone();
    let effects = group.join_classic(&join, bench.context());
    bench.group = group;
    bench.note(Effects {
        store: effects.store,
    });
    assert_eq!(bench.group.member_count(), 2);
    assert!(!bench.group.has_member(&old));
    let fenced = Heartbeat {
        instance: Some("i".into()),
        ..beats("fresh", 2)
    };
    let mut group = bench.group.clone();
    let result = group.heartbeat_classic(&fenced, bench.classic_context());
    assert_eq!(result, Err(HeartbeatError::FencedInstanceId));
}

#[test]
fn refusals_have_the_codes_of_the_classic_protocol() {
    let mut bench = Bench::with_classic(2);
    bench.beat(&join("n", &["a"])).unwrap();
    let other = |name: &str, metadata: Bytes| JoinRequest {
        protocols: vec![Protocol {
            name: name.into(),
            metadata,
        }],
        ..asks("d", &[])
    };
    for request in [
        other("roundrobin", subscription(&[])),
        other("range", Bytes::from_static(b"\0")),
        JoinRequest {
            protocol_type: "connect".into(),
            ..asks("d", &[])
        },
    ] {
        let refused = bench.join(request);
        assert_eq!(refused, Err(JoinError::InconsistentGroupProtocol));
    }
    assert_eq!(bench.join(asks("n", &[])), Err(JoinError::UnknownMemberId));
    assert_eq!(bench.live("n", 2), Err(HeartbeatError::UnknownMemberId));
    assert_eq!(bench.live("c", 7), Err(HeartbeatError::IllegalGeneration));
    assert_eq!(bench.sync("c", 7), Err(SyncError::IllegalGeneration));
    let commit = |generation| CommitOffsets {
        group: GroupId::from("g"),
        member: MemberId::from("c"),
        instance: None,
        generation,
        knows_member_epochs: false,
        retention_ms: None,
        offsets: Vec::new(),
    };
    assert_eq!(bench.group.check_commit(&commit(1)), Ok(()));
    let refused = bench.group.check_commit(&commit(2));
    assert_eq!(refused, Err(CommitError::IllegalGeneration));
    let leaving = |member: &str| LeavingMember {
        member: MemberId::from(member),
        instance: None,
    };
    let (left, effects) = bench
        .group
        .leave_classic(&[leaving("c"), leaving("x")], bench.now);
    assert_eq!(left, Ok(vec![Ok(()), Err(LeaveError::UnknownMemberId)]));
    assert!(effects.store);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::scale::cases(512)))]

    #[test]
    fn no_bytes_of_clients_do_more_than_be_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        owned in prop::collection::btree_set(0..9_i32, 0..9),
        cut in 0..80_usize,
    ) {
        let topics = catalogue(1, &[("a", 1, 9)]);
        let _ = read_subscription(&bytes, &topics);
        let _ = read_assignment(&bytes, &topics);
        let indexes: Vec<i32> = owned.into_iter().collect();
        let sound = subscription(&indexes);
        let read = read_subscription(&sound, &topics).unwrap();
        prop_assert_eq!(&read.owned, &partitions(1, &indexes));
        if cut < sound.len() {
            prop_assert_eq!(read_subscription(&sound[..cut], &topics), None);
        }
        let assignment = write_assignment(1, &read.owned, &topics);
        prop_assert_eq!(read_assignment(&assignment, &topics), Some(read.owned));
    }
}
