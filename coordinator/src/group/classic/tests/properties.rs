//! Random lives of a group, with restarts, against what must hold whatever happens.

use proptest::prelude::*;

use super::*;
use crate::scale::cases;

const CLIENTS: usize = 6;
/// The clients from this one on are static members.
const STATIC_FROM: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A client joins: anew if it has no id, else as the member that it is.
    Join {
        client: usize,
        known: bool,
        changed: bool,
    },
    Sync {
        client: usize,
    },
    /// A sync in a generation that is not the client's.
    StraySync {
        client: usize,
        generation: i32,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// The client is replaced by one that knows nothing.
    Forget {
        client: usize,
    },
    /// An administrator removes a static member.
    Remove {
        client: usize,
    },
    Pass {
        ms: u64,
    },
    /// The coordinator starts again from what was stored; what was parked is lost.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let client = || 0..CLIENTS;
    prop_oneof![
        6 => (client(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(client, known, changed)| Event::Join { client, known, changed }),
        6 => client().prop_map(|client| Event::Sync { client }),
        1 => (client(), -1..9_i32)
            .prop_map(|(client, generation)| Event::StraySync { client, generation }),
        4 => client().prop_map(|client| Event::Heartbeat { client }),
        1 => client().prop_map(|client| Event::Leave { client }),
        1 => client().prop_map(|client| Event::Forget { client }),
        1 => (STATIC_FROM..CLIENTS).prop_map(|client| Event::Remove { client }),
        4 => prop_oneof![0..200_u64, 0..15_000_u64].prop_map(|ms| Event::Pass { ms }),
        1 => Just(Event::Restart),
    ]
}

/// A client as it sees itself.
#[derive(Debug, Default)]
struct Client {
    member: Option<MemberId>,
    generation: i32,
    members: Vec<MemberId>,
    joining: Option<Ticket>,
    syncing: Option<(Ticket, MemberId, i32)>,
}

#[derive(Debug)]
struct World {
    bench: Bench,
    clients: Vec<Client>,
    /// What a restart finds.
    disk: Option<Bytes>,
    /// Drawn once per accepted leader's sync, so that two assignments never look alike.
    rounds: u64,
    leaders: BTreeMap<i32, String>,
    /// What the leader of a generation gave, by who it is.
    given: BTreeMap<i32, BTreeMap<String, Bytes>>,
    /// The instance ids of the member ids that static members had.
    instances: BTreeMap<MemberId, String>,
    newest: i32,
}

impl World {
    fn new(delay: Duration) -> Self {
        let settings = GroupSettings {
            initial_rebalance_delay: delay,
            ..Default::default()
        };
        Self {
            bench: Bench::with(settings),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            disk: None,
            rounds: 0,
            leaders: BTreeMap::new(),
            given: BTreeMap::new(),
            instances: BTreeMap::new(),
            newest: 0,
        }
    }

    fn play(&mut self, event: Event) {
        let stored = self.bench.stored;
        match event {
            Event::Join {
                client,
                known,
                changed,
            } => self.join(client, known, changed),
            Event::Sync { client } => {
                let generation = self.clients[client].generation;
                self.sync(client, generation);
            }
            Event::StraySync { client, generation } => self.sync(client, generation),
            Event::Heartbeat { client } => self.heartbeat(client),
            Event::Leave { client } => {
                if let Some(member) = self.clients[client].member.clone() {
                    self.bench.leave(&[member.as_str()]);
                }
            }
            Event::Forget { client } => self.clients[client] = Client::default(),
            Event::Remove { client } => {
                self.bench
                    .leave_as(&[("", Some(&instance(client).unwrap()))]);
            }
            Event::Pass { ms } => self.bench.pass(Duration::from_millis(ms)),
            Event::Restart => self.restart(),
        }
        if self.bench.stored > stored {
            self.disk = Some(self.bench.group.encode());
        }
        self.hear();
        self.check();
    }

    fn join(&mut self, client: usize, known: bool, changed: bool) {
        let member = self.clients[client].member.clone();
        let mut request = asks(member.as_ref().map_or("", MemberId::as_str));
        request.requires_known_member_id = known;
        request.can_skip_assignment = known;
        request.instance = instance(client).map(Into::into);
        if changed {
            self.rounds += 1;
            request
                .protocols
                .push(protocol("sticky", &self.rounds.to_string()));
        }
        let fresh = format!("m{}", self.bench.tickets + 1);
        if let Some(instance) = instance(client) {
            self.instances
                .insert(MemberId::from(fresh.as_str()), instance);
        }
        self.clients[client].joining = Some(self.bench.join_as(&fresh, request));
    }

    /// Who a member id belongs to: a static member stays the same whatever its member id.
    fn owner(&self, member: &MemberId) -> String {
        let instance = self.instances.get(member);
        instance
            .cloned()
            .unwrap_or_else(|| member.as_str().to_owned())
    }

    fn sync(&mut self, client: usize, generation: i32) {
        let Some(member) = self.clients[client].member.clone() else {
            return;
        };
        self.rounds += 1;
        let members = self.clients[client].members.clone();
        let assignments: Vec<MemberAssignment> = members
            .into_iter()
            .map(|id| MemberAssignment {
                assignment: Bytes::from(format!("{generation} {id} {}", self.rounds)),
                member: id,
            })
            .collect();
        let lines = assignments
            .iter()
            .map(|one| (self.owner(&one.member), one.assignment.clone()));
        let lines: BTreeMap<String, Bytes> = lines.collect();
        let before = self.bench.group.state();
        let ticket = self.bench.sync_with(SyncRequest {
            group: GroupId::from("g"),
            member: member.clone(),
            instance: instance(client).map(Into::into),
            generation,
            protocol_type: None,
            protocol: None,
            assignments,
        });
        if before == State::CompletingRebalance && self.bench.group.state() == State::Stable {
            assert_eq!(
                self.leaders.get(&generation),
                Some(&self.owner(&member)),
                "only the leader assigns"
            );
            assert!(
                self.given.insert(generation, lines).is_none(),
                "assigned twice"
            );
        }
        self.clients[client].syncing = Some((ticket, member, generation));
    }

    fn heartbeat(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let Some(member) = &client.member else { return };
        let answer = self.bench.heartbeat_in(member.as_str(), client.generation);
        if answer == Err(HeartbeatError::UnknownMemberId) {
            client.member = None;
        }
    }

    fn restart(&mut self) {
        let context = Context {
            now: self.bench.now,
            settings: &self.bench.settings,
        };
        self.bench.group = match &self.disk {
            Some(bytes) => Group::decode(bytes, context).unwrap(),
            None => Group::new(self.bench.now),
        };
        for client in &mut self.clients {
            client.joining = None;
            client.syncing = None;
        }
    }

    /// Clients read their answers.
    fn hear(&mut self) {
        for index in 0..CLIENTS {
            let mut client = std::mem::take(&mut self.clients[index]);
            if let Some(answer) = client.joining.and_then(|one| self.bench.joins.get(&one)) {
                client.joining = None;
                match answer {
                    Ok(answer) => {
                        let told = self.owner(&answer.leader);
                        let leader = self.leaders.entry(answer.generation);
                        let leader = leader.or_insert_with(|| told.clone());
                        assert_eq!(*leader, told, "one leader per generation");
                        assert_eq!(answer.members.is_empty(), answer.leader != answer.member);
                        assert!(answer.generation >= self.newest, "generations only grow");
                        self.newest = answer.generation;
                        client.member = Some(answer.member.clone());
                        client.generation = answer.generation;
                        client.members = answer
                            .members
                            .iter()
                            .map(|one| one.member.clone())
                            .collect();
                    }
                    Err(JoinError::MemberIdRequired { member }) => {
                        client.member = Some(member.clone());
                    }
                    Err(JoinError::UnknownMemberId) => client.member = None,
                    Err(JoinError::FencedInstanceId) => {
                        assert!(index >= STATIC_FROM);
                        client.member = None;
                    }
                    Err(error) => assert_eq!(*error, JoinError::RebalanceInProgress),
                }
            }
            self.hear_sync(&mut client);
            self.clients[index] = client;
        }
    }

    fn hear_sync(&self, client: &mut Client) {
        let Some((ticket, member, generation)) = &client.syncing else {
            return;
        };
        let Some(answer) = self.bench.syncs.get(ticket) else {
            return;
        };
        if let Ok(answer) = answer {
            let given = self.given[generation].get(&self.owner(member)).cloned();
            let given = given.unwrap_or_default();
            assert_eq!(answer.assignment, given, "exactly what the leader gave");
        }
        client.syncing = None;
    }

    fn check(&self) {
        let group = &self.bench.group;
        let members: usize = group
            .members
            .iter()
            .map(|(id, one)| one.bytes(id) + one.assignment.len())
            .sum();
        let pending: usize = group
            .pending
            .keys()
            .map(|id| super::super::member::MEMBER_OVERHEAD_BYTES + id.as_str().len())
            .sum();
        assert_eq!(group.bytes, members + pending);
        let instances = group.members.iter().filter_map(|(id, member)| {
            let instance = member.instance.clone()?;
            Some((instance, id.clone()))
        });
        assert_eq!(group.instances, instances.collect());
        let is_empty = matches!(group.state, State::Empty);
        if is_empty || group.state == State::Stable {
            assert_eq!(is_empty, group.members.is_empty());
        }
        let parked = group
            .members
            .values()
            .filter(|one| one.join.is_some())
            .count();
        if group.state != State::PreparingRebalance {
            assert_eq!(parked, 0, "joins wait in a rebalance only");
        }
        if group.state != State::CompletingRebalance {
            let parked = group
                .members
                .values()
                .filter(|one| one.sync.is_some())
                .count();
            assert_eq!(parked, 0, "syncs wait for the leader only");
        }
    }
}

fn instance(client: usize) -> Option<String> {
    (client >= STATIC_FROM).then(|| format!("i{client}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1_500)))]

    #[test]
    fn a_group_keeps_its_promises_whatever_its_members_do(
        events in prop::collection::vec(event(), 1..150),
        delay in prop_oneof![Just(Duration::ZERO), Just(DELAY)],
    ) {
        let mut world = World::new(delay);
        for event in events {
            world.play(event);
        }
        // From here on nobody says anything.
        world.bench.pass(REBALANCE.max(SESSION));
        world.hear();
        for client in &world.clients {
            prop_assert_eq!(client.joining, None, "a join waits for ever");
            prop_assert!(client.syncing.is_none(), "a sync waits for ever");
        }
        world.bench.pass(REBALANCE + SESSION);
        prop_assert!(world.bench.group.is_vacant());
        prop_assert_eq!(world.bench.group.wake_at(), None);
    }
}
