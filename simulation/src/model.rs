//! What clients know: the readable model against which every answer of the broker is held.
//!
//! A record carries a number that no other record has. The model knows of each number whether it was refused, and at
//! which offset it was acknowledged or read; of each partition how far it was seen to reach. An answer is compared with
//! what was known when its request was *sent* ([`Floor`]): answers overtake each other on the network.

pub(crate) mod groups;

use std::collections::BTreeMap;

use streamhouse_protocol::ids::TopicPartition;

use crate::executor::ProcessId;
use crate::invariant::{Invariant, Violation};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was sent; nobody knows more.
    Sent,
    /// It was refused for good: it must never be read.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    at: TopicPartition,
    fate: Fate,
    is_idempotent: bool,
    /// Where it was acknowledged or read.
    offset: Option<i64>,
}

/// A record at its offset.
#[derive(Clone, Copy, Debug)]
struct Binding {
    id: u64,
    /// Acknowledged with acks=1 by this life and not yet seen durable: a power cut may take it.
    only_written_by: Option<ProcessId>,
}

/// What is known of a partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    bound: BTreeMap<i64, Binding>,
    /// Behind the last record that was acknowledged for good, and in which life.
    acked_end: i64,
    acked_in: Option<ProcessId>,
    seen_end: i64,
    start: i64,
    /// The newest epoch that anybody was told of.
    epoch: i32,
    /// The largest log start that anybody asked for; none if retention may trim too.
    trim_asked: i64,
    pub(crate) is_retained: bool,
    /// Deletion of its topic was asked for.
    pub(crate) is_deleted: bool,
    /// Counts when its log start and its epoch begin to be uncertain, and when they cease to be: odd while they are.
    setbacks: u64,
    /// How often somebody accepted that its end is gone. What was asked before proves nothing any more.
    losses: u64,
}

/// What was known of a partition when a request was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    acked_end: i64,
    acked_in: Option<ProcessId>,
    seen_end: i64,
    start: i64,
    epoch: i32,
    losses: u64,
    setbacks: u64,
}

/// The corners of a partition in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corners {
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) log_end: i64,
    pub(crate) epoch: i32,
}

/// A record as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadRecord {
    pub(crate) offset: i64,
    pub(crate) id: u64,
}

/// All that clients know of records.
#[derive(Debug, Default)]
pub(crate) struct Model {
    records: Vec<Record>,
    pub(crate) partitions: BTreeMap<TopicPartition, Partition>,
    /// The last life that ended with the power.
    last_power_cut: Option<ProcessId>,
}

fn breach<T>(invariant: Invariant, what: String) -> Result<T, Violation> {
    Err(Violation::new(invariant, what))
}

impl Floor {
    /// How often the end of the partition was lost until then.
    pub(crate) fn losses(self) -> u64 {
        self.losses
    }
}

/// Holds a high watermark against what was acknowledged and seen before.
fn judge_end(
    at: TopicPartition,
    floor: Floor,
    high_watermark: i64,
    life: ProcessId,
) -> Result<(), Violation> {
    if high_watermark < floor.acked_end {
        let is_later_life = floor.acked_in.is_some_and(|acked| acked < life);
        let invariant = if is_later_life {
            Invariant::Acknowledged
        } else {
            Invariant::Visibility
        };
        return breach(
            invariant,
            format!(
                "{at} was acknowledged up to {} (broker {:?}), its high watermark is {high_watermark} (broker {life:?})",
                floor.acked_end, floor.acked_in
            ),
        );
    }
    if high_watermark < floor.seen_end {
        return breach(
            Invariant::Visibility,
            format!(
                "the high watermark of {at} went back from {} to {high_watermark}",
                floor.seen_end
            ),
        );
    }
    Ok(())
}

impl Model {
    /// New records that are about to be sent.
    pub(crate) fn send(&mut self, at: TopicPartition, count: u64, is_idempotent: bool) -> Vec<u64> {
        let first = self.records.len() as u64;
        let record = Record {
            at,
            fate: Fate::Sent,
            is_idempotent,
            offset: None,
        };
        self.records.extend(std::iter::repeat_n(
            record,
            usize::try_from(count).unwrap_or(0),
        ));
        (first..first + count).collect()
    }

