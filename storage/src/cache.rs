//! The block cache: what consumers read from the object store, verified once and kept in memory, so that many consumers
//! of the same data cost one request.
//!
//! An object is read in blocks (1 MiB by default). Every byte that leaves the cache was compared with the checksums in
//! the object's footer when it came in. A block that does not fit its checksums is fetched once more, then the read
//! fails with [`ReadError::Corrupt`]: it is never skipped, and never kept.
//!
//! Readers that want the same block at the same time share one request; missing neighbours come in one ranged request
//! of bounded size. A reader takes further blocks only if nobody is loading them, and waits for other readers only
//! while it holds none, so readers never wait for each other in a circle. A reader that goes away in the middle of a
//! request hands the block to the next one that wants it.
//!
//! Eviction is `quick_cache`'s, a form of S3-FIFO: a block starts *cold* and becomes *hot* when it is read again; hot
//! blocks keep 70 % of the memory. Reading data once therefore only turns over the cold part. Since one pass over a
//! block is several fetches, reads of [`ObjectClass::CatchUpRead`] find blocks without marking them as read again: a
//! consumer that reads years of old data never pushes out what the others share. The choice depends on the order of
//! reads alone (fixed hash, one shard per 64 MiB), so a simulation repeats it.
//!
//! Blocks that are read ahead are cold, and only so many wait for their readers (`cache/ahead.rs`): with more readers each is
//! read ahead for less.
//!
//! Memory: [`BlockCacheSettings::capacity_bytes`], plus what answers still hold of evicted blocks, plus two requests'
//! worth of bytes per reader in flight, whose number [`ObjectClass`] bounds.

mod ahead;
mod load;
mod stats;

use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use streamhouse_runtime::Ambient;
use tokio::sync::Semaphore;

pub use self::stats::CacheStats;

use self::ahead::{Ahead, Kept};
use self::load::Errand;
use self::stats::Counters;
use crate::l0::{CRC_BLOCK_BYTES, IndexError, L0Index};
use crate::objects::{GetError, ObjectClass, ObjectKey, Objects, StoreError};

/// What an entry costs besides its bytes.
const ENTRY_BYTES: u64 = 128;
/// How much of the capacity hot blocks may keep ([`ahead_bytes_max`] counts on it). The rest lets some consumers of old data read side by side without
/// fetching a block twice.
const HOT_SHARE: f64 = 0.7;
/// The part of the capacity that holds indexes: four bytes per 64 KiB of data, so it covers far more than the blocks.
const INDEX_SHARE: u64 = 16;
const SHARD_BYTES: u64 = 64 * 1024 * 1024;

/// How large the cache is and how it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCacheSettings {
    /// Memory for blocks and indexes together. Less than about 16 blocks makes consumers fetch blocks twice.
    pub capacity_bytes: u64,
    /// The size of a block; rounded up to a multiple of 64 KiB.
    pub block_bytes: u64,
    /// The largest request; at least one block.
    pub get_bytes_max: u64,
    /// How many read-aheads run at once; more are dropped.
    pub read_aheads_max: usize,
}

impl Default for BlockCacheSettings {
    fn default() -> Self {
        Self {
            capacity_bytes: 64 * 1024 * 1024,
            block_bytes: 1024 * 1024,
            get_bytes_max: 4 * 1024 * 1024,
            read_aheads_max: 16,
        }
    }
}

