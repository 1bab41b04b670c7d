//! Kafka's words and bytes: names, ids, frames, requests, record batches and compression.
//!
//! Everything here is a pure function of bytes. The crate cannot tell the time, open a socket or read a file, and it
//! never panics on bytes it was given.
//!
//! Reading order follows the `mod` lines.

pub mod ids;
pub mod names;
