//! Kafka's error codes: the one place that knows them.
//!
//! Rooms below say in their own errors what happened; here it becomes a [`Refusal`], a code and the text that
//! administrators see. No mapping has a wildcard: a new error does not compile until somebody has decided what clients
//! do about it.
//!
//! Two rules stand behind the choice of codes. A code that clients retry is used only where trying again can help. A
//! write whose outcome is unknown never gets a code that says that it did not happen.

pub mod log;

use std::borrow::Cow;

use streamhouse_config::TopicConfigError;
use streamhouse_config::kafka::BrokerConfigError;
use streamhouse_coordinator::group::consumer::ConsumerHeartbeatError;
use streamhouse_coordinator::group::{
    CommitError, CoordinatorError, DeleteGroupError, DeleteOffsetError, DeleteOffsetsError,
    FetchError, HeartbeatError, JoinError, LeaveError, OffsetError, SyncError,
};
use streamhouse_metadata::{Class, Outcome, StoreError};
use streamhouse_protocol::{ErrorCode, StrBytes};

use crate::loggers::LoggerError;
use crate::topics::{AddError, AlterBrokerError, AlterTopicError, CreateError, DeleteError};

/// No error.
pub const NONE: i16 = 0;

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: ErrorCode,
    text: Cow<'static, str>,
}

impl Refusal {
    const fn fixed(code: ErrorCode, text: &'static str) -> Self {
        Self {
            code,
            text: Cow::Borrowed(text),
        }
    }

    fn told(code: ErrorCode, error: &impl ToString) -> Self {
        Self {
            code,
            text: Cow::Owned(error.to_string()),
        }
    }

    /// The request contradicts itself or asks for what does not exist.
    #[must_use]
    pub fn invalid_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: ErrorCode::InvalidRequest,
            text: text.into(),
        }
    }

    /// A topic or partition that the request names and that does not exist.
    #[must_use]
    pub fn no_such_partition(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: ErrorCode::UnknownTopicOrPartition,
            text: text.into(),
        }
    }

    /// Replicas that a partition cannot have.
    #[must_use]
    pub fn invalid_replicas(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: ErrorCode::InvalidReplicaAssignment,
            text: text.into(),
        }
    }

    /// A topic that the asker wanted by name, whose name is none.
    #[must_use]
    pub fn invalid_topic(error: &impl ToString) -> Self {
        Self::told(ErrorCode::InvalidTopicException, error)
    }

    /// The number on the wire.
    #[must_use]
    pub fn code(&self) -> i16 {
        self.code.code()
    }

    /// The text on the wire.
    #[must_use]
    pub fn message(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.text.clone().into_owned()))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The version of the request is not served.
