//! What consumers of the classic protocol say in JoinGroup and hear in SyncGroup (`ConsumerProtocolSubscription`,
//! `ConsumerProtocolAssignment`). A coordinator reads it only where such consumers are in a group of the consumer protocol.
//!
//! ```text
//! subscription   version i16 | topics i32: name | user data? | since version 1: owned i32: name, partitions i32: i32
//! assignment     version i16 | topics i32: name, partitions i32: i32 | user data?
//! ```
//! A name has a length of two bytes in front, user data one of four, where -1 means none. Later versions add only what comes
//! behind. The bytes are a client's, so every count is held against what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_metadata::Catalogue;
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::names::TopicName;

use super::Partitions;

/// The newest version that we write.
const NEWEST_VERSION: i16 = 3;

/// What a consumer subscribes to, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) version: i16,
    pub(super) names: BTreeSet<Arc<str>>,
    pub(super) owned: Partitions,
}

/// Reads a subscription; `None` if it is none. Topics that do not exist are owned by nobody.
pub(super) fn read_subscription(metadata: &[u8], topics: &Catalogue) -> Option<Subscription> {
    let mut input = Input(metadata);
    let version = input.version()?;
    let mut names = BTreeSet::new();
    for _ in 0..input.count(2)? {
        names.insert(Arc::from(input.name()?));
    }
    input.user_data()?;
    let owned = if version >= 1 {
        input.partitions(topics)?
    } else {
        Partitions::new()
    };
    Some(Subscription {
        version,
        names,
        owned,
    })
}

/// Reads an assignment; `None` if it is none. No bytes are no partitions.
pub(super) fn read_assignment(assignment: &[u8], topics: &Catalogue) -> Option<Partitions> {
    if assignment.is_empty() {
        return Some(Partitions::new());
    }
    let mut input = Input(assignment);
    input.version()?;
    input.partitions(topics)
}

/// The assignment of a consumer whose subscription has this version. Topics that are gone have no name any more.
pub(super) fn write_assignment(version: i16, assigned: &Partitions, topics: &Catalogue) -> Bytes {
    let mut by_topic = BTreeMap::<TopicId, Vec<i32>>::new();
    for one in assigned {
        by_topic.entry(one.topic).or_default().push(one.partition.0);
    }
    let named: Vec<(&TopicName, Vec<i32>)> = by_topic
        .into_iter()
        .filter_map(|(id, indexes)| Some((&topics.by_id(id)?.name, indexes)))
        .collect();
    let mut out = BytesMut::with_capacity(16 + 32 * named.len() + 4 * assigned.len());
    out.put_i16(version.clamp(0, NEWEST_VERSION));
    out.put_u32(count(named.len()));
    for (name, indexes) in named {
        let length = u16::try_from(name.as_str().len()).expect("a topic's name is short");
        out.put_u16(length);
        out.put_slice(name.as_str().as_bytes());
        out.put_u32(count(indexes.len()));
        for index in indexes {
            out.put_i32(index);
        }
    }
    out.put_i32(-1);
    out.freeze()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a group is bounded far below 2^32 bytes")
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn version(&mut self) -> Option<i16> {
        self.array()
            .map(i16::from_be_bytes)
            .filter(|version| *version >= 0)
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(i32::from_be_bytes(self.array()?)).ok()?;
        (count <= self.0.len() / least).then_some(count)
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = usize::try_from(i16::from_be_bytes(self.array()?)).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn user_data(&mut self) -> Option<()> {
        let length = i32::from_be_bytes(self.array()?);
        if length >= 0 {
            self.take(usize::try_from(length).ok()?)?;
        }
        Some(())
    }

    fn partitions(&mut self, topics: &Catalogue) -> Option<Partitions> {
        let mut partitions = Partitions::new();
        for _ in 0..self.count(6)? {
            let name = TopicName::new(self.name()?).ok();
            let topic = name.and_then(|name| topics.by_name(&name));
            for _ in 0..self.count(4)? {
                let index = PartitionIndex(i32::from_be_bytes(self.array()?));
                if let Some(topic) = topic {
                    partitions.insert(TopicPartition::new(topic.id, index));
                }
            }
        }
        Some(partitions)
    }
}
