//! What lies where: each record that is read is compared with what was sent, and each offset holds one record for everybody.

use super::ledger::{Ledger, Outcome, Sent};
use super::slots::Slots;
use super::{Verdict, shown};
use crate::history::anomaly::Anomaly;
use crate::history::event::{History, RecordId, What};

/// Who was said to be at an offset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) read: Option<RecordId>,
    pub(super) acknowledged: Option<RecordId>,
}

/// Every offset that anybody spoke of.
#[derive(Debug)]
pub(super) struct Bindings {
    slots: Slots<Slot>,
}

/// A record as a consumer was given it.
#[derive(Clone, Copy, Debug)]
struct Read {
    at: usize,
    partition: i32,
    offset: i64,
    digest: u32,
    timestamp: i64,
    is_final: bool,
}

impl Bindings {
    pub(super) fn new(ledger: &Ledger) -> Self {
        Self {
            slots: Slots::new(ledger.sent),
        }
    }

    /// Whether anybody knows a record there.
    pub(super) fn is_known(&self, partition: i32, offset: i64) -> bool {
        let slot = self.slots.get(partition, offset);
        slot.read.is_some() || slot.acknowledged.is_some()
    }

    /// Every record that was read, by partition and offset.
    pub(super) fn read(&self) -> impl Iterator<Item = (i32, i64, RecordId)> {
        self.slots
            .iter()
            .filter_map(|(partition, offset, slot)| Some((partition, offset, slot.read?)))
    }

    /// The next event.
    pub(super) fn see(
        &mut self,
        history: &History,
        ledger: &mut Ledger,
        verdict: &mut Verdict,
        at: usize,
        finals: &[bool],
    ) {
        let event = &history.events[at];
        if let What::Ack {
            number,
            partition,
            offset: Some(offset),
        } = event.what
        {
            let id = RecordId {
                producer: event.who,
                number,
            };
            let slot = self.slots.at(partition, offset);
            let before = slot.acknowledged.replace(id);
            one_only(history, verdict, at, (partition, offset), (before, id));
        }
        if let What::Read {
            partition,
            offset,
            record,
            digest,
            timestamp,
        } = event.what
        {
            let read = Read {
                at,
                partition,
                offset,
                digest,
                timestamp,
                is_final: finals[usize::from(event.who.0)],
            };
            let known = record.and_then(|id| Some((id, ledger.get_mut(id)?)));
            let Some((id, sent)) = known else {
                verdict.find(Anomaly::Invented, at, || {
                    let record = record.map_or("an unknown record".to_owned(), |id| shown(history, id));
                    format!("{record} was read at offset {offset} of partition {partition}, and nobody sent it")
                });
                return;
            };
            compare(history, verdict, &read, id, sent);
            let before = self.slots.at(partition, offset).read.replace(id);
            one_only(history, verdict, at, (partition, offset), (before, id));
        }
    }
}

fn one_only(
    history: &History,
    verdict: &mut Verdict,
    at: usize,
    (partition, offset): (i32, i64),
    (before, id): (Option<RecordId>, RecordId),
) {
    if let Some(before) = before.filter(|before| *before != id) {
        verdict.find(Anomaly::InconsistentOffsets, at, || {
            format!(
                "offset {offset} of partition {partition} held {} and then {}",
                shown(history, before),
                shown(history, id)
            )
        });
    }
}

fn compare(history: &History, verdict: &mut Verdict, read: &Read, id: RecordId, sent: &mut Sent) {
    let Read {
        at,
        partition,
        offset,
        ..
    } = *read;
    let record = || shown(history, id);
    if sent.partition != partition {
        let given = sent.partition;
        verdict.find(Anomaly::WrongPartition, at, || {
            format!(
                "{} was sent to partition {given} and read from {partition}",
                record()
            )
        });
    }
    if (sent.digest, sent.timestamp) != (read.digest, read.timestamp) {
        verdict.find(Anomaly::Changed, at, || {
            format!(
                "{} was sent with digest {:08x} and timestamp {} and read at offset {offset} of partition {partition} with {:08x} and {}",
                record(),
                sent.digest,
                sent.timestamp,
                read.digest,
                read.timestamp
            )
        });
    }
    if sent.outcome == Outcome::Failed {
        verdict.find(Anomaly::FailedYetRead, at.max(sent.ended), || {
            format!(
                "{} failed and was read at offset {offset} of partition {partition}",
                record()
            )
        });
    }
    if let Some((first, _)) = sent.read
        && first != offset
    {
        verdict.find(Anomaly::Duplicate, at, || {
            format!(
                "{} lies at offsets {first} and {offset} of partition {partition}",
                record()
            )
        });
    }
    sent.read.get_or_insert((offset, at));
    sent.is_read_where_acknowledged |= sent.acknowledged_at == Some(offset);
    sent.is_in_the_end |= read.is_final;
}
