//! The binary as people use it: start it with one command, write, read, kill it, start it again, read again.
//!
//! Nothing here waits blindly: a broker is ready when its first lines say so, a command is done when it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bench;
mod broker;
mod groups;
mod hostile;
mod kill;
mod refusals;
mod tools;
mod wal;
mod wal_damage;
