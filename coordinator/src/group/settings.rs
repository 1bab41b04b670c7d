//! The limits and delays of groups, by the names of Kafka's broker settings.

use std::time::Duration;

use streamhouse_config::coordinator::CoordinatorSettings;

use super::consumer::ConsumerGroupSettings;

/// How groups behave. Durations are exact; counts and bytes are upper bounds, inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// How long the first rebalance of an empty group waits for more members (`group.initial.rebalance.delay.ms`).
    /// Each new member extends it, up to the rebalance timeout. Zero starts the first generation at once.
    pub initial_rebalance_delay: Duration,
    /// The shortest session timeout that a member may ask for (`group.min.session.timeout.ms`).
    pub session_timeout_min: Duration,
    /// The longest session timeout that a member may ask for (`group.max.session.timeout.ms`).
    pub session_timeout_max: Duration,
    /// How many members a group may have (`group.max.size`).
    pub group_size_max: usize,
    /// How groups of the consumer protocol (KIP-848) behave.
    pub consumer: ConsumerGroupSettings,
    /// How many bytes of protocol metadata and assignments a group may hold, so that memory is bounded whatever
    /// `group.max.size` says. Kafka bounds these by the record size of its offsets topic.
    pub group_bytes_max: usize,
    /// How many bytes all groups of this broker may hold: ids, members, offsets. Above it nothing new is let in, with a
    /// retriable error, and what is there goes on. Assignments may take a quarter more, so that groups that are there can
    /// rebalance.
    pub bytes_max: usize,
    /// How many groups one shard may hold; more are refused with a retriable error.
    pub groups_per_shard_max: usize,
    /// How long a member that joined without an id of its own may stay silent before its first generation. Kafka
    /// fixes it at five minutes.
    pub new_member_timeout: Duration,
    /// How long committed offsets outlive their group (`offsets.retention.minutes`), counted from when the group
    /// became empty, or from the commit where there never were members (KIP-211).
    pub offsets_retention: Duration,
    /// How often expired offsets are looked for (`offsets.retention.check.interval.ms`).
    pub offsets_retention_check_interval: Duration,
    /// The longest text that a commit may attach to an offset, in bytes (`offset.metadata.max.bytes`).
    pub offset_metadata_bytes_max: usize,
    /// How long an answer may wait for what it reveals to be written (`offsets.commit.timeout.ms`).
    pub offset_commit_timeout: Duration,
    /// How far apart writes begin that carry many changes each, so that ten thousand commits a second on three brokers cost the
    /// database a hundred transactions. Whoever commits alone waits for nobody.
    pub busy_write_interval: Duration,
    /// How many offsets may wait to be written per shard; more are refused, and nothing of them happens.
    pub queued_offsets_max: usize,
}

impl From<&CoordinatorSettings> for GroupSettings {
    fn from(section: &CoordinatorSettings) -> Self {
        Self {
            initial_rebalance_delay: section.group_initial_rebalance_delay,
            session_timeout_min: section.group_min_session_timeout,
            session_timeout_max: section.group_max_session_timeout,
            group_size_max: usize::try_from(section.group_max_size).unwrap_or(usize::MAX),
            consumer: section.into(),
            group_bytes_max: 16 * 1024 * 1024,
            bytes_max: 512 * 1024 * 1024,
            groups_per_shard_max: 20_000,
            new_member_timeout: Duration::from_secs(5 * 60),
            offsets_retention: section.offsets_retention,
            offsets_retention_check_interval: section.offsets_retention_check_interval,
            offset_metadata_bytes_max: section.offset_metadata_max_bytes.as_usize(),
            offset_commit_timeout: section.offset_commit_timeout,
            busy_write_interval: Duration::from_millis(30),
            queued_offsets_max: 100_000,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self::from(&CoordinatorSettings::default())
    }
}