pub const UNSUPPORTED_VERSION: Refusal = Refusal::fixed(
    ErrorCode::UnsupportedVersion,
    "The version of API is not supported.",
);
/// The request contradicts itself.
pub const INVALID_REQUEST: Refusal = Refusal::fixed(
    ErrorCode::InvalidRequest,
    "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.",
);
/// The asker may not do that to the topic.
pub const TOPIC_AUTHORIZATION_FAILED: Refusal = Refusal::fixed(
    ErrorCode::TopicAuthorizationFailed,
    "Topic authorization failed.",
);
/// The asker may not do that to the group.
pub const GROUP_AUTHORIZATION_FAILED: Refusal = Refusal::fixed(
    ErrorCode::GroupAuthorizationFailed,
    "Group authorization failed.",
);
/// The asker may not do that to the cluster.
pub const CLUSTER_AUTHORIZATION_FAILED: Refusal = Refusal::fixed(
    ErrorCode::ClusterAuthorizationFailed,
    "Cluster authorization failed.",
);
/// The asker may not use the transactional id.
pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Refusal = Refusal::fixed(
    ErrorCode::TransactionalIdAuthorizationFailed,
    "Transactional Id authorization failed.",
);
/// Transactions do not exist here yet.
///
/// The code has to end every client at once. TRANSACTIONAL_ID_AUTHORIZATION_FAILED is the only one that does so both in
/// FindCoordinator and in InitProducerId: fatal in Java (`TransactionManager.FindCoordinatorHandler`,
/// `InitProducerIdHandler`), in librdkafka (`rd_kafka_idemp_check_error`, `rd_kafka_txn_handle_FindCoordinator`) and
/// not retried by franz-go. UNSUPPORTED_VERSION and INVALID_REQUEST are retried by librdkafka until `init_transactions`
/// times out.
pub const TRANSACTIONS_NOT_SERVED: Refusal = Refusal::fixed(
    ErrorCode::TransactionalIdAuthorizationFailed,
    "Transactions are not supported by this version of StreamHouse; remove transactional.id (idempotence works without it).",
);
/// No topic of that name.
pub const UNKNOWN_TOPIC_OR_PARTITION: Refusal = Refusal::fixed(
    ErrorCode::UnknownTopicOrPartition,
    "This server does not host this topic-partition.",
);
/// No topic of that id.
pub const UNKNOWN_TOPIC_ID: Refusal = Refusal::fixed(
    ErrorCode::UnknownTopicId,
    "This server does not host this topic ID.",
);
/// Nobody leads the partition at the moment.
pub const LEADER_NOT_AVAILABLE: Refusal = Refusal::fixed(
    ErrorCode::LeaderNotAvailable,
    "There is no leader for this topic-partition as we are in the middle of a leadership election.",
);
/// The partition has the leader that was asked for.
pub const ELECTION_NOT_NEEDED: Refusal = Refusal::fixed(
    ErrorCode::ElectionNotNeeded,
    "Leader election not needed for topic partition.",
);
/// The replica that should lead the partition does not live.
pub const PREFERRED_LEADER_NOT_AVAILABLE: Refusal = Refusal::fixed(
    ErrorCode::PreferredLeaderNotAvailable,
    "The preferred leader was not available.",
);
/// No replica lives that could lead the partition.
pub const ELIGIBLE_LEADERS_NOT_AVAILABLE: Refusal = Refusal::fixed(
    ErrorCode::EligibleLeadersNotAvailable,
    "Eligible topic partition leaders are not available.",
);
/// Nothing moves that could be cancelled.
pub const NO_REASSIGNMENT_IN_PROGRESS: Refusal = Refusal::fixed(
    ErrorCode::NoReassignmentInProgress,
    "No partition reassignment is in progress.",
);
/// There is no authorizer whose rules could be shown.
pub const SECURITY_DISABLED_ON_BROKER: Refusal = Refusal::fixed(
    ErrorCode::SecurityDisabled,
    "No Authorizer is configured on the broker",
);
/// There is no authorizer whose rules could be changed.
pub const SECURITY_DISABLED: Refusal =
    Refusal::fixed(ErrorCode::SecurityDisabled, "No Authorizer is configured.");
/// Type or name of a group's protocol is missing or another.
pub const INCONSISTENT_GROUP_PROTOCOL: Refusal = Refusal::fixed(
    ErrorCode::InconsistentGroupProtocol,
    "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list.",
);
/// Nobody coordinates the group at the moment.
pub const COORDINATOR_NOT_AVAILABLE: Refusal = Refusal::fixed(
    ErrorCode::CoordinatorNotAvailable,
    "The coordinator is not available.",
);
/// Asks a broker what only a controller answers.
pub const MISMATCHED_ENDPOINT_TYPE: Refusal = Refusal::fixed(
    ErrorCode::MismatchedEndpointType,
    "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
);
/// A kind of endpoint that does not exist.
pub const UNSUPPORTED_ENDPOINT_TYPE: Refusal = Refusal::fixed(
    ErrorCode::UnsupportedEndpointType,
    "This endpoint type is not supported yet.",
);

