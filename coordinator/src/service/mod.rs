//! The driver of the groups: it brings requests to the group they name, and does what the group says.
//!
//! [`Groups`] owns the groups of every shard that this broker leads. What a group asks to be stored is written to the
//! metadata store before the answer that reveals it goes out; the write is fenced by the shard's grant, so a broker
//! that lost the shard cannot change it any more. One task wakes groups when a timer is due, one task writes.
//!
//! What it does not do: decide who leads a shard. Whoever does calls [`Groups::load`] after the grant and
//! [`Groups::unload`] when the right is gone, or [`Groups::drain`] before it gives the right away. A write finds out by itself that the right is gone; a read does not: where
//! shards can move, the caller checks the lease once more after an answer with an offset or an assignment was built.

mod answers;
mod consumer;
mod deletion;
mod drain;
mod load;
mod progress;
mod shard;
mod timers;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use streamhouse_metadata::{GroupShelf, Incarnation, ShardId, TopicCatalogue};
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp};
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::{Ambient, Monotonic};
use tokio::sync::Notify;

use crate::group::classic::{Context, Now};
use crate::group::{CoordinatorError, GroupSettings, MemberId};

pub use load::LoadError;
pub use progress::{GroupProgress, Progress};

use shard::Shard;

/// The right to lead a shard, as the metadata store granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The shard.
    pub shard: ShardId,
    /// The epoch of the grant.
    pub epoch: LeaderEpoch,
    /// The life of this broker that it was granted to.
    pub incarnation: Incarnation,
}

/// Whether this broker can answer for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It coordinates the group.
    Loaded,
    /// It will, in a moment.
    Loading,
    /// It does not.
    Elsewhere,
}

/// Where a group is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordination {
    /// The group's shard; whoever leads it coordinates the group.
    pub shard: ShardId,
    /// What this broker knows about it.
    pub standing: Standing,
}

/// The group coordinator of one broker. Clones share it.
#[derive(Clone, Debug)]
pub struct Groups {
    inner: Arc<Inner>,
}

/// The shelves of the metadata store that groups need.
#[derive(Clone, Debug)]
pub struct Shelves {
    /// Groups and offsets.
    pub groups: Arc<dyn GroupShelf>,
}

#[derive(Debug)]
struct Inner {
    shelves: Shelves,
    ambient: Ambient,
    settings: GroupSettings,
    shard_count: u32,
    /// Where topics are looked up for members that speak the classic protocol in groups of the other one.
    topics: OnceLock<Arc<TopicCatalogue>>,
    /// Guards every group of this broker. Held for one transition at a time, never across an await; nothing else is
    /// locked under it.
    served: Mutex<Served>,
    /// Wakes the writer: something is to be written.
    unwritten: Notify,
    /// Wakes the timer task: a timer is due earlier than it thinks.
    earlier: Notify,
    /// Told when a write came to its end, or a shard was let go.
    settled: Notify,
}

#[derive(Debug, Default)]
struct Served {
    shards: BTreeMap<ShardId, Place>,
    /// Groups whose stored shard is not the one that their id gives.
    strays: BTreeMap<GroupId, ShardId>,
    next_ticket: u64,
    /// Until when the timer task sleeps; none: until it is woken.
    asleep_until: Option<Monotonic>,
}

#[derive(Debug)]
enum Place {
    Loading(Grant),
    Loaded(Box<Shard>),
}

impl Place {
    fn grant(&self) -> Grant {
        match self {
            Self::Loading(grant) => *grant,
            Self::Loaded(shard) => shard.grant,
        }
    }
}

impl Groups {
    /// Starts a coordinator that serves nothing yet, with its two tasks. `shard_count` is the cluster's number of
    /// shards, at least 1.
    #[must_use]
    pub fn start(
        shelves: Shelves,
        ambient: Ambient,
        settings: GroupSettings,
        shard_count: u32,
    ) -> Self {
        let inner = Arc::new(Inner {
            shelves,
            ambient,
            settings,
            shard_count: shard_count.max(1),
            topics: OnceLock::new(),
            served: Mutex::new(Served::default()),
            unwritten: Notify::new(),
            earlier: Notify::new(),
            settled: Notify::new(),
        });
        let tasks = &inner.ambient.tasks;
        tasks.spawn("group-timers", timers::run(Arc::clone(&inner)));
        tasks.spawn("group-writer", writer::run(Arc::clone(&inner)));
        Self { inner }
    }

