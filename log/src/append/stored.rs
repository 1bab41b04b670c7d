//! A batch as the log holds it while it is in memory.

use bytes::Bytes;

/// The bytes of a batch with its base offset and leader epoch, in one piece or two: a batch that shares the memory of its
/// request has a header of its own and the producer's records behind it.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    front: Bytes,
    rest: Bytes,
}

impl StoredBatch {
    /// `front` and `rest` are the batch, one behind the other; either may be empty.
    pub(crate) fn new(front: Bytes, rest: Bytes) -> Self {
        Self { front, rest }
    }

    /// The size of the batch.
    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.rest.len()
    }

    /// Its bytes, in order; no piece is empty.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        let pieces = [&self.front, &self.rest].into_iter();
        pieces.filter(|piece| !piece.is_empty())
    }

    /// CRC32C of its bytes behind bytes with the sum `crc`.
    pub(crate) fn crc(&self, crc: u32) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(crc, &self.front), &self.rest)
    }
}

impl From<Bytes> for StoredBatch {
    fn from(whole: Bytes) -> Self {
        Self::new(Bytes::new(), whole)
    }
}
