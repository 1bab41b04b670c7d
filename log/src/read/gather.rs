//! Fetching the bytes that [`super::locate`] found, tier by tier until the budget is used up. No lock is held.

use bytes::Bytes;
use streamhouse_metadata::store::ObjectId;
use streamhouse_protocol::record_batch::HEADER_SIZE;
use streamhouse_storage::objects;

use super::locate::{Budget, Place};
use super::pieces::{WholeBatches, whole_batches};
use super::{Isolation, Offsets, PartitionAddress, ReadError};
use crate::Log;

/// What a read found.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition's corners when the read began.
    pub offsets: Offsets,
    /// Whole record batches in offset order, as they are sent, in [pieces](super::pieces). The first batch may begin
    /// below the wanted offset. Empty if there is nothing at this offset yet, or nothing that fits the budget.
    pub pieces: Vec<Bytes>,
    /// The offset behind the last batch; the wanted one if there is none.
    pub next_offset: i64,
}

impl Fetched {
    /// Bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The batches one by one; those that lie in several pieces are copied.
    #[must_use]
    pub fn into_batches(self) -> WholeBatches {
        whole_batches(self.pieces)
    }
}

/// What one step of a read found.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) bytes: usize,
    /// The offset behind the last batch; the wanted one if there is none.
    pub(crate) next_offset: i64,
}

impl Part {
    /// No batch, for a reader that wanted `offset`.
    pub(crate) fn nothing(offset: i64) -> Self {
        Self {
            pieces: Vec::new(),
            bytes: 0,
            next_offset: offset,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn extend(&mut self, next: Self) {
        if self.pieces.is_empty() {
            self.pieces = next.pieces;
        } else {
            self.pieces.extend(next.pieces);
        }
        self.bytes += next.bytes;
        self.next_offset = next.next_offset;
    }
}

impl Log {
    /// Reads record batches from `offset` on, as many as fit `bytes_max`, wherever they lie; with `at_least_one` the first
    /// batch is returned whatever its size (KIP-74).
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
        let (offsets, mut found) = self.read_tier(address, offset, isolation, budget).await?;
        // The answer shows these corners: nothing that came later is read.
        budget.end = offsets.readable_end(isolation);
        while !found.is_empty() && found.next_offset < budget.end {
            let Some(left) = budget.left(&found) else {
                break;
            };
            let next = found.next_offset;
            match self.read_tier(address, next, isolation, left).await {
                Ok((_, part)) if !part.is_empty() => found.extend(part),
                // What was found is an answer; who goes on from there hears the error.
                Ok(_) | Err(_) => break,
            }
        }
        Ok(Fetched {
            offsets,
            pieces: found.pieces,
            next_offset: found.next_offset,
        })
    }

    /// Reads from the tier that holds `offset`.
    async fn read_tier(
        &self,
        address: PartitionAddress,
        offset: i64,
        isolation: Isolation,
        budget: Budget,
    ) -> Result<(Offsets, Part), ReadError> {
        // A flush may recycle the WAL file, or a trim drop the run, between locating and reading. Looking again finds the
        // new place; a second failure is a failure of the store.
        let mut last = None;
        for _ in 0..3 {
            let mut budget = budget;
            let (offsets, place) = self.locate(address, offset, isolation, &mut budget)?;
            match self.gather(place, offset, budget).await {
                Ok(part) => return Ok((offsets, part)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ReadError::Storage("nothing was tried".to_owned())))
    }

    async fn gather(&self, place: Place, offset: i64, budget: Budget) -> Result<Part, ReadError> {
        match place {
            Place::Nothing => Ok(Part::nothing(offset)),
            Place::Tail(part) => Ok(part),
            Place::Wal(at, batches) => {
                let next_offset = batches.last().map_or(offset, |batch| batch.next_offset());
                let read = self.wal_batches(at, batches).await;
                let pieces = read.map_err(ReadError::Storage)?;
                Ok(Part {
                    bytes: pieces.iter().map(Bytes::len).sum(),
                    pieces,
                    next_offset,
                })
            }
            Place::Objects { runs, after } => self.read_runs(&runs, &after, offset, budget).await,
        }
    }
}

impl Budget {
    /// What is left of it behind `found`; `None` if not even the smallest batch fits any more.
    pub(crate) fn left(&self, found: &Part) -> Option<Self> {
        let left = Self {
            bytes: self.bytes.saturating_sub(found.bytes),
            end: self.end,
            at_least_one: self.at_least_one && found.is_empty(),
        };
        (left.at_least_one || left.bytes >= HEADER_SIZE).then_some(left)
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
