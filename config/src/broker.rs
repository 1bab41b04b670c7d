//! Settings of the broker as a whole: who it is and what it allows clients to do with topics.

use std::time::Duration;

use crate::section::section;
use crate::size::ByteSize;

section! {
    /// Who this broker is, and what clients may do with topics.
    "broker" => BrokerSettings {
        /// The number by which clients know this broker. It must be unique in the cluster and must not change.
        /// No effect on latency, cost or durability.
        node_id: i32 = 1, min 0, since "0.1";

        /// The id of the cluster: up to 64 letters, digits, `-` and `_`, such as `kafka-storage.sh random-uuid` prints.
        /// When unset, an id is made at the first start and kept in the metadata. A value that differs from the kept
        /// one is refused at start, because clients would be led to another cluster's data.
        cluster_id: Option<String> = None, since "0.1";

        /// The rack or zone of this broker, shown to clients in metadata. No effect on latency, cost or durability
        /// of a single broker.
        rack: Option<String> = None, since "0.1";

        /// Whether a topic is created when a client asks for the metadata of one that does not exist, or produces
        /// to it. Costs one metadata write per created topic.
        auto_create_topics_enable: bool = true, since "0.1";

        /// Whether topics may be deleted. When false, DeleteTopics answers TOPIC_DELETION_DISABLED.
        delete_topic_enable: bool = true, since "0.1";

        /// Partitions of a topic that was created without a number of partitions. More partitions allow more
        /// consumers in a group; the price is metadata, not object requests: one flush holds all partitions.
        num_partitions: i32 = 1, min 1, max 10_000, since "0.1";

        /// Accepted for Kafka's sake, without effect: a topic may be created with any replication factor, shows one
        /// replica, and none changes where data is kept. Durability comes from the WAL and the object store.
        default_replication_factor: i32 = 1, min 1, max 32_767, since "0.1";

        /// The most bytes of records in one Fetch answer, whatever the client asks for. The first batch is returned
        /// even if it alone is larger. Larger answers raise throughput of catching up and memory per consumer.
        fetch_max_bytes: ByteSize = ByteSize::mib(55),
            min ByteSize::new(1024), max ByteSize::new(i32::MAX as u64), since "0.1";

        /// How long a stopping broker goes on answering requests that it had accepted. After that connections are
        /// closed; nothing that was acknowledged is lost.
        shutdown_timeout: Duration = Duration::from_secs(20),
            max Duration::from_secs(3600), since "0.1";
    }
}
