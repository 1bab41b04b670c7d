//! A request frame: every API in every version.
//!
//! What the frame guard lets pass is decoded without an error and in memory that is in proportion to the frame; what was
//! decoded can be encoded, passes the guard again and comes back as the same bytes.

use bytes::{Bytes, BytesMut};
use streamhouse_protocol::frame::{RequestHeader, take_header};
use streamhouse_protocol::messages::RequestKind;
use streamhouse_protocol::request::{DecodeError, decode, decode_body};
use streamhouse_runtime::planted;

use crate::corpus;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "request",
    reads: "a request of any API in any version",
    executions: 300_000,
    length_max: 16 << 10,
    // What the guard allows for decoding, and the second time for what is read back.
    memory: Memory {
        per_byte: 24,
        free: 3 << 20,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let recorded = corpus::exchanges()
        .into_iter()
        .map(|exchange| exchange.request);
    let composed = (1..=3).flat_map(corpus::composed_requests);
    recorded
        .chain(composed)
        .filter(|frame| decode(Bytes::copy_from_slice(frame)).is_ok())
        .collect()
}

fn check(input: &[u8]) -> Verdict {
    let mut body = Bytes::copy_from_slice(input);
    let Ok(header) = take_header(&mut body) else {
        return Verdict::Refused;
    };
    let decoded = if planted::bug("guard_not_asked") {
        RequestKind::decode(header.api_key, &mut body.clone(), header.api_version).map_err(|_| {
            DecodeError::UnsupportedVersion {
                header: header.clone(),
            }
        })
    } else {
        decode_body(&header, body)
    };
    match decoded {
        Ok(request) => {
            if !has_large_tag(input) {
                comes_back(&header, &request);
            }
            Verdict::Accepted
        }
        Err(DecodeError::Codec { reason, .. }) => {
            panic!("the guard let a frame pass that cannot be decoded: {reason}")
        }
        Err(
            DecodeError::Header(_)
            | DecodeError::Malformed(_)
            | DecodeError::UnsupportedVersion { .. },
        ) => Verdict::Refused,
    }
}

/// Whether something could be the number of a tagged field beyond 31 bits. Kafka takes such fields for unknown ones and so
/// does our codec, but it cannot write them, and nobody asks it to.
fn has_large_tag(input: &[u8]) -> bool {
    let is_large = |w: &[u8]| w[..4].iter().all(|byte| *byte >= 0x80) && (8..16).contains(&w[4]);
    input.windows(5).any(is_large)
}

fn comes_back(header: &RequestHeader, request: &RequestKind) {
    let encode = |request: &RequestKind| {
        let mut out = BytesMut::new();
        let encoded = request.encode(&mut out, header.api_version);
        encoded
            .map(|()| out.freeze())
            .map_err(|error| error.to_string())
    };
    let first = encode(request).expect("what was decoded in a version can be encoded in it");
    let again = decode_body(header, first.clone()).expect("what we encode, we can read");
    assert_eq!(encode(&again).as_ref(), Ok(&first));
}
