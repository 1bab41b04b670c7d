//! What the block cache counts: whether consumers are served from memory, and what the rest costs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Blocks that were in memory when a reader wanted them, or were being loaded by another reader.
    pub hits: u64,
    /// Blocks that had to be fetched.
    pub misses: u64,
    /// Requests for blocks to the store.
    pub gets: u64,
    /// Requests for indexes to the store, which bring small objects along; a long index takes two round trips and counts
    /// once.
    pub index_gets: u64,
    /// Bytes of blocks that were fetched.
    pub bytes_fetched: u64,
    /// Blocks and indexes that were wrong when fetched, each time.
    pub corrupt: u64,
    /// Read-aheads that were started.
    pub read_aheads: u64,
    /// Memory in use, in bytes.
    pub bytes_held: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    gets: AtomicU64,
    index_gets: AtomicU64,
    bytes_fetched: AtomicU64,
    corrupt: AtomicU64,
    read_aheads: AtomicU64,
}

impl Counters {
    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self, blocks: u64) {
        self.misses.fetch_add(blocks, Ordering::Relaxed);
    }

    /// A block came along with its index.
    pub(super) fn came_along(&self, bytes: u64) {
        self.missed(1);
        self.bytes_fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self, bytes: u64) {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.bytes_fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn index_get(&self) {
        self.index_gets.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn corrupt(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_ahead(&self) {
        self.read_aheads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, bytes_held: u64) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            gets: self.gets.load(Ordering::Relaxed),
            index_gets: self.index_gets.load(Ordering::Relaxed),
            bytes_fetched: self.bytes_fetched.load(Ordering::Relaxed),
            corrupt: self.corrupt.load(Ordering::Relaxed),
            read_aheads: self.read_aheads.load(Ordering::Relaxed),
            bytes_held,
        }
    }
}
