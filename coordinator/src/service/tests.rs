//! The driver, held to the same tests over every metadata store: what is true of the readable one must be true of the one
//! that keeps groups on a disk.

#![expect(
    clippy::duplicate_mod,
    reason = "one suite, once for each store; the module's name says which"
)]

#[path = "tests/suite.rs"]
mod memory;
#[path = "tests/suite.rs"]
mod sqlite;
