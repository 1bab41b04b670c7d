//! Settings of the coordinators: consumer groups and committed offsets.

use std::time::Duration;

use crate::consumer_group::{ConsumerAssignor, MigrationPolicy};
use crate::section::section;
use crate::size::ByteSize;

section! {
    /// Consumer groups and committed offsets.
    "coordinator" => CoordinatorSettings {
        /// How long the first rebalance of an empty group waits for more members. Longer saves rebalances when many
        /// consumers start together; a lone consumer waits that long for its first record. `streamhouse dev` uses 0.
        group_initial_rebalance_delay: Duration = Duration::from_secs(3), since "0.1";

        /// The shortest session timeout that a member may ask for.
        group_min_session_timeout: Duration = Duration::from_secs(6),
            min Duration::from_millis(1), since "0.1";

        /// The longest session timeout that a member may ask for. Longer leaves partitions of a dead member unread
        /// for longer.
        group_max_session_timeout: Duration = Duration::from_secs(1800),
            min Duration::from_millis(1), since "0.1";

        /// The most members of one group. Further ones are answered GROUP_MAX_SIZE_REACHED.
        group_max_size: u32 = i32::MAX as u32, min 1, max i32::MAX as u32, since "0.1";

        /// How long a member of a group of the consumer protocol (KIP-848) may be silent before its partitions go to
        /// others.
        group_consumer_session_timeout: Duration = Duration::from_secs(45),
            min Duration::from_millis(1), since "0.1";

        /// The smallest session timeout that a group of the consumer protocol may be given.
        group_consumer_min_session_timeout: Duration = Duration::from_secs(45),
            min Duration::from_millis(1), since "0.1";

        /// The largest session timeout that a group of the consumer protocol may be given.
        group_consumer_max_session_timeout: Duration = Duration::from_secs(60),
            min Duration::from_millis(1), since "0.1";

        /// How often members of a group of the consumer protocol are told to send heartbeats. They learn of changes
        /// with the next one, so a rebalance takes a few of these.
        group_consumer_heartbeat_interval: Duration = Duration::from_secs(5),
            min Duration::from_millis(1), since "0.1";

        /// The smallest heartbeat interval that a group of the consumer protocol may be given.
        group_consumer_min_heartbeat_interval: Duration = Duration::from_secs(5),
            min Duration::from_millis(1), since "0.1";

        /// The largest heartbeat interval that a group of the consumer protocol may be given.
        group_consumer_max_heartbeat_interval: Duration = Duration::from_secs(15),
            min Duration::from_millis(1), since "0.1";

        /// The most members of one group of the consumer protocol. Further ones are answered GROUP_MAX_SIZE_REACHED.
        group_consumer_max_size: u32 = i32::MAX as u32, min 1, max i32::MAX as u32, since "0.1";

        /// The assignors that members of the consumer protocol may ask for, the default first.
        group_consumer_assignors: Vec<ConsumerAssignor> =
            vec![ConsumerAssignor::Uniform, ConsumerAssignor::Range], since "0.1";

        /// In which direction a group may change between the classic and the consumer protocol while it has members.
        group_consumer_migration_policy: MigrationPolicy = MigrationPolicy::Bidirectional, since "0.1";

        /// How long the topics that a subscribed regex matched are taken for granted while no topic changes: what a
        /// consumer may see can change without one.
        group_consumer_regex_refresh_interval: Duration = Duration::from_secs(600),
            min Duration::from_secs(10), since "0.1";

        /// How long committed offsets of an empty group are kept after its last activity.
        offsets_retention: Duration = Duration::from_secs(7 * 86_400),
            min Duration::from_secs(60), since "0.1";

        /// How often expired offsets are looked for.
        offsets_retention_check_interval: Duration = Duration::from_secs(600),
            min Duration::from_millis(1), since "0.1";

        /// The most bytes of the text that a client stores with a committed offset.
        offset_metadata_max_bytes: ByteSize = ByteSize::new(4096),
            max ByteSize::mib(1), since "0.1";

        /// How long an offset commit may wait for the metadata database before it answers REQUEST_TIMED_OUT.
        offset_commit_timeout: Duration = Duration::from_secs(5),
            min Duration::from_millis(1), since "0.1";
    }
}
