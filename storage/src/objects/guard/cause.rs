//! What an error of the store says about the request: whether it happened, and whether the store is in trouble.

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use crate::objects::s3::wire::Complaint;

/// What an error says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::objects) enum Cause {
    /// The object does not exist.
    NotFound,
    /// A conditional write found an object in its place, or ran into another one.
    Exists,
    /// The store refused for good: the request did not happen and would be refused again.
    Refused,
    /// The request did not reach the store: it did not happen and may be repeated.
    NotReached,
    /// The guard sent it away without asking the store: it did not happen.
    SentAway,
    /// The store asked for fewer requests. This one may have happened: not every store says so before it acts.
    Throttled,
    /// No answer in time: it may have happened.
    TimedOut,
    /// Anything else: it may have happened.
    Unknown,
}

impl Cause {
    /// Whether the request may have changed something, now or later.
    pub(in crate::objects) fn may_have_happened(self) -> bool {
        match self {
            Self::Throttled | Self::TimedOut | Self::Unknown => true,
            Self::NotFound | Self::Exists | Self::Refused | Self::NotReached | Self::SentAway => {
                false
            }
        }
    }

    /// Whether the request failed because of what it asked for, and the store is in order.
    pub(super) fn is_in_order(self) -> bool {
        match self {
            Self::NotFound | Self::Exists | Self::SentAway => true,
            Self::Refused | Self::Throttled | Self::NotReached | Self::TimedOut | Self::Unknown => {
                false
            }
        }
    }

    /// Whether the store gave an answer worth the name.
    pub(super) fn is_answer(self) -> bool {
        match self {
            Self::NotFound | Self::Exists | Self::Refused | Self::Throttled => true,
            Self::NotReached | Self::SentAway | Self::TimedOut | Self::Unknown => false,
        }
    }
}

/// What `error` says.
pub(in crate::objects) fn cause(error: &Error) -> Cause {
    match error {
        Error::NotFound { .. } => Cause::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Cause::Exists,
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::NotModified { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. } => Cause::Refused,
        Error::Generic { source, .. } => behind(source.as_ref()),
        Error::JoinError { .. } => Cause::Unknown,
        // The enum may grow; what we do not know may have happened.
        _ => Cause::Unknown,
    }
}

/// What lies behind an error that the store's client has no word for.
fn behind(error: &(dyn std::error::Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(complaint) = error.downcast_ref::<Complaint>() {
            return match complaint {
                Complaint::SlowDown { .. } => Cause::Throttled,
                Complaint::Refused { .. } => Cause::Refused,
            };
        }
        // No connection, so no byte of the request was sent.
        if let Some(http) = error.downcast_ref::<HttpError>()
            && http.kind() == HttpErrorKind::Connect
        {
            return Cause::NotReached;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return Cause::NotReached;
        }
        next = error.source();
    }
    Cause::Unknown
}
