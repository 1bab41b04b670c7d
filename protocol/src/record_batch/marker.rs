//! Transaction markers: the control batches that say how a transaction ended (KIP-98).
//!
//! ```text
//! attributes 0x30 (transactional, control), one record:
//!   key    version i16 = 0 | type i16: 0 abort, 1 commit
//!   value  version i16 = 0 | coordinator epoch i32
//! ```
//! On disk and on the wire: never renumber. A marker takes one offset, and consumers never see it as a record.

use super::builder::{BuildError, RecordBatchBuilder, RecordContent};
use super::{RecordBatch, Stamp, read_field};
use crate::compression::{Compression, Limits};
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};
use crate::record::{RecordError, Records};

const VERSION: i16 = 0;
const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    /// Its records are as if they had never been written, for read_committed consumers.
    Abort,
    /// Its records are visible.
    Commit,
}

/// The end of one producer's transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction.
    pub producer_id: ProducerId,
    /// The epoch of the producer.
    pub producer_epoch: ProducerEpoch,
    /// How it ended.
    pub result: TransactionResult,
    /// The epoch of the transaction coordinator that decided.
    pub coordinator_epoch: i32,
    /// When the marker was appended.
    pub timestamp: Timestamp,
}

/// Why a batch could not be read as a marker. A stored batch like this was not written by this broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// Its record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is a control batch without a record.
    #[error("a control batch holds no record")]
    Empty,
    /// Key or value is shorter than its fields, or null.
    #[error("the key or the value of a transaction marker is too short")]
    Short,
}

impl Marker {
    /// The control batch at `base_offset`, always the same bytes for the same marker.
    pub fn to_batch(
        &self,
        base_offset: i64,
        leader_epoch: LeaderEpoch,
    ) -> Result<RecordBatch, BuildError> {
        let kind = match self.result {
            TransactionResult::Abort => TYPE_ABORT,
            TransactionResult::Commit => TYPE_COMMIT,
        };
        let key = [VERSION.to_be_bytes(), kind.to_be_bytes()].concat();
        let value = [
            &VERSION.to_be_bytes()[..],
            &self.coordinator_epoch.to_be_bytes(),
        ]
        .concat();
        let mut builder = RecordBatchBuilder::new(Compression::None)
            .producer(self.producer_id, self.producer_epoch, super::NO_SEQUENCE)
            .transactional()
            .control();
        builder.push(&RecordContent {
            timestamp_ms: self.timestamp.0,
            key: Some(&key),
            value: Some(&value),
            ..RecordContent::default()
        })?;
        let stamp = Stamp {
            base_offset,
            leader_epoch,
            append_time: None,
        };
        Ok(builder.build()?.stamp(&stamp))
    }

    /// Reads a batch back; `None` for batches that are not transaction markers, such as data or other control batches.
    pub fn from_batch(batch: &RecordBatch) -> Result<Option<Self>, MarkerError> {
        let attributes = batch.attributes();
        if !attributes.is_control() || !attributes.is_transactional() {
            return Ok(None);
        }
        let records = Records::unpack(batch, &Limits::DEFAULT)?;
        let record = records.iter().next().ok_or(MarkerError::Empty)??;
        let (key, value) = record.key.zip(record.value).ok_or(MarkerError::Short)?;
        let kind = read_field(key, 2)
            .map(i16::from_be_bytes)
            .ok_or(MarkerError::Short)?;
        let result = match kind {
            TYPE_ABORT => TransactionResult::Abort,
            TYPE_COMMIT => TransactionResult::Commit,
            _ => return Ok(None),
        };
        let epoch = read_field(value, 2)
            .map(i32::from_be_bytes)
            .ok_or(MarkerError::Short)?;
        Ok(Some(Self {
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            result,
            coordinator_epoch: epoch,
            timestamp: record.timestamp,
        }))
    }
}
