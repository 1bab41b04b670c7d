//! Responses: from Kafka's message structs to what is sent, and, for the command line and tests, back.
//!
//! A response begins with its size and the correlation id of its request; flexible responses have tagged fields
//! behind it, except those of ApiVersions, which clients must be able to read before they know what we speak
//! (KIP-511). Records of a Fetch response are linked, not copied.

mod fetch;
#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

pub use self::fetch::FetchAnswer;
use crate::api_key::{self, for_each_api};
use crate::frame::PREFIX_BYTES;
use crate::guard;
pub use crate::request::EncodeError;
use crate::request::key_of;
use crate::rope::{Rope, RopeWriter};

/// What a response without records usually takes, in bytes.
const CAPACITY: usize = 512;

/// The body of a response: how it is written into a rope.
pub trait ResponseBody {
    /// What it answers.
    type Request: Request;

    /// Writes the body in `version`; the texts of errors are the encoder's.
    ///
    /// # Errors
    /// A text if a field is set that the version does not have, or is too long for it.
    fn write(&self, writer: &mut RopeWriter, version: i16) -> Result<(), String>;
}

macro_rules! response_body {
    (Fetch $request:ident $response:ident) => {
        impl ResponseBody for messages::$response {
            type Request = messages::$request;

            fn write(&self, writer: &mut RopeWriter, version: i16) -> Result<(), String> {
                fetch::write_whole(self, writer, version)
            }
        }
    };
    ($name:ident $request:ident $response:ident) => {
        impl ResponseBody for messages::$response {
            type Request = messages::$request;

            fn write(&self, writer: &mut RopeWriter, version: i16) -> Result<(), String> {
                self.encode(writer.buffer(), version)
                    .map_err(|error| error.to_string())
            }
        }
    };
}
macro_rules! response_bodies {
    ($($name:ident $request:ident $response:ident;)*) => {
        $(response_body!($name $request $response);)*
    };
}
for_each_api!(response_bodies);

/// Encodes the response to a request of type `R` in the version of the request, with prefix and header. Where the
/// request's version is not supported (ApiVersions only), `version` is 0.
///
/// Fields that a version lacks must have their default values: they are not dropped for you, except for those that
/// Kafka's schema calls ignorable.
///
/// # Errors
/// [`EncodeError`] if the response has no form in this version. Nothing was written; close the connection, since
/// the client waits for an answer.
pub fn encode_response<R: Request>(
    correlation_id: i32,
    version: i16,
    response: &impl ResponseBody<Request = R>,
) -> Result<Rope, EncodeError> {
    let mut writer = RopeWriter::with_capacity(CAPACITY);
    let head = writer.buffer();
    head.put_i32(0);
    head.put_i32(correlation_id);
    if R::Response::header_version(version) >= 1 {
        head.put_u8(0);
    }
    let size = response.write(&mut writer, version).and_then(|()| {
        let size = i32::try_from(writer.len() - PREFIX_BYTES);
        size.map_err(|_| "the response is longer than 2 GiB".to_owned())
    });
    match size {
        Ok(size) => {
            writer.buffer()[..PREFIX_BYTES].copy_from_slice(&size.to_be_bytes());
            Ok(writer.finish())
        }
        Err(reason) => Err(EncodeError {
            api: api_key::name(key_of::<R>()),
            version,
            reason,
        }),
    }
}

/// Why a response cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response to {api} v{version} cannot be decoded: {reason}")]
pub struct ResponseError {
    /// The name of the API.
    pub api: &'static str,
    /// The version of the request.
    pub version: i16,
    /// The decoder's words.
    pub reason: String,
}

/// Decodes a response (a frame without its size prefix) as a client does: its correlation id and body.
///
/// Safe on any bytes, whatever broker they come from: the [guard] looks at the body first.
///
/// # Errors
/// [`ResponseError`] if this is not such a response, or if something follows it.
pub fn decode_response<R: Request>(
    version: i16,
    mut frame: Bytes,
) -> Result<(i32, R::Response), ResponseError> {
    let refused = |reason: String| ResponseError {
        api: api_key::name(key_of::<R>()),
        version,
        reason,
    };
    let header_version = R::Response::header_version(version);
    let header = messages::ResponseHeader::decode(&mut frame, header_version)
        .map_err(|error| refused(error.to_string()))?;
    guard::check_response(R::KEY, version, &frame)
        .map_err(|error| refused(format!("at {}: {}", error.path, error.problem)))?;
    let body =
        R::Response::decode(&mut frame, version).map_err(|error| refused(error.to_string()))?;
    if frame.has_remaining() {
        return Err(refused(format!("{} bytes follow its end", frame.len())));
    }
    Ok((header.correlation_id, body))
}
