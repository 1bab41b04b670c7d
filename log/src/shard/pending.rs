//! Entries between staging and the fsync of the WAL, and those who wait for them.

use streamhouse_protocol::ids::Timestamp;
use streamhouse_storage::wal::WalLocation;
use tokio::sync::oneshot;

use crate::append::stored::StoredBatch;
use crate::append::{Appended, Durable};
use crate::format::entry::Entry;

/// A staged entry.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) location: WalLocation,
    pub(crate) stamp: Timestamp,
    pub(crate) entry: Entry,
    /// The batch as it lies in the WAL; none for entries that are not batches.
    pub(crate) batch: Option<StoredBatch>,
    /// What its waiters are told.
    pub(crate) answer: Appended,
    pub(crate) waiters: Vec<Waiting>,
}

/// One who waits for a staged entry.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Told after the write into the WAL (acks=1) instead of after the fsync.
    pub(crate) at_write: bool,
    pub(crate) tell: oneshot::Sender<Durable>,
}

impl Pending {
    /// How many only wait for the write.
    pub(crate) fn wait_for_write(&self) -> usize {
        self.waiters
            .iter()
            .filter(|waiting| waiting.at_write)
            .count()
    }

    /// Tells those who only wait for the write, and says how many they were.
    pub(crate) fn written(&mut self) -> usize {
        let mut told = 0;
        for waiting in self.waiters.extract_if(.., |waiting| waiting.at_write) {
            // A waiter that is gone closed its connection: nobody is left to tell.
            let _ = waiting.tell.send(Durable(self.answer));
            told += 1;
        }
        told
    }

    /// Bytes of the batch.
    pub(crate) fn bytes(&self) -> u64 {
        self.batch.as_ref().map_or(0, StoredBatch::len) as u64
    }

    /// Tells everyone.
    pub(crate) fn durable(self) {
        for waiting in self.waiters {
            // See above.
            let _ = waiting.tell.send(Durable(self.answer));
        }
    }
}
