//! Tests of frames and headers.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::{FrameError, FrameLimit, HeaderError, Preamble, take_header};
use crate::guard::Problem;

const LIMIT: FrameLimit = FrameLimit::new(1000);

#[test]
fn a_size_is_judged_before_anything_is_reserved() {
    let size = |size: i32| LIMIT.size(size.to_be_bytes());
    assert_eq!(size(8), Ok(8));
    assert_eq!(size(1000), Ok(1000));
    assert_eq!(
        size(1001),
        Err(FrameError::TooLong {
            size: 1001,
            limit: 1000
        })
    );
    assert_eq!(
        size(i32::MAX),
        Err(FrameError::TooLong {
            size: 0x7fff_ffff,
            limit: 1000
        })
    );
    assert_eq!(size(7), Err(FrameError::TooShort { size: 7 }));
    assert_eq!(size(0), Err(FrameError::TooShort { size: 0 }));
    assert_eq!(size(-1), Err(FrameError::Negative { size: -1 }));
    assert_eq!(size(i32::MIN), Err(FrameError::Negative { size: i32::MIN }));
}

#[test]
fn the_preamble_tells_the_api_before_the_frame_is_there() {
    let preamble = Preamble::from_bytes([0, 3, 0, 12, 0, 0, 1, 0]);
    assert_eq!(
        preamble,
        Preamble {
            api_key: 3,
            api_version: 12,
            correlation_id: 256
        }
    );
}

/// Takes the header off and returns it with what is left.
fn header(frame: &[u8]) -> Result<(super::RequestHeader, Vec<u8>), HeaderError> {
    let mut frame = Bytes::copy_from_slice(frame);
    take_header(&mut frame).map(|header| (header, frame.to_vec()))
}

#[test]
fn a_classic_header_ends_with_the_client_id() {
    let (header, body) = header(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 2, b'm', b'e', 9, 9]).unwrap();
    assert_eq!(header.api_key, ApiKey::Metadata);
    assert_eq!(header.api_version, 1);
    assert_eq!(header.correlation_id, 7);
    assert_eq!(header.client_id.as_str(), "me");
    assert_eq!(body, [9, 9]);
}

#[test]
fn a_flexible_header_has_tagged_fields_which_are_skipped() {
    let frame = [0, 3, 0, 12, 0, 0, 0, 7, 0, 1, b'm', 2, 0, 1, 0xaa, 5, 0, 9];
    let (header, body) = header(&frame).unwrap();
    assert_eq!(header.client_id.as_str(), "m");
    assert_eq!(body, [9]);
}

#[test]
fn a_null_client_id_is_empty() {
    let (header, body) = header(&[0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 9]).unwrap();
    assert_eq!(header.client_id.as_str(), "");
    assert_eq!(body, [9]);
}

#[test]
fn a_client_id_that_is_not_utf8_does_not_cost_the_connection() {
    let (header, _) = header(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 2, b'm', 0xff]).unwrap();
    assert_eq!(header.client_id.as_str(), "m\u{fffd}");
}

#[test]
fn a_version_that_does_not_exist_still_has_a_header() {
    let frame = [0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'm', 0, 1, 2, 3];
    let (header, body) = header(&frame).unwrap();
    assert_eq!((header.api_version, header.correlation_id), (99, 7));
    assert_eq!(body, [1, 2, 3]);
}

#[test]
fn an_api_that_does_not_exist_has_no_header() {
    let unknown = |key: i16| {
        let preamble = Preamble {
            api_key: key,
            api_version: 1,
            correlation_id: 7,
        };
        let [high, low] = key.to_be_bytes();
        let found = header(&[high, low, 0, 1, 0, 0, 0, 7, 0, 0]);
        assert_eq!(found, Err(HeaderError::UnknownApi { preamble }));
    };
    unknown(4);
    unknown(-1);
    unknown(i16::MAX);
}

#[test]
fn a_header_cut_short_is_an_error_at_every_byte() {
    let frame = [0, 3, 0, 12, 0, 0, 0, 7, 0, 2, b'm', b'e', 1, 0, 1, 0xaa];
    for cut in 0..frame.len() {
        let mut short = Bytes::copy_from_slice(&frame[..cut]);
        let refused = take_header(&mut short).unwrap_err();
        assert_eq!(matches!(refused, HeaderError::TooShort { .. }), cut < 8);
        assert_eq!(short.len(), cut, "a refused frame is left as it was");
    }
    assert!(header(&frame).is_ok());
}

#[test]
fn lengths_in_a_header_are_not_believed() {
    let cases: [(&[u8], Problem); 4] = [
        (
            &[0x7f, 0xff, b'm'],
            Problem::Truncated {
                length: 0x7fff,
                remaining: 1,
            },
        ),
        (&[0xff, 0xfe], Problem::Negative { length: -2 }),
        (
            &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
            Problem::Truncated {
                length: 1,
                remaining: 0,
            },
        ),
        (
            &[0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
            Problem::Truncated {
                length: 0xffff_ffff,
                remaining: 0,
            },
        ),
    ];
    for (rest, problem) in cases {
        let frame = [&[0, 3, 0, 12, 0, 0, 0, 7], rest].concat();
        assert_eq!(
            header(&frame).unwrap_err(),
            HeaderError::Malformed {
                api: "Metadata",
                version: 12,
                problem
            }
        );
    }
}

#[test]
fn a_prefix_of_another_protocol_is_named() {
    let refused = |prefix: &[u8; 4]| {
        FrameLimit::new(1 << 20)
            .size(*prefix)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(b"GET ").contains("HTTP"));
    assert!(refused(&[0x16, 3, 1, 2]).contains("TLS"));
    assert!(refused(&[0x10, 0, 0, 0]).contains("socket.request.max.bytes"));
}
