//! Joining: how consecutive batches of a partition become one run, so that metadata grows with runs and producers, never
//! with batches.
//!
//! Law: the state is the same however batches are cut into runs.

use std::collections::BTreeMap;

use streamhouse_protocol::ids::ProducerId;

use crate::append::stored::StoredBatch;
use crate::format::entry::{BATCHES_REMEMBERED, POINT_EVERY_BYTES, Point, Run, RunProducer};

/// What joining remembers of a run beside the run itself.
#[derive(Debug)]
pub(crate) struct RunBuilder {
    /// Where the run's row of each producer is.
    rows: BTreeMap<ProducerId, usize>,
    bytes_since_point: u64,
}

impl RunBuilder {
    /// Begins a run with its first batch.
    pub(crate) fn begin(run: &mut Run, batch: &StoredBatch) -> Self {
        run.crc = batch.crc(0);
        let rows = run.producers.iter().enumerate();
        Self {
            rows: rows.map(|(row, producer)| (producer.id, row)).collect(),
            bytes_since_point: run.bytes,
        }
    }

    /// Whether a batch can join the run: it follows, it carries the same epoch, and its producer has no row of another
    /// epoch or kind there (a row can say only one of each).
    pub(crate) fn joins(&self, run: &Run, batch: &Run) -> bool {
        run.at == batch.at
            && run.next_offset() == batch.base_offset
            && run.append_epoch == batch.append_epoch
            && batch.producers.iter().all(|row| {
                let known = self.rows.get(&row.id).map(|place| &run.producers[*place]);
                known.is_none_or(|known| {
                    known.epoch == row.epoch && known.transactional == row.transactional
                })
            })
    }

    /// Adds a batch that joins. The run then says the same to the state as both did before.
    pub(crate) fn add(&mut self, run: &mut Run, batch: &Run, bytes: &StoredBatch) {
        if self.bytes_since_point >= POINT_EVERY_BYTES {
            self.bytes_since_point = 0;
            run.points.push(Point {
                offset_delta: run.records,
                byte_delta: run.bytes,
                max_timestamp_before: run.max_timestamp,
            });
        }
        self.bytes_since_point += batch.bytes;
        run.crc = bytes.crc(run.crc);
        run.records += batch.records;
        run.batches = run.batches.saturating_add(batch.batches);
        run.bytes += batch.bytes;
        run.max_timestamp = run.max_timestamp.max(batch.max_timestamp);
        for row in &batch.producers {
            match self.rows.get(&row.id) {
                Some(place) => extend(&mut run.producers[*place], row),
                None => {
                    self.rows.insert(row.id, run.producers.len());
                    run.producers.push(row.clone());
                }
            }
        }
    }
}

fn extend(known: &mut RunProducer, row: &RunProducer) {
    known.last_stamp = known.last_stamp.max(row.last_stamp);
    known.last_batches.extend_from_slice(&row.last_batches);
    let surplus = known.last_batches.len().saturating_sub(BATCHES_REMEMBERED);
    known.last_batches.drain(..surplus);
}
