//! What is sent: batches of random text.

use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::record_batch::{
    BuildError, HEADER_SIZE, RecordBatch, RecordBatchBuilder, RecordContent,
};
use streamhouse_runtime::Chance;

/// What batches are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchShape {
    /// The size of a record's value in bytes.
    pub(super) record_bytes: usize,
    /// The size that a batch may have before compression; it has at least one record.
    pub(super) batch_bytes: usize,
    /// How it is compressed.
    pub(super) compression: Compression,
}

/// The most that a record costs beside its value, in bytes, in batches that fit a request: four varints, of which lengths
/// may have four bytes each, attributes, and a null key.
const RECORD_OVERHEAD: usize = 10;

impl BatchShape {
    /// How many records a batch has.
    pub(super) fn records(&self) -> usize {
        let room = self.batch_bytes.saturating_sub(HEADER_SIZE);
        (room / (self.record_bytes + RECORD_OVERHEAD)).max(1)
    }

    /// The values of a batch: random text, which compresses about as text of four bits a byte does.
    pub(super) fn values(&self, chance: &dyn Chance) -> Vec<Vec<u8>> {
        let value = || {
            let mut value = Vec::with_capacity(self.record_bytes + 8);
            while value.len() < self.record_bytes {
                let drawn = chance.next_u64().to_le_bytes();
                value.extend(drawn.iter().map(|byte| b'a' + (byte & 0x0f)));
            }
            value.truncate(self.record_bytes);
            value
        };
        (0..self.records()).map(|_| value()).collect()
    }

    /// An empty batch of this shape.
    pub(super) const fn builder(&self) -> RecordBatchBuilder {
        RecordBatchBuilder::new(self.compression)
    }
}

/// A batch of these values.
pub(super) fn batch(
    mut builder: RecordBatchBuilder,
    values: &[Vec<u8>],
    now_ms: i64,
) -> Result<RecordBatch, BuildError> {
    for value in values {
        builder.push(&RecordContent {
            timestamp_ms: now_ms,
            value: Some(value),
            ..RecordContent::default()
        })?;
    }
    builder.build()
}

#[cfg(test)]
mod tests;
