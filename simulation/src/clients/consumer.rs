//! Consumers: each follows one partition after the other, and notices every record that is missing, doubled or changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt;
use streamhouse_log::read::pieces::whole_batches;
use streamhouse_log::read::{Offsets, ReadError};
use streamhouse_protocol::compression::Limits;
use streamhouse_protocol::ids::{LeaderEpoch, ProducerId, TopicPartition};
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatch, sequence_after};

use super::Sky;
use super::producer::id_of;
use crate::encounters::Encounter;
use crate::executor::ProcessId;
use crate::invariant::{Invariant, Violation};
use crate::model::{Corners, ReadRecord};
use crate::network::Whom;

/// A consumer and where it is.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    places: BTreeMap<TopicPartition, Place>,
}

#[derive(Debug, Default)]
struct Place {
    next: i64,
    /// The epoch of the last batch.
    epoch: Option<LeaderEpoch>,
    /// The sequence that would follow, by producer: what is read is read from the beginning or from there on.
    sequences: BTreeMap<ProducerId, i32>,
    /// How often the end of the partition was lost until then.
    losses: u64,
}

/// What a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Records came; there may be more.
    More,
    /// Everything up to the high watermark was read.
    AtEnd,
    /// There was no answer, or one that says to try again.
    TryAgain,
}

fn corners(offsets: Offsets) -> Corners {
    Corners {
        log_start: offsets.log_start,
        high_watermark: offsets.high_watermark,
        log_end: offsets.log_end,
        epoch: offsets.leader_epoch.0,
    }
}

impl Consumer {
    /// Goes back to the beginning.
    pub(crate) fn rewind(&mut self, at: TopicPartition) {
        self.places.remove(&at);
    }

    /// One Fetch.
    pub(crate) async fn fetch(
        &mut self,
        sky: &Sky,
        at: TopicPartition,
        bytes_max: usize,
    ) -> Progress {
        let floor = sky.model.lock().floor(at);
        let place = self.places.entry(at).or_default();
        if place.losses != floor.losses() {
            // As a consumer that learns of it by the leader epoch (KIP-320).
            *place = Place {
                losses: floor.losses(),
                ..Place::default()
            };
        }
        let from = place.next;
        let read = move |broker: std::sync::Arc<crate::broker::Broker>| {
            async move {
                match broker.read(at, from, bytes_max).await {
                    // Where a log ends is for its leader to say.
                    Err(error @ ReadError::OutOfRange { .. }) => Ok(Err(error)),
                    other => other.map(Ok),
                }
            }
            .boxed()
        };
        let Ok((answer, life)) = sky.ask(Whom::Leader(at), read).await else {
            return Progress::TryAgain;
        };
        let answer = answer.and_then(|answer| answer);
        let model = sky.model.lock();
        if model.floor(at).losses() != floor.losses() {
            return Progress::TryAgain;
        }
        drop(model);
        match answer {
            Ok(fetched) => {
                let offsets = corners(fetched.offsets);
                let judged = sky.model.lock().corners(at, floor, offsets, life);
                sky.world().judge(judged);
                let high_watermark = offsets.high_watermark;
                let taken = self.take(sky, at, from, high_watermark, fetched.pieces);
                sky.world().judge(taken);
                self.progress(sky, at, from, high_watermark)
            }
            Err(error) => {
                let refusal = || format!("broker {} refused a fetch of {at}: {error}", life.0);
                sky.world().tell(refusal);
                self.refused(sky, at, from, error)
            }
        }
    }

    fn progress(&self, sky: &Sky, at: TopicPartition, from: i64, high_watermark: i64) -> Progress {
        let next = self.places.get(&at).map_or(0, |place| place.next);
        if next >= high_watermark {
            return Progress::AtEnd;
        }
        if next == from {
            let what = format!(
                "a read of {at} from {from} is empty, its high watermark is {high_watermark}"
            );
            sky.world().breach(Invariant::Visibility, what);
        }
        Progress::More
    }

    fn refused(&mut self, sky: &Sky, at: TopicPartition, from: i64, error: ReadError) -> Progress {
        match error {
            ReadError::OutOfRange {
                log_start, log_end, ..
            } => {
                if from > log_end {
                    let what = format!("{at} was read up to {from} and ends at {log_end}");
                    sky.world().breach(Invariant::Visibility, what);
                }
                let place = self.places.entry(at).or_default();
                place.next = log_start.max(from.min(log_end));
                place.sequences.clear();
                if from < log_start {
                    place.next = log_start;
                }
                Progress::More
            }
            ReadError::UnknownPartition
            | ReadError::NotLeader
            | ReadError::Stopped(_)
            | ReadError::Storage(_) => {
                let is_damage = error.to_string().contains("is damaged");
                if is_damage && sky.net.has_rot() {
                    sky.world().met(Encounter::ObjectRefused);
                }
                Progress::TryAgain
            }
        }
    }

