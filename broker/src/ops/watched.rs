//! What metrics are read from when somebody asks for them: the rooms count, and nothing is counted twice.

use metrics::{counter, gauge};
use streamhouse_log::Log;
use streamhouse_storage::cache::BlockCache;
use streamhouse_storage::objects::{ObjectClass, Objects};

/// The rooms whose numbers are shown.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The log.
    pub log: Log,
    /// The object store.
    pub objects: Objects,
    /// The cache over it.
    pub cache: BlockCache,
}

impl Watched {
    /// Brings the metrics up to date.
    pub fn observe(&self) {
        self.observe_log();
        self.observe_cache();
        for class in ObjectClass::ALL {
            let counts = self.objects.counts(class);
            let class = class.label();
            counter!("streamhouse_storage_object_requests_total", "class" => class)
                .absolute(counts.requests);
            counter!("streamhouse_storage_object_requests_repeated_total", "class" => class)
                .absolute(counts.repeated);
            counter!("streamhouse_storage_object_requests_failed_total", "class" => class)
                .absolute(counts.failed);
            counter!("streamhouse_storage_object_bytes_total", "class" => class)
                .absolute(counts.bytes);
            counter!("streamhouse_storage_object_reads_doubted_total", "class" => class)
                .absolute(counts.doubted);
            counter!("streamhouse_storage_object_reads_condemned_total", "class" => class)
                .absolute(counts.condemned);
        }
    }

    fn observe_log(&self) {
        if let Some(usage) = self.log.wal_usage() {
            gauge!("streamhouse_wal_bytes").set(usage.bytes as f64);
            gauge!("streamhouse_wal_entries").set(usage.entries as f64);
            gauge!("streamhouse_wal_cap_bytes").set(usage.cap_bytes as f64);
        }
        if let Some((bytes, bytes_max)) = self.log.staged_bytes() {
            gauge!("streamhouse_log_staged_bytes").set(bytes as f64);
            gauge!("streamhouse_log_staged_cap_bytes").set(bytes_max as f64);
        }
        gauge!("streamhouse_log_tail_bytes").set(self.log.tail_bytes() as f64);
        gauge!("streamhouse_log_partitions").set(self.log.partition_count() as f64);
    }

    fn observe_cache(&self) {
        let stats = self.cache.stats();
        counter!("streamhouse_storage_cache_hits_total").absolute(stats.hits);
        counter!("streamhouse_storage_cache_misses_total").absolute(stats.misses);
        counter!("streamhouse_storage_cache_gets_total").absolute(stats.gets);
        counter!("streamhouse_storage_cache_fetched_bytes_total").absolute(stats.bytes_fetched);
        counter!("streamhouse_storage_cache_corrupt_total").absolute(stats.corrupt);
        counter!("streamhouse_storage_cache_read_aheads_total").absolute(stats.read_aheads);
        gauge!("streamhouse_storage_cache_held_bytes").set(stats.bytes_held as f64);
    }
}
