//! Good histories of every length, made by a model of a broker that never errs and of clients that lose answers.

use std::collections::VecDeque;

use crate::history::chance::Chance;
use crate::history::event::{History, RecordId, Role, What};

pub(super) const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 3;
const READERS: usize = 2;
const MEMBERS: usize = 2;

/// A broker without faults, and clients that lose answers.
pub(super) struct World {
    chance: Chance,
    history: History,
    logs: Vec<Vec<(RecordId, u32)>>,
    numbers: Vec<u32>,
    /// By producer and partition: sent and not yet appended.
    waiting: Vec<VecDeque<(RecordId, u32)>>,
    positions: Vec<[usize; PARTITIONS as usize]>,
    /// Who owns a partition in the group, and where it stands.
    owners: [Option<usize>; PARTITIONS as usize],
    given: [usize; PARTITIONS as usize],
    committed: [i64; PARTITIONS as usize],
}

impl World {
    /// The history of a seed.
    pub(super) fn good(seed: u64) -> History {
        let mut world = Self {
            chance: Chance::new(seed),
            history: History::new(seed),
            logs: vec![Vec::new(); PARTITIONS as usize],
            numbers: vec![0; PRODUCERS],
            waiting: vec![VecDeque::new(); PRODUCERS * PARTITIONS as usize],
            positions: vec![[0; PARTITIONS as usize]; READERS],
            owners: [None; PARTITIONS as usize],
            given: [0; PARTITIONS as usize],
            committed: [0; PARTITIONS as usize],
        };
        world.roles();
        for _ in 0..200 + world.chance.below(400) {
            world.step();
        }
        for partition in 0..PARTITIONS as usize {
            for producer in 0..PRODUCERS {
                while !world.waiting[producer * PARTITIONS as usize + partition].is_empty() {
                    world.append(producer, partition);
                }
            }
            world.finish(partition);
        }
        world.history
    }

    /// Whether a thing happens that happens so often in a hundred.
    fn percent(&mut self, percent: u64) -> bool {
        self.chance.below(100) < percent
    }

    fn say(&mut self, name: &str, what: What) {
        self.history.push(0, name, what).unwrap();
    }

    fn roles(&mut self) {
        let roles = [
            (Role::Producer, "p", PRODUCERS),
            (Role::Reader, "r", READERS),
            (Role::Member, "m", MEMBERS),
            (Role::Watcher, "w", 2),
            (Role::Final, "f", 1),
        ];
        for (role, name, count) in roles {
            for index in 0..count {
                self.say(&format!("{name}{index}"), What::Role(role));
            }
        }
        for partition in 0..PARTITIONS {
            for reader in 0..READERS {
                let from = Some(0);
                self.say(&format!("r{reader}"), What::Assigned { partition, from });
            }
        }
    }

    fn step(&mut self) {
        let partition = self.chance.index(PARTITIONS as usize);
        match self.chance.below(12) {
            0..4 => self.send(partition),
            4..7 => {
                let producer = self.chance.index(PRODUCERS);
                self.append(producer, partition);
            }
            7 => self.read(partition),
            8 => self.watch(partition),
            9 => self.rebalance(partition),
            10 => self.deliver(partition),
            _ => self.commit(partition),
        }
    }

    fn send(&mut self, partition: usize) {
        let producer = self.chance.index(PRODUCERS);
        let name = format!("p{producer}");
        let id = RecordId {
            producer: self.history.who(&name).unwrap(),
            number: self.numbers[producer],
        };
        self.numbers[producer] += 1;
        let digest = self.chance.below(1 << 32) as u32;
        let what = What::Send {
            number: id.number,
            partition: partition as i32,
            digest,
            timestamp: i64::from(id.number),
        };
        self.say(&name, what);
        self.waiting[producer * PARTITIONS as usize + partition].push_back((id, digest));
    }

