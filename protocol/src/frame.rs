//! Where a request begins and ends on a connection, and who sent it.
//!
//! ```text
//! | size: i32 | api key: i16 | version: i16 | correlation id: i32 | client id | tagged fields | body |
//! |-- prefix -|------------- preamble (8 bytes) ------------------|
//! |           |------------- header ------------------------------------------|
//! |           |------------- frame, `size` bytes ---------------------------------------------|
//! ```
//!
//! The size is judged before anything is reserved for the frame, and the preamble can be read before the rest of
//! the frame has arrived, so that memory is reserved from the right pool.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

use crate::guard::{Problem, Reader};

/// The bytes of the size in front of every frame.
pub const PREFIX_BYTES: usize = 4;
/// The bytes of a [`Preamble`], and the shortest frame there can be.
pub const PREAMBLE_BYTES: usize = 8;

/// The longest frame a connection may send, in bytes without the prefix (`socket.request.max.bytes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimit(u32);

/// Why a size prefix is refused: close the connection, nothing was reserved or read for the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The size is negative: this is not the Kafka protocol.
    #[error("frame size {size} is negative; the peer does not speak the kafka protocol")]
    Negative {
        /// The size as sent.
        size: i32,
    },
    /// The frame cannot hold a request.
    #[error("a frame of {size} bytes is shorter than the 8 bytes of every request")]
    TooShort {
        /// The size as sent, in bytes.
        size: usize,
    },
    /// The frame is longer than this listener allows.
    #[error(
        "a frame of {size} bytes is longer than {limit}; {}", remedy(*.size)
    )]
    TooLong {
        /// The size as sent, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// What to do about a frame that is too long: most are no frames, but the first bytes of another protocol.
fn remedy(size: usize) -> &'static str {
    let prefix = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    match &prefix {
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"PRI " => {
            "it begins as HTTP does, and this port speaks the kafka protocol"
        }
        [0x16, 0x03, ..] => {
            "it begins as TLS does, and this port speaks plaintext: set security.protocol=PLAINTEXT in the client"
        }
        _ => "raise socket.request.max.bytes if it is meant",
    }
}

impl FrameLimit {
    /// A limit of `bytes`; sizes on the wire end at 2,147,483,647 anyway.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self(bytes)
    }

    /// The size of the frame that follows `prefix`, in bytes: at least [`PREAMBLE_BYTES`], at most the limit.
    ///
    /// # Errors
    /// [`FrameError`] if the size is not within these bounds.
    pub fn size(self, prefix: [u8; PREFIX_BYTES]) -> Result<usize, FrameError> {
        let size = i32::from_be_bytes(prefix);
        let size = usize::try_from(size).map_err(|_| FrameError::Negative { size })?;
        let limit = usize::try_from(self.0).expect("32 bits fit in a usize");
        if size < PREAMBLE_BYTES {
            Err(FrameError::TooShort { size })
        } else if size > limit {
            Err(FrameError::TooLong { size, limit })
        } else {
            Ok(size)
        }
    }
}

/// The first eight bytes of a frame: what the request is, before the rest of it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// The API key as sent; perhaps of no API.
    pub api_key: i16,
    /// The version as sent; perhaps one that does not exist.
    pub api_version: i16,
    /// The number that the answer repeats.
    pub correlation_id: i32,
}

impl Preamble {
    /// Reads the first bytes of a frame.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; PREAMBLE_BYTES]) -> Self {
        let [k0, k1, v0, v1, c0, c1, c2, c3] = bytes;
        Self {
            api_key: i16::from_be_bytes([k0, k1]),
            api_version: i16::from_be_bytes([v0, v1]),
            correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        }
    }
}

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// The version as sent. It may be one that we cannot read: ApiVersions is answered all the same (KIP-511).
    pub api_version: i16,
    /// The number that the answer repeats.
    pub correlation_id: i32,
    /// The client id: "" where the client sent null, with replacement characters where it was not UTF-8. Clients
    /// choose it freely, so it identifies nobody.
    pub client_id: StrBytes,
}

/// Why a frame has no header that can be understood: close the connection, as Kafka does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The frame is shorter than a preamble.
    #[error("a frame of {length} bytes is too short for a request header")]
    TooShort {
        /// The bytes of the frame.
        length: usize,
    },
    /// The API does not exist, or is one we have never heard of.
    #[error("api key {} (version {}) is unknown", preamble.api_key, preamble.api_version)]
    UnknownApi {
        /// What the frame asks for.
        preamble: Preamble,
    },
    /// The client id or the tagged fields of the header are damaged.
    #[error("the header of a {api} v{version} request is malformed: {problem}")]
    Malformed {
        /// The name of the API.
        api: &'static str,
        /// The version as sent.
        version: i16,
        /// What is wrong.
        problem: Problem,
    },
}

/// Takes the header off `frame` (a frame without its prefix) and leaves the body, which shares its memory.
///
/// The version is not judged here. Unknown tagged fields of the header are skipped.
///
/// # Errors
/// [`HeaderError`]; `frame` is then as it was.
pub fn take_header(frame: &mut Bytes) -> Result<RequestHeader, HeaderError> {
    let preamble = frame
        .first_chunk::<PREAMBLE_BYTES>()
        .map(|bytes| Preamble::from_bytes(*bytes));
    let preamble = preamble.ok_or(HeaderError::TooShort {
        length: frame.len(),
    })?;
    let api_key =
        ApiKey::try_from(preamble.api_key).map_err(|()| HeaderError::UnknownApi { preamble })?;
    let version = preamble.api_version;
    let (client_id, length) =
        rest_of_header(frame, api_key, version).map_err(|problem| HeaderError::Malformed {
            api: crate::api_key::name(api_key),
            version,
            problem,
        })?;
    frame.advance(length);
    Ok(RequestHeader {
        api_key,
        api_version: version,
        correlation_id: preamble.correlation_id,
        client_id,
    })
}

/// The client id, and the length of the whole header. The client id has the classic encoding in every version, so
/// that a broker can read the header of versions it does not know.
fn rest_of_header(
    frame: &Bytes,
    api_key: ApiKey,
    version: i16,
) -> Result<(StrBytes, usize), Problem> {
    let mut reader = Reader::new(frame);
    reader.take(PREAMBLE_BYTES)?;
    let client_id = match reader.text_length(false)? {
        None => StrBytes::new(),
        Some(length) => {
            let text = frame.slice_ref(reader.take(length)?);
            StrBytes::from_utf8(text.clone())
                .unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into())
        }
    };
    if api_key.request_header_version(version) >= 2 {
        for _ in 0..reader.varint()? {
            reader.varint()?;
            let length = reader.varint()?;
            reader.take(usize::try_from(length).expect("32 bits fit in a usize"))?;
        }
    }
    Ok((client_id, reader.position()))
}

#[cfg(test)]
mod tests;