/// The code of a result.
#[must_use]
pub fn code_of<T>(result: &Result<T, Refusal>) -> i16 {
    result.as_ref().map_or_else(Refusal::code, |_| NONE)
}

/// A change of topics or configs that the store did not make, or perhaps did.
impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        let code = match (error.class(), error.outcome()) {
            // Administration clients ask again by themselves after "not controller", which is right as nothing
            // happened.
            (Class::Unavailable | Class::Conflict | Class::Fenced, Outcome::DidNotHappen) => {
                ErrorCode::NotController
            }
            (Class::Unavailable | Class::Conflict | Class::Fenced, Outcome::MayHaveHappened) => {
                ErrorCode::RequestTimedOut
            }
            (Class::Caller | Class::NotFound | Class::Corrupt | Class::Bug, _) => {
                ErrorCode::UnknownServerError
            }
        };
        Self::told(code, error)
    }
}

impl From<&TopicConfigError> for Refusal {
    fn from(error: &TopicConfigError) -> Self {
        Self::told(ErrorCode::InvalidConfig, error)
    }
}

impl From<&CreateError> for Refusal {
    fn from(error: &CreateError) -> Self {
        let code = match error {
            CreateError::Name(_) | CreateError::Collision { .. } => {
                ErrorCode::InvalidTopicException
            }
            CreateError::Exists { .. } => ErrorCode::TopicAlreadyExists,
            CreateError::Partitions => ErrorCode::InvalidPartitions,
            CreateError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
            CreateError::ReplicationFactor => ErrorCode::InvalidReplicationFactor,
            CreateError::AssignmentAndNumber { .. } | CreateError::DuplicateConfig { .. } => {
                ErrorCode::InvalidRequest
            }
            CreateError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            CreateError::Config(error) => return error.into(),
            CreateError::NullConfig { .. } => ErrorCode::InvalidConfig,
            CreateError::Store(error) => return error.into(),
        };
        Self::told(code, error)
    }
}

impl From<&DeleteError> for Refusal {
    fn from(error: &DeleteError) -> Self {
        let code = match error {
            DeleteError::Disabled => ErrorCode::TopicDeletionDisabled,
            DeleteError::UnknownTopic => ErrorCode::UnknownTopicId,
            DeleteError::Store(error) => return error.into(),
        };
        Self::told(code, error)
    }
}

impl From<&AddError> for Refusal {
    fn from(error: &AddError) -> Self {
        let code = match error {
            AddError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            AddError::Fewer { .. } | AddError::Same { .. } => ErrorCode::InvalidPartitions,
            AddError::TooMany { .. } => ErrorCode::PolicyViolation,
            AddError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            AddError::Changed => ErrorCode::NotController,
            AddError::Store(error) => return error.into(),
        };
        Self::told(code, error)
    }
}

impl From<&AlterTopicError> for Refusal {
    fn from(error: &AlterTopicError) -> Self {
        let code = match error {
            AlterTopicError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
            AlterTopicError::Duplicate { .. } => ErrorCode::InvalidRequest,
            AlterTopicError::Config(error) => return error.into(),
            AlterTopicError::Store(error) => return error.into(),
        };
        Self::told(code, error)
    }
}

impl From<&AlterBrokerError> for Refusal {
    fn from(error: &AlterBrokerError) -> Self {
        let code = match error {
            AlterBrokerError::Config(
                BrokerConfigError::Unknown { .. } | BrokerConfigError::NotAList { .. },
            ) => ErrorCode::InvalidConfig,
            AlterBrokerError::Duplicate
            | AlterBrokerError::Config(
                BrokerConfigError::Fixed { .. } | BrokerConfigError::Value { .. },
            ) => ErrorCode::InvalidRequest,
            AlterBrokerError::Store(error) => return error.into(),
        };
        Self::told(code, error)
    }
}

