//! A run of batches, one behind the other, as a Fetch response or a stored range holds them.

use bytes::Bytes;

use super::{BatchError, RecordBatch, size_of_first};

/// Goes through the batches that lie in `bytes` one behind the other.
#[must_use]
pub const fn iterate(bytes: Bytes) -> Batches {
    Batches {
        bytes,
        is_over: false,
    }
}

/// The batches of a run. It ends before a batch that is cut off, as the last one of a Fetch response may be;
/// [`Batches::remaining`] then says how many bytes were left. Bytes that cannot begin a batch are an error, and the end.
#[derive(Clone, Debug)]
pub struct Batches {
    bytes: Bytes,
    is_over: bool,
}

impl Batches {
    /// The bytes behind the last batch that was given: 0 at the clean end of a run.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match size_of_first(&self.bytes) {
            Ok(Some(size)) if size <= self.bytes.len() => Some(Ok(RecordBatch {
                bytes: self.bytes.split_to(size),
            })),
            Ok(Some(_) | None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }
}
