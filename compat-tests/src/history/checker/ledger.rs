//! What became of every record that was sent: its partition and digest, its outcome, where it was read. Finds writes that
//! were lost, and acknowledgements that contradict each other.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::polls::Polls;
use super::{Verdict, shown};
use crate::history::anomaly::Anomaly;
use crate::history::event::{Fault, History, RecordId, What, Who};

/// How a send ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No answer, or one that says nothing.
    #[default]
    Unknown,
    Acknowledged,
    Failed,
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) partition: i32,
    pub(super) digest: u32,
    pub(super) timestamp: i64,
    pub(super) outcome: Outcome,
    /// Where it was acknowledged, if the client told.
    pub(super) acknowledged_at: Option<i64>,
    /// The event that ended it.
    pub(super) ended: usize,
    /// Where it was read first, and the event of that.
    pub(super) read: Option<(i64, usize)>,
    pub(super) is_read_where_acknowledged: bool,
    pub(super) is_in_the_end: bool,
}

/// Everything that was sent, by producer and number.
#[derive(Debug)]
pub(super) struct Ledger {
    producers: Vec<Vec<Option<Sent>>>,
    pub(super) sent: usize,
}

impl Ledger {
    /// The first walk through a history.
    pub(super) fn of(history: &History, verdict: &mut Verdict) -> Result<Self> {
        let mut ledger = Self {
            producers: vec![Vec::new(); history.clients()],
            sent: 0,
        };
        for (at, event) in history.events.iter().enumerate() {
            let answered = ledger.walk(history, verdict, at);
            answered.with_context(|| format!("line {}: {}", at + 2, history.line(event)))?;
        }
        ledger.check_order_of_acks(history, verdict);
        Ok(ledger)
    }

    fn walk(&mut self, history: &History, verdict: &mut Verdict, at: usize) -> Result<()> {
        let event = &history.events[at];
        let id = |number| RecordId {
            producer: event.who,
            number,
        };
        if let What::Send {
            number,
            partition,
            digest,
            timestamp,
        } = event.what
        {
            let sent = Sent {
                partition,
                digest,
                timestamp,
                outcome: Outcome::Unknown,
                acknowledged_at: None,
                ended: at,
                read: None,
                is_read_where_acknowledged: false,
                is_in_the_end: false,
            };
            return self.add(event.who, number, sent);
        }
        if let What::Ack {
            number,
            partition,
            offset,
        } = event.what
        {
            let sent = self.end_of(id(number), at, Outcome::Acknowledged)?;
            sent.acknowledged_at = offset;
            if sent.partition != partition {
                let given = sent.partition;
                verdict.find(Anomaly::WrongPartition, at, || {
                    let record = shown(history, id(number));
                    format!(
                        "{record} was sent to partition {given} and acknowledged in {partition}"
                    )
                });
            }
        }
        if let What::Failed { number } = event.what {
            self.end_of(id(number), at, Outcome::Failed)?;
        }
        if let What::Unknown { number } = event.what {
            self.end_of(id(number), at, Outcome::Unknown)?;
        }
        Ok(())
    }

    fn add(&mut self, who: Who, number: u32, sent: Sent) -> Result<()> {
        let numbers = &mut self.producers[usize::from(who.0)];
        let index = usize::try_from(number)?;
        // Numbers are counted up, so a hole is a line that is missing.
        ensure!(
            index == numbers.len(),
            "record {number} comes where {} is next",
            numbers.len()
        );
        numbers.push(Some(sent));
        self.sent += 1;
        Ok(())
    }

    fn end_of(&mut self, id: RecordId, at: usize, outcome: Outcome) -> Result<&mut Sent> {
        let sent = self.get_mut(id);
        let sent = sent.context("an answer about a record that was never sent")?;
        ensure!(
            sent.outcome == Outcome::Unknown,
            "a second answer about a record"
        );
        sent.outcome = outcome;
        sent.ended = at;
        Ok(sent)
    }

    /// A record, if it was sent.
    pub(super) fn get(&self, id: RecordId) -> Option<&Sent> {
        let numbers = self.producers.get(usize::from(id.producer.0))?;
        numbers.get(usize::try_from(id.number).ok()?)?.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: RecordId) -> Option<&mut Sent> {
        let numbers = self.producers.get_mut(usize::from(id.producer.0))?;
        numbers.get_mut(usize::try_from(id.number).ok()?)?.as_mut()
    }