    /// Says where topics are looked up; the first word counts. Before, a member of the classic protocol in a group of the consumer
    /// protocol is told to try again.
    pub fn follow_topics(&self, topics: &Arc<TopicCatalogue>) {
        self.inner.topics.get_or_init(|| Arc::clone(topics));
    }

    /// Where `group` is coordinated. A group that does not exist has a shard too.
    #[must_use]
    pub fn coordinator_of(&self, group: &GroupId) -> Coordination {
        let served = self.inner.served.lock();
        let shard = self.inner.shard_of(&served, group);
        let standing = match served.shards.get(&shard) {
            Some(Place::Loaded(shard)) if shard.is_leaving => Standing::Elsewhere,
            Some(Place::Loaded(_)) => Standing::Loaded,
            Some(Place::Loading(_)) => Standing::Loading,
            None => Standing::Elsewhere,
        };
        Coordination { shard, standing }
    }
}

impl Served {
    /// What the groups of all shards occupy.
    fn bytes(&self) -> usize {
        let bytes = |place: &Place| match place {
            Place::Loaded(shard) => shard.bytes,
            Place::Loading(_) => 0,
        };
        self.shards.values().map(bytes).sum()
    }
}

impl Inner {
    /// Whether the groups may occupy `growth` bytes more than `bytes`. What does not grow is always let in.
    fn has_room_for(&self, bytes: usize, growth: usize) -> bool {
        growth == 0 || bytes.saturating_add(growth) <= self.settings.bytes_max
    }

    fn now(&self) -> Now {
        let clock = &self.ambient.clock;
        Now {
            monotonic: clock.monotonic(),
            wall: Timestamp(clock.wall_ms()),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            now: self.now(),
            settings: &self.settings,
        }
    }

    /// The shard of a group: the stored one where that differs from what its id gives.
    fn shard_of(&self, served: &Served, group: &GroupId) -> ShardId {
        served
            .strays
            .get(group)
            .copied()
            .unwrap_or_else(|| self.home_of(group))
    }

    /// The shard that a group id gives.
    fn home_of(&self, group: &GroupId) -> ShardId {
        let hash = xxhash_rust::xxh3::xxh3_64(group.as_str().as_bytes());
        let home = hash % u64::from(self.shard_count);
        ShardId(u32::try_from(home).expect("a remainder of a u32 fits into a u32"))
    }

    /// The loaded shard of `group`.
    fn shard_for<'a>(
        &self,
        served: &'a mut MutexGuard<'_, Served>,
        group: &GroupId,
    ) -> Result<&'a mut Shard, CoordinatorError> {
        let id = self.shard_of(served, group);
        match served.shards.get_mut(&id) {
            Some(Place::Loaded(shard)) if shard.is_leaving => Err(CoordinatorError::NotCoordinator),
            Some(Place::Loaded(shard)) => Ok(shard),
            Some(Place::Loading(_)) => Err(CoordinatorError::LoadInProgress),
            None => Err(CoordinatorError::NotCoordinator),
        }
    }

    /// A member id that nobody else has: the client's or instance's id and a random UUID, as in Kafka.
    fn fresh_member(&self, named_after: &str) -> MemberId {
        let drawn = self.ambient.chance.next_u128();
        // The bits of version 4 and of the RFC's variant.
        let uuid = drawn & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
        let hex = format!("{uuid:032x}");
        let (a, b, c) = (&hex[..8], &hex[8..12], &hex[12..16]);
        let (d, e) = (&hex[16..20], &hex[20..]);
        MemberId::from(format!("{named_after}-{a}-{b}-{c}-{d}-{e}").as_str())
    }

    /// Wakes the tasks that have something to do after a transition in `shard`.
    fn wake(&self, served: &Served, shard: ShardId) {
        let Some(Place::Loaded(shard)) = served.shards.get(&shard) else {
            return;
        };
        if shard.has_unwritten() {
            self.unwritten.notify_one();
        }
        if let Some(due) = shard.next_due()
            && served.asleep_until.is_none_or(|until| due < until)
        {
            self.earlier.notify_one();
        }
    }
}
