//! Tests of the version table.

use bytes::BytesMut;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kafka_protocol::protocol::Encodable;

use super::{messages, name, versions};

macro_rules! defaults {
    ($($name:ident $request:ident $response:ident;)*) => {
        fn default_request(api_key: ApiKey) -> RequestKind {
            match api_key {
                $(ApiKey::$name => RequestKind::$name(messages::$request::default()),)*
            }
        }

        fn default_response(api_key: ApiKey) -> ResponseKind {
            match api_key {
                $(ApiKey::$name => ResponseKind::$name(messages::$response::default()),)*
            }
        }
    };
}
for_each_api!(defaults);

#[test]
fn every_version_can_be_coded_both_ways() {
    for key in ApiKey::iter() {
        for version in versions(key) {
            let mut buffer = BytesMut::new();
            default_request(key).encode(&mut buffer, version).unwrap();
            RequestKind::decode(key, &mut buffer.freeze(), version).unwrap();
            let mut buffer = BytesMut::new();
            default_response(key).encode(&mut buffer, version).unwrap();
            ResponseKind::decode(key, &mut buffer.freeze(), version).unwrap();
        }
    }
}

#[test]
fn a_version_whose_request_cannot_be_read_is_not_in_the_table() {
    assert_eq!(versions(ApiKey::OffsetCommit), 2..=9);
    assert_eq!(versions(ApiKey::OffsetFetch), 1..=9);
    assert_eq!(versions(ApiKey::InitProducerId), 0..=5);
    let request = messages::OffsetCommitRequest::default();
    assert!(request.encode(&mut BytesMut::new(), 10).is_err());
}

#[test]
fn what_a_first_broker_offers_can_be_coded() {
    let offered = [
        (ApiKey::Produce, 3..=9),
        (ApiKey::Fetch, 4..=12),
        (ApiKey::ListOffsets, 1..=10),
        (ApiKey::Metadata, 0..=12),
        (ApiKey::OffsetCommit, 2..=8),
        (ApiKey::OffsetFetch, 1..=8),
        (ApiKey::FindCoordinator, 0..=6),
        (ApiKey::JoinGroup, 0..=9),
        (ApiKey::Heartbeat, 0..=4),
        (ApiKey::LeaveGroup, 0..=5),
        (ApiKey::SyncGroup, 0..=5),
        (ApiKey::DescribeGroups, 0..=6),
        (ApiKey::ListGroups, 0..=5),
        (ApiKey::SaslHandshake, 0..=1),
        (ApiKey::ApiVersions, 0..=4),
        (ApiKey::CreateTopics, 2..=7),
        (ApiKey::DeleteTopics, 1..=6),
        (ApiKey::DeleteRecords, 0..=2),
        (ApiKey::InitProducerId, 0..=4),
        (ApiKey::OffsetForLeaderEpoch, 2..=4),
        (ApiKey::DescribeAcls, 1..=3),
        (ApiKey::CreateAcls, 1..=3),
        (ApiKey::DeleteAcls, 1..=3),
        (ApiKey::DescribeConfigs, 1..=4),
        (ApiKey::AlterConfigs, 0..=2),
        (ApiKey::DescribeLogDirs, 1..=4),
        (ApiKey::SaslAuthenticate, 0..=2),
        (ApiKey::CreatePartitions, 0..=3),
        (ApiKey::DeleteGroups, 0..=2),
        (ApiKey::IncrementalAlterConfigs, 0..=1),
        (ApiKey::ListPartitionReassignments, 0..=0),
        (ApiKey::OffsetDelete, 0..=0),
        (ApiKey::DescribeCluster, 0..=2),
    ];
    for (key, range) in offered {
        let coded = versions(key);
        assert!(
            coded.contains(range.start()) && coded.contains(range.end()),
            "{key:?}"
        );
    }
}

#[test]
fn names_are_kafkas() {
    assert_eq!(name(ApiKey::ListOffsets), "ListOffsets");
    assert_eq!(name(ApiKey::OffsetForLeaderEpoch), "OffsetForLeaderEpoch");
}
