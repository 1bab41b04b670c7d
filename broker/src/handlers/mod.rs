//! One file per Kafka API, and the one table of them.
//!
//! Adding an API is a file and a line. What is not in [`APIS`] does not exist: it is neither advertised nor answered.

pub mod api_versions;

use crate::api::Api;

/// Every API that is served. Dispatch, the ApiVersions answer, metric labels, the reference page and the tests come from here.
pub static APIS: &[Api] = &[Api::of::<api_versions::ApiVersions>()];
