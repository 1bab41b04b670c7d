//! The size in front of a frame and the header behind it.
//!
//! A size is within the limit or refused. A header that was taken leaves exactly what follows it, a header that was refused
//! leaves everything; the first eight bytes alone say the same as the whole header.

use bytes::Bytes;
use streamhouse_protocol::frame::{
    FrameLimit, PREAMBLE_BYTES, PREFIX_BYTES, Preamble, take_header,
};

use crate::corpus;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "frame",
    reads: "the size and the header of a request",
    executions: 400_000,
    length_max: 4096,
    memory: Memory {
        per_byte: 8,
        free: 16 << 10,
    },
    words: &[],
    seeds,
    repair: Some(repair),
    check,
};

/// The limit of the listener.
const LIMIT: u32 = 2048;

fn seeds() -> Vec<Vec<u8>> {
    let recorded = corpus::exchanges()
        .into_iter()
        .map(|exchange| exchange.request);
    let composed = corpus::composed_requests(1);
    let frames = recorded.chain(composed).filter(|frame| frame.len() <= 2048);
    frames.map(|frame| with_size(&frame)).collect()
}

fn with_size(frame: &[u8]) -> Vec<u8> {
    let size = u32::try_from(frame.len()).unwrap_or(0);
    [&size.to_be_bytes()[..], frame].concat()
}

fn repair(bytes: &mut [u8], _draw: &mut crate::draw::Draw) {
    if let Some((prefix, rest)) = bytes.split_first_chunk_mut::<PREFIX_BYTES>() {
        *prefix = u32::try_from(rest.len()).unwrap_or(0).to_be_bytes();
    }
}

fn check(input: &[u8]) -> Verdict {
    let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_BYTES>() else {
        return Verdict::Refused;
    };
    let Ok(size) = FrameLimit::new(LIMIT).size(*prefix) else {
        return Verdict::Refused;
    };
    assert!((PREAMBLE_BYTES..=2048).contains(&size), "{size}");
    let Some(frame) = rest.get(..size) else {
        return Verdict::Refused;
    };
    let whole = Bytes::copy_from_slice(frame);
    let mut body = whole.clone();
    let Ok(header) = take_header(&mut body) else {
        assert_eq!(body, whole, "a refused header leaves the frame as it was");
        return Verdict::Refused;
    };
    assert!(whole.ends_with(&body) && body.len() + PREAMBLE_BYTES <= whole.len());
    let preamble = whole.first_chunk().copied().map(Preamble::from_bytes);
    let preamble = preamble.expect("a header has eight bytes");
    assert_eq!(header.api_key as i16, preamble.api_key);
    assert_eq!(header.api_version, preamble.api_version);
    assert_eq!(header.correlation_id, preamble.correlation_id);
    // What follows the header does not matter to it.
    let mut alone = whole.slice(..whole.len() - body.len());
    assert_eq!(take_header(&mut alone), Ok(header));
    assert!(alone.is_empty());
    Verdict::Accepted
}
