//! The bytes of a group in the metadata store. *On disk: never renumber.*
//!
//! ```text
//! version u8 = 1 | state u8 (0 Empty, 1 CompletingRebalance, 2 Stable) | generation i32 | empty since i64
//! protocol type text? | protocol text? | leader text? | members u32, in the order in which they joined:
//!   id text | instance text? | client id text | client host text | session timeout ms u32
//!   rebalance timeout ms u32 | assignment bytes | protocols u32: name text, metadata bytes
//! ```
//! Integers are big endian; text and bytes have a u32 length in front, and the length 0xffffffff means none (`?`).
//! A rebalance that is under way is not stored: after a restart the members of the last generation are there, with
//! fresh sessions, and whoever was joining asks again.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_protocol::ids::Timestamp;
use streamhouse_runtime::planted;

use super::super::request::{MemberId, Protocol};
use super::member::Member;
use super::{Context, Group, Now, State};

const VERSION: u8 = 1;
const NONE: u32 = u32::MAX;

/// Why the stored bytes of a group cannot be read. Nothing was changed; a person must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredGroupError {
    /// They end too early, or a count in them cannot be true.
    #[error("the stored group is cut short or holds an impossible length")]
    CutShort,
    /// They go on after the end.
    #[error("the stored group has bytes after its end")]
    TooLong,
    /// A text is not UTF-8.
    #[error("the stored group holds a text that is not UTF-8")]
    NotText,
    /// A newer release wrote them: run that one.
    #[error(
        "the stored group has format {0}, which this release does not know; run a newer release"
    )]
    UnknownVersion(u8),
    /// The state or a flag is not one of those that are stored, or contradicts the members.
    #[error("the stored group contradicts itself")]
    Contradiction,
}

impl Group {
    /// The bytes to store after a transition whose [`super::Effects::store`] is set.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.bytes);
        out.put_u8(VERSION);
        // Only a transition into one of these three asks to be stored; see the header for the others.
        out.put_u8(match self.state {
            State::Empty | State::Dead => 0,
            State::CompletingRebalance | State::PreparingRebalance => 1,
            State::Stable => 2,
        });
        out.put_i32(self.generation);
        out.put_i64(self.empty_since.0);
        put_optional(&mut out, self.protocol_type.as_deref());
        put_optional(&mut out, self.protocol.as_deref());
        put_optional(&mut out, self.leader.as_ref().map(MemberId::as_str));
        let mut members: Vec<(&MemberId, &Member)> = self.members.iter().collect();
        members.sort_by_key(|(_, member)| member.order);
        out.put_u32(count(members.len()));
        for (id, member) in members {
            put_member(&mut out, id, member);
        }
        out.freeze()
    }

    /// The group that was stored, as its coordinator finds it after a restart: every session starts afresh, and what
    /// the members were waiting for is asked again.
    pub fn decode(stored: &[u8], context: Context<'_>) -> Result<Self, StoredGroupError> {
        let mut input = Input(stored);
        let version = input.u8()?;
        if version != VERSION {
            return Err(StoredGroupError::UnknownVersion(version));
        }
        let state = match input.u8()? {
            0 => State::Empty,
            1 => State::CompletingRebalance,
            2 => State::Stable,
            _ => return Err(StoredGroupError::Contradiction),
        };
        let mut group = Self::new(context.now);
        group.state = state;
        group.generation = input.i32()?;
        group.empty_since = Timestamp(input.i64()?);
        group.protocol_type = input.optional()?;
        group.protocol = input.optional()?;
        group.leader = input.optional()?.map(MemberId);
        // A member has at least eight lengths or numbers of four bytes.
        for _ in 0..input.count(32)? {
            let (id, member) = input.member(context.now, group.next_order)?;
            group.adopt(id, member)?;
        }
        if !input.0.is_empty() && !planted::bug("group_tail_ignored") {
            return Err(StoredGroupError::TooLong);
        }
        group.restart(context)?;
        Ok(group)
    }

    fn adopt(&mut self, id: MemberId, member: Member) -> Result<(), StoredGroupError> {
        self.next_order += 1;
        let is_taken = |instance: &Arc<str>| self.holder_of(instance).is_some();
        if self.members.contains_key(&id) || member.instance.as_ref().is_some_and(is_taken) {
            return Err(StoredGroupError::Contradiction);
        }
        self.enroll(id, member);
        Ok(())
    }

    fn restart(&mut self, context: Context<'_>) -> Result<(), StoredGroupError> {
        let has_leader = self
            .leader
            .as_ref()
            .is_some_and(|id| self.members.contains_key(id));
        let is_empty = self.state == State::Empty;
        let is_agreed = has_leader && self.protocol_type.is_some() && self.protocol.is_some();
        if is_empty != self.members.is_empty() || is_empty == is_agreed || self.generation < 0 {
            return Err(StoredGroupError::Contradiction);
        }
        // Who synced after the leader did is not stored. Silence ends a session either way, so in a Stable group
        // everybody gets the benefit of the doubt.
        let is_stable = self.state == State::Stable;
        for member in self.members.values_mut() {
            member.has_synced = is_stable;
        }
        if self.state == State::CompletingRebalance {
            let until = context.now.monotonic + self.rebalance_timeout();
            self.sync_until = Some(until);
            self.wake_by(until);
        }
        let sessions = self
            .members
            .values()
            .map(|member| member.session_until)
            .min();
        if let Some(first) = sessions {
            self.wake_by(first);
        }
        Ok(())
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a group is bounded far below 2^32 bytes")
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(count(bytes.len()));
    out.put_slice(bytes);
}

