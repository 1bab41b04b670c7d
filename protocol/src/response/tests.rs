//! Tests of encoding responses.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData, SnapshotId,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, MetadataRequest,
    MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::{FetchAnswer, decode_response, encode_response};
use crate::rope::Rope;

/// The frame without its prefix, which is checked.
fn frame(rope: Rope) -> Bytes {
    let mut framed = rope.into_bytes();
    let size = framed.get_i32();
    assert_eq!(usize::try_from(size).unwrap(), framed.len());
    framed
}

#[test]
fn a_flexible_response_has_tagged_fields_in_its_header() {
    let response = MetadataResponse::default();
    let classic = frame(encode_response::<MetadataRequest>(7, 8, &response).unwrap());
    assert_eq!(classic[..8], [0, 0, 0, 7, 0, 0, 0, 0]);
    let flexible = frame(encode_response::<MetadataRequest>(7, 9, &response).unwrap());
    assert_eq!(flexible[..9], [0, 0, 0, 7, 0, 0, 0, 0, 0]);
    assert_eq!(flexible[9], 1, "an empty compact array of brokers");
}

#[test]
fn the_header_of_api_versions_is_never_flexible() {
    let response = ApiVersionsResponse::default().with_error_code(35);
    for version in 0..=4 {
        let sent = frame(encode_response::<ApiVersionsRequest>(7, version, &response).unwrap());
        assert_eq!(sent[..6], [0, 0, 0, 7, 0, 35], "v{version}");
    }
}

#[test]
fn what_is_encoded_can_be_decoded() {
    let response = MetadataResponse::default().with_throttle_time_ms(3);
    let sent = frame(encode_response::<MetadataRequest>(7, 12, &response).unwrap());
    assert_eq!(
        decode_response::<MetadataRequest>(12, sent.clone()),
        Ok((7, response))
    );
    let longer = [&sent[..], &[0]].concat();
    assert!(decode_response::<MetadataRequest>(12, longer.into()).is_err());
}

/// The command line speaks to any broker, and the codec takes counts as they come: this one asked for 187 GB. Only
/// requests had a guard, because the broker was the only one who was thought of as attacked.
#[test]
fn an_answer_whose_count_lies_is_refused_and_costs_no_memory() {
    for (version, count) in [
        (0, &[0x7f, 0xff, 0xff, 0xff][..]),
        (9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let tags: &[u8] = if version >= 9 { &[0] } else { &[] };
        let throttle: &[u8] = if version >= 3 { &[0; 4] } else { &[] };
        let frame = Bytes::from([&[0, 0, 0, 7], tags, throttle, count].concat());
        let taken = allocation_counter::measure(|| {
            assert!(decode_response::<MetadataRequest>(version, frame.clone()).is_err());
        });
        assert!(taken.bytes_max < 4096, "v{version}: {taken:?}");
    }
}

#[test]
fn a_field_that_the_version_lacks_is_an_error_that_names_the_api() {
    let response = FetchResponse::default().with_session_id(1);
    let refused = encode_response::<FetchRequest>(7, 4, &response).unwrap_err();
    assert_eq!((refused.api, refused.version), ("Fetch", 4));
    for version in [3, 19] {
        let none = encode_response::<FetchRequest>(7, version, &FetchResponse::default());
        assert!(none.is_err(), "v{version}");
    }
}

#[test]
fn large_records_are_sent_where_they_lie() {
    let records: Vec<Bytes> = (0..50).map(|i| vec![i; 10_000].into()).collect();
    let partitions = records
        .iter()
        .map(|r| PartitionData::default().with_records(Some(r.clone())));
    let topic = FetchableTopicResponse::default().with_partitions(partitions.collect());
    let response = FetchResponse::default().with_responses(vec![topic]);
    for version in 4..=18 {
        let rope = encode_response::<FetchRequest>(7, version, &response).unwrap();
        let linked: Vec<_> = rope
            .pieces()
            .filter(|p| p.len() == 10_000)
            .map(|piece| piece.as_ptr())
            .collect();
        assert_eq!(
            linked,
            records
                .iter()
                .map(|piece| piece.as_ptr())
                .collect::<Vec<_>>(),
            "v{version}"
        );
    }
}

fn unknown_tags() -> impl Strategy<Value = std::collections::BTreeMap<i32, Bytes>> {
    let value = proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    proptest::collection::btree_map(3i32..2000, value, 0..3)
}

prop_compose! {
    fn partition()(
        numbers in any::<(i32, i16, i64, i64, i64)>(),
        aborted in proptest::option::of(proptest::collection::vec(any::<(i64, i64)>(), 0..3)),
        records in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2000)),
        tags in proptest::option::of(any::<(i32, i64, i32, i32, i64, i32)>()),
        replica in prop_oneof![Just(-1), any::<i32>()],
        unknown in unknown_tags(),
    ) -> PartitionData {
        let (index, error, high, stable, start) = numbers;
        let aborted = aborted.map(|list| list.into_iter().map(|(id, offset)| {
            AbortedTransaction::default().with_producer_id(id.into()).with_first_offset(offset)
        }).collect());
        let partition = PartitionData::default()
            .with_partition_index(index)
            .with_error_code(error)
            .with_high_watermark(high)
            .with_last_stable_offset(stable)
            .with_log_start_offset(start)
            .with_aborted_transactions(aborted)
            .with_preferred_read_replica(replica.into())
            .with_records(records.map(Bytes::from))
            .with_unknown_tagged_fields(unknown);
        let Some((a, b, c, d, e, f)) = tags else { return partition };
        partition
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(a).with_end_offset(b))
            .with_current_leader(
                LeaderIdAndEpoch::default().with_leader_id(c.into()).with_leader_epoch(d),
            )
            .with_snapshot_id(SnapshotId::default().with_end_offset(e).with_epoch(f))
    }
}

