//! Tests of `record_batch.rs`.
