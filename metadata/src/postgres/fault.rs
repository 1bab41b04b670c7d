//! From what PostgreSQL says to what a store says: was the write undone, and what is wrong.
//!
//! Until the statement that commits is sent, an error means that nothing happened: a transaction whose COMMIT was never
//! sent is rolled back, at the latest when its connection ends. From then on only an answer of the server that is in the
//! list [`SQLSTATES`] says so: an ERROR aborts its transaction. A connection that breaks, a limit that passes, a FATAL or
//! PANIC, a code that is not in the list and a warning beside a success all mean that nobody knows.

use streamhouse_runtime::planted;
use tokio_postgres::error::{DbError, Severity};

use super::open::with_cause;
use crate::store::{Class, Outcome, StoreError};

/// What stops a piece of work on a connection.
#[derive(Debug)]
pub(super) enum Fault {
    /// PostgreSQL or the connection to it said so.
    Sql(tokio_postgres::Error),
    /// The work could not be done now, and the server did not say so.
    Unavailable(String),
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

/// How far a piece of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was sent that could commit.
    Before,
    /// The statement that commits was sent, and its success was not heard of.
    Committing,
    /// The commit is known to have succeeded.
    Committed,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Broken(error)
    }
}

impl<E> From<tokio_postgres::Error> for Failure<E> {
    fn from(error: tokio_postgres::Error) -> Self {
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
    pub(super) fn explain(self, operation: &'static str, phase: Phase) -> E {
        match self {
            Self::Fault(fault) => fault.explain(operation, phase).into(),
            Self::Refused(error) => error,
        }
    }
}

impl Fault {
    /// The answer for a piece of work that was stopped in `phase`.
    pub(super) fn explain(self, operation: &'static str, phase: Phase) -> StoreError {
        match self {
            Self::Sql(error) => sql_error(operation, phase, &error),
            Self::Unavailable(reason) => StoreError::Unavailable {
                operation,
                outcome: unproven(phase),
                reason,
            },
            Self::Damaged(reason) => StoreError::Corrupt {
                operation,
                outcome: unproven(phase),
                reason,
            },
            Self::Broken(error) => error,
        }
    }

    /// Whether the connection can be used again after a rollback: the server itself refused a statement.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Sql(error) => error.as_db_error().is_some_and(is_plain_error),
            Self::Damaged(_) | Self::Broken(_) => true,
            Self::Unavailable(_) => false,
        }
    }

    /// The constraint that a row would have broken, if that is what is wrong.
    pub(super) fn broken_constraint(&self) -> Option<&str> {
        let Self::Sql(error) = self else {
            return None;
        };
        let error = error.as_db_error()?;
        (is_plain_error(error) && error.code().code() == UNIQUE_VIOLATION)
            .then(|| error.constraint())
            .flatten()
    }
}

/// What is known of a write if nobody says anything.
fn unproven(phase: Phase) -> Outcome {
    match phase {
        _ if planted::bug("silence_taken_as_undone") => Outcome::DidNotHappen,
        Phase::Before => Outcome::DidNotHappen,
        Phase::Committing | Phase::Committed => Outcome::MayHaveHappened,
    }
}

const UNIQUE_VIOLATION: &str = "23505";

/// What an SQLSTATE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The code, or the beginning of codes.
    pub(super) code: &'static str,
    /// What the receiver should do.
    pub(super) class: Class,
    /// Whether the statement that commits took effect when it got this code as an ERROR.
    pub(super) outcome: Outcome,
    /// What an operator can do.
    pub(super) remedy: &'static str,
}

const fn means(
    code: &'static str,
    class: Class,
    outcome: Outcome,
    remedy: &'static str,
) -> Meaning {
    Meaning {
        code,
        class,
        outcome,
        remedy,
    }
}

