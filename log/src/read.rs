//! Reading: plan, locate, gather.
//!
//! A partition's bytes lie on three tiers, newest first: the hot tail in memory, the WAL, objects. [`plan`] says what may
//! be read, [`locate`] finds the tier in one step under the shard's lock, [`gather`] fetches the bytes without it. A read
//! that reaches the end of a tier goes on in the next newer one while its budget lasts.

pub mod from_wal;
pub mod gather;
pub mod locate;
pub mod offsets;
pub mod pieces;
pub mod plan;
mod runs;
pub mod times;
pub mod waiters;

use streamhouse_metadata::store::ShardId;
use streamhouse_protocol::ids::{LeaderEpoch, TopicPartition};

/// A partition and the shard that it was stored with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionAddress {
    /// The partition.
    pub at: TopicPartition,
    /// Its shard.
    pub shard: ShardId,
}

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    ReadUncommitted,
    /// Everything below the last stable offset.
    ReadCommitted,
}

/// The corners of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that may be read.
    pub log_start: i64,
    /// The offset behind the last durable record.
    pub high_watermark: i64,
    /// The first offset of the oldest open transaction, or the high watermark.
    pub last_stable: i64,
    /// The offset behind the last staged record.
    pub log_end: i64,
    /// The leader epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Why a partition could not be read. Nothing is lost by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Below the log start or above the log end (OFFSET_OUT_OF_RANGE).
    #[error("offset {offset} is out of range: the log has {log_start} to {log_end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset.
        log_start: i64,
        /// The offset behind the last.
        log_end: i64,
    },
    /// The partition's topic was deleted.
    #[error("the topic was deleted")]
    UnknownPartition,
    /// Another broker leads the partition.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The shard does not answer any more.
    #[error("the shard has stopped: {0}")]
    Stopped(String),
    /// The bytes cannot be had now: the store is out of reach, or what it gave is damaged. Try again.
    #[error("the log cannot be read: {0}")]
    Storage(String),
}
