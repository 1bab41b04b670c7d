//! ApiVersions (key 18): which APIs this broker serves, in which versions.
//!
//! Kafka's rules we keep: name and version of the client's software are checked since version 3 (KIP-511); a version
//! that we do not know is answered in version 0 with UNSUPPORTED_VERSION and the versions of ApiVersions, never with a closed connection;
//! Produce is listed from version 0 although 0 to 2 are refused, because librdkafka before 2.11.1 switches compression
//! off otherwise (KAFKA-18659); no feature is finalised before all of its APIs are served. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use streamhouse_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use streamhouse_protocol::response::encode_response;
use streamhouse_protocol::rope::Rope;

use crate::api::{Answer, Api, Handler, Lane, Reply, RequestContext};
use crate::error_code;
use crate::network::CloseReason;
use crate::reach::Cluster;
use crate::security::{Operation, ResourceKind};

use super::APIS;
use super::words::text;

/// The handler.
#[derive(Debug)]
pub struct ApiVersions;

impl Handler for ApiVersions {
    const KEY: ApiKey = ApiKey::ApiVersions;
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> = None;
    type Reach = Cluster;
    type Request = ApiVersionsRequest;
    type Response = ApiVersionsResponse;

    async fn handle(
        _: &Cluster,
        cx: &RequestContext,
        request: ApiVersionsRequest,
    ) -> Reply<ApiVersionsResponse> {
        let names_software = cx.api_version >= 3;
        let is_valid = !names_software
            || is_software_word(&request.client_software_name)
                && is_software_word(&request.client_software_version);
        Reply::now(if is_valid {
            with_features(
                cx.api_version,
                ApiVersionsResponse::default().with_api_keys(advertised()),
            )
        } else {
            ApiVersionsResponse::default().with_error_code(error_code::INVALID_REQUEST.code())
        })
    }
}

/// The answer to a version that is not served, in version 0: with what to ask again.
pub(crate) fn unsupported_version(correlation_id: i32) -> Answer<Rope> {
    let response = ApiVersionsResponse::default()
        .with_error_code(error_code::UNSUPPORTED_VERSION.code())
        .with_api_keys(vec![row(&Api::of::<ApiVersions>())]);
    match encode_response::<ApiVersionsRequest>(correlation_id, 0, &response) {
        Ok(response) => Answer::respond(response),
        Err(error) => Answer::Close(CloseReason::Unencodable(error)),
    }
}

/// `group.version` says that groups may use the protocol of KIP-848. Java asks for level 1 before it does.
const GROUP_VERSION: &str = "group.version";
const GROUP_VERSION_LEVEL: i16 = 1;
/// Counts changes of the finalised features: there has been none since they were first.
const FEATURES_EPOCH: i64 = 0;

/// Features are in the answer since version 3. One whose lowest level is 0 is shown as supported since version 4 only, as
/// older clients do not know that level (KIP-584).
fn with_features(version: i16, response: ApiVersionsResponse) -> ApiVersionsResponse {
    if version < 3 {
        return response;
    }
    let finalized = FinalizedFeatureKey::default()
        .with_name(text(GROUP_VERSION))
        .with_min_version_level(GROUP_VERSION_LEVEL)
        .with_max_version_level(GROUP_VERSION_LEVEL);
    let supported = SupportedFeatureKey::default()
        .with_name(text(GROUP_VERSION))
        .with_min_version(0)
        .with_max_version(GROUP_VERSION_LEVEL);
    let response = response
        .with_finalized_features_epoch(FEATURES_EPOCH)
        .with_finalized_features(vec![finalized]);
    if version < 4 {
        return response;
    }
    response.with_supported_features(vec![supported])
}

fn advertised() -> Vec<ApiVersion> {
    APIS.iter().map(row).collect()
}

fn row(api: &Api) -> ApiVersion {
    // Older librdkafka needs to see Produce 0; whoever sends it gets what Kafka 4 gives: a closed connection.
    let min = if api.key == ApiKey::Produce {
        0
    } else {
        *api.versions.start()
    };
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(min)
        .with_max_version(*api.versions.end())
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (Kafka: `ApiVersionsRequest.isValid`).
fn is_software_word(text: &str) -> bool {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_software_word;

    #[test]
    fn software_words_are_kafkas() {
        for word in ["apache-kafka-java", "librdkafka", "2.0.2", "a", "4.3.1"] {
            assert!(is_software_word(word), "{word}");
        }
        for word in ["", "-a", "a-", "a b", ".", "a_b", "käfka"] {
            assert!(!is_software_word(word), "{word}");
        }
    }
}
