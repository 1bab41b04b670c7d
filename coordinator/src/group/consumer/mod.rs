//! A consumer group of KIP-848 (`group.protocol=consumer`): the coordinator assigns, members follow heartbeat by heartbeat.
//!
//! ```text
//!   group epoch         moves when a member comes, goes or subscribes anew, and when a subscribed topic changes
//!   assignment epoch    follows it when the next heartbeat makes a target assignment for it
//!   member epochs       follow that one by one: a member gives up first what is not in its target (its epoch stays), then
//!                       takes over the epoch with what is free, and gets the rest as soon as others have given it up
//! ```
//! Every transition is a method that takes the event and the time and returns [`Effects`]; its outcome depends on
//! nothing else.
//!
//! Invariants: no partition is told to one member while another one may still read it, unless that one was silent for its
//! session timeout or kept it beyond its rebalance timeout; epochs never go back; when nobody has anything to give up,
//! heartbeats bring every member to its target; a heartbeat that changes nothing stores nothing.
//!
//! As in Kafka, what a member says that it has is taken for all that it has. A client that is slow to take over what it was
//! told, says meanwhile that it has nothing, and does not hear the answer, may read for up to one heartbeat what went to
//! another member by then.
//!
//! Where we differ from Kafka: regexes are resolved before the heartbeat that names them is answered, not afterwards; the
//! epoch that counts as the one before (the answer was lost) is the last one that the member has shown, so that two lost
//! answers in a row do not cost it its partitions.

mod assignor;
mod classic;
mod describe;
mod embedded;
mod error;
mod heartbeat;
mod leave;
mod member;
mod migration;
mod offsets;
mod reconcile;
mod regex;
mod request;
mod settings;
mod stored;
mod subscription;
mod target;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use streamhouse_metadata::Catalogue;
use streamhouse_protocol::ids::{Timestamp, TopicPartition};
use streamhouse_runtime::Monotonic;

pub use error::ConsumerHeartbeatError;
pub use heartbeat::check_heartbeat;
pub use regex::{Pattern, PatternError, Resolution};
pub use request::{
    ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribedConsumer, DescribedConsumerGroup,
};
pub use settings::ConsumerGroupSettings;
pub use stored::is_consumer_group;

use member::Member;

use super::classic::Now;
use super::request::MemberId;
use super::settings::GroupSettings;

/// The epoch with which a member joins, or joins again without partitions.
pub const JOINING_EPOCH: i32 = 0;
/// The epoch with which a member leaves for good.
pub const LEAVING_EPOCH: i32 = -1;
/// The epoch with which a static member leaves for a while.
pub const STATIC_LEAVING_EPOCH: i32 = -2;

/// What a partition costs: it stands in an assignment, in a target and with its owner.
const PARTITION_BYTES: usize = 160;

/// A set of partitions.
pub type Partitions = BTreeSet<TopicPartition>;

/// Where a consumer group stands, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerGroupState {
    /// No members; there may be committed offsets.
    Empty,
    /// The target assignment is older than the group epoch; the next heartbeat makes a new one.
    Assigning,
    /// Some members have not reached their target assignment.
    Reconciling,
    /// All have.
    Stable,
    /// Nothing is left, and the group is being removed.
    Dead,
}

impl ConsumerGroupState {
    /// The name that ConsumerGroupDescribe and ListGroups show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for ConsumerGroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a transition may look at besides the group and the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the event.
    pub now: Now,
    /// The limits.
    pub settings: &'a GroupSettings,
    /// The topics of the cluster.
    pub topics: &'a Catalogue,
    /// How many bytes more the groups of this broker may hold.
    pub bytes_left: usize,
}

/// What must be done after a transition, before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Whether [`ConsumerGroup::encode`] must be stored.
    pub store: bool,
}

/// What comes with a heartbeat and is not in it.
#[derive(Debug, Default)]
struct Word {
    /// What the member says by the classic protocol, if it speaks that.
    classic: Option<Arc<classic::Classic>>,
    /// What the regex means that [`ConsumerGroup::unresolved_regex`] asked for.
    resolution: Option<Resolution>,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    epoch: i32,
    /// The group epoch that the targets of the members were made for.
    assignment_epoch: i32,
    members: BTreeMap<MemberId, Member>,
    /// Static members by `group.instance.id`.
    instances: BTreeMap<Arc<str>, MemberId>,
    /// Who may be reading a partition: it was told to this member, which has not given it up.
    owners: BTreeMap<TopicPartition, MemberId>,
    /// The topics that each subscribed regex matches.
    resolutions: BTreeMap<Arc<str>, Resolution>,
    /// What the subscribed topics looked like when the group epoch last moved; see [`subscription`].
    topics_hash: u64,
    /// The revision of the topics that was last compared with it.
    topics_seen: Option<u64>,
    /// Since when the group has been empty.
    empty_since: Timestamp,
    /// What members occupy; see [`Member::bytes`].
    bytes: usize,
    /// Not later than the next timer. Heartbeats move timers back without touching it.
    wake_at: Option<Monotonic>,
    is_dead: bool,
}

impl ConsumerGroup {
    /// A group that nobody has joined.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            epoch: 0,
            assignment_epoch: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            resolutions: BTreeMap::new(),
            topics_hash: 0,
            topics_seen: None,
            empty_since: now.wall,
            bytes: 0,
            wake_at: None,
            is_dead: false,
        }
    }

    /// A group that nobody has joined, whose first epoch follows `generation`: that of a classic group before it.
    #[must_use]
    pub fn succeeding(generation: i32, now: Now) -> Self {
        Self {
            epoch: generation,
            assignment_epoch: generation,
            ..Self::new(now)
        }
    }

    /// Whether the group is being removed.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Where the group stands.
    #[must_use]
    pub fn state(&self) -> ConsumerGroupState {
        let target = self.assignment_epoch;
        if self.is_dead {
            ConsumerGroupState::Dead
        } else if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > target {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|one| one.is_reconciled(target)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// The group epoch; 0 before the first member.
    #[must_use]
    pub const fn epoch(&self) -> i32 {
        self.epoch
    }

    /// How many members there are.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// What members, what they say, and their partitions occupy, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + PARTITION_BYTES * self.owners.len()
    }

    /// Whether this is a member.
    #[must_use]
    pub fn has_member(&self, id: &MemberId) -> bool {
        self.members.contains_key(id)
    }

    /// Whether nothing would be missed if the group were forgotten, apart from its offsets.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.members.is_empty() && !self.is_dead
    }

    /// Since when the group has no members; meaningful in state Empty.
    #[must_use]
    pub const fn empty_since(&self) -> Timestamp {
        self.empty_since
    }

    /// The group is about to be removed; from now on it refuses everything.
    pub fn die(&mut self) {
        self.is_dead = true;
        self.wake_at = None;
    }

    /// When [`ConsumerGroup::tick`] must be called next; it may find nothing to do.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Monotonic> {
        self.wake_at
    }

    fn wake_by(&mut self, at: Monotonic) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }
}
