//! The bytes of a consumer group in the metadata store. *On disk: never renumber.*
//!
//! ```text
//! version u8 = 129, or 130 where members speak the classic protocol | group epoch i32 | assignment epoch i32 | topics hash u64 | empty since i64
//! topic ids u32: id u128
//! texts u32: text
//! resolutions u32: regex (text number), revision u64, topics u32: text number
//! members u32, by id:
//!   id text | instance text? | rack text? | client id text | client host text | rebalance timeout ms u32
//!   names u32: text number | regex text number? | assignor u8 (0 none, 1 uniform, 2 range)
//!   epoch i32 | shown epoch i32 | state u8 (0 stable, 1 unrevoked, 2 unreleased)
//!   assigned, revoking, target: topics u32: topic number u32, partitions u32: i32
//!   in version 130: protocols u32: name text, metadata bytes; where there are any, session timeout ms u32
//! ```
//! Integers are big endian; a text has a u32 length in front, and the number or length 0xffffffff means none (`?`). What many
//! members have in common, topic ids and subscribed names, is written once. A version from 128 on says that the group is no
//! classic one.
//!
//! Timers are not stored: after a restart every session and every wait for a revocation starts afresh.

mod input;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_config::ConsumerAssignor;
use streamhouse_protocol::ids::{PartitionIndex, Timestamp, TopicId, TopicPartition};
use streamhouse_protocol::names::TopicName;
use streamhouse_runtime::planted;

use super::super::classic::{Now, StoredGroupError};
use super::super::request::{MemberId, Protocol};
use super::classic::Classic;
use super::member::{Member, MemberState, Said};
use super::{ConsumerGroup, ConsumerGroupSettings, Partitions, Resolution, STATIC_LEAVING_EPOCH};

use input::Input;

const VERSION: u8 = 129;
/// Some members speak the classic protocol.
const VERSION_WITH_CLASSIC: u8 = 130;
const NONE: u32 = u32::MAX;

/// Whether the stored bytes of a group are those of a consumer group, of this release or of a later one.
#[must_use]
pub fn is_consumer_group(stored: &[u8]) -> bool {
    stored.first().is_some_and(|version| *version >= 128)
}

impl ConsumerGroup {
    /// The bytes to store after a transition whose [`super::Effects::store`] is set.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let tables = Tables::of(self);
        let mut out = BytesMut::with_capacity(64 + self.bytes + 12 * self.owners.len());
        let mut members = self.members.values();
        let is_mixed = members.any(|member| member.said.classic.is_some());
        out.put_u8(if is_mixed {
            VERSION_WITH_CLASSIC
        } else {
            VERSION
        });
        out.put_i32(self.epoch);
        out.put_i32(self.assignment_epoch);
        out.put_u64(self.topics_hash);
        out.put_i64(self.empty_since.0);
        tables.put(&mut out);
        out.put_u32(count(self.resolutions.len()));
        for (regex, resolution) in &self.resolutions {
            out.put_u32(tables.text(regex));
            out.put_u64(resolution.revision);
            out.put_u32(count(resolution.topics.len()));
            for topic in &resolution.topics {
                out.put_u32(tables.text(topic.as_str()));
            }
        }
        out.put_u32(count(self.members.len()));
        for (id, member) in &self.members {
            put_member(&mut out, &tables, id, member);
            if is_mixed {
                put_classic(&mut out, member.said.classic.as_deref());
            }
        }
        out.freeze()
    }

    /// The group that was stored, as its coordinator finds it after a restart.
    pub fn decode(
        stored: &[u8],
        now: Now,
        settings: &ConsumerGroupSettings,
    ) -> Result<Self, StoredGroupError> {
        let mut input = Input(stored);
        let version = input.u8()?;
        if version != VERSION && version != VERSION_WITH_CLASSIC {
            return Err(StoredGroupError::UnknownVersion(version));
        }
        let mut group = Self::new(now);
        group.epoch = input.i32()?;
        group.assignment_epoch = input.i32()?;
        group.topics_hash = input.u64()?;
        group.empty_since = Timestamp(input.i64()?);
        let read = Read::tables(&mut input)?;
        // A regex has a number, a revision and a count.
        for _ in 0..input.count(16)? {
            let regex = read.text(&mut input)?;
            let resolution = read.resolution(&mut input, now)?;
            group.bytes += resolution.bytes();
            if group.resolutions.insert(regex, resolution).is_some() {
                return Err(StoredGroupError::Contradiction);
            }
        }
        // A member has at least fourteen numbers or lengths of four bytes.
        for _ in 0..input.count(56)? {
            let id = MemberId(input.text()?);
            let mut member = read.member(&mut input)?;
            if version == VERSION_WITH_CLASSIC {
                member.said.classic = read_classic(&mut input)?.map(Arc::new);
            }
            member.session_until = now.monotonic + member.session_timeout(settings);
            member.revoke_until = (member.state == MemberState::UnrevokedPartitions)
                .then(|| now.monotonic + member.said.rebalance_timeout);
            group.adopt(id, member)?;
        }
        if !input.0.is_empty() {
            return Err(StoredGroupError::TooLong);
        }
        if group.assignment_epoch < 0 || group.epoch < group.assignment_epoch {
            return Err(StoredGroupError::Contradiction);
        }
        Ok(group)
    }

    fn adopt(&mut self, id: MemberId, member: Member) -> Result<(), StoredGroupError> {
        let mut owned = member.assigned.iter().chain(&member.revoking);
        let instance = member.said.instance.as_ref();
        let is_at_odds = self.members.contains_key(&id)
            || instance.is_some_and(|instance| self.instances.contains_key(instance))
            || owned.any(|partition| self.owners.contains_key(partition))
                && !planted::bug("partition_with_two_readers")
            || !member.assigned.is_disjoint(&member.revoking)
            || member.epoch < STATIC_LEAVING_EPOCH
            || member.epoch > self.epoch;
        if is_at_odds {
            return Err(StoredGroupError::Contradiction);
        }
        self.wake_by(member.due());
        self.put_in(&id, member);
        Ok(())
    }
}

