//! The brokers shelf: which broker processes there are and where they listen.

use std::fmt;

use async_trait::async_trait;
use streamhouse_protocol::ids::BrokerId;

use super::error::{Class, Outcome, StoreError};
use super::shards::Incarnation;

/// How long the row of a dead life is kept, so that it cannot come back: 7 days, in milliseconds.
pub const DEAD_AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A broker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRow {
    /// Its number (`node.id`).
    pub broker: BrokerId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The host that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
    /// The zone that it runs in (`broker.rack`).
    pub rack: Option<String>,
}

/// Why a broker was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Did not happen: this life was declared dead and is never revived. Start again with a new one.
    #[error("incarnation {incarnation} of broker {broker} was declared dead; restart the broker")]
    Dead {
        /// The broker.
        broker: BrokerId,
        /// The life.
        incarnation: Incarnation,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegisterError {
    /// Whether the registration took effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Dead { .. } => Outcome::DidNotHappen,
            Self::Store(error) => error.outcome(),
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Dead { .. } => Class::Fenced,
            Self::Store(error) => error.class(),
        }
    }
}

/// The facts about brokers.
///
/// Promises: one life per broker number; a life that was followed by another never comes back.
/// Callers: register before they ask for shards.
/// Errors: see [`RegisterError`]; registering the same row again is safe.
/// Does not promise: that a listed broker is alive. The embedded store has no heartbeat: the lock of the data folder is
/// the lease.
#[async_trait]
pub trait BrokerShelf: fmt::Debug + Send + Sync {
    /// Makes this life the one of its broker number; an earlier one is dead from now on.
    async fn register_broker(&self, broker: BrokerRow) -> Result<(), RegisterError>;

    /// The brokers, by number.
    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError>;
}
