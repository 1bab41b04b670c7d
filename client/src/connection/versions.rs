//! Which versions a broker offers, and how the two sides agree (KIP-35, KIP-511).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use streamhouse_protocol::{ErrorCode, StrBytes};
use streamhouse_runtime::Monotonic;

use super::{Connection, Encoded};
use crate::error::CallError;

/// What a broker offers, per API.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    offered: Arc<BTreeMap<i16, RangeInclusive<i16>>>,
}

impl Versions {
    /// The versions of an API; `None` if the broker does not have it.
    #[must_use]
    pub fn of(&self, api: ApiKey) -> Option<RangeInclusive<i16>> {
        self.offered.get(&(api as i16)).cloned()
    }

    /// What the broker offers of an API, as a part of a sentence that begins with the broker.
    pub(super) fn sentence(&self, api: ApiKey) -> String {
        let name = api_key::name(api);
        self.of(api).map_or_else(
            || format!("does not offer {name}"),
            |range| format!("offers {name} v{} to v{}", range.start(), range.end()),
        )
    }
}

/// Asks in our highest version; a broker that does not know it names its own, and is asked again in that one.
pub(super) async fn agree(
    connection: &Connection,
    limit: Monotonic,
) -> Result<Versions, CallError> {
    let ours = *api_key::versions(ApiKey::ApiVersions).end();
    let first = ask(connection, ours, limit).await?;
    if first.error_code != ErrorCode::UnsupportedVersion.code() {
        return taken(connection, &first);
    }
    let theirs = first
        .api_keys
        .iter()
        .find(|api| api.api_key == ApiKey::ApiVersions as i16)
        .map_or(0, |api| api.max_version);
    let second = ask(connection, ours.min(theirs).max(0), limit).await?;
    taken(connection, &second)
}

async fn ask(
    connection: &Connection,
    version: i16,
    limit: Monotonic,
) -> Result<ApiVersionsResponse, CallError> {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request.client_software_name = StrBytes::from_static_str("streamhouse");
        request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
    }
    let encoded = Encoded::new(&connection.client_id, version, &request)?;
    let frame = connection.exchange(&encoded, limit).await?;
    let version = if is_unsupported(&frame) { 0 } else { version };
    connection.decode::<ApiVersionsRequest>(version, frame)
}

/// A broker that does not know the version answers in version 0; in every version the error comes first.
fn is_unsupported(frame: &Bytes) -> bool {
    let code = frame.get(4..6).and_then(|code| code.first_chunk().copied());
    code.map(i16::from_be_bytes) == Some(ErrorCode::UnsupportedVersion.code())
}

fn taken(connection: &Connection, response: &ApiVersionsResponse) -> Result<Versions, CallError> {
    if let Some(code) = ErrorCode::try_from_code(response.error_code) {
        let range = api_key::versions(ApiKey::ApiVersions);
        return Err(CallError::Unsupported {
            broker: Arc::clone(&connection.broker),
            offered: format!("answers ApiVersions with {}", crate::error::code_name(code)),
            min: *range.start(),
            max: *range.end(),
        });
    }
    let offered = response.api_keys.iter();
    let offered = offered.map(|api| (api.api_key, api.min_version..=api.max_version));
    Ok(Versions {
        offered: Arc::new(offered.collect()),
    })
}
