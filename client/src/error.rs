//! What can go wrong between this client and a broker, and what to do then.
//!
//! Every error says whether the request may have taken effect ([`Outcome`]) and of which kind it is ([`ErrorKind`]),
//! so that the command line can choose its exit code and a front door its HTTP status.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_protocol::ErrorCode;
use streamhouse_protocol::request::EncodeError;
use streamhouse_protocol::response::ResponseError;

use crate::address::AddressError;

/// Whether a request that failed took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not.
    DidNotHappen,
    /// Nobody knows: it was sent, and no answer came.
    MayHaveHappened,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What the caller gave cannot be used.
    Caller,
    /// No broker answers, or not in time: try again later.
    Unavailable,
    /// A broker refuses; the text says why.
    Refused,
    /// What came back is not the Kafka protocol, or not a version of it that is spoken here.
    Protocol,
}

/// Why one request to one broker has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection ended before the request was sent. It did not happen; ask again.
    #[error("the connection to broker {broker} ended before {api} was sent: {reason}")]
    NotSent {
        /// The broker.
        broker: Arc<str>,
        /// The API.
        api: &'static str,
        /// Why the connection ended.
        reason: Arc<str>,
    },
    /// The connection ended before the answer came. It may have happened.
    #[error("the connection to broker {broker} ended before {api} was answered: {reason}")]
    Lost {
        /// The broker.
        broker: Arc<str>,
        /// The API.
        api: &'static str,
        /// Why the connection ended.
        reason: Arc<str>,
    },
    /// No answer came in time. It may have happened.
    #[error("broker {broker} did not answer {api} within {after:?}")]
    TimedOut {
        /// The broker.
        broker: Arc<str>,
        /// The API.
        api: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The broker offers no version of the API that is spoken here. It did not happen.
    #[error(
        "broker {broker} {offered}, this client speaks v{min} to v{max}; use another release of one of them"
    )]
    Unsupported {
        /// The broker.
        broker: Arc<str>,
        /// What the broker offers, as part of a sentence.
        offered: String,
        /// The lowest version that is spoken here.
        min: i16,
        /// The highest version that is spoken here.
        max: i16,
    },
    /// The request has no form in the agreed version. It did not happen.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The answer is not what the protocol says. It may have happened.
    #[error("broker {broker} sent something else than Kafka's answer")]
    Decode {
        /// The broker.
        broker: Arc<str>,
        /// What is wrong.
        source: ResponseError,
    },
}

impl CallError {
    /// Whether the request may have taken effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NotSent { .. } | Self::Unsupported { .. } | Self::Encode(_) => {
                Outcome::DidNotHappen
            }
            Self::Lost { .. } | Self::TimedOut { .. } | Self::Decode { .. } => {
                Outcome::MayHaveHappened
            }
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::Unsupported { .. } | Self::Encode(_) | Self::Decode { .. } => false,
        }
    }
}

/// Why the cluster did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The bootstrap list cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No connection could be opened. Nothing was sent.
    #[error("broker {broker} cannot be reached: {reason}")]
    Connect {
        /// The broker.
        broker: Arc<str>,
        /// Why.
        reason: String,
    },
    /// None of the brokers could be asked. Nothing was sent.
    #[error(
        "no broker can be reached at {brokers}: {reason}; check that one runs there, or name another with --bootstrap"
    )]
    Unreachable {
        /// The addresses that were tried.
        brokers: String,
        /// What the last one said.
        reason: String,
    },
    /// A request has no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A broker refused. It did not happen, except where the code says that nobody knows.
    #[error("{subject}: {}{}{}", code_name(*code), detail(message.as_deref()), remedy(*code))]
    Refused {
        /// What was asked for, with the name of the thing: `create topic "x"`.
        subject: String,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's words.
        message: Option<String>,
    },
    /// The thing does not exist, and waiting would not bring it.
    #[error("{subject}: it does not exist; check the name with `streamhouse topic list`")]
    Absent {
        /// What was asked for, with the name of the thing.
        subject: String,
    },
    /// The answer lacks what was asked for.
    #[error("broker {broker} left out {what} in its answer")]
    Incomplete {
        /// The broker.
        broker: Arc<str>,
        /// What is missing.
        what: String,
    },
    /// What was to be sent cannot be built. Nothing was sent.
    #[error("{subject} cannot be sent: {reason}")]
    Build {
        /// What.
        subject: String,
        /// Why.
        reason: String,
    },
    /// Records that came back cannot be read. Skip them by starting at a later offset.
    #[error(
        "records of topic {topic:?} partition {partition} at offset {offset} cannot be read: {reason}"
    )]
    Records {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}

