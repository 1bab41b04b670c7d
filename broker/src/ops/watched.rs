//! What metrics are read from when somebody asks for them: the rooms count, and nothing is counted twice.

use metrics::{counter, gauge};
use streamhouse_log::Log;
use streamhouse_storage::cache::BlockCache;
use streamhouse_storage::objects::{ObjectClass, ObjectCounts, Objects, WireCounts};

use crate::membership::Membership;

/// The rooms whose numbers are shown.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The log.
    pub log: Log,
    /// The object store.
    pub objects: Objects,
    /// The cache over it.
    pub cache: BlockCache,
    /// The place among other brokers; none for a broker that is alone.
    pub membership: Option<Membership>,
}

impl Watched {
    /// Brings the metrics up to date.
    pub fn observe(&self) {
        self.observe_log();
        self.observe_cache();
        self.observe_objects();
        if let Some(membership) = &self.membership {
            membership.observe();
        }
    }

    fn observe_objects(&self) {
        let failing_for = self.objects.health().failing_for.unwrap_or_default();
        gauge!("streamhouse_storage_object_failing_seconds").set(failing_for.as_secs_f64());
        gauge!("streamhouse_storage_object_slowed_shards").set(self.objects.slowed_down() as f64);
        for class in ObjectClass::ALL {
            let is_open = self.objects.is_cut_off(class);
            gauge!("streamhouse_storage_object_breaker_open", "class" => class.label())
                .set(f64::from(u8::from(is_open)));
            observe_class(class, &self.objects.counts(class));
            if let Some(counts) = self.objects.wire_counts(class) {
                observe_wire(class, &counts);
            }
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
        if let Some(hedged) = self.log.hedge_counts() {
            counter!("streamhouse_log_hedged_uploads_total").absolute(hedged.begun);
            counter!("streamhouse_log_hedged_uploads_won_total").absolute(hedged.won);
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

fn observe_class(class: ObjectClass, counts: &ObjectCounts) {
    let class = class.label();
    let show = |name: &'static str, count| counter!(name, "class" => class).absolute(count);
    show(
        "streamhouse_storage_object_breaker_opened_total",
        counts.opened,
    );
    show("streamhouse_storage_object_bytes_total", counts.bytes);
    show(
        "streamhouse_storage_object_creates_verified_total",
        counts.verified,
    );
    show(
        "streamhouse_storage_object_reads_condemned_total",
        counts.condemned,
    );
    show(
        "streamhouse_storage_object_reads_doubted_total",
        counts.doubted,
    );
    show(
        "streamhouse_storage_object_requests_cut_short_total",
        counts.cut_short,
    );
    show(
        "streamhouse_storage_object_requests_failed_total",
        counts.failed,
    );
    show(
        "streamhouse_storage_object_requests_repeated_total",
        counts.repeated,
    );
    show(
        "streamhouse_storage_object_requests_shed_total",
        counts.shed,
    );
    show(
        "streamhouse_storage_object_requests_throttled_total",
        counts.throttled,
    );
    show(
        "streamhouse_storage_object_requests_timed_out_total",
        counts.timed_out,
    );
    show("streamhouse_storage_object_requests_total", counts.requests);
    show(
        "streamhouse_storage_object_requests_unaffordable_total",
        counts.unaffordable,
    );
}

fn observe_wire(class: ObjectClass, counts: &WireCounts) {
    let class = class.label();
    for (operation, count) in [
        ("put", counts.puts),
        ("get", counts.gets),
        ("head", counts.heads),
        ("list", counts.lists),
        ("delete", counts.deletes),
        ("post", counts.posts),
    ] {
        counter!("streamhouse_storage_s3_requests_total", "class" => class, "operation" => operation)
            .absolute(count);
    }
    for (direction, bytes) in [
        ("sent", counts.bytes_sent),
        ("received", counts.bytes_received),
    ] {
        counter!("streamhouse_storage_s3_bytes_total", "class" => class, "direction" => direction)
            .absolute(bytes);
    }
}
