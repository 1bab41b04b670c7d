//! Tests of responses.
