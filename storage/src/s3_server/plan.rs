//! Which request meets which fault: by script, or drawn from the seeded chance.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use streamhouse_runtime::Chance;

use super::S3Operation;

/// One failure of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Fault {
    /// The connection is refused: the request did not happen, and the client can tell.
    Refuse,
    /// 503 `SlowDown`; the request was not carried out.
    SlowDownBefore,
    /// 503 `SlowDown`, but the request was carried out.
    SlowDownAfter,
    /// 500 `InternalError`; the request was not carried out.
    ErrorBefore,
    /// 500 `InternalError`, but the request was carried out.
    ErrorAfter,
    /// No answer ever; the request was not carried out.
    SilenceBefore,
    /// No answer ever, but the request was carried out.
    SilenceAfter,
    /// The request is carried out after a pause.
    Slow(Duration),
    /// No answer ever, and the request is carried out after a pause, though the client may be gone by then.
    Late(Duration),
    /// A proxy sends the request twice and passes on the second answer.
    Twice,
    /// Refused with an error of S3's own; the request was not carried out.
    Deny(Denial),
    /// The answer's body ends in the middle.
    Truncate,
    /// One bit of the answer's body is wrong.
    WrongBytes,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The credentials do not allow it.
    AccessDenied,
    /// The secret is another one.
    BadSignature,
    /// The session token has ended.
    ExpiredToken,
    /// The clocks differ.
    ClockSkew,
    /// The bucket is in another region.
    WrongRegion,
    /// There is no such bucket.
    NoBucket,
    /// The body took too long to arrive.
    BodyTooSlow,
}

impl Denial {
    /// Status and code, as S3 spells them.
    pub(super) fn spelled(self) -> (u16, &'static str) {
        match self {
            Self::AccessDenied => (403, "AccessDenied"),
            Self::BadSignature => (403, "SignatureDoesNotMatch"),
            Self::ExpiredToken => (400, "ExpiredToken"),
            Self::ClockSkew => (403, "RequestTimeTooSkewed"),
            Self::WrongRegion => (301, "PermanentRedirect"),
            Self::NoBucket => (404, "NoSuchBucket"),
            Self::BodyTooSlow => (400, "RequestTimeout"),
        }
    }
}

/// What `If-None-Match: *` means to the server. Stores of every kind are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Creates {
    /// Of all writers that race, one wins.
    #[default]
    Right,
    /// Nothing: every writer wins.
    Ignored,
    /// It is checked before the write and not while: several win.
    CheckedBefore,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    scripts: BTreeMap<S3Operation, VecDeque<Option<S3Fault>>>,
    pub(super) per_mille: u64,
    pub(super) is_down: bool,
    pub(super) creates: Creates,
    /// How long every request takes besides what its fault says.
    pub(super) latency: Duration,
    /// The region that requests must be signed for; none if any will do.
    pub(super) region: Option<String>,
}

impl Plan {
    pub(super) fn script(
        &mut self,
        operation: S3Operation,
        faults: impl IntoIterator<Item = Option<S3Fault>>,
    ) {
        self.scripts.entry(operation).or_default().extend(faults);
    }

    pub(super) fn next(&mut self, operation: S3Operation, chance: &dyn Chance) -> Option<S3Fault> {
        if self.is_down {
            return Some(S3Fault::Refuse);
        }
        let scripted = self
            .scripts
            .get_mut(&operation)
            .and_then(VecDeque::pop_front);
        if let Some(scripted) = scripted {
            return scripted;
        }
        if self.per_mille == 0 || chance.below(1_000) >= self.per_mille {
            return None;
        }
        let is_read = matches!(operation, S3Operation::Get);
        let pause = Duration::from_millis(chance.below(10_000));
        Some(match chance.below(12) {
            0 => S3Fault::Refuse,
            1 => S3Fault::SlowDownBefore,
            2 => S3Fault::SlowDownAfter,
            3 => S3Fault::ErrorBefore,
            4 => S3Fault::ErrorAfter,
            5 => S3Fault::SilenceBefore,
            6 => S3Fault::SilenceAfter,
            7 => S3Fault::Late(pause),
            8 => S3Fault::Twice,
            9 if is_read => S3Fault::Truncate,
            10 if is_read => S3Fault::WrongBytes,
            _ => S3Fault::Slow(pause),
        })
    }
}