/// Bytes of an object could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// No such object. Refresh the state that named it; if it still does, data is missing.
    #[error("object {key} not found")]
    NotFound {
        /// The key.
        key: ObjectKey,
    },
    /// The store is unavailable. Try again later.
    #[error("object {key} could not be read; the store is unavailable")]
    Unavailable {
        /// The key.
        key: ObjectKey,
        /// What the store said.
        source: StoreError,
    },
    /// The bytes are not what was written, twice in a row. A human must look: data is lost unless a copy exists.
    #[error("object {key} is damaged at byte {position}: {what}")]
    Corrupt {
        /// The key.
        key: ObjectKey,
        /// Where, from the start of the object.
        position: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The range does not lie in the data of the object: who asked has a wrong idea of it.
    #[error("bytes {start}..{end} are outside the data of object {key}, which ends at {data_end}")]
    OutOfRange {
        /// The key.
        key: ObjectKey,
        /// Where the range starts.
        start: u64,
        /// Where the range ends.
        end: u64,
        /// Where the data ends.
        data_end: u64,
    },
    /// A later version of the broker wrote the object. Update this broker.
    #[error("object {key} needs a later version of the broker")]
    TooNew {
        /// The key.
        key: ObjectKey,
        /// The oldest format version that may read it.
        min_reader: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BlockKey {
    object: ObjectKey,
    number: u64,
}

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<BlockKey, Kept> for Weigh {
    fn weight(&self, _key: &BlockKey, block: &Kept) -> u64 {
        ENTRY_BYTES + block.len()
    }
}

impl Weighter<ObjectKey, L0Index> for Weigh {
    fn weight(&self, _key: &ObjectKey, index: &L0Index) -> u64 {
        ENTRY_BYTES + index.memory_bytes()
    }
}

/// A hash without a random seed: which block is evicted must not be chance.
type FixedHash = BuildHasherDefault<DefaultHasher>;
type WeightedCache<K, V> = Cache<K, V, Weigh, FixedHash, DefaultLifecycle<K, V>>;

/// The cache of verified blocks and of indexes. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct BlockCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    objects: Objects,
    ambient: Ambient,
    settings: BlockCacheSettings,
    blocks: WeightedCache<BlockKey, Kept>,
    indexes: WeightedCache<ObjectKey, L0Index>,
    /// One permit per read-ahead that runs; taken without waiting.
    read_aheads: Arc<Semaphore>,
    ahead: Ahead,
    counters: Counters,
}

impl BlockCache {
    /// An empty cache over `objects`.
    #[must_use]
    pub fn new(objects: Objects, ambient: Ambient, mut settings: BlockCacheSettings) -> Self {
        settings.block_bytes = settings
            .block_bytes
            .max(1)
            .next_multiple_of(CRC_BLOCK_BYTES);
        settings.get_bytes_max = settings.get_bytes_max.max(settings.block_bytes);
        let for_indexes = settings.capacity_bytes / INDEX_SHARE;
        let for_blocks = settings.capacity_bytes - for_indexes;
        let inner = Inner {
            objects,
            ambient,
            blocks: weighted(for_blocks, settings.block_bytes),
            indexes: weighted(for_indexes, 4 * 1024),
            read_aheads: Arc::new(Semaphore::new(settings.read_aheads_max)),
            ahead: Ahead::new(ahead_bytes_max(for_blocks), for_blocks),
            settings,
            counters: Counters::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Reads `range` of the data of an object, from memory or the store. The slices follow each other and are `range` long in all; they share memory with the cache.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        class: ObjectClass,
    ) -> Result<Vec<Bytes>, ReadError> {
        let index = self.index(key, class, false).await?;
        self.check_range(key, &index, &range)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let block_bytes = self.inner.settings.block_bytes;
        let (mut number, last) = (range.start / block_bytes, (range.end - 1) / block_bytes);
        let mut slices = Vec::new();
        while number <= last {
            let errand = Errand {
                class,
                is_ahead: false,
            };
            let run = self.blocks(key, &index, number..last + 1, errand).await?;
            number += run.len() as u64;
            for block in run {
                slices.push(block.slice_of(&index, key, &range)?);
            }
        }
        Ok(slices)
    }

    /// Loads `range` into the cache in the background, for a reader that will want it next: at most one request's worth.
    /// Does nothing while the first half of that is there, so that requests stay large; if enough read-aheads run
    /// already, or wait for their readers; or if the store fails.
    pub fn read_ahead(&self, key: &ObjectKey, range: Range<u64>, class: ObjectClass) {
        let (block_bytes, most) = (
            self.inner.settings.block_bytes,
            self.inner.settings.get_bytes_max,
        );
        let end = range.end.min(range.start.saturating_add(most));
        let soon = range.end.min(range.start.saturating_add(most / 2));
        let first = range.start / block_bytes;
        let is_missing = |number| {
            !self.inner.blocks.contains_key(&BlockKey {
                object: *key,
                number,
            })
        };
        if range.start >= end || !(first..soon.div_ceil(block_bytes)).any(is_missing) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.inner.read_aheads).try_acquire_owned() else {
            return;
        };
        let mut missing =
            (first..end.div_ceil(block_bytes)).skip_while(|number| !is_missing(*number));
        let from = missing.next().unwrap_or(first);
        let room = self.inner.ahead.room() / block_bytes;
        let numbers = from..end.div_ceil(block_bytes).min(from.saturating_add(room));
        if numbers.is_empty() {
            return;
        }
        let bytes = (numbers.end - numbers.start) * block_bytes;
        let claim = self.inner.ahead.claim(bytes);
        self.inner.counters.read_ahead();
        let (cache, key) = (self.clone(), *key);
        let load = async move {
            let _until_it_is_there = (permit, claim);
            if let Err(error) = cache.load_ahead(&key, numbers, class).await {
                // Whoever wants these bytes asks again and hears the error.
                tracing::debug!(%key, %error, "a read-ahead failed");
            }
        };
        drop(self.inner.ambient.tasks.spawn("read-ahead", load));
    }

    async fn load_ahead(
        &self,
        key: &ObjectKey,
        numbers: Range<u64>,
        class: ObjectClass,
    ) -> Result<(), ReadError> {
        let index = self.index(key, class, true).await?;
        let errand = Errand {
            class,
            is_ahead: true,
        };
        let end = numbers
            .end
            .min(index.data_end().div_ceil(self.inner.settings.block_bytes));
        let mut number = numbers.start;
        while number < end {
            number += self.blocks(key, &index, number..end, errand).await?.len() as u64;
        }
        Ok(())
    }

    /// Seeds the index of an object that was just written, so that its first reader saves a request.
    pub fn insert_index(&self, key: &ObjectKey, index: &L0Index) {
        self.inner.indexes.insert(*key, index.without_sections());
    }

    /// Drops everything of an object of `object_bytes` bytes: it was deleted, or a reader found it to be wrong.
    pub fn forget(&self, key: &ObjectKey, object_bytes: u64) {
        self.inner.indexes.remove(key);
        for number in 0..object_bytes.div_ceil(self.inner.settings.block_bytes) {
            self.inner.blocks.remove(&BlockKey {
                object: *key,
                number,
            });
        }
    }

    /// What the cache did so far and holds now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let held = self.inner.blocks.weight() + self.inner.indexes.weight();
        self.inner.counters.snapshot(held)
    }

    fn check_range(
        &self,
        key: &ObjectKey,
        index: &L0Index,
        range: &Range<u64>,
    ) -> Result<(), ReadError> {
        if range.start <= range.end && range.end <= index.data_end() {
            return Ok(());
        }
        let (start, end, data_end) = (range.start, range.end, index.data_end());
        Err(ReadError::OutOfRange {
            key: *key,
            start,
            end,
            data_end,
        })
    }
}

