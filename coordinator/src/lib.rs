//! The group coordinator: who is in a consumer group, who reads what, and how far each group has come.
//!
//! The rules of Kafka's groups live in [`group`] as pure transitions: they cannot tell the time, wait, or write
//! anything down. [`service`] is the thin driver around them: it knows which shards this broker leads, wakes groups
//! when a timer is due, and writes what must survive to the metadata store before the answer that reveals it.
//!
//! This crate never knows: Kafka's numeric error codes, API versions, and how facts are stored.
//!
//! Reading order follows the `mod` lines: the rules, then the driver.

pub mod group;
pub mod service;

#[cfg(test)]
mod scale;

pub use service::Groups;
