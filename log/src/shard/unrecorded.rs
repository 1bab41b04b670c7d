//! The durable entries of a partition that no manifest names yet: what its next flush takes.
//!
//! Batches are joined to runs as they come, while their bytes are at hand. What stays of a single batch is its place in
//! the WAL, 32 bytes, so that a million of them fit the memory of a small broker, and a flush has little left to compute.
//!
//! Only a flush takes entries out, in order, from the front; so their numbers from the front stay valid while it runs.

use std::collections::VecDeque;
use std::ops::Range;

use streamhouse_protocol::ids::Timestamp;
use streamhouse_storage::wal::{AppendClass, WalLocation, WalPosition};

use super::run_builder::RunBuilder;
use crate::append::stored::StoredBatch;
use crate::format::entry::{Entry, Run};
use crate::format::wal_record::HEAD_BYTES;

/// Room for this many places is kept even if fewer are used.
const PLACES_KEPT: usize = 4096;

/// The WAL by stretches of this many bytes. No run reaches from one into the next, so that a flush that is behind can stop
/// between any two of them, and what they held is recycled before all the rest is uploaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushWindow(u64);

impl FlushWindow {
    /// Windows of `bytes`, at least one.
    pub(crate) fn of(bytes: u64) -> Self {
        Self(bytes.max(1))
    }

    pub(crate) fn bytes(self) -> u64 {
        self.0
    }

    fn holds_both(self, one: WalPosition, other: WalPosition) -> bool {
        one.0 / self.0 == other.0 / self.0
    }

    /// The end of the window behind the one in which `position` lies.
    pub(crate) fn end_of_next(self, position: WalPosition) -> WalPosition {
        WalPosition(
            (position.0 / self.0)
                .saturating_add(2)
                .saturating_mul(self.0),
        )
    }
}

impl Default for FlushWindow {
    /// One window that never ends.
    fn default() -> Self {
        Self(u64::MAX)
    }
}

/// Durable entries that no manifest names, in order.
#[derive(Debug, Default)]
pub(crate) struct Unrecorded {
    window: FlushWindow,
    entries: VecDeque<Joined>,
    /// The places of all batches of all runs among the entries, in order.
    batches: VecDeque<BatchPlace>,
    /// Bytes of these batches.
    bytes: u64,
    /// Joins batches to the last entry, if that is a run that no flush has taken yet.
    open: Option<RunBuilder>,
}

/// An entry, or the run to which consecutive batches were joined.
#[derive(Debug)]
struct Joined {
    entry: Entry,
    /// The stamp of its last record.
    stamp: Timestamp,
    /// Its WAL record; of a run, that of the first batch.
    first: WalLocation,
    /// The position behind its last WAL record.
    wal_end: WalPosition,
}

/// Where a batch lies in the WAL, and what readers ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchPlace {
    position: WalPosition,
    payload_len: u32,
    records: u32,
    pub(crate) base_offset: i64,
    pub(crate) max_timestamp: Timestamp,
}

impl BatchPlace {
    fn new(run: &Run, location: WalLocation) -> Self {
        Self {
            position: location.position,
            payload_len: location.len,
            // One batch counts its records with an i32.
            records: u32::try_from(run.records).unwrap_or(u32::MAX),
            base_offset: run.base_offset,
            max_timestamp: run.max_timestamp,
        }
    }

    /// Its WAL record.
    pub(crate) fn location(&self) -> WalLocation {
        WalLocation {
            position: self.position,
            len: self.payload_len,
        }
    }

    /// The offset behind its last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.records))
    }

    /// Its size, header included.
    pub(crate) fn bytes(&self) -> usize {
        (self.payload_len as usize).saturating_sub(HEAD_BYTES)
    }
}

/// What a flush takes from one partition.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The entries, in order.
    pub(crate) entries: Vec<Entry>,
    /// How many batches the runs among them hold.
    pub(crate) batches: usize,
    /// The stamp of the last entry.
    pub(crate) stamp: Timestamp,
    /// The position behind the last WAL record of them.
    pub(crate) wal_end: WalPosition,
    /// The batches, if memory alone holds them (`shared`). Otherwise they are read from the tail or the WAL.
    pub(crate) in_memory: Vec<StoredBatch>,
}

impl Taken {
    /// How many WAL records it comes from.
    pub(crate) fn wal_records(&self) -> usize {
        let others = self.entries.iter();
        self.batches
            + others
                .filter(|entry| !matches!(entry, Entry::Run(_)))
                .count()
    }

