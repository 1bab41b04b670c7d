//! What Kafka demands of a batch that a producer sends, as far as the batch alone can tell.
//!
//! Not here: `max.message.bytes`, timestamps, null keys on compacted topics (they depend on the topic), sequence
//! numbers and epochs (they depend on the producer's state), zstd before Produce version 7 (it depends on the request).

use bytes::Bytes;

use super::{BatchError, CrcError, RecordBatch, TimestampType};

/// Why a produced batch is refused. Nothing was appended. The order of the variants is the order of the checks, which
/// is Kafka's (`UnifiedLog.analyzeAndValidateRecords`, then `LogValidator.validateBatch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducedBatchError {
    /// The bytes are not exactly one batch of magic 2 (the code stands at each variant of [`BatchError`]).
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The producer set a base offset (INVALID_RECORD).
    #[error("the base offset of a produced batch must be 0, not {base_offset}")]
    BaseOffset {
        /// The base offset in the header.
        base_offset: i64,
    },
    /// The bytes changed on the way (CORRUPT_MESSAGE: the producer tries again).
    #[error(transparent)]
    Crc(#[from] CrcError),
    /// There is no record in it (INVALID_RECORD).
    #[error("a produced batch must hold at least one record, not {records_count}")]
    RecordsCount {
        /// The records count in the header.
        records_count: i32,
    },
    /// The offsets do not match the records (INVALID_RECORD).
    #[error("a batch of {records_count} records has the last offset delta {last_offset_delta}")]
    LastOffsetDelta {
        /// The last offset delta in the header.
        last_offset_delta: i32,
        /// The records count in the header.
        records_count: i32,
    },
    /// Only the broker writes control batches (INVALID_RECORD).
    #[error("clients may not write control batches")]
    Control,
    /// A producer id needs a sequence number (INVALID_RECORD).
    #[error("a batch of a producer with an id has the sequence number {base_sequence}")]
    Sequence {
        /// The base sequence in the header.
        base_sequence: i32,
    },
    /// A producer id needs an epoch (INVALID_RECORD). Kafka lets this pass; the state of the producer would then know
    /// no epoch to compare with.
    #[error("a batch of a producer with an id has the producer epoch {producer_epoch}")]
    ProducerEpoch {
        /// The producer epoch in the header.
        producer_epoch: i16,
    },
    /// A transactional batch needs a producer id (INVALID_RECORD). Kafka lets this pass; nobody could end the
    /// transaction.
    #[error("a transactional batch has no producer id")]
    TransactionWithoutProducer,
    /// The compression does not exist (INVALID_RECORD; Kafka answers UNKNOWN_SERVER_ERROR, which is fatal to clients).
    #[error("compression type {id} does not exist")]
    Compression {
        /// Bits 0 to 2 of the attributes.
        id: u8,
    },
    /// Only the broker sets LogAppendTime, whatever the topic's timestamp type (INVALID_TIMESTAMP).
    #[error("producers may not set the timestamp type to LogAppendTime")]
    TimestampType,
}

impl RecordBatch {
    /// Takes the records of one partition of a Produce request: [`RecordBatch::parse`], then
    /// [`RecordBatch::validate_produced`].
    pub fn from_producer(bytes: Bytes) -> Result<Self, ProducedBatchError> {
        let batch = Self::parse(bytes)?;
        batch.validate_produced()?;
        Ok(batch)
    }

    /// Checks the rules that hold for every produced batch, including its CRC. The records are not opened.
    pub fn validate_produced(&self) -> Result<(), ProducedBatchError> {
        let base_offset = self.base_offset();
        if base_offset != 0 {
            return Err(ProducedBatchError::BaseOffset { base_offset });
        }
        self.verify_crc()?;
        self.validate_count()?;
        self.validate_producer()?;
        let attributes = self.attributes();
        if attributes.compression().is_none() {
            return Err(ProducedBatchError::Compression {
                id: attributes.compression_id(),
            });
        }
        match attributes.timestamp_type() {
            TimestampType::CreateTime => Ok(()),
            TimestampType::LogAppendTime => Err(ProducedBatchError::TimestampType),
        }
    }

    fn validate_count(&self) -> Result<(), ProducedBatchError> {
        let (records_count, last_offset_delta) = (self.records_count(), self.last_offset_delta());
        if records_count <= 0 {
            return Err(ProducedBatchError::RecordsCount { records_count });
        }
        if last_offset_delta != records_count - 1 {
            return Err(ProducedBatchError::LastOffsetDelta {
                last_offset_delta,
                records_count,
            });
        }
        Ok(())
    }

    fn validate_producer(&self) -> Result<(), ProducedBatchError> {
        let attributes = self.attributes();
        if attributes.is_control() {
            return Err(ProducedBatchError::Control);
        }
        if !self.producer_id().is_some() {
            return if attributes.is_transactional() {
                Err(ProducedBatchError::TransactionWithoutProducer)
            } else {
                Ok(())
            };
        }
        let (base_sequence, producer_epoch) = (self.base_sequence(), self.producer_epoch().0);
        if base_sequence < 0 {
            return Err(ProducedBatchError::Sequence { base_sequence });
        }
        if producer_epoch < 0 {
            return Err(ProducedBatchError::ProducerEpoch { producer_epoch });
        }
        Ok(())
    }
}
