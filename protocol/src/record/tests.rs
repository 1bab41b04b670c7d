//! Tests of `record.rs`.