prop_compose! {
    fn fetch_response()(
        numbers in any::<(i32, i16)>(),
        session in prop_oneof![Just(0), any::<i32>()],
        topics in proptest::collection::vec(
            ("[a-z]{0,5}", any::<u128>(), proptest::collection::vec(partition(), 0..3), unknown_tags()),
            0..3,
        ),
        endpoints in proptest::collection::vec(("[a-z]{1,9}", any::<i32>()), 0..3),
        unknown in unknown_tags(),
    ) -> FetchResponse {
        let topics = topics.into_iter().map(|(name, id, partitions, unknown)| {
            FetchableTopicResponse::default()
                .with_topic(TopicName(StrBytes::from_string(name)))
                .with_topic_id(uuid::Uuid::from_u128(id))
                .with_partitions(partitions)
                .with_unknown_tagged_fields(unknown)
        });
        let endpoints = endpoints.into_iter().map(|(host, port)| {
            NodeEndpoint::default().with_host(StrBytes::from_string(host)).with_port(port)
        });
        FetchResponse::default()
            .with_throttle_time_ms(numbers.0)
            .with_error_code(numbers.1)
            .with_session_id(session)
            .with_responses(topics.collect())
            .with_node_endpoints(endpoints.collect())
            .with_unknown_tagged_fields(unknown)
    }
}

proptest! {
    #[test]
    fn records_in_pieces_are_sent_as_if_they_were_joined(
        pieces in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..4),
            0..4,
        ),
        version in 4..=12_i16,
    ) {
        let partitions: Vec<_> = pieces.iter().zip(0..).map(|(pieces, index)| {
            let partition = PartitionData::default().with_partition_index(index);
            partition.with_records(Some(pieces.concat().into()))
        }).collect();
        let topic = FetchableTopicResponse::default().with_partitions(partitions);
        let response = FetchResponse::default().with_responses(vec![topic]);
        let joined = encode_response::<FetchRequest>(7, version, &response).unwrap();
        let records = pieces.into_iter().map(|pieces| pieces.into_iter().map(Bytes::from).collect());
        let answer = FetchAnswer { response, records: records.collect() };
        let linked = encode_response::<FetchRequest>(7, version, &answer).unwrap();
        prop_assert!(frame(joined) == frame(linked));
    }

    #[test]
    fn a_fetch_response_is_bit_for_bit_what_the_schema_says(response in fetch_response()) {
        for version in 4..=18 {
            let mut plain = BytesMut::new();
            let expected = response.encode(&mut plain, version);
            match encode_response::<FetchRequest>(7, version, &response) {
                Ok(rope) => {
                    prop_assert!(expected.is_ok(), "v{version} should be refused");
                    let header = if version >= 12 { 5 } else { 4 };
                    prop_assert_eq!(&frame(rope)[header..], &plain[..], "v{}", version);
                }
                Err(refused) => prop_assert!(expected.is_err(), "{}", refused),
            }
        }
    }
}