    /// Takes what was fetched, batch by batch.
    fn take(
        &mut self,
        sky: &Sky,
        at: TopicPartition,
        from: i64,
        high_watermark: i64,
        pieces: Vec<Bytes>,
    ) -> Result<(), Violation> {
        let mut next = from;
        for batch in whole_batches(pieces) {
            let batch = batch.map_err(|error| damaged(at, next, &error.to_string()))?;
            batch
                .verify_crc()
                .map_err(|error| damaged(at, next, &error.to_string()))?;
            if batch.next_offset() <= next {
                let what = format!("a read of {at} from {next} gives a batch below it");
                return Err(Violation::new(Invariant::Contiguity, what));
            }
            let records = unpack(at, &batch)?;
            let wanted: Vec<ReadRecord> = records
                .into_iter()
                .filter(|record| record.offset >= next)
                .collect();
            let count = wanted.len() as u64;
            sky.world().count(|counts| counts.records_read += count);
            sky.world()
                .note(batch.base_offset().unsigned_abs() ^ u64::from(batch.crc()) << 20);
            let mut model = sky.model.lock();
            model.read(at, next, high_watermark, &wanted)?;
            drop(model);
            let place = self.places.entry(at).or_default();
            if batch.base_offset() >= next {
                place.order(at, &batch)?;
            }
            next = batch.next_offset();
            place.next = next;
        }
        Ok(())
    }
}

impl Place {
    /// Epochs do not fall along the offsets, and the sequences of a producer follow each other.
    fn order(&mut self, at: TopicPartition, batch: &RecordBatch) -> Result<(), Violation> {
        let epoch = batch.partition_leader_epoch();
        if self.epoch.is_some_and(|before| epoch < before) {
            let what = format!(
                "{at} has epoch {epoch} at {} behind {:?}",
                batch.base_offset(),
                self.epoch
            );
            return Err(Violation::new(Invariant::Fencing, what));
        }
        self.epoch = Some(epoch);
        let producer = batch.producer_id();
        if !producer.is_some() {
            return Ok(());
        }
        let sequence = batch.base_sequence();
        let follows = sequence_after(batch.last_sequence(), 1);
        match self.sequences.insert(producer, follows) {
            Some(expected) if expected != sequence => {
                let what = format!(
                    "producer {producer} has sequence {sequence} at {} of {at}, {expected} was due",
                    batch.base_offset()
                );
                Err(Violation::new(Invariant::Idempotence, what))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn damaged(at: TopicPartition, offset: i64, why: &str) -> Violation {
    let what = format!("{at} at {offset} is damaged: {why}");
    Violation::new(Invariant::SingleBinding, what)
}

fn unpack(at: TopicPartition, batch: &RecordBatch) -> Result<Vec<ReadRecord>, Violation> {
    let base = batch.base_offset();
    let records = Records::unpack(batch, &Limits::DEFAULT)
        .map_err(|error| damaged(at, base, &error.to_string()))?;
    let mut read = Vec::new();
    for record in &records {
        let record = record.map_err(|error| damaged(at, base, &error.to_string()))?;
        let id = record.value.and_then(id_of);
        let id = id.ok_or_else(|| damaged(at, record.offset, "nobody sent this value"))?;
        read.push(ReadRecord {
            offset: record.offset,
            id,
        });
    }
    Ok(read)
}

/// ListOffsets: only the corners.
pub(crate) async fn look(sky: &Sky, at: TopicPartition) {
    let floor = sky.model.lock().floor(at);
    let look = move |broker: std::sync::Arc<crate::broker::Broker>| {
        async move { broker.offsets(at) }.boxed()
    };
    if let Ok((Ok(offsets), life)) = sky.ask(Whom::Leader(at), look).await {
        judge_corners(sky, at, floor, offsets, life);
    }
}

/// A fetch that waits for more than there is.
pub(crate) async fn park(sky: &Sky, at: TopicPartition) {
    let park = move |broker: std::sync::Arc<crate::broker::Broker>| {
        async move { broker.is_woken(at).await }.boxed()
    };
    if let Ok((Ok(false), _)) = sky.ask(Whom::Leader(at), park).await {
        let what = format!("a fetch of {at} waits on, though there is more to read");
        sky.world().breach(Invariant::Serves, what);
    }
}

fn judge_corners(
    sky: &Sky,
    at: TopicPartition,
    floor: crate::model::Floor,
    offsets: Offsets,
    life: ProcessId,
) {
    let judged = sky.model.lock().corners(at, floor, corners(offsets), life);
    sky.world().note(offsets.high_watermark.unsigned_abs());
    sky.world().judge(judged);
}
