//! Tests of `api_key`.
