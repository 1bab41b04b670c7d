//! Everything that reads bytes from the network or the disk, fed with bytes that nobody meant to send.
//!
//! A *target* is a function of bytes that panics when something does not hold: not only that a reader comes back, but that
//! what it accepts is read the same way again, is written back as it was, and costs no more memory than its size allows.
//! [`TARGETS`] is the one list of them. The same targets run in two ways:
//!
//! - *seeded*, as a test with the ordinary build: input number `i` of a target is a function of the seed and of `i` alone
//!   ([`mutate`]), so that a failure is repeated by naming them, on any machine;
//! - *guided by coverage*, on demand (`src/guided.rs`), where libFuzzer chooses what to bend next.
//!
//! Inputs begin as what was recorded from Apache Kafka and as what our own encoders write ([`corpus`]); what once went
//! wrong lies in `fuzz/regressions` and is tried first. A checksum would keep bent bytes from what lies behind it, so a
//! target may repair its checksums after bending.
//!
//! Reading order: [`target`], [`targets`], [`corpus`], [`mutate`], [`campaign`].

pub mod bugs;
pub mod campaign;
pub mod corpus;
pub mod draw;
pub mod mutate;
pub mod target;
pub mod targets;

pub use target::{Target, Verdict};
pub use targets::TARGETS;