    fn append(&mut self, producer: usize, partition: usize) {
        let waiting = &mut self.waiting[producer * PARTITIONS as usize + partition];
        let Some((id, digest)) = waiting.pop_front() else {
            return;
        };
        let number = id.number;
        let name = format!("p{producer}");
        if self.percent(5) {
            // Never arrived, and nobody knows.
            if self.percent(50) {
                self.say(&name, What::Unknown { number });
            }
            return;
        }
        self.logs[partition].push((id, digest));
        let offset = self.logs[partition].len() as i64 - 1;
        if self.percent(90) {
            let offset = self.percent(95).then_some(offset);
            let partition = partition as i32;
            self.say(
                &name,
                What::Ack {
                    number,
                    partition,
                    offset,
                },
            );
        }
    }

    fn record(&self, partition: usize, offset: usize) -> What {
        let (id, digest) = self.logs[partition][offset];
        What::Read {
            partition: partition as i32,
            offset: offset as i64,
            record: Some(id),
            digest,
            timestamp: i64::from(id.number),
        }
    }

    fn read(&mut self, partition: usize) {
        let reader = self.chance.index(READERS);
        for _ in 0..self.chance.below(6) {
            let offset = self.positions[reader][partition];
            if offset < self.logs[partition].len() {
                let what = self.record(partition, offset);
                self.say(&format!("r{reader}"), what);
                self.positions[reader][partition] += 1;
            }
        }
    }

    /// Two watchers ask, something happens, and they are answered with what was true before or after it.
    fn watch(&mut self, partition: usize) {
        let before = self.logs[partition].len();
        let committed = self.committed[partition];
        for name in ["w0", "w1"] {
            self.say(name, What::EndsAsked);
            self.say(name, What::CommittedAsked);
        }
        self.append(0, partition);
        self.commit(partition);
        for name in ["w1", "w0"] {
            let is_before = self.percent(50);
            let now = self.logs[partition].len();
            let end = if is_before { before } else { now } as i64;
            let committed = if is_before {
                committed
            } else {
                self.committed[partition]
            };
            let partition = partition as i32;
            let start = 0;
            self.say(
                name,
                What::Ends {
                    partition,
                    start,
                    end,
                },
            );
            let offset = Some(committed).filter(|committed| *committed > 0);
            self.say(name, What::Committed { partition, offset });
        }
    }

    fn rebalance(&mut self, partition: usize) {
        let index = partition as i32;
        if let Some(owner) = self.owners[partition] {
            self.say(&format!("m{owner}"), What::Revoked { partition: index });
        }
        let owner = self.chance.index(MEMBERS);
        self.owners[partition] = Some(owner);
        self.given[partition] = self.committed[partition] as usize;
        let (partition, from) = (index, None);
        self.say(&format!("m{owner}"), What::Assigned { partition, from });
    }

    fn deliver(&mut self, partition: usize) {
        let Some(owner) = self.owners[partition] else {
            return;
        };
        for _ in 0..self.chance.below(6) {
            let offset = self.given[partition];
            if offset < self.logs[partition].len() {
                let what = self.record(partition, offset);
                self.say(&format!("m{owner}"), what);
                self.given[partition] += 1;
            }
        }
    }

    fn commit(&mut self, partition: usize) {
        let Some(owner) = self.owners[partition] else {
            return;
        };
        let offset = self.given[partition] as i64;
        if offset == self.committed[partition] {
            return;
        }
        let name = format!("m{owner}");
        self.say(&name, What::CommitAsked);
        self.committed[partition] = offset;
        let is_acknowledged = self.percent(90);
        let partition = partition as i32;
        self.say(
            &name,
            What::Commit {
                partition,
                offset,
                is_acknowledged,
            },
        );
    }

    fn finish(&mut self, partition: usize) {
        let (index, from) = (partition as i32, Some(0));
        self.say(
            "f0",
            What::Assigned {
                partition: index,
                from,
            },
        );
        for offset in 0..self.logs[partition].len() {
            let what = self.record(partition, offset);
            self.say("f0", what);
        }
        let end = self.logs[partition].len() as i64;
        let partition = index;
        self.say("f0", What::Whole { partition, end });
    }
}