/// The one list of codes: the first row whose code begins the code of an error holds. A code that is not here has an
/// unknown outcome.
pub(super) const SQLSTATES: &[Meaning] = {
    use Class::{Bug, Corrupt, Unavailable};
    use Outcome::{DidNotHappen, MayHaveHappened};
    &[
        // Another transaction was in the way: this one was undone.
        means("40001", Unavailable, DidNotHappen, ""),
        means("40P01", Unavailable, DidNotHappen, ""),
        means("40003", Unavailable, MayHaveHappened, ""),
        means("40", Unavailable, DidNotHappen, ""),
        means("55P03", Unavailable, DidNotHappen, ""),
        // A cancel may come just after the commit: between the two the server does not listen.
        means(
            "57014",
            Unavailable,
            MayHaveHappened,
            "raise the statement limit or look for what blocks the database",
        ),
        means(
            "25006",
            Unavailable,
            DidNotHappen,
            "the server takes no writes: it is a standby, or was made read-only",
        ),
        means("25", Bug, DidNotHappen, ""),
        // What the server lacks.
        means(
            "53100",
            Unavailable,
            DidNotHappen,
            "free space on the disk of the database",
        ),
        means(
            "53300",
            Unavailable,
            DidNotHappen,
            "raise max_connections or lower the number of connections of each broker",
        ),
        means("53", Unavailable, DidNotHappen, ""),
        // What the role may not do.
        means(
            "42501",
            Unavailable,
            DidNotHappen,
            "grant the role all rights on the schema",
        ),
        // A pooler between us and the server gave the connection away.
        means(
            "26000",
            Unavailable,
            DidNotHappen,
            "connect to the server itself, or let the pooler keep sessions",
        ),
        // The statement or its values are wrong, or the schema is not what the migrations left.
        means("21", Bug, DidNotHappen, ""),
        means("22", Bug, DidNotHappen, ""),
        means("23", Bug, DidNotHappen, ""),
        means("42", Bug, DidNotHappen, ""),
        means("0A", Bug, DidNotHappen, ""),
        means("3F", Bug, DidNotHappen, ""),
        means("54", Bug, DidNotHappen, ""),
        // Stored bytes are damaged.
        means("XX001", Corrupt, DidNotHappen, "restore the database"),
        means(
            "XX002",
            Corrupt,
            DidNotHappen,
            "rebuild the index that the server names",
        ),
    ]
};

/// What the code of an error says, if it is in the list.
pub(super) fn meaning(code: &str) -> Option<&'static Meaning> {
    SQLSTATES.iter().find(|row| code.starts_with(row.code))
}

/// Whether it ends a statement and its transaction, and nothing else: a FATAL ends the connection, a PANIC the server,
/// and what they interrupted may have been committed just before.
fn is_plain_error(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Error)
}

fn sql_error(operation: &'static str, phase: Phase, error: &tokio_postgres::Error) -> StoreError {
    let Some(told) = error.as_db_error() else {
        return StoreError::Unavailable {
            operation,
            outcome: unproven(phase),
            reason: with_cause(error),
        };
    };
    let code = told.code().code();
    let reason = format!("{} ({code})", told.message());
    let known = meaning(code).filter(|_| is_plain_error(told));
    let outcome = match (phase, known) {
        (Phase::Before, _) => Outcome::DidNotHappen,
        (Phase::Committing, Some(known)) => known.outcome,
        (Phase::Committing, None) | (Phase::Committed, _) => Outcome::MayHaveHappened,
    };
    let reason = match known {
        Some(known) if !known.remedy.is_empty() => format!("{reason}; {}", known.remedy),
        Some(_) | None => reason,
    };
    match (known.map(|known| known.class), outcome) {
        (Some(Class::Corrupt), _) => StoreError::Corrupt {
            operation,
            outcome,
            reason,
        },
        (Some(Class::Bug), Outcome::DidNotHappen) => StoreError::Bug { operation, reason },
        _ => StoreError::Unavailable {
            operation,
            outcome,
            reason,
        },
    }
}

#[cfg(test)]
mod tests;
