//! Tests of `compression.rs`.
