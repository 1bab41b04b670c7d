//! What the settings let the broker hold in memory, so that the sum can be stated and kept.

use crate::settings::Settings;
use crate::size::ByteSize;

/// A reserve of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShare {
    /// The setting that bounds it.
    pub setting: &'static str,
    /// The most it can become.
    pub bytes: ByteSize,
}

/// What one batch that waits for upload costs in memory: its place in the WAL.
pub const WAL_ENTRY_BYTES: u64 = 32;

impl Settings {
    /// Every bounded share of memory. What is not in it: code, stacks, sockets and the state of partitions, about
    /// 40 MB for a broker with few topics.
    #[must_use]
    pub fn memory_shares(&self) -> Vec<MemoryShare> {
        let share = |setting, bytes| MemoryShare { setting, bytes };
        let twice = |size: ByteSize| ByteSize::new(size.bytes().saturating_mul(2));
        let entries = u64::from(self.wal.max_entries).saturating_mul(WAL_ENTRY_BYTES);
        vec![
            share(
                "listener.small_request_memory",
                self.listener.small_request_memory,
            ),
            share(
                "listener.produce_request_memory",
                self.listener.produce_request_memory,
            ),
            share(
                "listener.large_request_memory",
                self.listener.large_request_memory,
            ),
            share("listener.fetch_memory", self.listener.fetch_memory),
            share("storage.block_cache_bytes", self.storage.block_cache_bytes),
            share("log.hot_tail_bytes", self.log.hot_tail_bytes),
            share("wal.group_bytes", twice(self.wal.group_bytes)),
            share("wal.max_entries", ByteSize::new(entries)),
        ]
    }
}
