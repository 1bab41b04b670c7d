//! Which topics the members of a group read, where that can be told.
//!
//! What members say in a protocol is theirs: only of the type `consumer` the first part is read, which is the same in every
//! version of it (`ConsumerProtocolSubscription` version 0): a version, then the names of topics. What comes after is not
//! looked at, and what cannot be read is not refused: some clients write it in ways of their own.

use std::collections::BTreeSet;

use super::{Group, State};

/// The protocol type of Kafka's consumers.
pub(in crate::group) const CONSUMER: &str = "consumer";

/// What is known of the topics that a group reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscriptions {
    /// Nobody is in the group.
    Nobody,
    /// The members are consumers of these topics.
    Topics(BTreeSet<Box<str>>),
    /// The members are consumers, of which topics cannot be told: they have not agreed on a protocol yet, or say it in a
    /// way that is not Kafka's.
    Unknown,
    /// The members are no consumers.
    Foreign,
}

impl Subscriptions {
    /// Whether a member reads the topic, as far as is known; in doubt it does.
    #[must_use]
    pub fn may_include(&self, topic: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Topics(topics) => topics.contains(topic),
            Self::Unknown | Self::Foreign => true,
        }
    }
}

impl Group {
    /// Which topics the members read. Costs time with the number of members and of their topics.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        if matches!(self.state, State::Empty | State::Dead) {
            return Subscriptions::Nobody;
        }
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return Subscriptions::Foreign;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(self.protocol.as_ref());
            if read_topics(&metadata, &mut topics).is_none() {
                return Subscriptions::Unknown;
            }
        }
        Subscriptions::Topics(topics)
    }
}

/// Adds the topics of a subscription: version i16, count i32, names with an i16 length in front.
fn read_topics(metadata: &[u8], topics: &mut BTreeSet<Box<str>>) -> Option<()> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = u32::try_from(i32::from_be_bytes(*count)).ok()?;
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, after) = after.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(name).ok()?.into());
        rest = after;
    }
    Some(())
}
