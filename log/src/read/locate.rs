//! Where the batches from an offset on lie. One step under the shard's lock; what it returns stays readable without it:
//! tail bytes are shared, WAL files are pinned by their read, objects are kept through the grace.

use super::gather::Part;
use super::{Isolation, Offsets, PartitionAddress, ReadError};
use crate::Log;
use crate::shard::Inner;
use crate::shard::unrecorded::BatchPlace;
use crate::state::locations::RunLocation;
use streamhouse_protocol::ids::TopicPartition;

/// The batches to read, on one tier.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nothing to read at this offset yet.
    Nothing,
    /// In memory.
    Tail(Part),
    /// In the WAL, consecutive batches of a partition.
    Wal(TopicPartition, Vec<BatchPlace>),
    /// In objects.
    Objects {
        /// Consecutive runs, as many as the budget may need.
        runs: Vec<RunLocation>,
        /// The runs behind them, as far as a reader that goes on is read ahead for.
        after: Vec<RunLocation>,
    },
}

/// How much a read may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Bytes.
    pub(crate) bytes: usize,
    /// The offset behind the last record that may be read.
    pub(crate) end: i64,
    /// Whether the first batch is returned even if it is larger (KIP-74).
    pub(crate) at_least_one: bool,
}

impl Budget {
    /// Whether a batch of `next` bytes may be taken behind `count` batches of `taken` bytes.
    pub(crate) fn takes(&self, taken: usize, next: usize, count: usize) -> bool {
        taken.saturating_add(next) <= self.bytes || (count == 0 && self.at_least_one)
    }
}

/// How far a reader is read ahead for; the cache takes less if it must.
pub(crate) const READ_AHEAD_BYTES: u64 = 4 << 20;
/// Runs of so many objects at most: each is a request of its own.
const RUNS_AHEAD_MAX: usize = 16;
/// Who asks for less looks at single batches and may not go on.
const READ_AHEAD_BUDGET_MIN: usize = 16 << 10;

impl Budget {
    /// How many bytes behind it are read ahead.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        if self.bytes < READ_AHEAD_BUDGET_MIN {
            return 0;
        }
        READ_AHEAD_BYTES
    }
}

impl Log {
    pub(crate) fn locate(
        &self,
        address: PartitionAddress,
        offset: i64,
        isolation: Isolation,
        budget: &mut Budget,
    ) -> Result<(Offsets, Place), ReadError> {
        let inner = self.shard(address.shard)?.lock();
        inner.readable(address.at)?;
        let offsets = inner.offsets(address.at);
        offsets.check(offset)?;
        budget.end = budget.end.min(offsets.readable_end(isolation));
        if offset >= budget.end {
            return Ok((offsets, Place::Nothing));
        }
        Ok((offsets, inner.place(address.at, offset, *budget)))
    }
}

impl Inner {
    fn place(&self, at: TopicPartition, offset: i64, budget: Budget) -> Place {
        let end = budget.end;
        if let Some(partition) = self.partitions.get(&at) {
            if let Some(batches) = partition.tail_from(offset) {
                let mut found = Part::nothing(offset);
                for batch in batches.take_while(|batch| batch.base_offset < end) {
                    if !budget.takes(found.bytes, batch.bytes.len(), found.pieces.len()) {
                        break;
                    }
                    found.bytes += batch.bytes.len();
                    found.next_offset = batch.next_offset;
                    found.pieces.extend(batch.bytes.pieces().cloned());
                }
                return Place::Tail(found);
            }
            if offset >= self.recorded_end(at) {
                let mut taken = 0;
                let mut found = Vec::new();
                for batch in partition.unrecorded.places_from(offset) {
                    let bytes = batch.bytes();
                    if batch.base_offset >= end || !budget.takes(taken, bytes, found.len()) {
                        break;
                    }
                    taken += bytes;
                    found.push(*batch);
                }
                return Place::Wal(at, found);
            }
        }
        let mut taken = 0_u64;
        let mut runs = Vec::new();
        let mut after = Vec::new();
        let mut ahead = 0_u64;
        for run in self.recorded.locations.from_offset(at, offset) {
            if run.base_offset >= end {
                break;
            }
            if taken >= budget.bytes as u64 && !runs.is_empty() {
                if ahead >= budget.ahead_bytes() || after.len() >= RUNS_AHEAD_MAX {
                    break;
                }
                ahead = ahead.saturating_add(run.bytes);
                after.push(run.clone());
                continue;
            }
            // What lies before the wanted batch is not taken.
            let skipped_at_most = if run.base_offset < offset {
                run.around(offset).1
            } else {
                0
            };
            taken = taken.saturating_add(run.bytes - skipped_at_most);
            runs.push(run.clone());
        }
        Place::Objects { runs, after }
    }
}
