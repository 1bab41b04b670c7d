//! Why ConsumerGroupHeartbeat is refused.

use super::super::error::CoordinatorError;

/// Why ConsumerGroupHeartbeat is refused. Nothing of the group has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerHeartbeatError {
    /// See [`CoordinatorError`].
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The request contradicts itself: send another.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The assignor is none of the coordinator's: name one of those, or none.
    #[error("the server assignor {0:?} is not supported; use uniform or range")]
    UnsupportedAssignor(String),
    /// The regex cannot be used: subscribe with another.
    #[error("{0}")]
    InvalidRegularExpression(String),
    /// The group does not exist, or is one of the classic protocol: join with epoch 0, or with the other protocol.
    #[error("the group does not exist as a consumer group; join it with member epoch 0")]
    GroupIdNotFound,
    /// The member id (or instance id) is not in the group: join with epoch 0.
    #[error("the member is not known to the group; join with member epoch 0")]
    UnknownMemberId,
    /// The epoch is not the member's: give up all partitions and join with epoch 0.
    #[error(
        "the member epoch is {known} and not {received}; give up all partitions and join with member epoch 0"
    )]
    FencedMemberEpoch {
        /// The member's epoch.
        known: i32,
        /// What the request said.
        received: i32,
    },
    /// Another member has the instance id and has not left: stop one of the two.
    #[error(
        "the instance id is in use by member {0}; stop that one, or wait until its session ends"
    )]
    UnreleasedInstanceId(String),
    /// Another member has taken the instance id over: stop.
    #[error(
        "the instance id belongs to another member now; two consumers share one group.instance.id"
    )]
    FencedInstanceId,
    /// The group has as many members, or holds as many bytes of what they say, as it may.
    #[error("the group has as many members as group.consumer.max.size allows")]
    GroupMaxSizeReached,
}
