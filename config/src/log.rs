//! Settings of the log: when data moves from the WAL to objects, what stays in memory, how often the state is saved.

use std::time::Duration;

use crate::section::section;
use crate::size::ByteSize;

section! {
    /// When data moves from the WAL to objects, what stays in memory, and how often state is saved.
    "log" => LogSettings {
        /// Data is written to an object when that much waits in the WAL. Larger makes fewer, larger objects. No
        /// effect on the latency of producers or on durability: records are acknowledged from the WAL.
        flush_bytes: ByteSize = ByteSize::mib(64),
            min ByteSize::mib(1), max ByteSize::gib(1), since "0.1";

        /// Data is written to an object at the latest after that long.
        flush_interval: Duration = Duration::from_secs(600),
            min Duration::from_millis(10), since "0.1";

        /// Memory for the latest records, from which consumers that keep up are served without any read.
        hot_tail_bytes: ByteSize = ByteSize::mib(24), min ByteSize::mib(1), since "0.1";

        /// The state of a shard is saved after that many manifests. Fewer shortens recovery and writes more.
        checkpoint_manifests: u32 = 1000, min 1, max 1_000_000, since "0.1";

        /// The state of a shard is saved after that many bytes of manifests.
        checkpoint_bytes: ByteSize = ByteSize::mib(64),
            min ByteSize::kib(64), max ByteSize::gib(1), since "0.1";

        /// How often retention is applied. Data may outlive its retention by that long.
        retention_check_interval: Duration = Duration::from_secs(300),
            min Duration::from_millis(1), since "0.1";

        /// How long a producer id is remembered after its last batch. A retry that comes later is not recognised as
        /// a duplicate. Longer costs memory for producers that will not come back.
        producer_id_expiration: Duration = Duration::from_secs(86_400),
            min Duration::from_millis(1), since "0.1";

        /// How often forgotten producer ids are looked for.
        producer_id_expiration_check_interval: Duration = Duration::from_secs(600),
            min Duration::from_millis(1), since "0.1";

        /// The most producers that are remembered in one partition. The one idle for longest goes first; one with
        /// an open transaction never goes.
        producers_per_partition_max: u32 = 5000, min 5, max 1_000_000, since "0.1";

        /// The most producers that are remembered in one shard, over all its partitions.
        producers_per_shard_max: u32 = 20_000, min 5, max 10_000_000, since "0.1";
    }
}
