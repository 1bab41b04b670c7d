//! Facts: the cluster, its shards and their manifests, objects, topics, groups and brokers.
//!
//! The crate keeps facts and fences, in SQLite, PostgreSQL or memory, behind one trait per shelf. It never holds record bytes,
//! never calls the object store, and knows no Kafka error code.
//!
//! Reading order: [`store`] says what is promised, one file per shelf. `memory` is the readable specification, `sqlite`
//! the embedded default and `postgres` the store of clusters with several brokers, with the same files. `conformance`
//! holds the laws that all of them pass, re-opening the data between steps. `catalogue` is what requests read instead of the store.

pub mod store;

pub mod memory;
pub mod postgres;
pub mod sqlite;

pub mod catalogue;

#[cfg(test)]
mod conformance;

pub use catalogue::{Catalogue, Topic, TopicCatalogue};
pub use memory::MemoryStore;
pub use postgres::{PostgresSettings, PostgresStore};
pub use sqlite::{OpenError, SqliteStore};
pub use store::*;
