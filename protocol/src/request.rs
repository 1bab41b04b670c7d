//! Requests: from a frame to Kafka's message structs, and, for the command line and tests, back.
//!
//! Decoding is safe on any bytes: the [guard] looks at the frame first. Record batches stay slices of
//! the frame; nothing is copied but the structs around them.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{self, ApiKey, RequestKind};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};

pub use crate::frame::{HeaderError, RequestHeader};
use crate::guard::GuardError;
use crate::{api_key, frame, guard};

/// Why a request cannot be decoded. It has not been carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There is no header to answer to: close the connection.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The API exists, but not in this version. ApiVersions is answered in version 0 with UNSUPPORTED_VERSION;
    /// for everything else, close the connection (`SocketServer.scala`).
    #[error("{} v{} is not supported", api_key::name(header.api_key), header.api_version)]
    UnsupportedVersion {
        /// The header, which can be read in any version.
        header: RequestHeader,
    },
    /// The body is not what the schema says: close the connection.
    #[error(transparent)]
    Malformed(#[from] GuardError),
    /// The decoder refuses what the guard let pass: close the connection. This is a defect worth reporting.
    #[error("{api} v{version} cannot be decoded: {reason}")]
    Codec {
        /// The name of the API.
        api: &'static str,
        /// The version of the request.
        version: i16,
        /// The decoder's words.
        reason: String,
    },
}

/// Why a request cannot be encoded: a field is set that the version does not have, or is too long for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{api} v{version} cannot be encoded: {reason}")]
pub struct EncodeError {
    /// The name of the API.
    pub api: &'static str,
    /// The version.
    pub version: i16,
    /// The encoder's words.
    pub reason: String,
}

/// Decodes a whole frame (without its size prefix).
///
/// # Errors
/// [`DecodeError`], which says what becomes of the connection.
pub fn decode(mut frame: Bytes) -> Result<(RequestHeader, RequestKind), DecodeError> {
    let header = frame::take_header(&mut frame)?;
    let body = decode_body(&header, frame)?;
    Ok((header, body))
}

/// Decodes the body of a request whose header was taken off by [`frame::take_header`].
///
/// # Errors
/// [`DecodeError`], which says what becomes of the connection.
pub fn decode_body(header: &RequestHeader, mut body: Bytes) -> Result<RequestKind, DecodeError> {
    let RequestHeader {
        api_key,
        api_version,
        ..
    } = *header;
    if !api_key::versions(api_key).contains(&api_version) {
        return Err(DecodeError::UnsupportedVersion {
            header: header.clone(),
        });
    }
    guard::check(api_key as i16, api_version, &body)?;
    RequestKind::decode(api_key, &mut body, api_version)
        .map_err(|error| codec_error(api_key, api_version, &error.to_string()))
}

/// Decodes the body of a request of a known type, for a handler. `version` must be one of
/// [`api_key::versions`]; others are malformed.
///
/// # Errors
/// [`DecodeError::Malformed`] or [`DecodeError::Codec`].
pub fn decode_request<R: Request>(mut body: Bytes, version: i16) -> Result<R, DecodeError> {
    if !api_key::versions(key_of::<R>()).contains(&version) {
        return Err(guard::unknown_version(key_of::<R>(), version).into());
    }
    guard::check(R::KEY, version, &body)?;
    R::decode(&mut body, version)
        .map_err(|error| codec_error(key_of::<R>(), version, &error.to_string()))
}

/// Encodes a request as a client sends it: size prefix, header and body.
///
/// # Errors
/// [`EncodeError`] if the request has no form in this version.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    client_id: &str,
    version: i16,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let api = key_of::<R>();
    let header = messages::RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    header
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| error.to_string())
        .and_then(|()| {
            let size = i32::try_from(frame.len() - frame::PREFIX_BYTES);
            size.map_err(|_| "the frame is longer than 2 GiB".to_owned())
        })
        .map(|size| {
            frame[..frame::PREFIX_BYTES].copy_from_slice(&size.to_be_bytes());
            frame.freeze()
        })
        .map_err(|reason| EncodeError {
            api: api_key::name(api),
            version,
            reason,
        })
}

/// The API of a request type.
pub(crate) fn key_of<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type belongs to an API of its own crate")
}

fn codec_error(api_key: ApiKey, version: i16, reason: &str) -> DecodeError {
    DecodeError::Codec {
        api: api_key::name(api_key),
        version,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
