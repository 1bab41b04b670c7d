//! Kafka's words and bytes: names, ids, frames, requests, record batches and compression.
//!
//! Everything here is a pure function of bytes. The crate cannot tell the time, open a socket or read a file, and it
//! never panics on bytes it was given.
//!
//! Reading order follows the `mod` lines.

pub mod ids;
pub mod names;

pub mod api_key;
pub mod frame;
pub mod guard;
pub mod request;
pub mod response;
pub mod rope;

pub mod compression;
pub mod record;
pub mod record_batch;
pub mod varint;

pub use kafka_protocol::error::ResponseError as ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Message, Request, StrBytes};
