//! Bytes: objects in the object store, the write-ahead log and the block cache.
//!
//! A broker keeps what producers send in two places: at once in the write-ahead log on its own disk, and soon after in
//! immutable objects. This crate writes, checks and reads both. It does not know what a topic, a group or an offset is:
//! it sees opaque bytes, and never the metadata store.
//!
//! - [`wal`]: the write-ahead log, where a record is safe before it is answered.
//! - [`objects`]: the object store (a local folder, or a bucket of S3) behind one type with one guard.
//! - [`l0`]: what one flush looks like as an object, with a checksum for every byte.
//! - [`cache`]: blocks of objects in memory, verified, shared by consumers.

pub mod cache;
pub mod l0;
pub mod objects;
#[cfg(any(test, feature = "test-support"))]
pub mod s3_server;
pub mod wal;
