//! The server's settings in words, for those who steer it from another process.

use std::time::Duration;

use super::{Creates, Denial, S3Fault, S3Operation};

/// Every operation with its word.
pub(super) const OPERATIONS: [(S3Operation, &str); 10] = [
    (S3Operation::Put, "put"),
    (S3Operation::Get, "get"),
    (S3Operation::Head, "head"),
    (S3Operation::Delete, "delete"),
    (S3Operation::List, "list"),
    (S3Operation::Begin, "begin"),
    (S3Operation::Part, "part"),
    (S3Operation::Complete, "complete"),
    (S3Operation::Abort, "abort"),
    (S3Operation::Other, "other"),
];

/// Every fault that has no number, with its word.
const FAULTS: [(S3Fault, &str); 17] = [
    (S3Fault::Refuse, "refuse"),
    (S3Fault::SlowDownBefore, "slow-down-before"),
    (S3Fault::SlowDownAfter, "slow-down-after"),
    (S3Fault::ErrorBefore, "error-before"),
    (S3Fault::ErrorAfter, "error-after"),
    (S3Fault::SilenceBefore, "silence-before"),
    (S3Fault::SilenceAfter, "silence-after"),
    (S3Fault::Twice, "twice"),
    (S3Fault::Truncate, "truncate"),
    (S3Fault::WrongBytes, "wrong-bytes"),
    (S3Fault::Deny(Denial::AccessDenied), "access-denied"),
    (S3Fault::Deny(Denial::BadSignature), "bad-signature"),
    (S3Fault::Deny(Denial::ExpiredToken), "expired-token"),
    (S3Fault::Deny(Denial::ClockSkew), "clock-skew"),
    (S3Fault::Deny(Denial::WrongRegion), "wrong-region"),
    (S3Fault::Deny(Denial::NoBucket), "no-bucket"),
    (S3Fault::Deny(Denial::BodyTooSlow), "body-too-slow"),
];

const CREATES: [(Creates, &str); 3] = [
    (Creates::Right, "right"),
    (Creates::Ignored, "ignored"),
    (Creates::CheckedBefore, "checked-before"),
];

fn find<T: Copy>(words: &[(T, &str)], word: &str) -> Option<T> {
    let mut words = words.iter();
    words.find(|(_, known)| *known == word).map(|(it, _)| *it)
}

pub(super) fn operation(word: &str) -> Option<S3Operation> {
    find(&OPERATIONS, word)
}

pub(super) fn name(operation: S3Operation) -> &'static str {
    let mut operations = OPERATIONS.iter();
    operations
        .find(|(known, _)| *known == operation)
        .map_or("other", |(_, word)| word)
}

pub(super) fn creates(word: &str) -> Option<Creates> {
    find(&CREATES, word)
}

/// A fault, or `none`; `slow:MS` and `late:MS` have a number.
pub(super) fn fault(word: &str) -> Option<Option<S3Fault>> {
    if word == "none" {
        return Some(None);
    }
    let fault = match word.split_once(':') {
        None => find(&FAULTS, word)?,
        Some((word, ms)) => {
            let pause = Duration::from_millis(ms.parse().ok()?);
            match word {
                "slow" => S3Fault::Slow(pause),
                "late" => S3Fault::Late(pause),
                _ => return None,
            }
        }
    };
    Some(Some(fault))
}

/// The word of a fault, as [`fault`] reads it.
pub(super) fn fault_name(fault: Option<S3Fault>) -> String {
    let Some(fault) = fault else {
        return "none".to_owned();
    };
    match fault {
        S3Fault::Slow(pause) => format!("slow:{}", pause.as_millis()),
        S3Fault::Late(pause) => format!("late:{}", pause.as_millis()),
        S3Fault::Refuse
        | S3Fault::SlowDownBefore
        | S3Fault::SlowDownAfter
        | S3Fault::ErrorBefore
        | S3Fault::ErrorAfter
        | S3Fault::SilenceBefore
        | S3Fault::SilenceAfter
        | S3Fault::Twice
        | S3Fault::Deny(_)
        | S3Fault::Truncate
        | S3Fault::WrongBytes => {
            let mut faults = FAULTS.iter();
            let found = faults.find(|(known, _)| *known == fault);
            found.map_or_else(String::new, |(_, word)| (*word).to_owned())
        }
    }
}