impl ReadError {
    fn from_get(error: GetError) -> Self {
        match error {
            GetError::NotFound { key } => Self::NotFound { key },
            GetError::Unavailable { key, source } => Self::Unavailable { key, source },
            GetError::Short { key, got, .. } => Self::Corrupt {
                key,
                position: got,
                what: "it is shorter than its size says",
            },
        }
    }

    fn from_index(error: IndexError) -> Self {
        match error {
            IndexError::Get(error) => Self::from_get(error),
            IndexError::Damaged {
                key,
                object_bytes,
                what,
            } => Self::Corrupt {
                key,
                position: object_bytes,
                what,
            },
            IndexError::TooNew { key, min_reader } => Self::TooNew { key, min_reader },
        }
    }
}

/// How much may have been read ahead and not been read: half of what cold blocks have, or blocks would be pushed out
/// before anybody wants them.
fn ahead_bytes_max(for_blocks: u64) -> u64 {
    let cold = for_blocks - for_blocks / 10 * 7;
    cold / 2
}

fn weighted<K, V>(capacity_bytes: u64, entry_bytes: u64) -> WeightedCache<K, V>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    Weigh: Weighter<K, V>,
{
    let entries = usize::try_from(capacity_bytes / entry_bytes)
        .unwrap_or(usize::MAX)
        .max(1);
    let shards = usize::try_from(capacity_bytes / SHARD_BYTES)
        .unwrap_or(usize::MAX)
        .clamp(1, 64);
    let options = OptionsBuilder::new()
        .shards(shards)
        .estimated_items_capacity(entries)
        .weight_capacity(capacity_bytes)
        .hot_allocation(HOT_SHARE)
        .build()
        .expect("both capacities are set");
    Cache::with_options(
        options,
        Weigh,
        FixedHash::default(),
        DefaultLifecycle::default(),
    )
}

#[cfg(test)]
mod tests;
