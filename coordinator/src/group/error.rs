//! Why a group refuses: one enum per operation, in Kafka's words and without its numbers.
//!
//! Every error says what the caller should do, and [`CoordinatorError::outcome`] says whether a refused write may
//! have happened after all.

use super::request::MemberId;

/// Whether a write that was answered with an error took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was written, now or later.
    DidNotHappen,
    /// The write may be, or may become, visible.
    MayHaveHappened,
}

/// The coordinator itself cannot serve now. All of these are retriable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// Another broker leads the group's shard, or nobody does: look the coordinator up again. Kafka's
    /// NOT_COORDINATOR.
    #[error("this broker does not coordinate the group; look the coordinator up again")]
    NotCoordinator,
    /// The shard's groups are being read: ask again in a moment. Kafka's COORDINATOR_LOAD_IN_PROGRESS.
    #[error("the coordinator is still loading the group; retry")]
    LoadInProgress,
    /// The group is being removed, or the metadata store refused the write; nothing happened. Kafka's
    /// COORDINATOR_NOT_AVAILABLE.
    #[error("the coordinator cannot serve the group now and did nothing; retry")]
    NotAvailable,
    /// A bound of the coordinator is reached (groups of a shard, bytes of all groups, offsets that wait to be written);
    /// nothing happened. Kafka's COORDINATOR_NOT_AVAILABLE.
    #[error("the coordinator holds or writes as much as it may and did nothing; retry later")]
    Overloaded,
    /// The metadata store did not say whether the write took place: ask again, the repetition is harmless. Kafka's
    /// COORDINATOR_NOT_AVAILABLE.
    #[error("the coordinator does not know whether the write happened, it may have; retry")]
    OutcomeUnknown,
}

impl CoordinatorError {
    /// Whether what was asked may have happened.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            // A shard that was lost while a write was under way leaves that write open.
            Self::NotCoordinator | Self::OutcomeUnknown => Outcome::MayHaveHappened,
            Self::LoadInProgress | Self::NotAvailable | Self::Overloaded => Outcome::DidNotHappen,
        }
    }
}

/// Why a request does not come from the member that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Stranger {
    /// Nobody in the group has that member id, or that `group.instance.id`.
    Unknown,
    /// Another process has the `group.instance.id` now (KIP-345).
    Fenced,
}

impl From<Stranger> for JoinError {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::UnknownMemberId,
            Stranger::Fenced => Self::FencedInstanceId,
        }
    }
}

impl From<Stranger> for SyncError {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::UnknownMemberId,
            Stranger::Fenced => Self::FencedInstanceId,
        }
    }
}

impl From<Stranger> for HeartbeatError {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::UnknownMemberId,
            Stranger::Fenced => Self::FencedInstanceId,
        }
    }
}

impl From<Stranger> for LeaveError {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::UnknownMemberId,
            Stranger::Fenced => Self::FencedInstanceId,
        }
    }
}

impl From<Stranger> for CommitError {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::UnknownMemberId,
            Stranger::Fenced => Self::FencedInstanceId,
        }
    }
}

/// Why JoinGroup is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The group id is empty, or longer than [`super::request::GROUP_ID_BYTES_MAX`].
    #[error("group id is empty or longer than 1024 bytes; name the group in fewer letters")]
    InvalidGroupId,
    /// The session timeout lies outside the allowed range: ask for another.
    #[error(
        "session timeout lies outside group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout,
    /// The protocol type differs from the group's, no protocol is common to all members, or none was named.
    #[error("protocol type or protocols do not fit those of the other members of the group")]
    InconsistentGroupProtocol,
    /// The member id is not (or no longer) in the group: join again with an empty member id.
    #[error("member id is not known to the group; join again without one")]
    UnknownMemberId,
    /// The member must join again with this id, which the coordinator chose (KIP-394).
    #[error("join again with the member id {member}")]
    MemberIdRequired {
        /// The id to join with.
        member: MemberId,
    },
    /// The group has as many members, or holds as many bytes of their metadata, as it may.
    #[error("the group has as many members as group.max.size allows")]
    GroupMaxSizeReached,
    /// A later JoinGroup of the same member took this one's place.
    #[error("a later join of the same member replaced this one; join again")]
    RebalanceInProgress,
    /// Another process joined with the same `group.instance.id`: stop, or take another instance id.
    #[error("another process joined with the same group.instance.id; give each process its own")]
    FencedInstanceId,
}