fn put_optional(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_bytes(out, text.as_bytes()),
        None => out.put_u32(NONE),
    }
}

fn put_member(out: &mut BytesMut, id: &MemberId, member: &Member) {
    put_bytes(out, id.as_str().as_bytes());
    put_optional(out, member.instance.as_deref());
    put_bytes(out, member.client_id.as_bytes());
    put_bytes(out, member.client_host.as_bytes());
    // Timeouts come from an i32 of milliseconds.
    for timeout in [member.session_timeout, member.rebalance_timeout] {
        out.put_u32(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    }
    put_bytes(out, &member.assignment);
    out.put_u32(count(member.protocols.len()));
    for protocol in &member.protocols {
        put_bytes(out, protocol.name.as_bytes());
        put_bytes(out, &protocol.metadata);
    }
}

/// Bytes that may be anything; every read checks what is left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], StoredGroupError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(StoredGroupError::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoredGroupError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(StoredGroupError::CutShort)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, StoredGroupError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, StoredGroupError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, StoredGroupError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, StoredGroupError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize, StoredGroupError> {
        let count = usize::try_from(self.u32()?).map_err(|_| StoredGroupError::CutShort)?;
        if count > self.0.len() / least {
            Err(StoredGroupError::CutShort)
        } else {
            Ok(count)
        }
    }

    fn bytes(&mut self) -> Result<Bytes, StoredGroupError> {
        let length = self.count(1)?;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    fn text(&mut self) -> Result<Arc<str>, StoredGroupError> {
        let length = self.count(1)?;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Arc::from).map_err(|_| StoredGroupError::NotText)
    }

    fn optional(&mut self) -> Result<Option<Arc<str>>, StoredGroupError> {
        match self.0.split_first_chunk::<4>() {
            Some((length, rest)) if u32::from_be_bytes(*length) == NONE => {
                self.0 = rest;
                Ok(None)
            }
            Some(_) | None => self.text().map(Some),
        }
    }

    fn timeout(&mut self) -> Result<Duration, StoredGroupError> {
        Ok(Duration::from_millis(u64::from(self.u32()?)))
    }

    fn member(&mut self, now: Now, order: u64) -> Result<(MemberId, Member), StoredGroupError> {
        let id = MemberId(self.text()?);
        let instance = self.optional()?;
        let client_id = self.text()?;
        let client_host = self.text()?;
        let session_timeout = self.timeout()?;
        let rebalance_timeout = self.timeout()?;
        let assignment = self.bytes()?;
        let mut protocols = Vec::new();
        for _ in 0..self.count(8)? {
            protocols.push(Protocol {
                name: self.text()?,
                metadata: self.bytes()?,
            });
        }
        let member = Member {
            instance,
            client_id,
            client_host,
            session_timeout,
            rebalance_timeout,
            protocols,
            assignment,
            order,
            is_new: false,
            has_synced: false,
            join: None,
            sync: None,
            session_until: now.monotonic + session_timeout,
        };
        Ok((id, member))
    }
}
