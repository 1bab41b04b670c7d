//! Settings of the write-ahead log: what is acknowledged after one fsync, and how much of it may wait for upload.

use std::time::Duration;

use crate::section::section;
use crate::size::ByteSize;

section! {
    /// The write-ahead log: records are acknowledged when it is fsynced, and leave it when an object holds them.
    "wal" => WalSettings {
        /// The size of one WAL file. Larger files are switched less often; a file is recycled as a whole.
        file_bytes: ByteSize = ByteSize::mib(64),
            min ByteSize::mib(4), max ByteSize::gib(1), since "0.1";

        /// The most bytes that wait for upload. When it is reached, producers are slowed down and then told to try
        /// again, until uploads keep pace. Larger survives a longer outage of the object store; it costs disk and
        /// time of recovery.
        max_bytes: ByteSize = ByteSize::gib(1), min ByteSize::mib(16), since "0.1";

        /// The most batches that wait for upload. Each holds an index entry of 32 bytes in memory; an upload begins at
        /// half of it.
        max_entries: u32 = 1_000_000, min 1000, max 100_000_000, since "0.1";

        /// How many empty files are kept ready, so that an append never waits for a new file.
        pool_files: u32 = 4, min 2, max 64, since "0.1";

        /// The most bytes that one fsync covers. Larger raises throughput under load; it does not delay anything
        /// when there is little load, because a group is written as soon as the previous fsync returns.
        group_bytes: ByteSize = ByteSize::mib(4),
            min ByteSize::kib(64), max ByteSize::mib(64), since "0.1";

        /// How long after the last append the file is sealed, which records how far it was synced.
        seal_after: Duration = Duration::from_millis(20),
            min Duration::from_millis(1), max Duration::from_secs(60), since "0.1";
    }
}
