//! The limits of consumer groups, by the names of Kafka's broker settings.

use std::time::Duration;

use streamhouse_config::coordinator::CoordinatorSettings;
use streamhouse_config::{ConsumerAssignor, MigrationPolicy};

/// How consumer groups behave. Durations are exact; counts and bytes are upper bounds, inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// How long a member may be silent (`group.consumer.session.timeout.ms`).
    pub session_timeout: Duration,
    /// How often members are told to send heartbeats (`group.consumer.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// How many members a group may have (`group.consumer.max.size`).
    pub size_max: usize,
    /// The assignors that members may ask for, the default first (`group.consumer.assignors`).
    pub assignors: Vec<ConsumerAssignor>,
    /// In which direction a group with members may change its protocol (`group.consumer.migration.policy`).
    pub migration: MigrationPolicy,
    /// How long the topics that a regex matched are taken for granted while topics do not change
    /// (`group.consumer.regex.refresh.interval.ms`): what a principal may see can change without them.
    pub regex_refresh_interval: Duration,
}

impl ConsumerGroupSettings {
    /// The assignor of a group whose members do not ask for one.
    #[must_use]
    pub fn default_assignor(&self) -> ConsumerAssignor {
        self.assignors
            .first()
            .copied()
            .unwrap_or(ConsumerAssignor::Uniform)
    }
}

impl From<&CoordinatorSettings> for ConsumerGroupSettings {
    fn from(section: &CoordinatorSettings) -> Self {
        Self {
            session_timeout: section.group_consumer_session_timeout,
            heartbeat_interval: section.group_consumer_heartbeat_interval,
            size_max: usize::try_from(section.group_consumer_max_size).unwrap_or(usize::MAX),
            assignors: section.group_consumer_assignors.clone(),
            migration: section.group_consumer_migration_policy,
            regex_refresh_interval: section.group_consumer_regex_refresh_interval,
        }
    }
}