    /// The broker said that the records were refused and did not happen.
    pub(crate) fn refused(&mut self, ids: &[u64]) -> Result<(), Violation> {
        for id in ids {
            let record = self.record_mut(*id)?;
            record.fate = Fate::Refused;
            if let Some(offset) = record.offset {
                let at = record.at;
                return breach(
                    Invariant::Acknowledged,
                    format!("record {id} was refused and is at {offset} of {at}"),
                );
            }
        }
        Ok(())
    }

    /// The broker acknowledged records from `base` on; with acks=1 they are only written.
    pub(crate) fn acknowledged(
        &mut self,
        at: TopicPartition,
        base: i64,
        ids: &[u64],
        life: ProcessId,
        is_durable: bool,
    ) -> Result<(), Violation> {
        if !is_durable && self.last_power_cut.is_some_and(|last| life <= last) {
            // It was true when it was said.
            return Ok(());
        }
        for (offset, id) in (base..).zip(ids) {
            let only_written_by = (!is_durable).then_some(life);
            self.bind(at, offset, *id, only_written_by)?;
        }
        if is_durable {
            let end = base + i64::try_from(ids.len()).unwrap_or(0);
            let partition = self.partitions.entry(at).or_default();
            if end > partition.acked_end {
                partition.acked_end = end;
                partition.acked_in = Some(life);
            }
        }
        Ok(())
    }

    fn record_mut(&mut self, id: u64) -> Result<&mut Record, Violation> {
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        let invented = || {
            Violation::new(
                Invariant::SingleBinding,
                format!("record {id} was never sent"),
            )
        };
        self.records.get_mut(place).ok_or_else(invented)
    }

    fn bind(
        &mut self,
        at: TopicPartition,
        offset: i64,
        id: u64,
        only_written_by: Option<ProcessId>,
    ) -> Result<(), Violation> {
        let record = self.record_mut(id)?;
        if record.at != at {
            let home = record.at;
            return breach(
                Invariant::SingleBinding,
                format!("record {id} of {home} is in {at} at {offset}"),
            );
        }
        if record.fate == Fate::Refused {
            return breach(
                Invariant::Acknowledged,
                format!("record {id} was refused and is at {offset} of {at}"),
            );
        }
        let is_idempotent = record.is_idempotent;
        match record.offset.replace(offset) {
            Some(before) if before != offset => {
                let invariant = if is_idempotent {
                    Invariant::Idempotence
                } else {
                    Invariant::SingleBinding
                };
                return breach(
                    invariant,
                    format!("record {id} of {at} is at {before} and at {offset}"),
                );
            }
            Some(_) | None => {}
        }
        let partition = self.partitions.entry(at).or_default();
        let binding = partition.bound.entry(offset).or_insert(Binding {
            id,
            only_written_by,
        });
        if binding.id != id {
            return breach(
                Invariant::SingleBinding,
                format!(
                    "offset {offset} of {at} was record {} and is record {id}",
                    binding.id
                ),
            );
        }
        if only_written_by.is_none() {
            binding.only_written_by = None;
        }
        Ok(())
    }

    /// The power of a life was cut: what was only written may be gone.
    pub(crate) fn power_cut(&mut self, life: ProcessId) {
        self.last_power_cut = Some(life);
        for partition in self.partitions.values_mut() {
            let records = &mut self.records;
            partition.bound.retain(|_, binding| {
                let is_kept = binding.only_written_by.is_none();
                if !is_kept
                    && let Some(record) = usize::try_from(binding.id)
                        .ok()
                        .and_then(|id| records.get_mut(id))
                {
                    record.offset = None;
                }
                is_kept
            });
        }
    }

    /// Somebody accepted that a partition ends at `end` now.
    pub(crate) fn lost(&mut self, at: TopicPartition, end: i64) {
        let partition = self.partitions.entry(at).or_default();
        partition.losses += 1;
        partition.epoch = 0;
        partition.acked_end = partition.acked_end.min(end);
        partition.seen_end = partition.seen_end.min(end);
        partition.start = 0;
        for binding in partition.bound.split_off(&end).values() {
            let place = usize::try_from(binding.id).unwrap_or(usize::MAX);
            if let Some(record) = self.records.get_mut(place) {
                record.offset = None;
            }
        }
    }

    /// The database lost what no record is: the log start and the leader epoch of a partition may go back from now on, or
    /// (called once more) do so no longer.
    pub(crate) fn set_back(&mut self, at: TopicPartition) {
        let partition = self.partitions.entry(at).or_default();
        partition.setbacks += 1;
        partition.start = 0;
        partition.epoch = 0;
    }