    /// Every record, in the order in which its producer sent it.
    fn records(&self) -> impl Iterator<Item = (RecordId, &Sent)> {
        let producers = (0_u16..).zip(&self.producers);
        producers.flat_map(|(producer, numbers)| {
            (0_u32..).zip(numbers).filter_map(move |(number, sent)| {
                let producer = Who(producer);
                Some((RecordId { producer, number }, sent.as_ref()?))
            })
        })
    }

    fn check_order_of_acks(&self, history: &History, verdict: &mut Verdict) {
        let mut last: BTreeMap<(Who, i32), (i64, u32)> = BTreeMap::new();
        for (id, sent) in self.records() {
            let Some(offset) = sent.acknowledged_at else {
                continue;
            };
            let key = (id.producer, sent.partition);
            if let Some((before, number)) = last.get(&key).copied()
                && offset <= before
            {
                verdict.find(Anomaly::NonmonotonicSend, sent.ended, || {
                    format!(
                        "{} was acknowledged at offset {offset} of partition {}, and number {number}, sent before it, at {before}",
                        shown(history, id),
                        sent.partition
                    )
                });
            }
            last.insert(key, (offset, id.number));
        }
    }

    /// What can be said of records when everything was seen.
    pub(super) fn end(&self, history: &History, polls: &Polls, verdict: &mut Verdict) {
        let kills = kills(history);
        for (id, sent) in self.records() {
            let is_acknowledged = sent.outcome == Outcome::Acknowledged;
            let is_known = is_acknowledged || sent.read.is_some();
            if sent.outcome == Outcome::Unknown && sent.is_in_the_end {
                verdict.tally.unknown_but_there += 1;
            }
            if is_acknowledged
                && sent
                    .read
                    .is_some_and(|(_, at)| kills.any_between(at, sent.ended))
            {
                verdict.tally.retried += 1;
            }
            if let (Some(offset), Some((read, at))) = (sent.acknowledged_at, sent.read)
                && !sent.is_read_where_acknowledged
            {
                verdict.find(Anomaly::AckOffsetDiffers, sent.ended.max(at), || {
                    format!(
                        "{} was acknowledged at offset {offset} of partition {} and read at {read}",
                        shown(history, id),
                        sent.partition
                    )
                });
            }
            if !is_known || sent.is_in_the_end {
                continue;
            }
            let Some(end) = polls.whole(sent.partition) else {
                if !verdict.unread.contains(&sent.partition) {
                    verdict.unread.push(sent.partition);
                }
                continue;
            };
            lost(history, verdict, id, sent, end);
        }
    }
}

/// Where the broker was killed, in order.
struct Kills(Vec<usize>);

fn kills(history: &History) -> Kills {
    let events = history.events.iter().enumerate();
    let kills = events.filter(|(_, event)| event.what == What::Fault(Fault::Kill));
    Kills(kills.map(|(at, _)| at).collect())
}

impl Kills {
    fn any_between(&self, from: usize, to: usize) -> bool {
        let next = self.0.partition_point(|at| *at < from);
        self.0.get(next).is_some_and(|at| *at < to)
    }
}

fn lost(history: &History, verdict: &mut Verdict, id: RecordId, sent: &Sent, end: i64) {
    let is_acknowledged = sent.outcome == Outcome::Acknowledged;
    let offset = sent.acknowledged_at.or(sent.read.map(|(offset, _)| offset));
    let is_behind = offset.is_some_and(|offset| offset >= end);
    let anomaly = if is_acknowledged && is_behind {
        Anomaly::Unseen
    } else {
        Anomaly::LostWrite
    };
    let at = match sent.read {
        Some((_, at)) if !is_acknowledged => at,
        Some(_) | None => sent.ended,
    };
    verdict.find(anomaly, at, || {
        let (what, place) = match (is_acknowledged, offset) {
            (true, Some(offset)) => ("acknowledged", format!(" at offset {offset}")),
            (true, None) => ("acknowledged", String::new()),
            (false, offset) => (
                "read",
                offset.map_or_else(String::new, |offset| format!(" at offset {offset}")),
            ),
        };
        format!(
            "{} was {what}{place} of partition {}, which ends at {end} and does not hold it",
            shown(history, id),
            sent.partition
        )
    });
}
