//! Record batches in pieces: slices of the memory in which they were found, in order, so that a fetch sends them without
//! a copy.
//!
//! Pieces are cut where one piece of memory ends, not where a batch ends: a batch that lies in two blocks of an object is
//! the end of one piece and the beginning of the next. All pieces together are whole batches.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use streamhouse_protocol::record_batch::{BatchError, BatchHeader, HEADER_SIZE, RecordBatch};

/// The batches that lie in `pieces`, one behind the other. A batch is copied only if it lies in several pieces. A batch
/// that is cut off is an error, and the end.
#[must_use]
pub fn whole_batches(pieces: Vec<Bytes>) -> WholeBatches {
    WholeBatches {
        pieces: pieces.into(),
    }
}

/// The batches of some pieces.
#[derive(Clone, Debug)]
pub struct WholeBatches {
    pieces: VecDeque<Bytes>,
}

impl Iterator for WholeBatches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.pieces.pop_front_if(|piece| piece.is_empty()).is_some() {}
        if self.pieces.is_empty() {
            return None;
        }
        let batch = self.take_batch();
        if batch.is_err() {
            self.pieces.clear();
        }
        Some(batch)
    }
}

impl WholeBatches {
    fn take_batch(&mut self) -> Result<RecordBatch, BatchError> {
        let header = BatchHeader::parse(&copy(self.pieces.iter(), 0, HEADER_SIZE))?;
        RecordBatch::parse(self.take(header.size_bytes()))
    }

    /// The next `bytes`, or all there are.
    fn take(&mut self, bytes: usize) -> Bytes {
        if let Some(front) = self.pieces.front_mut()
            && front.len() >= bytes
        {
            return front.split_to(bytes);
        }
        let mut joined = BytesMut::new();
        while let Some(front) = self.pieces.front_mut()
            && joined.len() < bytes
        {
            let part = front.split_to(front.len().min(bytes - joined.len()));
            joined.extend_from_slice(&part);
            self.pieces.pop_front_if(|piece| piece.is_empty());
        }
        joined.freeze()
    }
}

/// Up to `bytes` bytes, from `skipped` on.
fn copy<'a>(pieces: impl Iterator<Item = &'a Bytes>, mut skipped: usize, bytes: usize) -> Vec<u8> {
    let mut copied = Vec::with_capacity(bytes.min(HEADER_SIZE));
    for piece in pieces {
        let from = skipped.min(piece.len());
        skipped -= from;
        let left = bytes - copied.len();
        if left == 0 {
            break;
        }
        copied.extend_from_slice(&piece[from..piece.len().min(from.saturating_add(left))]);
    }
    copied
}

/// Bytes that follow each other, in the pieces in which they came. It is walked forwards.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The piece in which the last header began, and where that piece begins.
    current: usize,
    current_start: usize,
}

impl Window {
    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what follows.
    pub(crate) fn extend(&mut self, pieces: Vec<Bytes>) {
        self.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        self.pieces.extend(pieces);
    }

    /// The header of the batch at `position`, which is not before that of the call before; `None` if the header goes on
    /// behind the window.
    pub(crate) fn header_at(&mut self, position: usize) -> Option<Result<BatchHeader, BatchError>> {
        if position.checked_add(HEADER_SIZE)? > self.bytes {
            return None;
        }
        while let Some(piece) = self.pieces.get(self.current)
            && position - self.current_start >= piece.len()
        {
            self.current_start += piece.len();
            self.current += 1;
        }
        let within = position - self.current_start;
        let piece = self.pieces.get(self.current)?;
        if piece.len() - within >= HEADER_SIZE {
            return Some(BatchHeader::parse(&piece[within..]));
        }
        let pieces = self.pieces[self.current..].iter();
        Some(BatchHeader::parse(&copy(pieces, within, HEADER_SIZE)))
    }

    /// The bytes `start..end`, which lie in the window, where they are.
    pub(crate) fn cut(self, start: usize, end: usize) -> Vec<Bytes> {
        let mut at = 0;
        let mut found = Vec::with_capacity(self.pieces.len());
        for piece in self.pieces {
            let (from, to) = (start.max(at), end.min(at + piece.len()));
            if from < to {
                found.push(piece.slice(from - at..to - at));
            }
            at += piece.len();
        }
        found
    }
}

#[cfg(test)]
mod tests;