impl From<&LoggerError> for Refusal {
    fn from(error: &LoggerError) -> Self {
        let code = match error {
            LoggerError::Unknown { .. } | LoggerError::Level { .. } => ErrorCode::InvalidConfig,
            LoggerError::Root => ErrorCode::InvalidRequest,
            LoggerError::TooMany => ErrorCode::PolicyViolation,
            LoggerError::Unchangeable { .. } => ErrorCode::UnknownServerError,
        };
        Self::told(code, error)
    }
}

/// A block of producer ids could not be had: producers ask again (Kafka: `RPCProducerIdManager`).
#[must_use]
pub fn producer_ids_unavailable(error: &StoreError) -> Refusal {
    Refusal::told(ErrorCode::CoordinatorLoadInProgress, error)
}

/// A topic that could not be created by itself: clients ask again.
#[must_use]
pub fn of_automatic_creation(error: &CreateError) -> Refusal {
    match error {
        CreateError::Store(_) => LEADER_NOT_AVAILABLE,
        CreateError::Name(_)
        | CreateError::Exists { .. }
        | CreateError::Collision { .. }
        | CreateError::Partitions
        | CreateError::TooManyPartitions { .. }
        | CreateError::ReplicationFactor
        | CreateError::AssignmentAndNumber { .. }
        | CreateError::Assignment(_)
        | CreateError::Config(_)
        | CreateError::NullConfig { .. }
        | CreateError::DuplicateConfig { .. } => error.into(),
    }
}

/// A group that does not exist, in a version that says so.
#[must_use]
pub fn group_not_found(group: &str) -> Refusal {
    Refusal {
        code: ErrorCode::GroupIdNotFound,
        text: format!("Group {group} not found.").into(),
    }
}

impl From<&CoordinatorError> for Refusal {
    fn from(error: &CoordinatorError) -> Self {
        let code = match error {
            CoordinatorError::NotCoordinator => ErrorCode::NotCoordinator,
            CoordinatorError::LoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            CoordinatorError::NotAvailable
            | CoordinatorError::Overloaded
            | CoordinatorError::OutcomeUnknown => ErrorCode::CoordinatorNotAvailable,
        };
        Self::told(code, error)
    }
}

impl From<&JoinError> for Refusal {
    fn from(error: &JoinError) -> Self {
        let code = match error {
            JoinError::Coordinator(error) => return error.into(),
            JoinError::InvalidGroupId => ErrorCode::InvalidGroupId,
            JoinError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            JoinError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            JoinError::UnknownMemberId => ErrorCode::UnknownMemberId,
            JoinError::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            JoinError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            JoinError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            JoinError::FencedInstanceId => ErrorCode::FencedInstanceId,
        };
        Self::told(code, error)
    }
}

impl From<&SyncError> for Refusal {
    fn from(error: &SyncError) -> Self {
        let code = match error {
            SyncError::Coordinator(error) => return error.into(),
            SyncError::InvalidGroupId => ErrorCode::InvalidGroupId,
            SyncError::UnknownMemberId => ErrorCode::UnknownMemberId,
            SyncError::IllegalGeneration => ErrorCode::IllegalGeneration,
            SyncError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            SyncError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            SyncError::AssignmentTooLarge => ErrorCode::UnknownServerError,
            SyncError::FencedInstanceId => ErrorCode::FencedInstanceId,
        };
        Self::told(code, error)
    }
}

impl From<&HeartbeatError> for Refusal {
    fn from(error: &HeartbeatError) -> Self {
        let code = match error {
            HeartbeatError::Coordinator(error) => return error.into(),
            HeartbeatError::InvalidGroupId => ErrorCode::InvalidGroupId,
            HeartbeatError::UnknownMemberId => ErrorCode::UnknownMemberId,
            HeartbeatError::IllegalGeneration => ErrorCode::IllegalGeneration,
            HeartbeatError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            HeartbeatError::FencedInstanceId => ErrorCode::FencedInstanceId,
        };
        Self::told(code, error)
    }
}

