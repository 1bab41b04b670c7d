//! Configs of a topic: the table of Kafka's keys, how values are checked, and which values are in effect.
//!
//! Reading order: [`keys`] (the table), [`rule`] (what is allowed), [`resolve`] (what is in effect), [`describe`] (what
//! administrators are shown), [`alter`] (how requests change what is set).

pub mod alter;
pub mod describe;
pub mod keys;
pub mod resolve;
pub mod rule;

pub use alter::{AlterOp, TopicOverrides, check_overrides};
pub use describe::describe_topic;
pub use keys::{Effect, Synonym, TOPIC_KEYS, TopicKey, topic_key};
pub use resolve::{CleanupPolicy, CompressionType, TimestampType, TopicConfigs, TopicDefaults};
pub use rule::Rule;

/// Why a topic config was refused. The texts are Kafka's own, because scripts and people search for them; the broker
/// answers INVALID_CONFIG. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// No topic config has that name.
    #[error("Unknown topic config name: {name}")]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The value is not one of the key's.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Value {
        /// The key.
        name: &'static str,
        /// The value, as Kafka shows it.
        value: String,
        /// The bound or form that it violates.
        reason: String,
    },
    /// A list has an empty part.
    #[error("Configuration '{name}' values must not be empty.")]
    EmptyPart {
        /// The key.
        name: &'static str,
    },
    /// An operation for lists was asked of another type.
    #[error("Can't {operation} to key {name} because its type is not LIST.")]
    NotAList {
        /// APPEND or SUBTRACT.
        operation: &'static str,
        /// The key.
        name: &'static str,
    },
    /// Compaction could never satisfy both.
    #[error(
        "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
    )]
    CompactionLags {
        /// `min.compaction.lag.ms`.
        min: i64,
        /// `max.compaction.lag.ms`.
        max: i64,
    },
}

#[cfg(test)]
mod tests;
