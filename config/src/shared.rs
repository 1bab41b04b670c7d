//! Settings of flushes in a cluster of several brokers, where producers wait for the object store.

use std::time::Duration;

use crate::section::section;
use crate::size::ByteSize;

section! {
    /// Flushes of a cluster that keeps its metadata in PostgreSQL: records are acknowledged when the object that holds
    /// them is stored and the database names it. Without effect for a single broker with a data folder.
    "shared" => SharedSettings {
        /// Staged bytes that start a flush. Larger objects cost fewer requests to the object store; under load they also
        /// mean that a producer waits for more bytes of others.
        flush_bytes: ByteSize = ByteSize::mib(8),
            min ByteSize::kib(64), max ByteSize::mib(64), since "0.1";

        /// The longest that a record waits for others before a flush begins. Shorter answers producers sooner and costs
        /// more requests to the object store.
        flush_interval: Duration = Duration::from_millis(150),
            min Duration::from_millis(1), max Duration::from_secs(60), since "0.1";

        /// Bytes that may be staged and not yet stored. Above it producers wait, and are told to try again in the end.
        /// All of them are in memory.
        staging_bytes: ByteSize = ByteSize::mib(64), min ByteSize::mib(4), max ByteSize::gib(16), since "0.1";

        /// Flushes that run side by side. They are committed in the order in which they began.
        uploads: u16 = 2, min 1, max 64, since "0.1";

        /// How many flushes a second, on average, may begin before the interval is over, because every producer waits for
        /// an answer. Each is one request that the object store charges for; 0 always waits for the interval.
        early_uploads_per_second: u32 = 4, min 0, max 1000, since "0.1";

        /// How many of these may come at once after a time with fewer.
        early_uploads_burst: u32 = 20, min 0, max 10_000, since "0.1";

        /// Staged bytes that pay for one early flush more. Producers that keep few bytes on their way, as Kafka's do at
        /// their defaults, send the next ones when they are answered.
        early_upload_bytes: ByteSize = ByteSize::kib(256), min ByteSize::kib(16), max ByteSize::gib(1), since "0.1";

        /// How many of a hundred uploads may be made a second time, because the first takes much longer than uploads
        /// usually do. The first that arrives counts. 0 waits for each upload, however long it takes.
        hedged_percent: u16 = 5, min 0, max 50, since "0.1";
    }
}
