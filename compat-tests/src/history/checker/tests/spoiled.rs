//! Good histories are never accused, and the same histories spoiled in one place are accused of that.

use super::super::check;
use super::good::{PARTITIONS, World};
use crate::history::anomaly::{ANOMALIES, Anomaly};
use crate::history::chance::Chance;
use crate::history::event::{Event, History, RecordId, What, Who};

/// Good histories, and spoiled ones of each kind, at a scale of 1.
const HISTORIES: u64 = 60;

/// Spoils a history in the way of an anomaly; `None` where this one has no place for it.
fn spoil(anomaly: Anomaly, history: &mut History, chance: &mut Chance) -> Option<()> {
    match anomaly {
        Anomaly::LostWrite => lose(history, chance),
        Anomaly::Unseen => cut_end(history, chance),
        Anomaly::Duplicate => double(history, chance),
        Anomaly::Reordered => swap_reads(history, chance),
        Anomaly::InconsistentOffsets => rebind(history, chance),
        Anomaly::NonmonotonicSend => swap_acks(history, chance),
        Anomaly::NonmonotonicPoll => {
            let at = pick(history, chance, is_read)?;
            let again = history.events[at];
            history.events.insert(at + 1, again);
            Some(())
        }
        Anomaly::PollSkip => skip(history, chance),
        Anomaly::OffsetGap => gap(history, chance),
        Anomaly::HighWatermarkRegress | Anomaly::AckBeyondEnd | Anomaly::ReadBeyondEnd => {
            tell_less(anomaly, history, chance)
        }
        Anomaly::CommittedMovedBack => move_back(history, chance),
        Anomaly::CommittedLost => {
            let at = pick(history, chance, |event| is_commit(event, true))?;
            let What::Commit { partition, .. } = history.events[at].what else {
                return None;
            };
            ask_committed(history, at, partition, None)
        }
        Anomaly::CommittedUndelivered => take_back(history, chance),
        Anomaly::ResumedElsewhere => resume_elsewhere(history, chance),
        Anomaly::Changed
        | Anomaly::Invented
        | Anomaly::WrongPartition
        | Anomaly::FailedYetRead
        | Anomaly::AckOffsetDiffers
        | Anomaly::LogStartMoved
        | Anomaly::CommittedInvented => alter(history, chance, |what| twist(anomaly, what)),
    }
}

/// One event says another thing.
fn twist(anomaly: Anomaly, what: &mut What) {
    let before = *what;
    if let (Anomaly::Changed, What::Read { digest, .. }) = (anomaly, &mut *what) {
        *digest ^= 1;
    }
    if let (
        Anomaly::Invented,
        What::Read {
            record: Some(id), ..
        },
    ) = (anomaly, &mut *what)
    {
        id.number += 1_000_000;
    }
    if let (Anomaly::WrongPartition, What::Ack { partition, .. }) = (anomaly, &mut *what) {
        *partition += 1;
    }
    if let (Anomaly::FailedYetRead, What::Ack { number, .. }) = (anomaly, before) {
        *what = What::Failed { number };
    }
    if let (
        Anomaly::AckOffsetDiffers,
        What::Ack {
            offset: Some(offset),
            ..
        },
    ) = (anomaly, &mut *what)
    {
        *offset += 1;
    }
    if let (Anomaly::LogStartMoved, What::Ends { start, .. }) = (anomaly, &mut *what) {
        *start = 1;
    }
    if let (Anomaly::CommittedInvented, What::Committed { offset, .. }) = (anomaly, what) {
        *offset = Some(1_000_000);
    }
}

/// A watcher is told an end that is too low for what was told, acknowledged or read.
fn tell_less(anomaly: Anomaly, history: &mut History, chance: &mut Chance) -> Option<()> {
    let known = |event: &Event| {
        if let (Anomaly::HighWatermarkRegress, What::Ends { partition, end, .. }) =
            (anomaly, event.what)
        {
            return (end > 0).then_some((partition, end - 1));
        }
        if let (
            Anomaly::AckBeyondEnd,
            What::Ack {
                partition, offset, ..
            },
        ) = (anomaly, event.what)
        {
            return Some((partition, offset?));
        }
        if let (
            Anomaly::ReadBeyondEnd,
            What::Read {
                partition, offset, ..
            },
        ) = (anomaly, event.what)
        {
            return Some((partition, offset));
        }
        None
    };
    let at = pick(history, chance, |event| known(event).is_some())?;
    let (partition, end) = known(&history.events[at])?;
    ask_ends(history, at, partition, end)
}

fn is_read(event: &Event) -> bool {
    matches!(event.what, What::Read { .. })
}

/// Where a record was read.
fn place(event: &Event) -> Option<(i32, i64)> {
    let What::Read {
        partition, offset, ..
    } = event.what
    else {
        return None;
    };
    Some((partition, offset))
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
    let is_told = |event: &Event| {
        if let What::Ack { number, .. } = event.what {
            return reads_of(history, event.who, number).next().is_some();
        }
        true
    };
    let at = pick(history, chance, |event| alters(event) && is_told(event))?;
    how(&mut history.events[at].what);
    Some(())
}

fn reads_of(history: &History, producer: Who, number: u32) -> impl Iterator<Item = usize> {
    let wanted = Some(RecordId { producer, number });
    let events = history.events.iter().enumerate();
    events.filter_map(move |(at, event)| {
        let is_it = matches!(event.what, What::Read { record, .. } if record == wanted);
        is_it.then_some(at)
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
    let (first, second) = two_of_one(history, chance, |event| {
        let What::Read {
            record: Some(id),
            partition,
            offset,
            ..
        } = event.what
        else {
            return None;
        };
        Some((id.producer, partition, offset))
    })?;
    let (partition, offset) = place(&history.events[first])?;
    let places = [offset, place(&history.events[second])?.1];
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
    let (first, second) = two_of_one(history, chance, |event| {
        let What::Ack {
            partition,
            offset: Some(offset),
            ..
        } = event.what
        else {
            return None;
        };
        Some((event.who, partition, offset))
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
    let place = |event: &Event| place(event).filter(|_| event.who == name);
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
