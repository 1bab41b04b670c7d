//! Settings of the metadata: the database that holds facts about topics, shards and groups.

use std::time::Duration;

use crate::secret::Secret;
use crate::section::section;

section! {
    /// The database of facts: topics, shards, manifests, groups.
    "metadata" => MetadataSettings {
        /// How many shards the cluster has. It is fixed when the data folder is first used; another value later is
        /// refused. More shards spread leadership over more brokers; each costs a little memory.
        shards: u16 = 64, min 1, max 1024, since "0.1";

        /// The PostgreSQL database of a cluster with several brokers: `postgres://user:password@host:port/database`,
        /// several hosts separated by commas. Empty: a file in `storage.data_dir`, for one broker. A server on another
        /// machine must show a certificate with its name (`sslmode=verify-full`, the default there), from an authority
        /// that this machine trusts or that `sslrootcert` names; `sslmode=disable` is for networks where nobody can
        /// listen. It may hold a password, so that it is never shown.
        url: Secret = Secret::default(), since "0.1";

        /// The schema that holds the tables, one per cluster: lower-case letters, digits and `_`. It is made when it
        /// is not there.
        schema: String = "streamhouse".to_owned(), since "0.1";

        /// How many connections to PostgreSQL this broker uses for requests at most. Two more are for its lease and for
        /// hearing of changes. PostgreSQL must allow those of all brokers together (`max_connections`).
        connections: u16 = 8, min 1, max 1000, since "0.1";

        /// How long a request waits for a free connection before it fails.
        acquire_timeout: Duration = Duration::from_secs(5), min Duration::from_millis(1), since "0.1";

        /// How long making a connection may take, up to a session that was checked.
        connect_timeout: Duration = Duration::from_secs(5), min Duration::from_millis(1), since "0.1";

        /// PostgreSQL stops a statement after this long. It does not bound how long a COMMIT waits for synchronous
        /// replicas; `metadata.request_timeout` does.
        statement_timeout: Duration = Duration::from_secs(10), min Duration::from_millis(1), since "0.1";

        /// PostgreSQL stops waiting for a locked row after this long. The request did not happen then and is tried again.
        lock_timeout: Duration = Duration::from_secs(1), min Duration::from_millis(1), since "0.1";

        /// A request that takes longer than this is given up and its connection closed; whether a write happened is found
        /// out before anything is built on it. Longer than `metadata.statement_timeout`.
        request_timeout: Duration = Duration::from_secs(15), min Duration::from_millis(1), max Duration::from_secs(86_400), since "0.1";

        /// How long a start waits for another broker that brings the schema up to date, and how long that may take.
        migration_timeout: Duration = Duration::from_secs(60), min Duration::from_millis(1), max Duration::from_secs(86_400), since "0.1";
    }
}
