//! The memory of Fetch answers whose records were read from the WAL or from objects (`listener.fetch_memory`).
//!
//! Records of the hot tail are shared with it and cost nothing. Others are reserved here before they are read, and let
//! go when the answer that holds them was written or dropped. The first cold partition of a fetch waits for its share;
//! further ones take what is free or stay empty, so that no fetch waits while it holds anything.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the count: a permit stands for this many bytes.
const UNIT: usize = 1024;

/// One fetch may take at most this part of the whole for one partition.
const SHARE: usize = 4;

/// The memory of all answers together.
#[derive(Clone, Debug)]
pub struct FetchMemory {
    units: Arc<Semaphore>,
    share_bytes: usize,
}

/// Memory that was reserved for one partition of an answer.
#[derive(Debug)]
pub struct Reserved {
    permit: OwnedSemaphorePermit,
    /// How many bytes may be read for it.
    pub bytes: usize,
}

impl FetchMemory {
    /// Memory of `bytes` in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(SHARE, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(units)),
            share_bytes: (units / SHARE) * UNIT,
        }
    }

    /// Reserves up to `wanted` bytes. With `wait` it waits until they are free, else `None` says that they are not.
    pub async fn reserve(&self, wanted: usize, wait: bool) -> Option<Reserved> {
        let bytes = wanted.min(self.share_bytes);
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let semaphore = Arc::clone(&self.units);
        let permit = if wait {
            semaphore.acquire_many_owned(units).await
        } else {
            return semaphore
                .try_acquire_many_owned(units)
                .ok()
                .map(|permit| Reserved { permit, bytes });
        };
        // The semaphore is never closed.
        permit.ok().map(|permit| Reserved { permit, bytes })
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.units.available_permits() * UNIT
    }
}

impl Reserved {
    /// Ties the reservation to the records that were read: it is let go with the last of their pieces. What was reserved
    /// and not read is free at once.
    #[must_use]
    pub fn hold(mut self, records: Vec<Bytes>) -> Vec<Bytes> {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        let surplus = self
            .permit
            .num_permits()
            .saturating_sub(bytes.div_ceil(UNIT));
        drop(self.permit.split(surplus));
        let permit = Arc::new(self.permit);
        let held = |records| {
            Bytes::from_owner(Held {
                records,
                _permit: Arc::clone(&permit),
            })
        };
        records.into_iter().map(held).collect()
    }
}

struct Held {
    records: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

#[cfg(test)]
mod tests;
