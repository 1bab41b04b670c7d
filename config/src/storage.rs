//! Settings of storage: where bytes are kept, how they are cached, when unused objects go.

use std::path::PathBuf;
use std::time::Duration;

use crate::section::section;
use crate::size::ByteSize;

section! {
    /// Where bytes are kept, how they are cached, and when unused objects are deleted.
    "storage" => StorageSettings {
        /// The folder that holds everything of this broker: the WAL, the objects and the metadata. One process at a
        /// time may use it. A relative path starts at the working directory.
        data_dir: PathBuf = PathBuf::from("streamhouse-data"), since "0.1";

        /// Memory for blocks read from objects. More saves object reads of consumers that read the same old data.
        block_cache_bytes: ByteSize = ByteSize::mib(24), min ByteSize::mib(1), since "0.1";

        /// How long an object that nothing refers to is kept before it is deleted. It must outlast the longest read
        /// that may have begun before. Longer costs storage only.
        object_grace: Duration = Duration::from_secs(300), min Duration::from_secs(1), since "0.1";
    }
}
