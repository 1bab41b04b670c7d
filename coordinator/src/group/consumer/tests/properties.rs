//! Random lives of a group with clients of both protocols that follow them, restarts and lost answers, against what must
//! hold whatever happens.

mod classic;

use proptest::prelude::*;

use self::classic::{Kind, Next};
use super::*;
use crate::scale::cases;

const CLIENTS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The client sends a heartbeat; its answer may be lost.
    Beat {
        client: usize,
        is_lost: bool,
    },
    /// The client does what it was last told: gives up, then takes over.
    Follow {
        client: usize,
    },
    /// The client subscribes anew.
    Subscribe {
        client: usize,
        choice: usize,
    },
    Leave {
        client: usize,
    },
    /// The client stops and starts again as another member, perhaps by the other protocol.
    Replace {
        client: usize,
        kind: Kind,
    },
    /// The topics change.
    Topics {
        choice: usize,
    },
    Pass {
        ms: u64,
    },
    /// The coordinator starts again from what was stored.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let client = || 0..CLIENTS;
    prop_oneof![
        10 => (client(), prop::bool::weighted(0.15))
            .prop_map(|(client, is_lost)| Event::Beat { client, is_lost }),
        8 => client().prop_map(|client| Event::Follow { client }),
        1 => (client(), 0..SUBSCRIPTIONS.len())
            .prop_map(|(client, choice)| Event::Subscribe { client, choice }),
        1 => client().prop_map(|client| Event::Leave { client }),
        1 => (client(), 0..KINDS.len())
            .prop_map(|(client, kind)| Event::Replace { client, kind: KINDS[kind] }),
        1 => (0..CATALOGUES.len()).prop_map(|choice| Event::Topics { choice }),
        2 => prop_oneof![0..5_000_u64, 0..50_000_u64].prop_map(|ms| Event::Pass { ms }),
        1 => Just(Event::Restart),
    ]
}

/// Names and a regex.
const SUBSCRIPTIONS: [(&[&str], &str); 5] = [
    (&["a"], ""),
    (&["a", "b"], ""),
    (&["b"], "x.*"),
    (&[], "[ab]"),
    (&[], ""),
];

const KINDS: [Kind; 3] = [Kind::Consumer, Kind::Eager, Kind::Cooperative];

const CATALOGUES: [&[(&str, u128, usize)]; 4] = [
    &[("a", 1, 4), ("b", 2, 3)],
    &[("a", 1, 5), ("b", 2, 3), ("x1", 3, 2)],
    &[("b", 2, 6)],
    &[("a", 4, 2), ("b", 2, 6), ("x2", 5, 1)],
];

/// A client as it sees itself.
#[derive(Debug)]
struct Client {
    kind: Kind,
    /// The coordinator names members of the classic protocol: until then this is empty.
    member: String,
    /// Of the classic protocol only.
    next: Next,
    /// Odd ones are static.
    instance: Option<Arc<str>>,
    epoch: i32,
    /// What it reads.
    owned: Partitions,
    /// What it was last told.
    told: Partitions,
    /// What it said about it last.
    said: Option<Partitions>,
    subscription: usize,
    must_say_all: bool,
}

impl Client {
    fn new(index: usize, life: usize, subscription: usize, kind: Kind) -> Self {
        let member = match kind {
            Kind::Consumer => format!("{index}-{life}"),
            Kind::Eager | Kind::Cooperative => String::new(),
        };
        Self {
            kind,
            member,
            next: Next::Join,
            instance: (index % 2 == 1).then(|| format!("i{index}").into()),
            epoch: 0,
            owned: Partitions::new(),
            told: Partitions::new(),
            said: None,
            subscription,
            must_say_all: true,
        }
    }

    fn start_over(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.told.clear();
        self.said = None;
        self.must_say_all = true;
        self.next = Next::Join;
        if self.is_classic() {
            self.member.clear();
        }
    }

    fn is_classic(&self) -> bool {
        self.kind != Kind::Consumer
    }

    fn request(&mut self) -> ConsumerHeartbeat {
        let (names, regex) = SUBSCRIPTIONS[self.subscription];
        let mut request = ConsumerHeartbeat {
            instance: self.instance.clone(),
            ..beat(&self.member, self.epoch)
        };
        if self.must_say_all {
            request.rebalance_timeout_ms = i32::try_from(REBALANCE.as_millis()).unwrap();
            request.names = Some(set(names));
            request.regex = Some(regex.into());
        }
        if self.must_say_all || self.said.as_ref() != Some(&self.owned) {
            request.owned = Some(self.owned.clone());
            self.said = Some(self.owned.clone());
        }
        request
    }
}