    /// Whether log start and epoch cannot have gone back since `floor` was taken.
    fn is_certain(&self, at: TopicPartition, floor: Floor) -> bool {
        let setbacks = self.floor(at).setbacks;
        setbacks == floor.setbacks && setbacks.is_multiple_of(2)
    }

    /// What is known of a partition now.
    pub(crate) fn floor(&self, at: TopicPartition) -> Floor {
        self.partitions
            .get(&at)
            .map_or_else(Floor::default, |partition| Floor {
                acked_end: partition.acked_end,
                acked_in: partition.acked_in,
                seen_end: partition.seen_end,
                start: partition.start,
                epoch: partition.epoch,
                losses: partition.losses,
                setbacks: partition.setbacks,
            })
    }

    /// Holds the corners of an answer against what was known when it was asked for.
    pub(crate) fn corners(
        &mut self,
        at: TopicPartition,
        floor: Floor,
        corners: Corners,
        life: ProcessId,
    ) -> Result<(), Violation> {
        if floor.losses != self.floor(at).losses {
            return Ok(());
        }
        let Corners {
            log_start,
            high_watermark,
            log_end,
            epoch,
        } = corners;
        judge_end(at, floor, high_watermark, life)?;
        let is_certain = self.is_certain(at, floor);
        if log_start < floor.start && is_certain {
            return breach(
                Invariant::Visibility,
                format!(
                    "the log start of {at} went back from {} to {log_start}",
                    floor.start
                ),
            );
        }
        if epoch < floor.epoch && is_certain {
            return breach(
                Invariant::Fencing,
                format!(
                    "the leader epoch of {at} went back from {} to {epoch}",
                    floor.epoch
                ),
            );
        }
        if log_start > high_watermark || high_watermark > log_end {
            return breach(
                Invariant::Visibility,
                format!("{at}: {corners:?} are out of order"),
            );
        }
        let partition = self.partitions.entry(at).or_default();
        if log_start > partition.trim_asked && !partition.is_retained {
            return breach(
                Invariant::Acknowledged,
                format!(
                    "the log start of {at} is {log_start}, nobody asked for more than {}",
                    partition.trim_asked
                ),
            );
        }
        partition.seen_end = partition.seen_end.max(high_watermark);
        if is_certain {
            partition.start = partition.start.max(log_start);
            partition.epoch = partition.epoch.max(epoch);
        }
        Ok(())
    }

    /// Holds records that were read from `from` on against what is known.
    pub(crate) fn read(
        &mut self,
        at: TopicPartition,
        from: i64,
        high_watermark: i64,
        records: &[ReadRecord],
    ) -> Result<(), Violation> {
        for (expected, record) in (from..).zip(records) {
            if record.offset != expected {
                return breach(
                    Invariant::Contiguity,
                    format!(
                        "a read of {at} from {from} gives {} where {expected} is due",
                        record.offset
                    ),
                );
            }
            if record.offset >= high_watermark {
                return breach(
                    Invariant::Visibility,
                    format!(
                        "a read of {at} gives {} above its high watermark {high_watermark}",
                        record.offset
                    ),
                );
            }
            self.bind(at, record.offset, record.id, None)?;
        }
        Ok(())
    }

    /// Somebody is about to ask for a log start.
    pub(crate) fn trim_asked(&mut self, at: TopicPartition, to: i64) {
        let partition = self.partitions.entry(at).or_default();
        partition.trim_asked = partition.trim_asked.max(to);
    }

    /// A trim was acknowledged.
    pub(crate) fn trimmed(
        &mut self,
        at: TopicPartition,
        floor: Floor,
        to: i64,
        log_start: i64,
    ) -> Result<(), Violation> {
        if floor.losses != self.floor(at).losses || !self.is_certain(at, floor) {
            return Ok(());
        }
        if log_start < to.max(floor.start) {
            return breach(
                Invariant::Visibility,
                format!("{at} was trimmed to {to}, its log start is {log_start}"),
            );
        }
        let partition = self.partitions.entry(at).or_default();
        partition.start = partition.start.max(log_start);
        Ok(())
    }

    /// Behind the last record that was acknowledged for good.
    pub(crate) fn acked_end(&self, at: TopicPartition) -> i64 {
        self.floor(at).acked_end
    }

    /// The largest offset that is known to be there.
    pub(crate) fn known_end(&self, at: TopicPartition) -> i64 {
        let floor = self.floor(at);
        floor.acked_end.max(floor.seen_end)
    }
}