impl ClientError {
    /// Whether what was asked may have happened all the same.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Address(_)
            | Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::Absent { .. }
            | Self::Build { .. } => Outcome::DidNotHappen,
            Self::Call(error) => error.outcome(),
            Self::Refused { code, .. } if INDETERMINATE.contains(code) => Outcome::MayHaveHappened,
            Self::Refused { .. } => Outcome::DidNotHappen,
            Self::Incomplete { .. } | Self::Records { .. } => Outcome::MayHaveHappened,
        }
    }

    /// Makes an unknown topic final. Kafka calls the code retriable, since a topic may be on its way; where nobody
    /// creates it, waiting does not bring it.
    pub(crate) fn absent_if_unknown(self) -> Self {
        if self.code() != Some(ErrorCode::UnknownTopicOrPartition) {
            return self;
        }
        if let Self::Refused { subject, .. } = self {
            Self::Absent { subject }
        } else {
            self
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Address(_) | Self::Build { .. } => ErrorKind::Caller,
            Self::Connect { .. } | Self::Unreachable { .. } => ErrorKind::Unavailable,
            Self::Call(error) if error.is_retriable() => ErrorKind::Unavailable,
            Self::Call(_) | Self::Incomplete { .. } | Self::Records { .. } => ErrorKind::Protocol,
            Self::Refused { .. } | Self::Absent { .. } => ErrorKind::Refused,
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Unreachable { .. } => true,
            Self::Call(error) => error.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Address(_)
            | Self::Build { .. }
            | Self::Absent { .. }
            | Self::Incomplete { .. }
            | Self::Records { .. } => false,
        }
    }

    /// Kafka's code, if a broker refused.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Absent { .. } => Some(ErrorCode::UnknownTopicOrPartition),
            Self::Address(_)
            | Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::Call(_)
            | Self::Incomplete { .. }
            | Self::Build { .. }
            | Self::Records { .. } => None,
        }
    }
}

/// Codes after which nobody knows whether the request took effect.
const INDETERMINATE: &[ErrorCode] = &[
    ErrorCode::RequestTimedOut,
    ErrorCode::NotEnoughReplicasAfterAppend,
    ErrorCode::UnknownServerError,
    ErrorCode::NetworkException,
];

/// `Err` for a code other than 0. `subject` says what was asked for.
pub(crate) fn check(
    code: i16,
    message: Option<&str>,
    subject: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    let Some(code) = ErrorCode::try_from_code(code) else {
        return Ok(());
    };
    Err(ClientError::Refused {
        subject: subject(),
        code,
        message: message.map(str::to_owned),
    })
}

/// A code as Kafka writes it: `UNKNOWN_TOPIC_OR_PARTITION`.
#[must_use]
pub fn code_name(code: ErrorCode) -> String {
    let mut name = String::new();
    let mut was_lower = false;
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && was_lower {
            name.push('_');
        }
        was_lower = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn detail(message: Option<&str>) -> String {
    message
        .map(|text| text.trim_end_matches('.'))
        .filter(|text| !text.is_empty())
        .map_or_else(String::new, |text| format!(": {text}"))
}

/// What to do about a code, where that is not plain from the broker's words.
fn remedy(code: ErrorCode) -> String {
    let found = REMEDIES.iter().find(|(known, _)| *known == code);
    found.map_or_else(String::new, |(_, text)| format!("; {text}"))
}

const REMEDIES: &[(ErrorCode, &str)] = &[
    (
        ErrorCode::UnknownTopicOrPartition,
        "check the name with `streamhouse topic list`, or create the topic",
    ),
    (
        ErrorCode::TopicAlreadyExists,
        "choose another name, or delete that topic first",
    ),
    (
        ErrorCode::MessageTooLarge,
        "send smaller batches, or raise max.message.bytes of the topic",
    ),
    (
        ErrorCode::OffsetOutOfRange,
        "start with --from-beginning or at an offset that `streamhouse topic describe` shows",
    ),
    (
        ErrorCode::GroupIdNotFound,
        "check the name with `streamhouse group list`",
    ),
    (
        ErrorCode::NonEmptyGroup,
        "stop its members first; `streamhouse group describe` shows them",
    ),
    (
        ErrorCode::UnknownMemberId,
        "the group has members, which commit offsets themselves; stop them first",
    ),
    (
        ErrorCode::NotEnoughReplicas,
        "nothing was written; try again",
    ),
    (
        ErrorCode::RequestTimedOut,
        "it may have happened all the same; look before you try again",
    ),
    (
        ErrorCode::InvalidRecord,
        "a compacted topic needs a key in every record",
    ),
];

#[cfg(test)]
mod tests;