impl From<&LeaveError> for Refusal {
    fn from(error: &LeaveError) -> Self {
        let code = match error {
            LeaveError::Coordinator(error) => return error.into(),
            LeaveError::InvalidGroupId => ErrorCode::InvalidGroupId,
            LeaveError::UnknownMemberId => ErrorCode::UnknownMemberId,
            LeaveError::FencedInstanceId => ErrorCode::FencedInstanceId,
        };
        Self::told(code, error)
    }
}

/// Why a whole OffsetCommit is refused; before version 9 clients do not know GROUP_ID_NOT_FOUND there.
#[must_use]
pub fn of_commit(error: &CommitError, api_version: i16) -> Refusal {
    let code = match error {
        CommitError::Coordinator(error) => return error.into(),
        CommitError::InvalidGroupId => ErrorCode::InvalidGroupId,
        CommitError::GroupIdNotFound if api_version >= 9 => ErrorCode::GroupIdNotFound,
        CommitError::GroupIdNotFound | CommitError::IllegalGeneration => {
            ErrorCode::IllegalGeneration
        }
        CommitError::UnknownMemberId => ErrorCode::UnknownMemberId,
        CommitError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        CommitError::MemberEpochRequired => ErrorCode::UnsupportedVersion,
        CommitError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        CommitError::FencedInstanceId => ErrorCode::FencedInstanceId,
    };
    Refusal::told(code, error)
}

impl From<&ConsumerHeartbeatError> for Refusal {
    fn from(error: &ConsumerHeartbeatError) -> Self {
        let code = match error {
            ConsumerHeartbeatError::Coordinator(error) => return error.into(),
            ConsumerHeartbeatError::InvalidRequest(_) => ErrorCode::InvalidRequest,
            ConsumerHeartbeatError::UnsupportedAssignor(_) => ErrorCode::UnsupportedAssignor,
            ConsumerHeartbeatError::InvalidRegularExpression(_) => {
                ErrorCode::InvalidRegularExpression
            }
            ConsumerHeartbeatError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            ConsumerHeartbeatError::UnknownMemberId => ErrorCode::UnknownMemberId,
            ConsumerHeartbeatError::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
            ConsumerHeartbeatError::UnreleasedInstanceId(_) => ErrorCode::UnreleasedInstanceId,
            ConsumerHeartbeatError::FencedInstanceId => ErrorCode::FencedInstanceId,
            ConsumerHeartbeatError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        };
        Self::told(code, error)
    }
}

impl From<&OffsetError> for Refusal {
    fn from(error: &OffsetError) -> Self {
        let code = match error {
            OffsetError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        };
        Self::told(code, error)
    }
}

impl From<&DeleteGroupError> for Refusal {
    fn from(error: &DeleteGroupError) -> Self {
        let code = match error {
            DeleteGroupError::Coordinator(error) => return error.into(),
            DeleteGroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            DeleteGroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        };
        Self::told(code, error)
    }
}

impl From<&DeleteOffsetsError> for Refusal {
    fn from(error: &DeleteOffsetsError) -> Self {
        let code = match error {
            DeleteOffsetsError::Coordinator(error) => return error.into(),
            DeleteOffsetsError::InvalidGroupId => ErrorCode::InvalidGroupId,
            DeleteOffsetsError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            DeleteOffsetsError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        };
        Self::told(code, error)
    }
}

impl From<&DeleteOffsetError> for Refusal {
    fn from(error: &DeleteOffsetError) -> Self {
        let code = match error {
            DeleteOffsetError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        };
        Self::told(code, error)
    }
}

impl From<&FetchError> for Refusal {
    fn from(error: &FetchError) -> Self {
        let code = match error {
            FetchError::Coordinator(error) => return error.into(),
            FetchError::UnknownMemberId => ErrorCode::UnknownMemberId,
            FetchError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        };
        Self::told(code, error)
    }
}
