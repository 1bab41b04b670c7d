//! A small Kafka client, for the command line and for the front doors of StreamHouse.
//!
//! It speaks plain Kafka and nothing else, so it works with every broker that does. It never looks behind the protocol:
//! what it cannot learn from a broker's answer, it does not know.
//!
//! Reading order: [`address`] and [`connector`] (where brokers are and how they are reached), [`connection`] (one
//! broker, requests in order, versions agreed), [`error`] (what can go wrong and what to do then), [`client`] (bootstrap,
//! metadata, leaders, retries), then what it is used for: [`topics`], [`configs`], [`log_dirs`], [`offsets`],
//! [`groups`], [`produce`] and [`producer`], [`fetch`] and [`consumer`].
//!
//! Invariants: every wait has a deadline or an end that the caller decides; every queue has a bound; an error of a write
//! says whether it may have happened all the same.

#[cfg(test)]
mod scripted;

pub mod address;
pub mod connector;

pub mod connection;
pub mod error;

pub mod client;
pub mod metadata;

pub mod configs;
pub mod groups;
pub mod log_dirs;
pub mod offsets;
pub mod topics;

pub mod partitioner;
pub mod produce;
pub mod producer;

pub mod consumer;
pub mod fetch;

pub use address::BrokerAddress;
pub use client::{Client, Options};
pub use error::{CallError, ClientError, ErrorKind, Outcome};
