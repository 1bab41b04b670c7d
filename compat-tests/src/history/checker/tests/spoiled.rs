//! Good histories of every length, made by a model of a broker, and the same histories spoiled in one place.

use std::collections::VecDeque;

use super::super::check;
use crate::history::anomaly::{ANOMALIES, Anomaly};
use crate::history::chance::Chance;
use crate::history::event::{Event, History, RecordId, Role, What, Who};

const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 3;
const READERS: usize = 2;
const MEMBERS: usize = 2;

/// Good histories, and spoiled ones of each kind, at a scale of 1.
const HISTORIES: u64 = 60;

/// A broker without faults, and clients that lose answers.
struct World {
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
    fn good(seed: u64) -> History {
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

/// Spoils a history in the way of an anomaly; `None` where this one has no place for it.
fn spoil(anomaly: Anomaly, history: &mut History, chance: &mut Chance) -> Option<()> {
    match anomaly {
        Anomaly::LostWrite => lose(history, chance),
        Anomaly::Unseen => cut_end(history, chance),
        Anomaly::Duplicate => double(history, chance),
        Anomaly::Reordered => swap_reads(history, chance),
        Anomaly::Changed => alter(history, chance, |what| match what {
            What::Read { digest, .. } => *digest ^= 1,
            _ => {}
        }),
        Anomaly::Invented => alter(history, chance, |what| match what {
            What::Read {
                record: Some(id), ..
            } => id.number += 1_000_000,
            _ => {}
        }),
        Anomaly::WrongPartition => alter(history, chance, |what| match what {
            What::Ack { partition, .. } => *partition += 1,
            _ => {}
        }),
        Anomaly::FailedYetRead => alter(history, chance, |what| {
            if let What::Ack { number, .. } = *what {
                *what = What::Failed { number };
            }
        }),
        Anomaly::InconsistentOffsets => rebind(history, chance),
        Anomaly::AckOffsetDiffers => alter(history, chance, |what| match what {
            What::Ack {
                offset: Some(offset),
                ..
            } => *offset += 1,
            _ => {}
        }),
        Anomaly::NonmonotonicSend => swap_acks(history, chance),
        Anomaly::NonmonotonicPoll => {
            let at = pick(history, chance, |event| is_read(event))?;
            let again = history.events[at];
            history.events.insert(at + 1, again);
            Some(())
        }
        Anomaly::PollSkip => skip(history, chance),
        Anomaly::OffsetGap => gap(history, chance),
        Anomaly::HighWatermarkRegress => {
            let at = pick(
                history,
                chance,
                |event| matches!(event.what, What::Ends { end, .. } if end > 0),
            )?;
            let What::Ends { partition, end, .. } = history.events[at].what else {
                return None;
            };
            ask_ends(history, at, partition, end - 1)
        }
        Anomaly::AckBeyondEnd => {
            let at = pick(history, chance, |event| {
                matches!(
                    event.what,
                    What::Ack {
                        offset: Some(_),
                        ..
                    }
                )
            })?;
            let What::Ack {
                partition, offset, ..
            } = history.events[at].what
            else {
                return None;
            };
            ask_ends(history, at, partition, offset?)
        }
        Anomaly::ReadBeyondEnd => {
            let at = pick(history, chance, is_read)?;
            let What::Read {
                partition, offset, ..
            } = history.events[at].what
            else {
                return None;
            };
            ask_ends(history, at, partition, offset)
        }
        Anomaly::LogStartMoved => alter(history, chance, |what| match what {
            What::Ends { start, .. } => *start = 1,
            _ => {}
        }),
        Anomaly::CommittedMovedBack => move_back(history, chance),
        Anomaly::CommittedLost => {
            let at = pick(history, chance, |event| is_commit(event, true))?;
            let What::Commit { partition, .. } = history.events[at].what else {
                return None;
            };
            ask_committed(history, at, partition, None)
        }
        Anomaly::CommittedInvented => alter(history, chance, |what| match what {
            What::Committed { offset, .. } => *offset = Some(1_000_000),
            _ => {}
        }),
        Anomaly::CommittedUndelivered => take_back(history, chance),
        Anomaly::ResumedElsewhere => resume_elsewhere(history, chance),
    }
}

fn is_read(event: &Event) -> bool {
    matches!(event.what, What::Read { .. })
}

fn is_commit(event: &Event, acknowledged: bool) -> bool {
    matches!(event.what, What::Commit { is_acknowledged, .. } if is_acknowledged == acknowledged)
}

fn pick(history: &History, chance: &mut Chance, is: impl Fn(&Event) -> bool) -> Option<usize> {
    let events = history.events.iter().enumerate();
    let places: Vec<usize> = events
        .filter(|(_, event)| is(event))
        .map(|(at, _)| at)
        .collect();
    (!places.is_empty()).then(|| places[chance.index(places.len())])
}

/// Alters one event that this alters.
fn alter(history: &mut History, chance: &mut Chance, how: impl Fn(&mut What)) -> Option<()> {
    let alters = |event: &Event| {
        let mut what = event.what;
        how(&mut what);
        what != event.what
    };
    // A record whose producer failed, or was told another offset, must have been read to be found out.
    let is_told = |event: &Event| match event.what {
        What::Ack { number, .. } => reads_of(history, event.who, number).next().is_some(),
        _ => true,
    };
    let at = pick(history, chance, |event| alters(event) && is_told(event))?;
    how(&mut history.events[at].what);
    Some(())
}

fn reads_of(history: &History, producer: Who, number: u32) -> impl Iterator<Item = usize> {
    let wanted = Some(RecordId { producer, number });
    let events = history.events.iter().enumerate();
    events.filter_map(move |(at, event)| match event.what {
        What::Read { record, .. } if record == wanted => Some(at),
        _ => None,
    })
}

/// A record that was acknowledged is read by nobody.
fn lose(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(history, chance, |event| {
        matches!(event.what, What::Ack { .. })
    })?;
    let What::Ack { number, .. } = history.events[at].what else {
        return None;
    };
    let lost = Some(RecordId {
        producer: history.events[at].who,
        number,
    });
    history
        .events
        .retain(|event| !matches!(event.what, What::Read { record, .. } if record == lost));
    Some(())
}

/// The last record of a partition is missing at the end.
fn cut_end(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(
        history,
        chance,
        |event| matches!(event.what, What::Whole { end, .. } if end > 0),
    )?;
    let What::Whole { partition, end } = &mut history.events[at].what else {
        return None;
    };
    *end -= 1;
    let cut = (*partition, *end);
    let is_acknowledged = history.events.iter().any(|event| {
        matches!(event.what, What::Ack { partition, offset: Some(offset), .. } if (partition, offset) == cut)
    });
    history.events.retain(|event| {
        !matches!(event.what, What::Read { partition, offset, .. } if (partition, offset) == cut)
    });
    is_acknowledged.then_some(())
}

/// A record lies at the end once more.
fn double(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(
        history,
        chance,
        |event| matches!(event.what, What::Whole { end, .. } if end > 0),
    )?;
    let Event { who, what, .. } = history.events[at];
    let What::Whole { partition, end } = what else {
        return None;
    };
    let mut again = history.events[pick(history, chance, |event| {
        event.who == who
            && matches!(event.what, What::Read { partition: read, .. } if read == partition)
    })?];
    let What::Read { offset, .. } = &mut again.what else {
        return None;
    };
    *offset = end;
    let end = end + 1;
    history.events[at].what = What::Whole { partition, end };
    history.events.insert(at, again);
    Some(())
}

/// Two records of one producer have changed places, for everybody.
fn swap_reads(history: &mut History, chance: &mut Chance) -> Option<()> {
    let (first, second) = two_of_one(history, chance, |event| match event.what {
        What::Read {
            record: Some(id),
            partition,
            offset,
            ..
        } => Some((id.producer, partition, offset)),
        _ => None,
    })?;
    let at = |index: usize| match history.events[index].what {
        What::Read { offset, .. } => offset,
        _ => -1,
    };
    let What::Read { partition, .. } = history.events[first].what else {
        return None;
    };
    let places = [at(first), at(second)];
    let contents = [history.events[first].what, history.events[second].what];
    for event in &mut history.events {
        let What::Read {
            partition: read,
            offset: place,
            ..
        } = event.what
        else {
            continue;
        };
        let Some(index) = places
            .iter()
            .position(|offset| *offset == place && read == partition)
        else {
            continue;
        };
        event.what = contents[1 - index];
        if let What::Read { offset, .. } = &mut event.what {
            *offset = place;
        }
    }
    Some(())
}

/// Two events with the same first two parts of a key and different third ones.
fn two_of_one(
    history: &History,
    chance: &mut Chance,
    key: impl Fn(&Event) -> Option<(Who, i32, i64)>,
) -> Option<(usize, usize)> {
    let first = pick(history, chance, |event| key(event).is_some())?;
    let (who, partition, offset) = key(&history.events[first])?;
    let second = pick(history, chance, |event| {
        key(event).is_some_and(|other| (other.0, other.1) == (who, partition) && other.2 != offset)
    })?;
    Some((first, second))
}

/// One reader is given another record at an offset.
fn rebind(history: &mut History, chance: &mut Chance) -> Option<()> {
    let place = |event: &Event| match event.what {
        What::Read {
            partition, offset, ..
        } => Some((partition, offset)),
        _ => None,
    };
    let at = pick(history, chance, |event| {
        let others = history
            .events
            .iter()
            .filter(|other| place(other) == place(event));
        place(event).is_some() && others.count() > 1
    })?;
    let other = pick(history, chance, |event| {
        place(event).is_some_and(|(partition, offset)| {
            Some(partition) == place(&history.events[at]).map(|(partition, _)| partition)
                && Some((partition, offset)) != place(&history.events[at])
        })
    })?;
    let (_, own) = place(&history.events[at])?;
    history.events[at].what = history.events[other].what;
    if let What::Read { offset, .. } = &mut history.events[at].what {
        *offset = own;
    }
    Some(())
}

fn swap_acks(history: &mut History, chance: &mut Chance) -> Option<()> {
    let (first, second) = two_of_one(history, chance, |event| match event.what {
        What::Ack {
            partition,
            offset: Some(offset),
            ..
        } => Some((event.who, partition, offset)),
        _ => None,
    })?;
    let swapped = [history.events[second].what, history.events[first].what];
    for (at, from) in [first, second].into_iter().zip(swapped) {
        let What::Ack { offset: other, .. } = from else {
            return None;
        };
        if let What::Ack { offset, .. } = &mut history.events[at].what {
            *offset = other;
        }
    }
    Some(())
}

/// A reader is not given a record, and goes on.
fn skip(history: &mut History, chance: &mut Chance) -> Option<()> {
    let name = history.who("r0").ok()?;
    let place = |event: &Event| match event.what {
        What::Read {
            partition, offset, ..
        } if event.who == name => Some((partition, offset)),
        _ => None,
    };
    let at = pick(history, chance, |event| {
        place(event).is_some_and(|(partition, offset)| {
            history.events.iter().any(|later| {
                place(later).is_some_and(|(other, at)| other == partition && at > offset)
            })
        })
    })?;
    history.events.remove(at);
    Some(())
}

/// From some offset on, all is one offset higher.
fn gap(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(history, chance, is_read)?;
    let What::Read {
        partition: spoiled,
        offset: from,
        ..
    } = history.events[at].what
    else {
        return None;
    };
    for event in &mut history.events {
        if let What::Read {
            partition, offset, ..
        }
        | What::Ack {
            partition,
            offset: Some(offset),
            ..
        }
        | What::Whole {
            partition,
            end: offset,
        } = &mut event.what
            && *partition == spoiled
            && *offset >= from
        {
            *offset += 1;
        }
    }
    Some(())
}

/// A watcher asks behind an event, and is told this.
fn ask(history: &mut History, at: usize, question: What, answer: What) -> Option<()> {
    let who = history.who("w9").ok()?;
    for what in [answer, question] {
        let at_ms = 0;
        history.events.insert(at + 1, Event { at_ms, who, what });
    }
    Some(())
}

fn ask_ends(history: &mut History, at: usize, partition: i32, end: i64) -> Option<()> {
    let start = 0;
    let told = What::Ends {
        partition,
        start,
        end,
    };
    ask(history, at, What::EndsAsked, told)
}

fn ask_committed(
    history: &mut History,
    at: usize,
    partition: i32,
    offset: Option<i64>,
) -> Option<()> {
    let told = What::Committed { partition, offset };
    ask(history, at, What::CommittedAsked, told)
}

/// A watcher is told what another commit has replaced.
fn move_back(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(history, chance, |event| is_commit(event, true))?;
    let What::Commit {
        partition: wanted,
        offset: old,
        ..
    } = history.events[at].what
    else {
        return None;
    };
    let same = |event: &&Event| matches!(event.what, What::Commit { partition, offset, .. } if (partition, offset) == (wanted, old));
    if history.events.iter().filter(same).count() > 1 {
        return None;
    }
    let later = history.events[at..].iter().position(|event| {
        matches!(event.what, What::Commit { partition, offset, is_acknowledged: true } if partition == wanted && offset != old)
    })?;
    ask_committed(history, at + later, wanted, Some(old))
}

/// A record below a committed offset was given to no member.
fn take_back(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(history, chance, |event| is_commit(event, true))?;
    let What::Commit {
        partition: wanted,
        offset: end,
        ..
    } = history.events[at].what
    else {
        return None;
    };
    let missing = chance.below(u64::try_from(end).ok()?) as i64;
    let members = [history.who("m0").ok()?, history.who("m1").ok()?];
    history.events.retain(|event| {
        let is_it = matches!(event.what, What::Read { partition, offset, .. } if (partition, offset) == (wanted, missing));
        !(is_it && members.contains(&event.who))
    });
    Some(())
}

/// A member that has committed begins at the beginning.
fn resume_elsewhere(history: &mut History, chance: &mut Chance) -> Option<()> {
    let at = pick(history, chance, |event| is_commit(event, true))?;
    let Event { who, what, .. } = history.events[at];
    let What::Commit {
        partition: wanted, ..
    } = what
    else {
        return None;
    };
    let start = history.events.iter().find(|event| {
        matches!(event.what, What::Read { partition, offset: 0, .. } if partition == wanted)
    })?;
    let (at_ms, from, read) = (0, None, start.what);
    let partition = wanted;
    let spoiled = [
        What::CommitAsked,
        What::Commit {
            partition: PARTITIONS + 1,
            offset: 0,
            is_acknowledged: false,
        },
        What::Assigned { partition, from },
        read,
    ];
    for what in spoiled {
        history.events.push(Event { at_ms, who, what });
    }
    Some(())
}

fn scale() -> u64 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE");
    scale.ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

#[test]
fn good_histories_are_never_accused() {
    for seed in 0..HISTORIES * scale() {
        let verdict = check(&World::good(seed)).unwrap();
        assert_eq!(verdict.findings(), [], "seed {seed}");
        assert!(verdict.is_good(), "seed {seed}");
    }
}

#[test]
fn a_history_that_is_spoiled_is_accused_of_that() {
    for row in ANOMALIES {
        let mut spoiled = 0;
        for seed in 0..HISTORIES * scale() {
            let mut history = World::good(seed);
            let mut chance = Chance::new(seed);
            if spoil(row.anomaly, &mut history, &mut chance).is_none() {
                continue;
            }
            spoiled += 1;
            let verdict = check(&history).unwrap();
            assert!(
                verdict.count(row.anomaly) > 0,
                "{}: seed {seed}: {:?}",
                row.name,
                verdict.findings()
            );
        }
        assert!(
            spoiled * 3 > HISTORIES,
            "{} was tried {spoiled} times only",
            row.name
        );
    }
}
