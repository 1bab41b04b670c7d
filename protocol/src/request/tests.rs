//! Tests of decoding whole requests.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, OffsetCommitRequest, ProduceRequest, RequestKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{DecodeError, decode, decode_request, encode_request};
use crate::frame::{PREFIX_BYTES, take_header};
use crate::guard::Problem;

fn produce(records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic])
}

/// A frame without its prefix, which is checked.
fn frame(mut framed: Bytes) -> Bytes {
    let size = framed.get_i32();
    assert_eq!(usize::try_from(size).unwrap(), framed.len());
    framed
}

#[test]
fn what_a_client_encodes_is_decoded() {
    let request = produce(Bytes::from_static(b"records"));
    for version in 3..=12 {
        let frame = frame(encode_request(5, "me", version, &request).unwrap());
        let (header, body) = decode(frame).unwrap();
        assert_eq!(header.api_key, ApiKey::Produce);
        assert_eq!((header.api_version, header.correlation_id), (version, 5));
        assert_eq!(header.client_id.as_str(), "me");
        assert_eq!(body, RequestKind::Produce(request.clone()));
    }
}

/// As librdkafka 2.15 asks for all topics: the place that it kept for a count shrank to one byte, three of it are left.
#[test]
fn zeros_behind_a_metadata_request_are_not_read() {
    let body = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0]);
    let request: MetadataRequest = decode_request(body, 13).unwrap();
    assert_eq!(request.topics, None);
}

#[test]
fn records_are_a_slice_of_the_frame() {
    let request = produce(Bytes::from(vec![7; 5000]));
    let mut body = frame(encode_request(5, "", 9, &request).unwrap());
    let whole = body.as_ptr_range();
    take_header(&mut body).unwrap();
    let decoded: ProduceRequest = decode_request(body, 9).unwrap();
    let records = decoded.topic_data[0].partition_data[0]
        .records
        .clone()
        .unwrap();
    assert_eq!(records.len(), 5000);
    assert!(whole.contains(&records.as_ptr()), "the records were copied");
}

#[test]
fn an_unsupported_version_leaves_a_header_to_answer_to() {
    let frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'm', 0, 1, 2, 3]);
    let Err(DecodeError::UnsupportedVersion { header }) = decode(frame) else {
        panic!("the version does not exist");
    };
    assert_eq!(header.api_key, ApiKey::ApiVersions);
    assert_eq!((header.api_version, header.correlation_id), (99, 7));
}

#[test]
fn versions_whose_requests_have_no_decoder_are_unsupported() {
    for (key, version) in [
        (8u8, 10),
        (8, 1),
        (9, 10),
        (9, 0),
        (22, 6),
        (0, 2),
        (1, 3),
        (3, 14),
    ] {
        let frame = vec![0, key, 0, version, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        let refused = decode(frame.into()).unwrap_err();
        assert!(
            matches!(refused, DecodeError::UnsupportedVersion { .. }),
            "{refused}"
        );
    }
    let typed = decode_request::<OffsetCommitRequest>(Bytes::new(), 10).unwrap_err();
    assert_eq!(
        typed.to_string(),
        "OffsetCommit v10 request is malformed at the body: no such version is known"
    );
}

#[test]
fn a_negative_version_is_unsupported() {
    let frame = Bytes::from_static(&[0, 3, 0xff, 0xff, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(
        decode(frame),
        Err(DecodeError::UnsupportedVersion { .. })
    ));
}

#[test]
fn a_length_bomb_is_an_error_and_not_an_abort() {
    let bomb = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let Err(DecodeError::Malformed(refused)) = decode_request::<MetadataRequest>(bomb, 1) else {
        panic!("two thousand million topics do not fit in four bytes");
    };
    let count = 0x7fff_ffff;
    assert_eq!(
        refused.problem,
        Problem::CountTooLarge {
            count,
            remaining: 0
        }
    );
}

#[test]
fn a_request_without_a_form_in_a_version_is_an_error_that_names_it() {
    let request = MetadataRequest::default().with_allow_auto_topic_creation(false);
    let refused = encode_request(1, "", 1, &request).unwrap_err();
    assert_eq!((refused.api, refused.version), ("Metadata", 1));
}

#[test]
fn the_prefix_is_the_size_of_the_rest() {
    let framed = encode_request(1, "me", 4, &MetadataRequest::default()).unwrap();
    assert_eq!(
        framed[..PREFIX_BYTES],
        u32::try_from(framed.len() - 4).unwrap().to_be_bytes()
    );
}
