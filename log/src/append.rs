//! Appending: validate, order, stage; then, when the WAL is fsynced, publish.
//!
//! [`validate`] looks at a batch alone and holds no lock. [`stage`] fixes its order and offset in one step under the
//! shard's lock and queues it for the WAL; from then on the outcome is no longer "did not happen". [`publish`] runs when
//! the WAL is durable.

pub mod producers;
pub mod publish;
pub mod room;
pub mod stage;
pub(crate) mod stored;
pub mod validate;

use streamhouse_protocol::ids::{ProducerEpoch, Timestamp};
use tokio::sync::oneshot;

/// When a producer wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never (acks=0).
    None,
    /// After the write into the leader's WAL: survives the broker's process, not its machine (acks=1).
    Leader,
    /// When it is durable (acks=all).
    All,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// LogAppendTime, or -1 with CreateTime.
    pub append_time: Timestamp,
    /// The partition's log start when it was staged.
    pub log_start: i64,
}

/// The word that a staged entry has reached the state its waiter asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable(pub Appended);

/// A batch that was staged: its order is fixed, the promise of its acks is not yet kept.
#[derive(Debug)]
pub struct Staged {
    /// Where it goes, if all goes well.
    pub expected: Appended,
    pub(crate) outcome: Option<oneshot::Receiver<Durable>>,
}

impl Staged {
    /// Completes when the acks' promise is kept.
    ///
    /// # Errors
    /// [`AppendLost`] if the broker stops before: the batch may have happened.
    pub async fn acknowledged(self) -> Result<Appended, AppendLost> {
        match self.outcome {
            None => Ok(self.expected),
            Some(outcome) => outcome
                .await
                .map(|durable| durable.0)
                .map_err(|_| AppendLost),
        }
    }
}

/// The shard stopped while a batch was staged. It may have happened: an idempotent producer finds out by trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker stopped before the batch was durable; it may have been appended")]
pub struct AppendLost;

/// Why a batch was not staged. None of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The partition's topic was deleted.
    #[error("the topic was deleted")]
    UnknownPartition,
    /// Its producer's sequence leaves a gap or overlaps.
    #[error("out of order sequence number: got {found}, expected {expected}")]
    OutOfOrder {
        /// The batch's first sequence.
        found: i32,
        /// The sequence that would follow.
        expected: i32,
    },
    /// A newer epoch of the producer has written.
    #[error("producer epoch {found} is older than {current}")]
    Fenced {
        /// The batch's epoch.
        found: ProducerEpoch,
        /// The newest.
        current: ProducerEpoch,
    },
    /// No more can be taken until uploads have caught up. Try again later.
    #[error(
        "no more can be taken: uploads do not keep pace, or the disk of the WAL has no room; try again"
    )]
    Full,
    /// The batch does not fit into one WAL file.
    #[error(
        "the batch does not fit into a WAL file; raise wal.file_bytes or lower max.message.bytes"
    )]
    TooLarge,
    /// Another broker leads the partition, or is about to.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The shard does not take writes any more.
    #[error("the shard has stopped: {0}")]
    Stopped(String),
}