/// Why SyncGroup is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The group id is empty.
    #[error("group id is empty; a group needs a name")]
    InvalidGroupId,
    /// The member id is not in the group: join again without one.
    #[error("member id is not known to the group; join again without one")]
    UnknownMemberId,
    /// The generation is not the group's: join again.
    #[error("generation is not the group's; join again")]
    IllegalGeneration,
    /// The protocol type or name differs from what the generation chose.
    #[error("protocol type or name is not that of the generation")]
    InconsistentGroupProtocol,
    /// The group rebalances: join again.
    #[error("the group rebalances; join again")]
    RebalanceInProgress,
    /// The leader's assignments are larger than a group may hold. Kafka answers UNKNOWN_SERVER_ERROR here.
    #[error("the assignments of the group are larger than the coordinator keeps")]
    AssignmentTooLarge,
    /// Another process joined with the same `group.instance.id`: stop, or take another instance id.
    #[error("another process joined with the same group.instance.id; give each process its own")]
    FencedInstanceId,
}

/// Why Heartbeat is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The group id is empty.
    #[error("group id is empty; a group needs a name")]
    InvalidGroupId,
    /// The member id is not in the group: join again without one.
    #[error("member id is not known to the group; join again without one")]
    UnknownMemberId,
    /// The generation is not the group's: join again.
    #[error("generation is not the group's; join again")]
    IllegalGeneration,
    /// The group rebalances: join again. The session was kept alive.
    #[error("the group rebalances; join again")]
    RebalanceInProgress,
    /// Another process joined with the same `group.instance.id`: stop, or take another instance id.
    #[error("another process joined with the same group.instance.id; give each process its own")]
    FencedInstanceId,
}

/// Why LeaveGroup is refused, as a whole or for one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The group id is empty.
    #[error("group id is empty; a group needs a name")]
    InvalidGroupId,
    /// The member id (or group instance id) is not in the group; nothing is left to do.
    #[error("member id is not known to the group")]
    UnknownMemberId,
    /// The `group.instance.id` belongs to another member id by now; nothing was removed.
    #[error("another process joined with the same group.instance.id; give each process its own")]
    FencedInstanceId,
}

/// Why a whole OffsetCommit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The group id is longer than [`super::request::GROUP_ID_BYTES_MAX`].
    #[error("group id is longer than 1024 bytes; name the group in fewer letters")]
    InvalidGroupId,
    /// The group does not exist and the request names a generation: GROUP_ID_NOT_FOUND since version 9,
    /// ILLEGAL_GENERATION before.
    #[error("the group does not exist and so has no such generation; join again")]
    GroupIdNotFound,
    /// The member id is not in the group, or the group has members and the request names none.
    #[error("member id is not known to the group; join again")]
    UnknownMemberId,
    /// The generation is not the group's: join again.
    #[error("generation is not the group's; join again")]
    IllegalGeneration,
    /// The member's epoch is another (KIP-848): commit again with the one of the last heartbeat.
    #[error("member epoch is not the member's; commit again after the next heartbeat")]
    StaleMemberEpoch,
    /// A member of a consumer group (KIP-848) commits by a version that does not know member epochs.
    #[error("members of a consumer group commit by version 9 or later")]
    MemberEpochRequired,
    /// The generation's assignment is not known yet: sync, then commit.
    #[error("the group rebalances; sync and commit again")]
    RebalanceInProgress,
    /// Another process joined with the same `group.instance.id`: stop, or take another instance id.
    #[error("another process joined with the same group.instance.id; give each process its own")]
    FencedInstanceId,
}

/// Why one offset of an OffsetCommit is refused while others may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// The text beside the offset is longer than `offset.metadata.max.bytes`.
    #[error("the metadata of the offset is longer than offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
}

/// Why DeleteGroups leaves one group where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteGroupError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// There is no such group.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// It has members: stop them first, or remove them.
    #[error("the group has members; stop them first")]
    NonEmptyGroup,
}

/// Why a whole OffsetDelete is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteOffsetsError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The group id is empty.
    #[error("group id is empty; a group needs a name")]
    InvalidGroupId,
    /// There is no such group.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// It has members, and what they read cannot be told because they are no consumers: stop them first.
    #[error("the group has members that are no consumers; stop them first")]
    NonEmptyGroup,
}

/// Why one offset of an OffsetDelete stays while others may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteOffsetError {
    /// A member of the group reads the topic.
    #[error("the group is subscribed to the topic; stop its members first")]
    SubscribedToTopic,
}

/// Why OffsetFetch, DescribeGroups or ListGroups is refused. "No offset committed" is an answer, not an error: an
/// error here never makes a consumer reset its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The member is not in the group (KIP-848): join again.
    #[error("member id is not known to the group; join again")]
    UnknownMemberId,
    /// The member's epoch is another (KIP-848): ask again with the one of the last heartbeat.
    #[error("member epoch is not the member's; ask again after the next heartbeat")]
    StaleMemberEpoch,
}