/// Topic ids and texts that are written once and named by number.
struct Tables<'a> {
    topics: BTreeMap<TopicId, u32>,
    texts: BTreeMap<&'a str, u32>,
}

impl<'a> Tables<'a> {
    fn of(group: &'a ConsumerGroup) -> Self {
        let mut tables = Self {
            topics: BTreeMap::new(),
            texts: BTreeMap::new(),
        };
        for (regex, resolution) in &group.resolutions {
            tables.texts.insert(regex, 0);
            let topics = resolution.topics.iter();
            tables.texts.extend(topics.map(|topic| (topic.as_str(), 0)));
        }
        for member in group.members.values() {
            let names = member.said.names.iter().chain(&member.said.regex);
            tables.texts.extend(names.map(|name| (&**name, 0)));
            for partitions in [&member.assigned, &member.revoking, &member.target] {
                for partition in partitions {
                    tables.topics.insert(partition.topic, 0);
                }
            }
        }
        for (number, place) in (0..).zip(tables.topics.values_mut()) {
            *place = number;
        }
        for (number, place) in (0..).zip(tables.texts.values_mut()) {
            *place = number;
        }
        tables
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(count(self.topics.len()));
        for id in self.topics.keys() {
            out.put_u128(id.as_u128());
        }
        out.put_u32(count(self.texts.len()));
        for text in self.texts.keys() {
            put_text(out, text);
        }
    }

    fn text(&self, text: &str) -> u32 {
        *self
            .texts
            .get(text)
            .expect("every text of the group is in the table")
    }

    fn put_partitions(&self, out: &mut BytesMut, partitions: &Partitions) {
        let mut by_topic = BTreeMap::<TopicId, Vec<i32>>::new();
        for one in partitions {
            by_topic.entry(one.topic).or_default().push(one.partition.0);
        }
        out.put_u32(count(by_topic.len()));
        for (topic, indexes) in by_topic {
            let number = self.topics.get(&topic);
            out.put_u32(*number.expect("every topic of the group is in the table"));
            out.put_u32(count(indexes.len()));
            for index in indexes {
                out.put_i32(index);
            }
        }
    }
}

fn put_member(out: &mut BytesMut, tables: &Tables<'_>, id: &MemberId, member: &Member) {
    let said = &member.said;
    put_text(out, id.as_str());
    put_optional(out, said.instance.as_deref());
    put_optional(out, said.rack.as_deref());
    put_text(out, &said.client_id);
    put_text(out, &said.client_host);
    // It came from an i32 of milliseconds.
    out.put_u32(u32::try_from(said.rebalance_timeout.as_millis()).unwrap_or(u32::MAX));
    out.put_u32(count(said.names.len()));
    for name in said.names.iter() {
        out.put_u32(tables.text(name));
    }
    out.put_u32(said.regex.as_ref().map_or(NONE, |regex| tables.text(regex)));
    out.put_u8(match said.assignor {
        None => 0,
        Some(ConsumerAssignor::Uniform) => 1,
        Some(ConsumerAssignor::Range) => 2,
    });
    out.put_i32(member.epoch);
    out.put_i32(member.shown_epoch);
    out.put_u8(match member.state {
        MemberState::Stable => 0,
        MemberState::UnrevokedPartitions => 1,
        MemberState::UnreleasedPartitions => 2,
    });
    for partitions in [&member.assigned, &member.revoking, &member.target] {
        tables.put_partitions(out, partitions);
    }
}

