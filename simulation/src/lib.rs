//! Seeded histories of clients, faults and crashes against the real log and the real coordinator, in one thread.
//!
//! A *world* has one broker, its disk, an object store, a database, a network and clients. Everything in it is drawn from
//! one seed: which task goes on next, how long a call takes, which one fails, where the broker dies. The broker's parts
//! are the real ones; only the seams have doubles. What clients are told is held against a model that can be read, and
//! the first answer that contradicts it ends the history with the name of the invariant that was broken.
//!
//! The walk: [`plan`] draws a history, [`mod@run`] lets it happen, [`shrink`] makes a failing one short, [`campaign`] runs
//! many, [`bugs`] lists the bugs that must be found.
//!
//! What this crate must never know: the wire, settings, SQL.

pub mod bugs;
pub mod campaign;
pub mod plan;
pub mod run;
pub mod scenario;
pub mod shrink;

pub mod encounters;
pub mod invariant;
pub mod sites;
pub mod world;

mod audit;
mod broker;
pub mod chance;
mod clients;
mod cluster;
mod database;
mod disk;
pub mod executor;
mod host;
mod ledger;
mod machine;
mod model;
mod network;
mod objects;

pub use campaign::{Campaign, Failure, Report};
pub use run::Outcome;
pub use scenario::Scenario;
