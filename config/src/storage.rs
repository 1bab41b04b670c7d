//! Settings of storage: where bytes are kept, how they are cached, when unused objects go.

use std::path::PathBuf;
use std::time::Duration;

use crate::section::section;
use crate::size::ByteSize;
use crate::storage_url::StorageUrl;

section! {
    /// Where bytes are kept, how they are cached, and when unused objects are deleted.
    "storage" => StorageSettings {
        /// The folder that holds everything of this broker: the WAL, the objects and the metadata. One process at a
        /// time may use it. A relative path starts at the working directory.
        data_dir: PathBuf = PathBuf::from("streamhouse-data"), since "0.1";

        /// Where the objects are, which hold all records. Unset: the folder `objects` in the data folder. A folder
        /// elsewhere begins with `/` and belongs to this broker alone. `s3://bucket/prefix` is a bucket of S3 or of any
        /// store that speaks its protocol; the section `s3` says how it is reached. Each cluster needs a folder or prefix
        /// of its own; one that holds another cluster's objects is refused.
        url: StorageUrl = StorageUrl::DataDir, since "0.1";

        /// Memory for blocks read from objects. More saves object reads of consumers that read the same old data.
        block_cache_bytes: ByteSize = ByteSize::mib(24), min ByteSize::mib(1), since "0.1";

        /// How long an object that nothing refers to is kept before it is deleted. It must outlast the longest read
        /// that may have begun before, and, with PostgreSQL, be at least as long as the time after which nobody restores
        /// an older copy of the database: such a copy names objects that are gone by now. Longer costs storage only.
        /// Unset: 5 minutes with a data folder, 24 hours with PostgreSQL.
        object_grace: Option<Duration> = None, since "0.1";
    }
}
