//! Reading recorded runs: blocks of objects through the cache, walked header by header, given away where they lie.

use bytes::Bytes;
use streamhouse_protocol::record_batch::HEADER_SIZE;
use streamhouse_runtime::planted;
use streamhouse_storage::objects::{ObjectClass, ObjectKind};

use super::ReadError;
use super::gather::{Part, object_id};
use super::locate::Budget;
use super::pieces::Window;
use crate::Log;
use crate::state::locations::RunLocation;

/// Smaller pieces are copied out of their block: a slice keeps all of it in memory, and only the slice is counted as
/// memory of the answer.
const SLICE_BYTES_MIN: usize = 128 << 10;

/// What was read of one run.
#[derive(Debug)]
pub(crate) struct RunPart {
    pub(crate) part: Part,
    /// The first byte of the run that was not looked at.
    behind: u64,
    /// Whether it goes up to the end of the run, so that a reader may go on with the next one.
    reached_end: bool,
}

impl Log {
    /// Whole batches from the one that holds `offset` on, out of consecutive runs. `after` are the runs behind them.
    ///
    /// Each run lies in another object, and a remote store takes its time for every request: those of all runs are begun
    /// at once.
    pub(crate) async fn read_runs(
        &self,
        runs: &[RunLocation],
        after: &[RunLocation],
        offset: i64,
        budget: Budget,
    ) -> Result<Part, ReadError> {
        if runs.first().is_none_or(|run| run.base_offset > offset) {
            return Err(ReadError::Storage(format!("no run holds offset {offset}")));
        }
        for run in runs.iter().skip(1) {
            self.ask_ahead(run, 0, budget.bytes as u64);
        }
        let mut found = Part::nothing(offset);
        for (number, run) in runs.iter().enumerate() {
            let Some(left) = budget.left(&found) else {
                break;
            };
            let read = match self.read_run(run, found.next_offset, left).await {
                Err(_) if planted::bug("unreadable_run_skipped") => continue,
                // What was found is an answer; who goes on from there hears the error.
                Err(_) if !found.is_empty() => break,
                read => read?,
            };
            let goes_on = read.reached_end;
            found.extend(read.part);
            if !goes_on {
                let behind = runs[number + 1..].iter().chain(after);
                self.read_ahead(run, read.behind, behind, budget.ahead_bytes());
                return Ok(found);
            }
        }
        if let Some((next, behind)) = after.split_first() {
            self.read_ahead(next, 0, behind.iter(), budget.ahead_bytes());
        }
        Ok(found)
    }

    /// Whole batches of one run from the one that holds `offset` on.
    pub(crate) async fn read_run(
        &self,
        run: &RunLocation,
        offset: i64,
        budget: Budget,
    ) -> Result<RunPart, ReadError> {
        let (from, to) = run.around(offset);
        let mut window = Window::default();
        let mut walk = Walk::new(run.bytes - from, offset, budget);
        // The wanted batch begins before `to`, so this much nearly always suffices.
        let mut want = (to - from).saturating_add(budget.bytes as u64);
        loop {
            let start = from + window.bytes() as u64;
            window.extend(
                self.run_bytes(run, start, from.saturating_add(want))
                    .await?,
            );
            match walk.go(&mut window)? {
                Step::Needs(bytes) => want = bytes as u64,
                Step::Done => break,
            }
        }
        let behind = from + walk.end as u64;
        let pieces = window.cut(walk.start, walk.end).into_iter();
        Ok(RunPart {
            part: Part {
                pieces: pieces.map(in_little_memory).collect(),
                bytes: walk.taken(),
                next_offset: walk.next_offset,
            },
            behind,
            reached_end: behind == run.bytes,
        })
    }

    /// Bytes `from..to` of a run, cut at its end, as they lie in the cache.
    async fn run_bytes(
        &self,
        run: &RunLocation,
        from: u64,
        to: u64,
    ) -> Result<Vec<Bytes>, ReadError> {
        let to = to.min(run.bytes);
        let range = run.first_byte + from..run.first_byte + to;
        let key = object_id(run.object).key(ObjectKind::L0);
        self.cache()
            .read(&key, range, ObjectClass::CatchUpRead)
            .await
            .map_err(|error| ReadError::Storage(error.to_string()))
    }

