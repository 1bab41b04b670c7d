//! From what SQLite says to what a store says: was the write undone, and what is wrong.
//!
//! Before COMMIT an error means that the transaction is rolled back: it did not happen. An error at COMMIT may come
//! after the journal was written: it may have happened. The connection stays: SQLite has rolled back what it remembers,
//! and the next commit writes the same place of the journal again, so that a read on this connection after the error
//! tells what later commits will build on.

use rusqlite::ErrorCode;

use crate::store::{Class, Outcome, StoreError};

/// What stops a piece of work inside a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// A stored value is not what this code could have written.
    Damaged(String),
    /// The request breaks a law.
    Broken(StoreError),
}

/// What stops a write: a fault, or an answer of the operation itself that must leave no trace.
#[derive(Debug)]
pub(super) enum Failure<E> {
    Fault(Fault),
    Refused(E),
}

pub(super) type Fallible<T> = Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Broken(error)
    }
}

impl<E> From<rusqlite::Error> for Failure<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(Fault::Sql(error))
    }
}

impl<E> From<StoreError> for Failure<E> {
    fn from(error: StoreError) -> Self {
        Self::Fault(Fault::Broken(error))
    }
}

impl<E> From<Fault> for Failure<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<E: From<StoreError>> Failure<E> {
    pub(super) fn explain(self, operation: &'static str) -> E {
        match self {
            Self::Fault(fault) => fault.explain(operation).into(),
            Self::Refused(error) => error,
        }
    }
}

impl Fault {
    /// The answer when the transaction was rolled back.
    pub(super) fn explain(self, operation: &'static str) -> StoreError {
        match self {
            Self::Sql(error) => store_error(operation, &error, Outcome::DidNotHappen),
            Self::Damaged(reason) => StoreError::Corrupt {
                operation,
                outcome: Outcome::DidNotHappen,
                reason,
            },
            Self::Broken(error) => error,
        }
    }
}

/// The answer when COMMIT failed.
pub(super) fn commit_failed(operation: &'static str, error: &rusqlite::Error) -> StoreError {
    store_error(operation, error, Outcome::MayHaveHappened)
}

fn store_error(operation: &'static str, error: &rusqlite::Error, outcome: Outcome) -> StoreError {
    let reason = error.to_string();
    match (class(error), outcome) {
        (Class::Corrupt, _) => StoreError::Corrupt {
            operation,
            outcome,
            reason,
        },
        (Class::Bug, Outcome::DidNotHappen) => StoreError::Bug { operation, reason },
        _ => StoreError::Unavailable {
            operation,
            outcome,
            reason: remedy(error, reason),
        },
    }
}

fn class(error: &rusqlite::Error) -> Class {
    match error.sqlite_error_code() {
        // Not from SQLite: a column did not hold the type that is always written to it.
        None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Class::Corrupt,
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::ApiMisuse
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::TooBig,
        ) => Class::Bug,
        Some(_) => Class::Unavailable,
    }
}

fn remedy(error: &rusqlite::Error, reason: String) -> String {
    if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        format!("{reason}; free space in the data folder")
    } else {
        reason
    }
}

#[cfg(test)]
mod tests;
