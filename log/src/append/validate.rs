//! Looking at a batch alone, before any lock: is it one whole batch, is it intact, does its topic allow it?
//!
//! The order of the checks is Kafka's (`UnifiedLog.append`, `LogValidator`). Records are decompressed only where a rule
//! needs them: null keys of a compacted topic. What a producer sent is otherwise relayed unopened.

use bytes::Bytes;
use streamhouse_protocol::compression::Limits;
use streamhouse_protocol::ids::Timestamp;
use streamhouse_protocol::record::RecordError;
use streamhouse_protocol::record_batch::{ProducedBatchError, RecordBatch};

use super::stage::BatchProducer;

/// What a topic demands of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendRules {
    /// `max.message.bytes`: the largest batch, header included.
    pub batch_bytes_max: usize,
    /// `segment.bytes`: Kafka refuses a batch that does not fit into a segment.
    pub segment_bytes: usize,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub is_compacted: bool,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub stamps_append_time: bool,
    /// `message.timestamp.before.max.ms`: how far behind the broker's clock a CreateTime may lie.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead.
    pub after_max_ms: i64,
}

/// Why a batch is refused. Nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// Larger than `max.message.bytes` (MESSAGE_TOO_LARGE).
    #[error("the record batch has {bytes} bytes, max.message.bytes of the topic is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Larger than `segment.bytes` (RECORD_LIST_TOO_LARGE).
    #[error("the record batch has {bytes} bytes, segment.bytes of the topic is {max}")]
    LargerThanSegment {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not one whole, intact batch of a producer.
    #[error(transparent)]
    Batch(#[from] ProducedBatchError),
    /// A record of a compacted topic has no key (INVALID_RECORD).
    #[error("a compacted topic cannot accept a record without a key")]
    NullKey {
        /// Which record of the batch, from 0.
        index: i32,
    },
    /// The records of the batch cannot be read (INVALID_RECORD).
    #[error("the records of the batch cannot be read: {0}")]
    Records(RecordError),
    /// A CreateTime lies outside the topic's window (INVALID_TIMESTAMP).
    #[error(
        "timestamp {timestamp} lies outside {earliest} to {latest}, the window that message.timestamp.before.max.ms and message.timestamp.after.max.ms allow"
    )]
    Timestamp {
        /// The timestamp.
        timestamp: i64,
        /// The first allowed one.
        earliest: i64,
        /// The last allowed one.
        latest: i64,
    },
    /// Transactions are not offered by this release (TRANSACTIONAL_ID_AUTHORIZATION_FAILED).
    #[error("the batch belongs to a transaction that was not begun here")]
    Transactional,
}

/// Smaller batches are copied whatever they came in: the copy costs less than what sharing adds to every read.
const SHARED_BYTES_MIN: usize = 4 * 1024;

/// A batch that may be staged.
#[derive(Debug)]
pub struct Prepared {
    /// Checked. It shares the memory of its request only if it is most of it.
    pub(crate) batch: RecordBatch,
    pub(crate) shares: bool,
    pub(crate) offsets: i64,
    pub(crate) max_timestamp: Timestamp,
    /// LogAppendTime, or -1 with CreateTime.
    pub(crate) append_time: Timestamp,
    pub(crate) producer: Option<BatchProducer>,
}

impl Prepared {
    /// Checks the records of one partition of a Produce request against the rules of its topic at the time `now_ms`.
    /// `records` keep `held_bytes` in memory, all of the request they came in. A batch that is much less than that is
    /// copied, so that what the log counts for it is what it costs.
    ///
    /// # Errors
    /// See [`ValidateError`].
    pub fn new(
        records: &Bytes,
        held_bytes: usize,
        rules: &AppendRules,
        now_ms: i64,
    ) -> Result<Self, ValidateError> {
        let batch = RecordBatch::parse(records.clone()).map_err(ProducedBatchError::from)?;
        let bytes = batch.size_bytes();
        if bytes > rules.batch_bytes_max {
            return Err(ValidateError::TooLarge {
                bytes,
                max: rules.batch_bytes_max,
            });
        }
        if bytes > rules.segment_bytes {
            return Err(ValidateError::LargerThanSegment {
                bytes,
                max: rules.segment_bytes,
            });
        }
        batch.validate_produced()?;
        if batch.attributes().is_transactional() {
            return Err(ValidateError::Transactional);
        }
        if rules.is_compacted {
            check_keys(&batch)?;
        }
        if !rules.stamps_append_time {
            check_times(&batch, rules, now_ms)?;
        }
        let append_time = rules.stamps_append_time.then_some(Timestamp(now_ms));
        Ok(Self::of(batch, held_bytes, append_time))
    }

    fn of(batch: RecordBatch, held_bytes: usize, append_time: Option<Timestamp>) -> Self {
        let producer = batch.producer_id().is_some().then(|| BatchProducer {
            id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
        });
        let offsets = i64::from(batch.last_offset_delta()) + 1;
        let max_timestamp = append_time.unwrap_or(batch.max_timestamp());
        let bytes = batch.size_bytes();
        let shares =
            append_time.is_none() && bytes >= SHARED_BYTES_MIN && bytes >= held_bytes / 4 * 3;
        let batch = match append_time {
            Some(append_time) => batch.with_append_time(append_time),
            None if shares => batch,
            None => batch.copied(),
        };
        Self {
            offsets,
            max_timestamp,
            append_time: append_time.unwrap_or(Timestamp::NONE),
            producer,
            batch,
            shares,
        }
    }
}

fn check_keys(batch: &RecordBatch) -> Result<(), ValidateError> {
    let summary = batch
        .summarize_records(&Limits::DEFAULT)
        .map_err(ValidateError::Records)?;
    match summary.first_null_key {
        Some(index) => Err(ValidateError::NullKey { index }),
        None => Ok(()),
    }
}

fn check_times(batch: &RecordBatch, rules: &AppendRules, now_ms: i64) -> Result<(), ValidateError> {
    let earliest = now_ms.saturating_sub(rules.before_max_ms);
    let latest = now_ms.saturating_add(rules.after_max_ms);
    // A record without a timestamp is allowed anywhere (Kafka: `LogValidator.validateTimestamp`).
    let outside =
        |time: Timestamp| time != Timestamp::NONE && (time.0 < earliest || time.0 > latest);
    match [batch.base_timestamp(), batch.max_timestamp()]
        .into_iter()
        .find(|time| outside(*time))
    {
        Some(time) => Err(ValidateError::Timestamp {
            timestamp: time.0,
            earliest,
            latest,
        }),
        None => Ok(()),
    }
}
