//! The brokers shelf: which broker processes there are, where they listen, and until when each counts as alive.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use streamhouse_protocol::ids::BrokerId;

use super::cluster::Revision;
use super::error::{Class, Outcome, StoreError};
use super::shards::Incarnation;

/// How long the row of a dead life is kept, so that it cannot come back: 7 days, in milliseconds.
pub const DEAD_AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Where the clients of one listener reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// The name of the listener: letters, digits, `_`, `-` and `.`.
    pub listener: String,
    /// The host that clients are told: no comma in it.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
}

/// Endpoints as they are stored, and as `advertised.listeners` has them: `PLAINTEXT://host:9092,OTHER://host:9093`.
pub(crate) fn write_endpoints(endpoints: &[BrokerEndpoint]) -> String {
    let one = |it: &BrokerEndpoint| format!("{}://{}:{}", it.listener, it.host, it.port);
    endpoints.iter().map(one).collect::<Vec<_>>().join(",")
}

/// What [`write_endpoints`] wrote; none if it is something else.
pub(crate) fn read_endpoints(text: &str) -> Option<Vec<BrokerEndpoint>> {
    let one = |text: &str| {
        let (listener, address) = text.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        Some(BrokerEndpoint {
            listener: listener.to_owned(),
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    };
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(one).collect()
}

/// A broker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRow {
    /// Its number (`node.id`).
    pub broker: BrokerId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where clients reach it, one for each of its listeners.
    pub endpoints: Vec<BrokerEndpoint>,
    /// The zone that it runs in (`broker.rack`).
    pub rack: Option<String>,
}

/// A broker whose lease holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivingBroker {
    /// The broker.
    pub row: BrokerRow,
    /// When its lease ends, by the clock of the database, milliseconds since 1970.
    pub lease_until_ms: i64,
}

/// The brokers whose leases hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// When this was so, by the clock of the database, milliseconds since 1970.
    pub now_ms: i64,
    /// They, by number.
    pub brokers: Vec<LivingBroker>,
}

/// What a heartbeat brings home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When the lease ends now, by the clock of the database, milliseconds since 1970.
    pub until_ms: i64,
    /// The clock of the database, milliseconds since 1970. A holder counts the difference by its own monotonic clock, from
    /// before it sent the heartbeat.
    pub now_ms: i64,
    /// The newest revision: another than the last one seen says that topics or configurations changed.
    pub revision: Revision,
    /// The database server's timeline; 0 where there is none.
    pub timeline: u32,
}

/// Why a lease was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// Did not happen: this life was declared dead and is never revived. Stop all its shards, and start again with a new one.
    #[error("incarnation {incarnation} was declared dead; restart the broker")]
    Dead {
        /// The life.
        incarnation: Incarnation,
    },
    /// Did not happen: this life is not known. It never registered, or the database lost it.
    #[error("incarnation {incarnation} is not registered; restart the broker")]
    Unknown {
        /// The life.
        incarnation: Incarnation,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HeartbeatError {
    /// Whether the lease was renewed.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Dead { .. } | Self::Unknown { .. } => Outcome::DidNotHappen,
            Self::Store(error) => error.outcome(),
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Dead { .. } => Class::Fenced,
            Self::Unknown { .. } => Class::NotFound,
            Self::Store(error) => error.class(),
        }
    }
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
    /// Did not happen: another process with the same number is alive. Stop it, give this one another `node.id`, or, if it
    /// was killed, wait until its lease is over.
    #[error(
        "broker {broker} runs already, as incarnation {incarnation}: stop it or choose another node.id; \
         if it was killed, its lease ends by itself"
    )]
    Twin {
        /// The broker.
        broker: BrokerId,
        /// The life that is there.
        incarnation: Incarnation,
        /// When its lease ends, by the clock of the database, milliseconds since 1970.
        until_ms: i64,
        /// That clock now.
        now_ms: i64,
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
            Self::Dead { .. } | Self::Twin { .. } => Outcome::DidNotHappen,
            Self::Store(error) => error.outcome(),
        }
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Dead { .. } => Class::Fenced,
            Self::Twin { .. } => Class::Conflict,
            Self::Store(error) => error.class(),
        }
    }
}

/// The facts about brokers.
///
/// Promises: one living life per broker number; a life that was declared dead never comes back, be it because another
/// took its number or one of its shards after its lease had ended, or because it left. Leases are counted by the clock
/// of the database alone.
/// Callers: register before they ask for shards; stop serving when their lease is over by their own monotonic clock,
/// counted from before the heartbeat was sent.
/// Errors: see [`RegisterError`] and [`HeartbeatError`]; each call may be repeated as it is.
/// Does not promise: that a broker whose lease holds is alive. A lease of no length is over at once: so the embedded
/// store has no heartbeat, since the lock of the data folder is its lease.
#[async_trait]
pub trait BrokerShelf: fmt::Debug + Send + Sync {
    /// Makes this life the one of its broker number, with a lease from now on. An earlier one whose lease is over is dead.
    async fn register_broker(
        &self,
        broker: BrokerRow,
        lease: Duration,
    ) -> Result<(), RegisterError>;

    /// Renews the lease of a life that is not dead, even if it was over, and tells what is new.
    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Beat, HeartbeatError>;

    /// Declares one's own life dead, so that others take its shards at once. A life that is dead or unknown stays so.
    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError>;

    /// The brokers that are not dead, by number, whether their lease holds or not.
    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError>;

    /// The brokers whose lease holds, by number.
    async fn living(&self) -> Result<Living, StoreError>;
}
