//! The frame guard: looks at every length and count of a request before anything is decoded.
//!
//! The decoder behind [`crate::request`] takes counts as they come from the wire and reserves memory for them, so a
//! frame of ten bytes could ask for 300 GB and end the process. The guard walks the frame along a table of request
//! shapes, which is generated from Kafka's own schemas (`protocol/tools/generate-shapes.py`), and lets a frame pass
//! only if
//!
//! - every count and length is covered by the bytes that remain, counting the least that one element takes,
//! - text is UTF-8 and no longer than Kafka allows, null stands only where it may,
//! - tagged fields are as long as they say, and belong to the version,
//! - and what decoding will allocate is in proportion to the frame.
//!
//! What is left behind the last field of a request is not looked at, as Apache Kafka does not look at it: librdkafka
//! leaves three zeros behind a Metadata request for all topics.
//!
//! Responses are read by our own client, from whatever broker it was sent to: the same guard walks them along a table of
//! their own, and lets nothing be left behind.
//!
//! The guard allocates nothing while it walks; only a refusal builds a text. Nesting is bounded by the shapes, none
//! of which contains itself. What it does not look at: what record batches hold, and what the numbers mean.

mod answers;
mod reader;
mod shape;
mod shapes;
#[cfg(test)]
mod tests;
mod walk;

use kafka_protocol::messages::ApiKey;

pub(crate) use reader::Reader;
use walk::Rest;

/// Why a request or a response is refused: close the connection, as Kafka does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{api} v{version} request is malformed at {path}: {problem}")]
pub struct GuardError {
    /// The name of the API.
    pub api: &'static str,
    /// The version of the request.
    pub version: i16,
    /// The field, for example `topic_data[3].partition_data[0].records`, or `the body`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a field. All sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The guard has no shape for this API and version.
    #[error("no such version is known")]
    UnknownShape,
    /// The frame, or the tagged field, ends inside the field.
    #[error("{length} bytes are needed and {remaining} remain")]
    Truncated {
        /// What the field needs.
        length: usize,
        /// What there is.
        remaining: usize,
    },
    /// An array with more elements than the rest of the frame can hold.
    #[error("an array of {count} elements does not fit in the {remaining} bytes that remain")]
    CountTooLarge {
        /// The elements that the frame announces.
        count: usize,
        /// What there is.
        remaining: usize,
    },
    /// A length below -1.
    #[error("length {length} is negative")]
    Negative {
        /// The length.
        length: i32,
    },
    /// Null where the schema does not allow it.
    #[error("null is not allowed here")]
    Null,
    /// A string longer than 32,767 bytes.
    #[error("a string of {length} bytes is longer than 32767")]
    TextTooLong {
        /// The length of the string.
        length: usize,
    },
    /// A string that is not UTF-8.
    #[error("the string is not valid UTF-8")]
    NotUtf8,
    /// A varint that does not fit 32 bits.
    #[error("the variable-length number does not fit 32 bits")]
    VarintTooLong,
    /// The byte in front of a nullable struct is neither 1 nor -1.
    #[error("{presence} says neither that the struct is there nor that it is null")]
    Presence {
        /// The byte.
        presence: u8,
    },
    /// A tagged field that this version does not have.
    #[error("the tagged field is not part of this version")]
    TagOfAnotherVersion,
    /// Bytes after the end of a response or of a tagged field.
    #[error("{length} bytes follow its end")]
    Trailing {
        /// How many.
        length: usize,
    },
    /// Decoding would take memory out of all proportion to the frame.
    #[error(
        "decoding takes {decoded} bytes of memory, more than the {limit} that a frame of this size may take"
    )]
    DecodedTooLarge {
        /// What was counted so far.
        decoded: usize,
        /// The limit for a frame of this size.
        limit: usize,
    },
}

/// The path of an error that belongs to no field.
const WHOLE: &str = "the body";

/// Checks the body of a request, all that follows the header. More may follow it.
///
/// # Errors
/// [`GuardError`] if a field is not as the schema of `api_key` in `version` says. Nothing has been done; close the
/// connection.
pub fn check(api_key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let most = walk::REQUEST_BYTES_PER_WIRE_BYTE;
    along(shapes::of(api_key), version, body, most, Rest::Ignored)
}

/// Checks the body of a response, all that follows the header, before a client decodes it.
///
/// # Errors
/// [`GuardError`] if a field is not as the schema of `api_key` in `version` says: the broker sent something else.
pub fn check_response(api_key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let most = walk::RESPONSE_BYTES_PER_WIRE_BYTE;
    along(answers::of(api_key), version, body, most, Rest::Refused)
}

fn along(
    shape: Option<&'static shape::Shape>,
    version: i16,
    body: &[u8],
    decoded_per_wire_byte: usize,
    rest: Rest,
) -> Result<(), GuardError> {
    let known = shape.filter(|shape| shape.versions.contains(version));
    let Some(shape) = known else {
        return Err(unknown(
            shape.map_or("unknown", |shape| shape.name),
            version,
        ));
    };
    walk::walk(shape, version, body, decoded_per_wire_byte, rest).map_err(|stop| GuardError {
        api: shape.name,
        version,
        path: if stop.path.is_empty() {
            WHOLE.to_owned()
        } else {
            stop.path
        },
        problem: stop.problem,
    })
}

/// The error of a version that cannot be decoded, whether or not Kafka has it.
pub(crate) fn unknown_version(api_key: ApiKey, version: i16) -> GuardError {
    unknown(crate::api_key::name(api_key), version)
}

fn unknown(api: &'static str, version: i16) -> GuardError {
    GuardError {
        api,
        version,
        path: WHOLE.to_owned(),
        problem: Problem::UnknownShape,
    }
}
