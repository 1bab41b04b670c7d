//! Settings of the metadata: the database that holds facts about topics, shards and groups.

use crate::section::section;

section! {
    /// The database of facts: topics, shards, manifests, groups.
    "metadata" => MetadataSettings {
        /// How many shards the cluster has. It is fixed when the data folder is first used; another value later is
        /// refused. More shards spread leadership over more brokers; each costs a little memory.
        shards: u16 = 64, min 1, max 1024, since "0.1";
    }
}
