//! The payload of a WAL record: one entry, before it has an object.
//!
//! ```text
//! format u8 | kind u8 | shard u32 | epoch i32 | incarnation u128 | topic u128 | partition i32 | offset i64
//! | stamp i64 | log append time i64 | for a run: the record batch
//! ```
//! All numbers are little-endian. `offset` is the base offset of a run, the new log start of a trim, the producer id of an
//! eviction, and 0 otherwise. The log append time is -1 with CreateTime.

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_metadata::store::{Incarnation, ShardId};
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, Timestamp, TopicId, TopicPartition};

use super::bytes::{FormatError, Reader};

const FORMAT: u8 = 1;

/// How many bytes precede the batch.
pub const HEAD_BYTES: usize = 2 + 4 + 4 + 16 + 16 + 4 + 8 + 8 + 8;

/// What a WAL record says. On disk: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WalKind {
    /// One record batch follows.
    Batch = 1,
    /// The log start moves.
    Trim = 2,
    /// The partition goes.
    DropPartition = 3,
    /// A producer is forgotten.
    EvictProducer = 4,
}

/// The fixed part of a WAL record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalHead {
    /// What follows.
    pub kind: WalKind,
    /// The shard that staged it.
    pub shard: ShardId,
    /// The shard's epoch then.
    pub epoch: LeaderEpoch,
    /// The broker incarnation that staged it.
    pub incarnation: Incarnation,
    /// The partition.
    pub at: TopicPartition,
    /// See the module.
    pub offset: i64,
    /// The shard's clock.
    pub stamp: Timestamp,
    /// LogAppendTime of a batch, else -1.
    pub append_time: Timestamp,
}

impl WalHead {
    /// The stored form, always [`HEAD_BYTES`] long.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_before(&[])
    }

    /// The stored form, with the first bytes of the batch behind it.
    #[must_use]
    pub fn encode_before(&self, front: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD_BYTES + front.len());
        out.put_u8(FORMAT);
        out.put_u8(self.kind as u8);
        out.put_u32_le(self.shard.0);
        out.put_i32_le(self.epoch.0);
        out.put_u128_le(self.incarnation.0);
        out.put_u128_le(self.at.topic.0);
        out.put_i32_le(self.at.partition.0);
        out.put_i64_le(self.offset);
        out.put_i64_le(self.stamp.0);
        out.put_i64_le(self.append_time.0);
        debug_assert_eq!(out.len(), HEAD_BYTES);
        out.put_slice(front);
        out.freeze()
    }

    /// Splits a payload into its head and the batch behind it.
    ///
    /// # Errors
    /// If the bytes are damaged or newer than this release.
    pub fn decode(payload: Bytes) -> Result<(Self, Bytes), FormatError> {
        let mut reader = Reader::new(payload);
        let format = reader.u8("wal record format")?;
        if format > FORMAT {
            return Err(FormatError::Newer {
                what: "a WAL record",
                needed: format,
                known: FORMAT,
            });
        }
        let kind = match reader.u8("wal record kind")? {
            1 => WalKind::Batch,
            2 => WalKind::Trim,
            3 => WalKind::DropPartition,
            4 => WalKind::EvictProducer,
            other => return Err(FormatError::Kind(other)),
        };
        let head = Self {
            kind,
            shard: ShardId(reader.u32("shard")?),
            epoch: LeaderEpoch(reader.u32("epoch")?.cast_signed()),
            incarnation: Incarnation(reader.u128("incarnation")?),
            at: TopicPartition::new(
                TopicId(reader.u128("topic id")?),
                PartitionIndex(reader.u32("partition")?.cast_signed()),
            ),
            offset: reader.i64("offset")?,
            stamp: Timestamp(reader.i64("stamp")?),
            append_time: Timestamp(reader.i64("log append time")?),
        };
        Ok((head, reader.rest()))
    }
}