#[derive(Debug)]
struct World {
    bench: Bench,
    clients: Vec<Client>,
    lives: usize,
    revision: u64,
    newest_epoch: i32,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Bench::with(CATALOGUES[0]),
            clients: (0..CLIENTS)
                .map(|index| Client::new(index, 0, index % 2, KINDS[index % KINDS.len()]))
                .collect(),
            lives: 0,
            revision: 1,
            newest_epoch: 0,
        }
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Beat { client, is_lost } => self.beat(client, is_lost),
            Event::Follow { client } => {
                let client = &mut self.clients[client];
                if !client.is_classic() {
                    client.owned.clone_from(&client.told);
                }
            }
            Event::Subscribe { client, choice } => {
                let client = &mut self.clients[client];
                client.subscription = choice;
                client.must_say_all = true;
                client.next = Next::Join;
            }
            Event::Leave { client } => self.leave(client, LEAVING_EPOCH),
            Event::Replace { client, kind } => self.replace(client, kind),
            Event::Topics { choice } => {
                self.revision += 1;
                self.bench.topics = catalogue(self.revision, CATALOGUES[choice]);
                self.forget_topics_that_are_gone();
            }
            Event::Pass { ms } => self.bench.pass(Duration::from_millis(ms)),
            Event::Restart => self.bench.restart(),
        }
        self.check();
    }

    fn replace(&mut self, index: usize, kind: Kind) {
        let client = &self.clients[index];
        match (client.is_classic(), client.instance.is_some()) {
            // Nobody hears that a static member of the classic protocol stops.
            (true, true) => {}
            (_, false) => self.leave(index, LEAVING_EPOCH),
            (false, true) => self.leave(index, STATIC_LEAVING_EPOCH),
        }
        self.lives += 1;
        let subscription = self.clients[index].subscription;
        self.clients[index] = Client::new(index, self.lives, subscription, kind);
    }

    fn beat(&mut self, client: usize, is_lost: bool) {
        if self.clients[client].is_classic() {
            return self.step(client, is_lost);
        }
        let client = &mut self.clients[client];
        let request = client.request();
        let result = self.bench.beat(&request);
        if is_lost {
            client.must_say_all = true;
            // It said what it has; what it was to take over before counts no more.
            client.told.clone_from(&client.owned);
            return;
        }
        match result {
            Ok(answer) => {
                client.must_say_all = false;
                assert!(
                    answer.epoch >= client.epoch,
                    "the epoch of a member went back"
                );
                client.epoch = answer.epoch;
                if let Some(assigned) = answer.assigned {
                    client.told = assigned;
                }
            }
            // An instance id is in use by the life before: it goes on asking.
            Err(
                ConsumerHeartbeatError::UnreleasedInstanceId(_)
                | ConsumerHeartbeatError::FencedMemberEpoch { .. }
                | ConsumerHeartbeatError::UnknownMemberId
                | ConsumerHeartbeatError::FencedInstanceId,
            ) => client.start_over(),
            Err(other) => panic!("{other} for {request:?}"),
        }
    }

    fn leave(&mut self, client: usize, epoch: i32) {
        if self.clients[client].is_classic() {
            return self.leave_group(client);
        }
        let client = &mut self.clients[client];
        let request = ConsumerHeartbeat {
            instance: client.instance.clone(),
            ..beat(&client.member, epoch)
        };
        let _ = self.bench.beat(&request);
        client.start_over();
    }

    fn is_in(&self, client: &Client) -> bool {
        self.bench
            .group
            .has_member(&MemberId::from(client.member.as_str()))
    }

    fn check(&mut self) {
        let mut read = BTreeMap::new();
        for client in &self.clients {
            // Who was silent or kept too much for too long is out, and will hear of it.
            if !self.is_in(client) {
                continue;
            }
            for partition in &client.owned {
                let other = read.insert(*partition, &client.member);
                assert_eq!(other, None, "{partition} is read by two members");
            }
        }
        let epoch = self.bench.group.epoch();
        assert!(epoch >= self.newest_epoch, "the group epoch went back");
        self.newest_epoch = epoch;
    }

    /// Everybody follows from now on: the group must come to rest with everything read.
    fn settle(&mut self) {
        for round in 0..60 {
            for client in 0..CLIENTS {
                // Heartbeat, JoinGroup, SyncGroup.
                for _ in 0..3 {
                    self.beat(client, false);
                }
                self.play(Event::Follow { client });
            }
            if round < 45 {
                self.bench.pass(Duration::from_secs(2));
                self.check();
            }
        }
        let group = &self.bench.group;
        assert_eq!(group.state(), ConsumerGroupState::Stable);
        assert_eq!(group.member_count(), CLIENTS);
        let mut wanted = Partitions::new();
        for topic in self.bench.topics.topics() {
            if group.subscriptions().may_include(topic.name.as_str()) {
                let count = i32::try_from(topic.partitions.len()).unwrap();
                wanted.extend(
                    (0..count).map(|index| TopicPartition::new(topic.id, PartitionIndex(index))),
                );
            }
        }
        let read: Partitions = self
            .clients
            .iter()
            .flat_map(|one| one.owned.clone())
            .collect();
        assert_eq!(read, wanted);
        let stores = self.bench.stores;
        for client in 0..CLIENTS {
            self.beat(client, false);
        }
        assert_eq!(self.bench.stores, stores, "a group at rest stores nothing");
    }

    fn empty(&mut self) {
        for client in 0..CLIENTS {
            self.leave(client, LEAVING_EPOCH);
        }
        let group = &self.bench.group;
        assert!(group.is_vacant() && group.owners.is_empty() && group.resolutions.is_empty());
        assert_eq!((group.bytes, group.wake_at()), (0, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(192)))]

    #[test]
    fn a_partition_has_one_reader_and_every_group_comes_to_rest(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new();
        for event in events {
            world.play(event);
        }
        world.settle();
        world.empty();
    }
}
