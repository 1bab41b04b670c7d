//! Fetching the bytes that [`super::locate`] found. No lock is held.

use bytes::Bytes;
use streamhouse_metadata::store::ObjectId;
use streamhouse_storage::objects::{self, ObjectClass, ObjectKind};

use super::locate::{Budget, Place};
use super::{Isolation, Offsets, PartitionAddress, ReadError};
use crate::Log;
use crate::state::locations::RunLocation;
use streamhouse_runtime::planted;

/// How much of a run is read at once when a reader wants less: the next fetch most likely goes on behind it.
const RUN_READ_BYTES_MIN: usize = 1 << 20;

/// Bytes of a batch header that say where the batch ends: base offset and length.
const BATCH_PREFIX_BYTES: usize = 12;
/// A whole batch header.
const BATCH_HEADER_BYTES: usize = 61;

/// What a read found.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition's corners at the time of the read.
    pub offsets: Offsets,
    /// Whole record batches in offset order, as they are sent. The first may begin below the wanted offset. Empty if
    /// there is nothing at this offset yet, or nothing that fits the budget.
    pub batches: Vec<Bytes>,
}

impl Fetched {
    /// Bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}

impl Log {
    /// Reads record batches from `offset` on, at most `bytes_max` of them; with `at_least_one` the first batch is
    /// returned whatever its size (KIP-74).
    ///
    /// # Errors
    /// See [`ReadError`]. A store that is out of reach is never answered by an empty read that skips offsets.
    pub async fn read(
        &self,
        address: PartitionAddress,
        offset: i64,
        isolation: Isolation,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Fetched, ReadError> {
        let mut budget = Budget {
            bytes: bytes_max,
            end: i64::MAX,
            at_least_one,
        };
        // A flush may recycle the WAL file, or a trim drop the run, between locating and reading. Looking again finds the
        // new place; a second failure is a failure of the store.
        let mut last = None;
        for _ in 0..3 {
            let (offsets, place) = self.locate(address, offset, isolation, &mut budget)?;
            match self.gather(place, offset, budget).await {
                Ok(batches) => return Ok(Fetched { offsets, batches }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ReadError::Storage("nothing was tried".to_owned())))
    }

    pub(crate) async fn gather(
        &self,
        place: Place,
        offset: i64,
        budget: Budget,
    ) -> Result<Vec<Bytes>, ReadError> {
        match place {
            Place::Nothing => Ok(Vec::new()),
            Place::Tail(batches) => Ok(batches),
            Place::Wal(at, batches) => {
                let read = self.wal_batches(at, batches).await;
                read.map_err(ReadError::Storage)
            }
            Place::Objects(runs) => self.read_runs(&runs, offset, budget).await,
        }
    }

    async fn read_runs(
        &self,
        runs: &[RunLocation],
        offset: i64,
        budget: Budget,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut found: Vec<Bytes> = Vec::new();
        let mut taken = 0;
        if runs.first().is_none_or(|run| run.base_offset > offset) {
            return Err(ReadError::Storage(format!("no run holds offset {offset}")));
        }
        for run in runs {
            if taken > 0 && taken >= budget.bytes {
                break;
            }
            let left = Budget {
                bytes: budget.bytes.saturating_sub(taken),
                end: budget.end,
                at_least_one: budget.at_least_one && found.is_empty(),
            };
            let piece = match self.read_run(run, offset, left).await {
                Err(_) if planted::bug("unreadable_run_skipped") => continue,
                piece => piece?,
            };
            taken += piece.bytes.len();
            if !piece.bytes.is_empty() {
                found.push(piece.bytes);
            }
            if !piece.reached_end {
                break;
            }
        }
        Ok(found)
    }

    /// Whole batches of one run from the one that holds `offset` on.
    pub(crate) async fn read_run(
        &self,
        run: &RunLocation,
        offset: i64,
        budget: Budget,
    ) -> Result<Piece, ReadError> {
        let delta = u64::try_from(offset.saturating_sub(run.base_offset)).unwrap_or(0);
        let skipped = run
            .points
            .partition_point(|point| point.offset_delta <= delta);
        let mut from = skipped
            .checked_sub(1)
            .map_or(0, |index| run.points[index].byte_delta);
        let mut want = budget.bytes.max(RUN_READ_BYTES_MIN) as u64;
        loop {
            let window = self.read_range(run, from, want).await?;
            match cut(&window, offset, budget) {
                Cut::Batches { start, end } => {
                    let reached_end = from + end as u64 == run.bytes;
                    return Ok(Piece {
                        bytes: window.slice(start..end),
                        reached_end,
                    });
                }
                Cut::Nothing => {
                    return Ok(Piece {
                        bytes: Bytes::new(),
                        reached_end: false,
                    });
                }
                // The wanted batch is cut off by the window, or lies behind it: look again from there, at least that far.
                Cut::Further { start, bytes } => {
                    let next = from + start as u64;
                    // Going on with the next run would skip records without a word.
                    if next >= run.bytes {
                        return Err(ReadError::Storage(format!(
                            "an object holds no record batch with offset {offset}, which its manifest names"
                        )));
                    }
                    if next == from && bytes as u64 <= want {
                        return Err(ReadError::Storage(
                            "an object ends inside a record batch".to_owned(),
                        ));
                    }
                    from = next;
                    want = want.max(bytes as u64);
                }
            }
        }
    }

    /// Bytes `from..from + want` of a run, cut at its end.
    pub(crate) async fn read_range(
        &self,
        run: &RunLocation,
        from: u64,
        want: u64,
    ) -> Result<Bytes, ReadError> {
        let to = from.saturating_add(want).min(run.bytes);
        let range = run.first_byte + from..run.first_byte + to;
        let key = object_id(run.object).key(ObjectKind::L0);
        let object_bytes = self.object_bytes(run.object).await?;
        let parts = self
            .cache()
            .read(&key, object_bytes, range, ObjectClass::CatchUpRead)
            .await
            .map_err(|error| ReadError::Storage(error.to_string()))?;
        Ok(join(parts))
    }
}

/// A part of a run.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Whether it goes up to the end of the run, so that a reader may go on with the next one.
    pub(crate) reached_end: bool,
}

enum Cut {
    /// These bytes are whole, wanted batches within the budget.
    Batches { start: usize, end: usize },
    /// The first wanted batch does not fit the budget.
    Nothing,
    /// No whole wanted batch is in the window; one begins at `start` and needs `bytes`.
    Further { start: usize, bytes: usize },
}

/// Finds the whole batches of `window` that end behind `offset` and fit the budget.
fn cut(window: &[u8], offset: i64, budget: Budget) -> Cut {
    let mut at = 0;
    let mut start = None;
    while let Some(header) = window.get(at..at + BATCH_HEADER_BYTES) {
        let size = batch_bytes(header);
        let Some(end) = at.checked_add(size).filter(|end| *end <= window.len()) else {
            return start.map_or(
                Cut::Further {
                    start: at,
                    bytes: size,
                },
                |start| Cut::Batches { start, end: at },
            );
        };
        if first_offset(header) >= budget.end {
            return start.map_or(Cut::Nothing, |start| Cut::Batches { start, end: at });
        }
        if last_offset(header) >= offset {
            let first = *start.get_or_insert(at);
            let fits = end - first <= budget.bytes || (first == at && budget.at_least_one);
            if !fits {
                return if first == at {
                    Cut::Nothing
                } else {
                    Cut::Batches {
                        start: first,
                        end: at,
                    }
                };
            }
        }
        at = end;
    }
    match start {
        Some(start) => Cut::Batches { start, end: at },
        None => Cut::Further {
            start: at,
            bytes: BATCH_HEADER_BYTES,
        },
    }
}

fn batch_bytes(header: &[u8]) -> usize {
    let length = i32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    BATCH_PREFIX_BYTES
        + usize::try_from(length)
            .unwrap_or(0)
            .max(BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES)
}

fn first_offset(header: &[u8]) -> i64 {
    let mut base = [0; 8];
    base.copy_from_slice(&header[0..8]);
    i64::from_be_bytes(base)
}

fn last_offset(header: &[u8]) -> i64 {
    let delta = i32::from_be_bytes([header[23], header[24], header[25], header[26]]);
    first_offset(header).saturating_add(i64::from(delta))
}

/// One contiguous piece of what a cache returned in blocks.
fn join(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => parts.concat().into(),
    }
}

/// The storage room's twin of an object id.
pub(crate) fn object_id(id: ObjectId) -> objects::ObjectId {
    objects::ObjectId {
        incarnation: id.incarnation,
        seq: id.seq,
        attempt: id.attempt,
    }
}