    /// Bytes of all its batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| match entry {
                Entry::Run(run) => run.bytes,
                Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => 0,
            })
            .sum()
    }
}

impl Unrecorded {
    pub(crate) fn in_windows(window: FlushWindow) -> Self {
        Self {
            window,
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a durable entry behind all others; `batch` is given with a run, which is then that one batch.
    pub(crate) fn push(
        &mut self,
        entry: &Entry,
        stamp: Timestamp,
        location: WalLocation,
        batch: Option<&StoredBatch>,
    ) {
        let (Entry::Run(run), Some(batch)) = (entry, batch) else {
            self.open = None;
            return self.begin(entry.clone(), stamp, location);
        };
        self.batches.push_back(BatchPlace::new(run, location));
        self.bytes += run.bytes;
        if let (Some(open), Some(last)) = (&mut self.open, self.entries.back_mut())
            && let Entry::Run(joined) = &mut last.entry
            && self
                .window
                .holds_both(last.first.position, location.position)
            && open.joins(joined, run)
        {
            open.add(joined, run, batch);
            last.stamp = last.stamp.max(stamp);
            last.wal_end = location.end();
            return;
        }
        let mut run = run.clone();
        self.open = Some(RunBuilder::begin(&mut run, batch));
        self.begin(Entry::Run(run), stamp, location);
    }

    fn begin(&mut self, entry: Entry, stamp: Timestamp, location: WalLocation) {
        self.entries.push_back(Joined {
            entry,
            stamp,
            first: location,
            wal_end: location.end(),
        });
    }

    /// Everything there is now, or what lies below a position at which no run is open: the end of a window. It stays until
    /// [`Unrecorded::recorded`]; batches that come later join other runs.
    pub(crate) fn take(&mut self, below: Option<WalPosition>) -> Option<Taken> {
        let (entries, batches) = match below {
            None => (self.entries.len(), self.batches.len()),
            Some(cut) => (
                self.entries
                    .partition_point(|joined| joined.first.position < cut),
                self.batches.partition_point(|batch| batch.position < cut),
            ),
        };
        if entries == self.entries.len() {
            self.open = None;
        }
        let last = self.entries.get(entries.checked_sub(1)?)?;
        Some(Taken {
            stamp: last.stamp,
            wal_end: last.wal_end,
            batches,
            in_memory: Vec::new(),
            entries: self
                .entries
                .range(..entries)
                .map(|joined| joined.entry.clone())
                .collect(),
        })
    }

    /// Forgets the first entries and batches: a manifest names them.
    pub(crate) fn recorded(&mut self, entries: usize, batches: usize) {
        let taken = self.entries.len().min(entries);
        self.entries.drain(..taken);
        let taken = self.batches.len().min(batches);
        let bytes: usize = self.batches.drain(..taken).map(|batch| batch.bytes()).sum();
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        // After a burst of small batches it would keep tens of megabytes for ever.
        if self.batches.capacity() > PLACES_KEPT.max(4 * self.batches.len()) {
            self.batches.shrink_to(2 * self.batches.len());
        }
        if self.entries.is_empty() {
            self.open = None;
        }
    }

    /// The places of some batches, by their number from the front.
    pub(crate) fn places(&self, range: Range<usize>) -> impl Iterator<Item = &BatchPlace> {
        let end = range.end.min(self.batches.len());
        self.batches.range(range.start.min(end)..end)
    }

    /// The places of the batches from the one that holds `offset` on.
    pub(crate) fn places_from(&self, offset: i64) -> impl Iterator<Item = &BatchPlace> {
        let first = self
            .batches
            .partition_point(|batch| batch.next_offset() <= offset);
        self.batches.range(first..)
    }

    /// The runs, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.entries
            .iter()
            .filter_map(|joined| match &joined.entry {
                Entry::Run(run) => Some(run),
                Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => {
                    None
                }
            })
    }

    /// The first WAL position that holds one of these entries.
    pub(crate) fn first_position(&self) -> Option<WalPosition> {
        self.entries.front().map(|joined| joined.first.position)
    }

    /// The WAL records of all entries with their classes, in no order.
    pub(crate) fn records(&self) -> impl Iterator<Item = (WalLocation, AppendClass)> {
        let batches = self
            .batches
            .iter()
            .map(|batch| (batch.location(), AppendClass::Run));
        let others = self
            .entries
            .iter()
            .filter(|joined| !matches!(joined.entry, Entry::Run(_)))
            .map(|joined| (joined.first, AppendClass::Other));
        batches.chain(others)
    }
}

#[cfg(test)]
mod tests;