    /// Lets the cache load what the reader wants next: `run` from byte `from` on and the runs behind it, `bytes` in all.
    fn read_ahead<'a>(
        &self,
        run: &RunLocation,
        from: u64,
        behind: impl Iterator<Item = &'a RunLocation>,
        bytes: u64,
    ) {
        self.ask_ahead(run, from, bytes);
        let mut left = bytes.saturating_sub(run.bytes - from);
        for next in behind {
            if left == 0 {
                break;
            }
            self.ask_ahead(next, 0, left);
            left = left.saturating_sub(next.bytes);
        }
    }

    fn ask_ahead(&self, run: &RunLocation, from: u64, bytes: u64) {
        let to = from.saturating_add(bytes).min(run.bytes);
        let key = object_id(run.object).key(ObjectKind::L0);
        let range = run.first_byte + from..run.first_byte + to;
        self.cache()
            .read_ahead(&key, range, ObjectClass::CatchUpRead);
    }
}

fn in_little_memory(piece: Bytes) -> Bytes {
    if piece.len() < SLICE_BYTES_MIN {
        Bytes::copy_from_slice(&piece)
    } else {
        piece
    }
}

impl RunLocation {
    /// Where the batch that holds `offset` begins: at or behind the first of the two bytes, and before the second.
    pub(crate) fn around(&self, offset: i64) -> (u64, u64) {
        let delta = u64::try_from(offset.saturating_sub(self.base_offset)).unwrap_or(0);
        let behind = self
            .points
            .partition_point(|point| point.offset_delta <= delta);
        let byte = |index: usize| self.points.get(index).map(|point| point.byte_delta);
        let from = behind.checked_sub(1).and_then(byte).unwrap_or(0);
        let to = byte(behind).unwrap_or(self.bytes);
        (from.min(self.bytes), to.min(self.bytes))
    }
}

/// What the walk does next.
enum Step {
    /// It goes on when the window has so many bytes.
    Needs(usize),
    Done,
}

/// A walk from batch to batch. Positions count from the beginning of the window.
struct Walk {
    /// Where the run ends.
    run_end: u64,
    offset: i64,
    budget: Budget,
    /// The wanted batches: `start..end`. While there are none, both are where the walk stands.
    start: usize,
    end: usize,
    next_offset: i64,
}

impl Walk {
    fn new(run_end: u64, offset: i64, budget: Budget) -> Self {
        Self {
            run_end,
            offset,
            budget,
            start: 0,
            end: 0,
            next_offset: offset,
        }
    }

    fn taken(&self) -> usize {
        self.end - self.start
    }

    /// Goes as far as the window allows.
    fn go(&mut self, window: &mut Window) -> Result<Step, ReadError> {
        loop {
            let is_first = self.taken() == 0;
            if self.end as u64 == self.run_end && !is_first || !self.has_room() {
                return Ok(Step::Done);
            }
            if self.end as u64 + HEADER_SIZE as u64 > self.run_end {
                // Going on with the next run would skip records without a word.
                return self.damaged("it ends before that batch");
            }
            let header = match window.header_at(self.end) {
                None => return Ok(Step::Needs(self.end + HEADER_SIZE)),
                Some(Err(error)) => return self.damaged(&error.to_string()),
                Some(Ok(header)) => header,
            };
            if header.base_offset() >= self.budget.end {
                return Ok(Step::Done);
            }
            let size = header.size_bytes();
            let end = self.end.saturating_add(size);
            if end as u64 > self.run_end {
                return self.damaged("it ends inside a record batch");
            }
            if is_first && header.last_offset() < self.offset {
                (self.start, self.end) = (end, end);
                continue;
            }
            if !self
                .budget
                .takes(self.taken(), size, usize::from(!is_first))
            {
                return Ok(Step::Done);
            }
            if end > window.bytes() {
                return Ok(Step::Needs(end));
            }
            self.end = end;
            self.next_offset = self.next_offset.max(header.next_offset());
        }
    }

    /// Whether the smallest batch could still be taken.
    fn has_room(&self) -> bool {
        self.budget
            .takes(self.taken(), HEADER_SIZE, usize::from(self.taken() > 0))
    }

    /// Behind wanted batches, damage is for the next read to meet.
    fn damaged(&self, what: &str) -> Result<Step, ReadError> {
        if self.taken() > 0 {
            return Ok(Step::Done);
        }
        Err(ReadError::Storage(format!(
            "an object holds no record batch with offset {}, which its manifest names: {what}",
            self.offset
        )))
    }
}

#[cfg(test)]
mod tests;
