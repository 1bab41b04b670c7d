//! Consumer groups as Kafka users know them: members, generations, assignments, committed offsets.
//!
//! [`classic`] is the protocol of JoinGroup and SyncGroup, in which a leader among the members assigns partitions.
//! [`consumer`] is the protocol of KIP-848, in which the coordinator does.
//! [`kind`] is a group of either protocol. [`request`] has what members ask and what they are told, [`error`] why they are
//! refused, [`offsets`] the rules of committed offsets, [`settings`] the limits.

pub mod classic;
pub mod consumer;
pub mod error;
pub mod kind;
pub mod offsets;
pub mod request;
pub mod settings;

pub use classic::Group;
pub use consumer::ConsumerGroup;
pub use error::{
    CommitError, CoordinatorError, DeleteGroupError, DeleteOffsetError, DeleteOffsetsError,
    FetchError, HeartbeatError, JoinError, LeaveError, OffsetError, Outcome, SyncError,
};
pub use kind::AnyGroup;
pub use request::{
    CommitOffsets, CommittedOffset, DeleteOffsets, DescribedGroup, DescribedMember, FetchOffsets,
    FetchedOffset, GROUP_ID_BYTES_MAX, GroupState, GroupType, Heartbeat, JoinAnswer, JoinRequest,
    JoinedMember, LeaveRequest, LeavingMember, ListedGroup, MemberAssignment, MemberId,
    OffsetCommit, Protocol, SyncAnswer, SyncRequest,
};
pub use settings::GroupSettings;