fn put_classic(out: &mut BytesMut, classic: Option<&Classic>) {
    let Some(classic) = classic else {
        return out.put_u32(0);
    };
    out.put_u32(count(classic.protocols.len()));
    for protocol in &classic.protocols {
        put_text(out, &protocol.name);
        out.put_u32(count(protocol.metadata.len()));
        out.put_slice(&protocol.metadata);
    }
    // It came from an i32 of milliseconds.
    out.put_u32(u32::try_from(classic.session_timeout.as_millis()).unwrap_or(u32::MAX));
}

fn read_classic(input: &mut Input<'_>) -> Result<Option<Classic>, StoredGroupError> {
    let mut protocols = Vec::new();
    for _ in 0..input.count(8)? {
        protocols.push(Protocol {
            name: input.text()?,
            metadata: input.bytes()?,
        });
    }
    if protocols.is_empty() {
        return Ok(None);
    }
    Ok(Some(Classic {
        protocols,
        session_timeout: Duration::from_millis(u64::from(input.u32()?)),
    }))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a group is bounded far below 2^32 bytes")
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(count(text.len()));
    out.put_slice(text.as_bytes());
}

fn put_optional(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.put_u32(NONE),
    }
}

/// The tables of [`Tables`] as they are read back.
struct Read {
    topics: Vec<TopicId>,
    texts: Vec<Arc<str>>,
}

impl Read {
    fn tables(input: &mut Input<'_>) -> Result<Self, StoredGroupError> {
        let mut read = Self {
            topics: Vec::new(),
            texts: Vec::new(),
        };
        for _ in 0..input.count(16)? {
            read.topics.push(TopicId(input.u128()?));
        }
        for _ in 0..input.count(4)? {
            read.texts.push(input.text()?);
        }
        Ok(read)
    }

    fn text(&self, input: &mut Input<'_>) -> Result<Arc<str>, StoredGroupError> {
        let text = self.optional_text(input)?;
        text.ok_or(StoredGroupError::Contradiction)
    }

    fn optional_text(&self, input: &mut Input<'_>) -> Result<Option<Arc<str>>, StoredGroupError> {
        let number = input.u32()?;
        if number == NONE {
            return Ok(None);
        }
        let index = usize::try_from(number).ok();
        let text = index.and_then(|index| self.texts.get(index));
        text.cloned()
            .map(Some)
            .ok_or(StoredGroupError::Contradiction)
    }

    fn resolution(&self, input: &mut Input<'_>, now: Now) -> Result<Resolution, StoredGroupError> {
        let mut resolution = Resolution {
            topics: BTreeSet::new(),
            revision: input.u64()?,
            at: now.monotonic,
        };
        for _ in 0..input.count(4)? {
            let name = TopicName::new(&self.text(input)?);
            let name = name.map_err(|_| StoredGroupError::Contradiction)?;
            resolution.topics.insert(name);
        }
        Ok(resolution)
    }

    fn member(&self, input: &mut Input<'_>) -> Result<Member, StoredGroupError> {
        let mut said = Said::nothing();
        said.instance = input.optional()?;
        said.rack = input.optional()?;
        said.client_id = input.text()?;
        said.client_host = input.text()?;
        said.rebalance_timeout = Duration::from_millis(u64::from(input.u32()?));
        let mut names = BTreeSet::new();
        for _ in 0..input.count(4)? {
            names.insert(self.text(input)?);
        }
        said.names = Arc::new(names);
        said.regex = self.optional_text(input)?;
        said.assignor = match input.u8()? {
            0 => None,
            1 => Some(ConsumerAssignor::Uniform),
            2 => Some(ConsumerAssignor::Range),
            _ => return Err(StoredGroupError::Contradiction),
        };
        let mut member = Member::joining(said, streamhouse_runtime::Monotonic(Duration::ZERO));
        member.epoch = input.i32()?;
        member.shown_epoch = input.i32()?;
        member.state = match input.u8()? {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => return Err(StoredGroupError::Contradiction),
        };
        member.assigned = self.partitions(input)?;
        member.revoking = self.partitions(input)?;
        member.target = self.partitions(input)?;
        Ok(member)
    }

    fn partitions(&self, input: &mut Input<'_>) -> Result<Partitions, StoredGroupError> {
        let mut partitions = Partitions::new();
        for _ in 0..input.count(8)? {
            let topic = usize::try_from(input.u32()?).ok();
            let topic = topic.and_then(|number| self.topics.get(number));
            let topic = *topic.ok_or(StoredGroupError::Contradiction)?;
            for _ in 0..input.count(4)? {
                let index = PartitionIndex(input.i32()?);
                partitions.insert(TopicPartition::new(topic, index));
            }
        }
        Ok(partitions)
    }
}
