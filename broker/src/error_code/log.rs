//! Errors of the log as clients see them.
//!
//! A produce error says whether the batch may have happened: what was refused before staging is definite
//! (NOT_ENOUGH_REPLICAS and the validation codes), what was staged is REQUEST_TIMED_OUT or NOT_LEADER_OR_FOLLOWER. A
//! fetch error is one of those that consumers know: any other would end up in the application.

use streamhouse_log::append::validate::ValidateError;
use streamhouse_log::append::{AppendError, AppendLost};
use streamhouse_log::read::ReadError;
use streamhouse_log::retention::TrimError;
use streamhouse_protocol::ErrorCode;
use streamhouse_protocol::record_batch::{BatchError, ProducedBatchError};

use super::Refusal;

/// acks is none of -1, 0 and 1.
pub const INVALID_REQUIRED_ACKS: Refusal = Refusal::fixed(
    ErrorCode::InvalidRequiredAcks,
    "Produce request specified an invalid value for required acks.",
);
/// zstd before Produce version 7.
pub const UNSUPPORTED_COMPRESSION_TYPE: Refusal = Refusal::fixed(
    ErrorCode::UnsupportedCompressionType,
    "Produce requests with version < 7 are not allowed to use ZStandard compression",
);
/// A batch was staged and is not durable in time: it may still appear.
pub const REQUEST_TIMED_OUT: Refusal = Refusal::fixed(
    ErrorCode::RequestTimedOut,
    "The request timed out; the records may still be appended.",
);
/// The client's leader epoch is older than the partition's.
pub const FENCED_LEADER_EPOCH: Refusal = Refusal::fixed(
    ErrorCode::FencedLeaderEpoch,
    "The leader epoch in the request is older than the epoch on the broker.",
);
/// The client's leader epoch is newer than the partition's.
pub const UNKNOWN_LEADER_EPOCH: Refusal = Refusal::fixed(
    ErrorCode::UnknownLeaderEpoch,
    "The leader epoch in the request is newer than the epoch on the broker.",
);
/// A fetch session of another connection, broker or life: the client begins without one.
pub const FETCH_SESSION_ID_NOT_FOUND: Refusal = Refusal::fixed(
    ErrorCode::FetchSessionIdNotFound,
    "The fetch session ID was not found.",
);
/// This broker does not lead the partition.
pub const NOT_LEADER_OR_FOLLOWER: i16 = ErrorCode::NotLeaderOrFollower.code();
/// Topics whose names Kafka keeps for itself are not written by clients (`ReplicaManager.appendRecords`).
pub const INTERNAL_TOPIC: Refusal = Refusal::fixed(
    ErrorCode::InvalidTopicException,
    "Cannot append to internal topic.",
);
/// Records of a topic that is only compacted are not deleted by offset.
pub const DELETE_NOT_ALLOWED: Refusal = Refusal::fixed(
    ErrorCode::PolicyViolation,
    "Records of a topic whose cleanup.policy has no delete cannot be deleted by offset.",
);

impl From<&ValidateError> for Refusal {
    fn from(error: &ValidateError) -> Self {
        let code = match error {
            ValidateError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            ValidateError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            ValidateError::Batch(error) => of_batch(error),
            ValidateError::NullKey { .. } | ValidateError::Records(_) => ErrorCode::InvalidRecord,
            ValidateError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
            // No transactional id is known here; as in Kafka, who has none that counts may not write transactions.
            ValidateError::Transactional => ErrorCode::TransactionalIdAuthorizationFailed,
        };
        Self::told(code, error)
    }
}

fn of_batch(error: &ProducedBatchError) -> ErrorCode {
    match error {
        ProducedBatchError::Crc(_) => ErrorCode::CorruptMessage,
        ProducedBatchError::TimestampType => ErrorCode::InvalidTimestamp,
        ProducedBatchError::Batch(error) => of_shape(error),
        ProducedBatchError::BaseOffset { .. }
        | ProducedBatchError::RecordsCount { .. }
        | ProducedBatchError::LastOffsetDelta { .. }
        | ProducedBatchError::Control
        | ProducedBatchError::Sequence { .. }
        | ProducedBatchError::ProducerEpoch { .. }
        | ProducedBatchError::TransactionWithoutProducer
        | ProducedBatchError::Compression { .. } => ErrorCode::InvalidRecord,
    }
}

fn of_shape(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Length { .. } => ErrorCode::CorruptMessage,
        BatchError::Empty
        | BatchError::Truncated { .. }
        | BatchError::Magic { .. }
        | BatchError::TrailingBytes { .. } => ErrorCode::InvalidRecord,
    }
}

impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Self {
        let code = match error {
            AppendError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            AppendError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::Full => ErrorCode::NotEnoughReplicas,
            AppendError::TooLarge => ErrorCode::MessageTooLarge,
            AppendError::NotLeader | AppendError::Stopped(_) => ErrorCode::NotLeaderOrFollower,
        };
        Self::told(code, error)
    }
}

impl From<&AppendLost> for Refusal {
    fn from(error: &AppendLost) -> Self {
        Self::told(ErrorCode::NotLeaderOrFollower, error)
    }
}

impl From<&ReadError> for Refusal {
    fn from(error: &ReadError) -> Self {
        let code = match error {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            ReadError::NotLeader | ReadError::Stopped(_) => ErrorCode::NotLeaderOrFollower,
            ReadError::Storage(_) => ErrorCode::KafkaStorageError,
        };
        Self::told(code, error)
    }
}

/// The code of a partition that cannot be fetched. Before version 6 clients do not know KAFKA_STORAGE_ERROR (KIP-112).
#[must_use]
pub fn of_fetch(refusal: &Refusal, api_version: i16) -> i16 {
    if api_version < 6 && refusal.code == ErrorCode::KafkaStorageError {
        ErrorCode::NotLeaderOrFollower.code()
    } else {
        refusal.code()
    }
}

impl From<&TrimError> for Refusal {
    fn from(error: &TrimError) -> Self {
        match error {
            TrimError::Read(error) => error.into(),
            TrimError::Append(error) => error.into(),
            TrimError::Lost(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
