//! What members and tools ask of a consumer group, and what they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::ConsumerAssignor;
use streamhouse_protocol::names::GroupId;

use super::super::request::MemberId;
use super::{ConsumerGroupState, Partitions};

/// ConsumerGroupHeartbeat. What is `None` has not changed since the member's last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: GroupId,
    /// The member. Since version 1 the member draws it; before, it is empty in the first heartbeat.
    pub member: MemberId,
    /// The member's epoch; see [`super::JOINING_EPOCH`], [`super::LEAVING_EPOCH`] and [`super::STATIC_LEAVING_EPOCH`].
    pub epoch: i32,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    /// `client.rack`.
    pub rack: Option<Arc<str>>,
    /// Milliseconds that the member may take to give up partitions (`max.poll.interval.ms`); -1: as before.
    pub rebalance_timeout_ms: i32,
    /// The topics that the member subscribes to by name.
    pub names: Option<BTreeSet<Arc<str>>>,
    /// The regex that it subscribes to; the empty one ends such a subscription.
    pub regex: Option<Arc<str>>,
    /// `group.remote.assignor`.
    pub assignor: Option<Arc<str>>,
    /// The partitions that the member has and has not given up.
    pub owned: Option<Partitions>,
    /// The client id from the request header, empty where it is null.
    pub client_id: Arc<str>,
    /// Where the client connects from, as `/address`.
    pub client_host: Arc<str>,
    /// Whether the member had to draw its id itself (since version 1).
    pub draws_member_id: bool,
}

impl ConsumerHeartbeat {
    /// Whether the request says everything, so that the answer does, too: the member does not know where it stands.
    pub(super) fn is_full(&self) -> bool {
        self.epoch == super::JOINING_EPOCH
            || self.rebalance_timeout_ms != -1
                && (self.names.is_some() || self.regex.is_some())
                && self.owned.is_some()
    }
}

/// The answer to ConsumerGroupHeartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    /// The member.
    pub member: MemberId,
    /// The epoch for its next heartbeat.
    pub epoch: i32,
    /// When to send that.
    pub interval: Duration,
    /// The partitions that the member may have from now on; `None`: as before.
    pub assigned: Option<Partitions>,
}

/// A member as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// The member.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<Arc<str>>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// Its epoch.
    pub epoch: i32,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// The topics that it subscribes to by name.
    pub names: Vec<Arc<str>>,
    /// The regex that it subscribes to.
    pub regex: Option<Arc<str>>,
    /// What it was told that it may have.
    pub assigned: Partitions,
    /// What it is to have.
    pub target: Partitions,
    /// Whether it speaks the classic protocol, in a group that changes from one to the other.
    pub is_classic: bool,
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Kafka's name of the state.
    pub state: ConsumerGroupState,
    /// The group epoch.
    pub epoch: i32,
    /// The epoch of the target assignment.
    pub assignment_epoch: i32,
    /// The assignor that most members ask for.
    pub assignor: ConsumerAssignor,
    /// The members, by id.
    pub members: Vec<DescribedConsumer>,
}
