//! A classic group: members join, a leader among them assigns, everyone syncs.
//!
//! ```text
//!             first join              all joined, or time is up         the leader syncs
//!   Empty ---------------> PreparingRebalance ---------------> CompletingRebalance ------> Stable
//!     ^                      |        ^   ^                             |                    |
//!     +--- nobody is left ---+        |   +--- a member changes --------+                    |
//!     |                               +------- a member joins, leaves, falls silent ---------+
//!     +---> Dead: nothing is left, the group is being removed
//! ```
//!
//! Every transition is a method that takes the event and the time and returns [`Effects`]; its outcome depends on
//! nothing else. Invariants: a generation has one leader and never comes back; every parked request is answered by the
//! time the rebalance timeout and the session timeout have both passed; only answers of a generation that asks to be
//! stored ([`Effects::store`]) reveal something that must survive a restart.
//!
//! A static member (KIP-345) has a `group.instance.id` of its own choice. A process that joins with the id of one that is
//! there takes its place under a new member id, and whoever still uses the old one is fenced. `instances.rs` has the rules.
//!
//! Where we differ from Kafka: a completed join is stored before it is answered, not only the assignment, so that a
//! generation number is never given twice; a member id that was handed out and leaves before it joined starts no
//! rebalance; a request that a later one of the same member replaced is answered, not forgotten; a static member that
//! restarts finds its place in a full group too.

mod describe;
mod heartbeat;
mod instances;
mod join;
mod leave;
mod member;
mod migration;
mod rebalance;
mod stored;
mod subscriptions;
mod sync;
mod timers;
mod votes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_protocol::ids::Timestamp;
use streamhouse_runtime::Monotonic;

pub use join::{Join, check_join, join_bytes};
pub(in crate::group) use migration::Migrant;
pub use stored::StoredGroupError;
pub(in crate::group) use subscriptions::CONSUMER;
pub use subscriptions::Subscriptions;
pub use sync::Sync;

use member::Member;
use votes::Votes;

use super::error::{JoinError, SyncError};
use super::request::{JoinAnswer, MemberId, SyncAnswer};
use super::settings::GroupSettings;

/// Where a group stands, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No members; there may be committed offsets.
    Empty,
    /// Waits for the members to join.
    PreparingRebalance,
    /// All have joined; waits for the leader's assignments.
    CompletingRebalance,
    /// Everyone has an assignment.
    Stable,
    /// Nothing is left, and the group is being removed.
    Dead,
}

impl State {
    /// The name that DescribeGroups and ListGroups show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timeouts.
    pub monotonic: Monotonic,
    /// For what is stored: since when a group is empty.
    pub wall: Timestamp,
}

/// What a transition may look at besides the group and the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the event.
    pub now: Now,
    /// The limits.
    pub settings: &'a GroupSettings,
}

/// Names a parked request; chosen by the caller, unique within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What must be done after a transition, in this order: store, then answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Whether [`Group::encode`] must be stored before the answers go out.
    pub store: bool,
    /// Answers to parked JoinGroup requests.
    pub joins: Vec<(Ticket, Result<JoinAnswer, JoinError>)>,
    /// Answers to parked SyncGroup requests.
    pub syncs: Vec<(Ticket, Result<SyncAnswer, SyncError>)>,
}

/// The rebalance that a group in `PreparingRebalance` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rebalance {
    /// The first one of an empty group: give the others time to start.
    Initial {
        until: Monotonic,
        /// The length of the current wait.
        delay: Duration,
        /// What the rebalance timeout leaves for further waits.
        remaining: Duration,
        /// Whether somebody joined during the current wait, which earns another one.
        extended: bool,
    },
    /// A later one: everyone who was there rejoins, or is removed.
    Rejoin { until: Monotonic },
}

/// A classic group.
#[derive(Clone, Debug)]
pub struct Group {
    state: State,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    votes: Votes,
    /// The member that has an instance id, for every member that has one.
    instances: BTreeMap<Arc<str>, MemberId>,
    /// Numbers members in the order in which they joined.
    next_order: u64,
    /// Ids that were handed out and have not joined yet, with the end of their session (KIP-394).
    pending: BTreeMap<MemberId, Monotonic>,
    rebalance: Option<Rebalance>,
    /// When members that have not synced are removed.
    sync_until: Option<Monotonic>,
    /// Since when the group has been empty.
    empty_since: Timestamp,
    /// What members and pending ids occupy; see [`Member::bytes`].
    bytes: usize,
    /// Not later than the next timer. Heartbeats move timers back without touching it.
    wake_at: Option<Monotonic>,
}

impl Group {
    /// A group that nobody has joined.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            votes: Votes::default(),
            instances: BTreeMap::new(),
            next_order: 0,
            pending: BTreeMap::new(),
            rebalance: None,
            sync_until: None,
            empty_since: now.wall,
            bytes: 0,
            wake_at: None,
        }
    }

    /// A group that nobody has joined, whose first generation follows `generation`: that of a consumer group before it.
    #[must_use]
    pub fn succeeding(generation: i32, now: Now) -> Self {
        Self {
            generation,
            ..Self::new(now)
        }
    }

    /// Where the group stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The number of the last completed rebalance; 0 before the first.
    #[must_use]
    pub const fn generation(&self) -> i32 {
        self.generation
    }

    /// The protocol type of the members, or of those that were there last.
    #[must_use]
    pub const fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    /// Whether this is a member; a pending one is not yet.
    #[must_use]
    pub fn has_member(&self, id: &MemberId) -> bool {
        self.members.contains_key(id)
    }

    /// Restarts a member's session.
    pub fn keep_alive(&mut self, id: &MemberId, context: Context<'_>) {
        self.touch(id, context);
    }

    /// How many members there are, not counting pending ones.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// What members, pending ids and assignments occupy, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the group has no members; meaningful in state Empty.
    #[must_use]
    pub const fn empty_since(&self) -> Timestamp {
        self.empty_since
    }

    /// Whether nothing would be missed if the group were forgotten, apart from its offsets: nobody is in it or about
    /// to join.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// The group is about to be removed; from now on it refuses everything.
    pub fn die(&mut self) {
        self.state = State::Dead;
        self.wake_at = None;
    }

    /// When [`Group::tick`] must be called next; it may find nothing to do.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Monotonic> {
        self.wake_at
    }

    fn wake_by(&mut self, at: Monotonic) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// The longest rebalance timeout of the members.
    fn rebalance_timeout(&self) -> Duration {
        self.members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or(Duration::ZERO)
    }
}
