//! What can go wrong in any metadata store, and whether a write may have happened all the same.

use std::fmt;

/// Whether a write that failed took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not and never will: it may be tried again as it is.
    DidNotHappen,
    /// Nobody knows yet: read what it would have changed before anything else is decided.
    MayHaveHappened,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DidNotHappen => "it did not happen",
            Self::MayHaveHappened => "it may have happened",
        })
    }
}

/// What the receiver of an error should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request itself is wrong: tell whoever asked.
    Caller,
    /// The thing named is not there: tell whoever asked.
    NotFound,
    /// Something else is in the way: read again and decide.
    Conflict,
    /// Another broker holds the shard: stop serving it.
    Fenced,
    /// The store cannot work at the moment: wait and try again, minding the [`Outcome`].
    Unavailable,
    /// Stored facts contradict each other: stop, a person must look.
    Corrupt,
    /// The caller broke a law of the store: stop, a person must look.
    Bug,
}

/// An error of the store itself, whatever the operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot work at the moment: closed, full disk, IO error. Try again later, minding the outcome.
    #[error("cannot {operation}: the metadata store is unavailable: {reason}; {outcome}")]
    Unavailable {
        /// Verb and object of what was tried.
        operation: &'static str,
        /// Whether the write took effect.
        outcome: Outcome,
        /// What the store said.
        reason: String,
    },
    /// Stored facts cannot be read back as what was written. Stop; a person must look.
    #[error("cannot {operation}: the metadata store holds damaged data: {reason}; {outcome}")]
    Corrupt {
        /// Verb and object of what was tried.
        operation: &'static str,
        /// Whether the write took effect.
        outcome: Outcome,
        /// What is damaged.
        reason: String,
    },
    /// The caller broke a law of the store. Nothing was changed.
    #[error(
        "cannot {operation}: the request breaks a rule of the metadata store: {reason}; it did not happen"
    )]
    Bug {
        /// Verb and object of what was tried.
        operation: &'static str,
        /// Which law, and how.
        reason: String,
    },
}

impl StoreError {
    /// Whether the write took effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Unavailable { outcome, .. } | Self::Corrupt { outcome, .. } => *outcome,
            Self::Bug { .. } => Outcome::DidNotHappen,
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Unavailable { .. } => Class::Unavailable,
            Self::Corrupt { .. } => Class::Corrupt,
            Self::Bug { .. } => Class::Bug,
        }
    }
}
