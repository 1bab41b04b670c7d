//! Finding offsets by time (ListOffsets): by record, not by batch, as Kafka does.
//!
//! Batches and runs know their largest timestamp only, and those need not grow. The first batch whose largest timestamp
//! is at least the wanted one holds the answer; the record in it is found by decoding that one batch.

use streamhouse_protocol::compression::Limits;
use streamhouse_protocol::ids::{Timestamp, TopicPartition};
use streamhouse_protocol::record::{RecordError, Records};
use streamhouse_protocol::record_batch::RecordBatch;

use super::locate::Budget;
use super::pieces::{WholeBatches, whole_batches};
use super::{Isolation, PartitionAddress, ReadError};
use crate::Log;
use crate::format::entry::Run;
use crate::shard::Inner;
use crate::state::locations::RunLocation;

/// A record found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// Where the wanted batch lies.
enum Candidate {
    /// A batch that begins at this offset, in memory or in the WAL.
    Batch(i64),
    /// Somewhere in a run: the first batch in it that reaches the time.
    Run(RunLocation),
}

impl Log {
    /// The first record with a timestamp of at least `wanted` that a reader may see; `None` if there is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn first_at_or_after(
        &self,
        address: PartitionAddress,
        wanted: Timestamp,
        isolation: Isolation,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let mut from = 0;
        loop {
            let (candidate, log_start, end) = {
                let inner = self.shard(address.shard)?.lock();
                inner.readable(address.at)?;
                let offsets = inner.offsets(address.at);
                from = offsets.log_start.max(from);
                let candidate = inner.candidate(address.at, from, wanted);
                (
                    candidate,
                    offsets.log_start,
                    offsets.readable_end(isolation),
                )
            };
            let Some((candidate, behind)) = candidate else {
                return Ok(None);
            };
            let pick = |batch: &RecordBatch| first_record(batch, wanted, log_start);
            match self.search(address, candidate, pick).await {
                Ok(Some(found)) => return Ok((found.offset < end).then_some(found)),
                Ok(None) => from = behind,
                // A trim was faster.
                Err(ReadError::OutOfRange { log_start, .. }) if log_start > from => {
                    from = log_start
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The first record with the largest timestamp of the partition; `None` if it is empty.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn max_timestamp(
        &self,
        address: PartitionAddress,
        isolation: Isolation,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let (whole, cut) = {
            let inner = self.shard(address.shard)?.lock();
            inner.readable(address.at)?;
            (
                inner.max_timestamp(address.at),
                inner.cut_by_log_start(address.at),
            )
        };
        let mut best = match cut {
            Some((log_start, end)) => self.max_between(address, log_start, end).await?,
            None => None,
        };
        if let Some(whole) = whole
            && best.is_none_or(|best| best.timestamp < whole)
        {
            best = self.first_at_or_after(address, whole, isolation).await?;
        }
        Ok(best)
    }

    /// The first record with the largest timestamp of the records `from..end`, which are looked at one by one.
    async fn max_between(
        &self,
        address: PartitionAddress,
        from: i64,
        end: i64,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let mut best: Option<TimedOffset> = None;
        let mut offset = from;
        while offset < end {
            let fetched = self
                .read(address, offset, Isolation::ReadUncommitted, 1 << 20, true)
                .await?;
            if fetched.pieces.is_empty() {
                break;
            }
            for batch in fetched.into_batches() {
                let batch = batch.map_err(|error| ReadError::Storage(error.to_string()))?;
                offset = batch.next_offset();
                for record in &Records::unpack(&batch, &Limits::DEFAULT).map_err(damaged)? {
                    let record = record.map_err(damaged)?;
                    let is_in = (from..end).contains(&record.offset);
                    if is_in && best.is_none_or(|best| best.timestamp < record.timestamp) {
                        best = Some(TimedOffset {
                            offset: record.offset,
                            timestamp: record.timestamp,
                        });
                    }
                }
            }
        }
        Ok(best)
    }

    /// The record that `pick` finds first in the candidate's batches.
    async fn search(
        &self,
        address: PartitionAddress,
        candidate: Candidate,
        pick: impl Fn(&RecordBatch) -> Result<Option<TimedOffset>, RecordError>,
    ) -> Result<Option<TimedOffset>, ReadError> {
        match candidate {
            Candidate::Batch(base_offset) => {
                let fetched = self
                    .read(address, base_offset, Isolation::ReadUncommitted, 1, true)
                    .await?;
                first_of(fetched.into_batches(), &pick)
            }
            Candidate::Run(run) => {
                let mut offset = run.base_offset;
                while offset < run.next_offset {
                    let budget = Budget {
                        bytes: 1 << 20,
                        end: i64::MAX,
                        at_least_one: true,
                    };
                    let read = self.read_run(&run, offset, budget).await?;
                    let mut last = offset;
                    for batch in whole_batches(read.part.pieces) {
                        let batch = batch.map_err(|error| ReadError::Storage(error.to_string()))?;
                        last = batch.next_offset();
                        if let Some(found) = pick(&batch).map_err(damaged)? {
                            return Ok(Some(found));
                        }
                    }
                    if last <= offset {
                        return Err(ReadError::Storage(
                            "a run ends before its last offset".to_owned(),
                        ));
                    }
                    offset = last;
                }
                Ok(None)
            }
        }
    }
}

fn first_of(
    batches: WholeBatches,
    pick: &impl Fn(&RecordBatch) -> Result<Option<TimedOffset>, RecordError>,
) -> Result<Option<TimedOffset>, ReadError> {
    for batch in batches {
        let batch = batch.map_err(|error| ReadError::Storage(error.to_string()))?;
        if let Some(found) = pick(&batch).map_err(damaged)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first record of a batch with a timestamp of at least `wanted`. Records below the log start are gone although
/// their batch may still be there.
fn first_record(
    batch: &RecordBatch,
    wanted: Timestamp,
    log_start: i64,
) -> Result<Option<TimedOffset>, RecordError> {
    if batch.max_timestamp() < wanted || batch.next_offset() <= log_start {
        return Ok(None);
    }
    if batch.base_offset() >= log_start {
        let found = batch.first_record_at_or_after(wanted, &Limits::DEFAULT)?;
        return Ok(found.map(|found| TimedOffset {
            offset: found.offset,
            timestamp: found.timestamp,
        }));
    }
    for record in &Records::unpack(batch, &Limits::DEFAULT)? {
        let record = record?;
        if record.offset >= log_start && record.timestamp >= wanted {
            return Ok(Some(TimedOffset {
                offset: record.offset,
                timestamp: record.timestamp,
            }));
        }
    }
    Ok(None)
}

fn damaged(error: RecordError) -> ReadError {
    ReadError::Storage(error.to_string())
}

impl Inner {
    /// The first run or batch from the one that holds `from` on whose largest timestamp is at least `wanted`, and the
    /// offset behind it.
    fn candidate(
        &self,
        at: TopicPartition,
        from: i64,
        wanted: Timestamp,
    ) -> Option<(Candidate, i64)> {
        let mut recorded = self.recorded.locations.from_offset(at, from);
        if let Some(run) = recorded.find(|run| run.max_timestamp >= wanted) {
            return Some((Candidate::Run(run.clone()), run.next_offset));
        }
        let unrecorded = &self.partitions.get(&at)?.unrecorded;
        // A whole run that is too old is passed over at once.
        let reaches = |run: &&Run| run.next_offset() > from && run.max_timestamp >= wanted;
        let run = unrecorded.runs().find(reaches)?;
        let mut batches = unrecorded.places_from(run.base_offset.max(from));
        let batch = batches.find(|batch| batch.max_timestamp >= wanted)?;
        let first = batch.base_offset.max(from);
        Some((Candidate::Batch(first), batch.next_offset()))
    }

    /// The largest timestamp of the runs and batches that lie wholly behind the log start.
    fn max_timestamp(&self, at: TopicPartition) -> Option<Timestamp> {
        let log_start = self.log_start(at);
        let runs = self.recorded.locations.runs(at).into_iter().flatten();
        let recorded = runs
            .filter(|run| run.base_offset >= log_start)
            .map(|run| run.max_timestamp);
        let whole = |run: &&Run| run.base_offset >= log_start;
        let unrecorded = self
            .partitions
            .get(&at)
            .map(|partition| &partition.unrecorded);
        let live = unrecorded.and_then(|unrecorded| {
            let runs = unrecorded.runs().filter(whole).map(|run| run.max_timestamp);
            let cut = unrecorded
                .runs()
                .find(|run| !whole(run) && run.next_offset() > log_start);
            let of_cut = cut.into_iter().flat_map(|run| {
                let batches = unrecorded.places_from(log_start);
                let batches = batches.take_while(|batch| batch.base_offset < run.next_offset());
                let batches = batches.filter(|batch| batch.base_offset >= log_start);
                batches.map(|batch| batch.max_timestamp)
            });
            runs.chain(of_cut).max()
        });
        recorded.chain(live).max()
    }

    /// The log start and the end of the run or batch that it cuts in two: its largest timestamp may be gone.
    fn cut_by_log_start(&self, at: TopicPartition) -> Option<(i64, i64)> {
        let log_start = self.log_start(at);
        let recorded = self.recorded.locations.from_offset(at, log_start).next();
        let (base, end) = match recorded {
            Some(run) => (run.base_offset, run.next_offset),
            None => {
                let partition = self.partitions.get(&at)?;
                let batch = partition.unrecorded.places_from(log_start).next()?;
                (batch.base_offset, batch.next_offset())
            }
        };
        (base < log_start && log_start < end).then_some((log_start, end))
    }
}
