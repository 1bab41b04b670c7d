//! What members and tools ask of a group, and what they are told. Bytes of protocols and assignments are opaque: they
//! are relayed as they came.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp, TopicPartition};
use streamhouse_protocol::names::GroupId;

/// The longest id of a group that is made, in bytes. Kafka has no bound of its own; a key of the metadata store does.
pub const GROUP_ID_BYTES_MAX: usize = 1_024;

/// The id of a member, chosen by the coordinator; the empty one says that the member has none yet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub Arc<str>);

impl MemberId {
    /// What a member sends that has no id yet, or a client that is no member.
    #[must_use]
    pub fn none() -> Self {
        Self("".into())
    }

    /// Whether this names nobody.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for MemberId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// One way of assigning that a member understands, with what the member says in it (its subscription).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name, such as `range`.
    pub name: Arc<str>,
    /// Bytes for the leader's eyes.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group: GroupId,
    /// The member's id, empty for a first join.
    pub member: MemberId,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance: Option<Arc<str>>,
    /// The client id from the request header, empty where it is null.
    pub client_id: Arc<str>,
    /// Where the client connects from, as `/address`.
    pub client_host: Arc<str>,
    /// Any text: `consumer`, `connect`, `sr`.
    pub protocol_type: Arc<str>,
    /// What the member understands, the favourite first.
    pub protocols: Vec<Protocol>,
    /// Milliseconds of silence after which the member is gone.
    pub session_timeout_ms: i32,
    /// Milliseconds that the member may take to rejoin; negative: as long as its session.
    pub rebalance_timeout_ms: i32,
    /// Whether a first join gets an id to come back with (since version 4, KIP-394).
    pub requires_known_member_id: bool,
    /// Whether the client understands [`JoinAnswer::skip_assignment`] (since version 9, KIP-814).
    pub can_skip_assignment: bool,
}

/// What a member tells the leader about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<Arc<str>>,
    /// Its bytes for the chosen protocol.
    pub metadata: Bytes,
}

/// The answer to JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    /// The generation that was joined.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol that the votes chose.
    pub protocol: Arc<str>,
    /// The member that assigns.
    pub leader: MemberId,
    /// The id of the member that is answered.
    pub member: MemberId,
    /// All members, for the leader only; empty for the others.
    pub members: Vec<JoinedMember>,
    /// Tells a leader that restarted as a static member that the generation has its assignment already: it watches the
    /// members, and assigns nothing.
    pub skip_assignment: bool,
}

/// One line of the leader's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAssignment {
    /// Whose.
    pub member: MemberId,
    /// The bytes that this member gets from its SyncGroup.
    pub assignment: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    /// The generation that the member joined.
    pub generation: i32,
    /// The protocol type that the member was told; `None` before version 5.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that the member was told; `None` before version 5.
    pub protocol: Option<Arc<str>>,
    /// From the leader: one line per member. From the others: empty.
    pub assignments: Vec<MemberAssignment>,
}

/// The answer to SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer {
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The generation's protocol.
    pub protocol: Arc<str>,
    /// What the leader gave this member.
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    /// The member's generation.
    pub generation: i32,
}

/// One member of a LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member; empty when an administrator removes by instance id.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
}

/// LeaveGroup; versions before 3 carry one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveRequest {
    /// The group.
    pub group: GroupId,
    /// Who leaves. The answer has one line per line, in this order.
    pub members: Vec<LeavingMember>,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The partition, whose topic exists.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record that was read, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// Text of the client's own; empty where it is null.
    pub metadata: Arc<str>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group; the empty id is legal here.
    pub group: GroupId,
    /// The member; empty from a simple consumer or an administrator.
    pub member: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    /// The member's generation, or its epoch in a consumer group; -1 from a simple consumer or an administrator.
    pub generation: i32,
    /// Whether the version of the request knows member epochs (since version 9).
    pub knows_member_epochs: bool,
    /// How long the offsets live in an empty group, in milliseconds, if the request says so (versions 2 to 4).
    pub retention_ms: Option<i64>,
    /// What to commit. The answer has one line per line, in this order; of two lines for one partition the last wins.
    pub offsets: Vec<OffsetCommit>,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch that came with it, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// The client's own text, empty where there is none.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it expires, if the commit said so; else the broker's retention decides.
    pub expires_at: Option<Timestamp>,
}

/// OffsetFetch for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOffsets {
    /// The group.
    pub group: GroupId,
    /// The member that asks, since version 9; a member of a consumer group must be one of its epoch.
    pub member: Option<MemberId>,
    /// The member's epoch; -1 where there is none.
    pub epoch: i32,
    /// Which partitions; `None` for all that have an offset.
    pub partitions: Option<Vec<TopicPartition>>,
}

/// One line of the answer to OffsetFetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// Its offset; `None`: the group has none there (Kafka shows offset -1 and no error).
    pub committed: Option<CommittedOffset>,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: GroupId,
    /// Whose offsets go, with the name that members subscribe to. The answer has one line per line, in this order.
    pub partitions: Vec<(TopicPartition, Arc<str>)>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<Arc<str>>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// Its bytes for the chosen protocol; empty unless the group is Stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is Stable.
    pub assignment: Bytes,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Kafka's name of the state.
    pub state: super::classic::State,
    /// The protocol type, empty where there is none.
    pub protocol_type: Arc<str>,
    /// The chosen protocol; empty unless the group is Stable.
    pub protocol: Arc<str>,
    /// The members, in the order in which they joined.
    pub members: Vec<DescribedMember>,
}

/// The protocol that a group follows, as ListGroups shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupType {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl GroupType {
    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// Where a group of either protocol stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// A classic group.
    Classic(super::classic::State),
    /// A consumer group.
    Consumer(super::consumer::ConsumerGroupState),
}

impl GroupState {
    /// The name that ListGroups shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic(state) => state.name(),
            Self::Consumer(state) => state.name(),
        }
    }
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// The protocol type, empty where there is none.
    pub protocol_type: Arc<str>,
    /// Which protocol it follows.
    pub group_type: GroupType,
    /// Where it stands.
    pub state: GroupState,
}
