//! Numbers that Kafka gives to things: brokers, topics, partitions, producers and their epochs.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// The number of a broker (`node.id`), 0 or above.
    BrokerId(i32)
}
number! {
    /// The index of a partition in its topic, from 0.
    PartitionIndex(i32)
}
number! {
    /// Identifies an idempotent or transactional producer. Real ids are 0 or above.
    ProducerId(i64)
}
number! {
    /// The epoch of a producer id; a higher one fences the lower ones.
    ProducerEpoch(i16)
}
number! {
    /// The epoch of a partition's leader: the epoch of its shard. It never goes down for one topic id.
    LeaderEpoch(i32)
}
number! {
    /// Milliseconds since 1970-01-01 UTC, as in Kafka's records; -1 where a record has none.
    Timestamp(i64)
}

impl ProducerId {
    /// What a batch carries that was written without idempotence.
    pub const NONE: Self = Self(-1);

    /// Whether this names a producer.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl LeaderEpoch {
    /// What a client sends that does not know the epoch.
    pub const NONE: Self = Self(-1);
}

impl Timestamp {
    /// No timestamp.
    pub const NONE: Self = Self(-1);
}

impl Default for Timestamp {
    /// [`Timestamp::NONE`].
    fn default() -> Self {
        Self::NONE
    }
}

/// The id of a topic: 128 random bits, never the nil id, never used twice (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u128);

impl TopicId {
    /// The id as Kafka prints it: 22 characters of URL-safe base64 would be Kafka's own form; logs use plain hex.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A partition of a topic, by the topic's id: a recreated topic of the same name is another partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index in it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    #[must_use]
    pub const fn new(topic: TopicId, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
