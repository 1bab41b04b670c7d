//! Every version of every API that is advertised is decoded, handled and answered.

use std::collections::BTreeSet;

use streamhouse_broker::handlers::APIS;
use streamhouse_protocol::Request;
use streamhouse_protocol::messages::*;

use crate::bench::{Bench, Client};

/// Sends a request in every advertised version.
async fn every_version<R: Request>(client: &mut Client, called: &mut BTreeSet<i16>, request: R) {
    let Some(api) = APIS.iter().find(|api| api.key as i16 == R::KEY) else {
        return;
    };
    called.insert(R::KEY);
    for version in api.versions.clone() {
        client.call(version, &request).await;
    }
}

macro_rules! every_api {
    ($client:ident $called:ident: $($request:ident)*) => {
        $(every_version(&mut $client, &mut $called, $request::default()).await;)*
    };
}

#[tokio::test]
async fn every_advertised_version_is_answered() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let mut called = BTreeSet::new();
    // By default nobody wants an answer.
    let produce = ProduceRequest::default().with_acks(-1);
    every_version(&mut client, &mut called, produce).await;
    every_api! { client called:
        FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest
        OffsetFetchRequest FindCoordinatorRequest JoinGroupRequest HeartbeatRequest
        LeaveGroupRequest SyncGroupRequest DescribeGroupsRequest ListGroupsRequest
        ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest DeleteRecordsRequest
        InitProducerIdRequest OffsetForLeaderEpochRequest DescribeConfigsRequest
        AlterConfigsRequest DescribeLogDirsRequest CreatePartitionsRequest
        IncrementalAlterConfigsRequest ListPartitionReassignmentsRequest DescribeClusterRequest
        ConsumerGroupHeartbeatRequest ConsumerGroupDescribeRequest
        DeleteGroupsRequest OffsetDeleteRequest
        DescribeAclsRequest CreateAclsRequest DeleteAclsRequest ElectLeadersRequest
        AlterPartitionReassignmentsRequest ListConfigResourcesRequest
        DescribeTopicPartitionsRequest
    }
    let advertised: BTreeSet<i16> = APIS.iter().map(|api| api.key as i16).collect();
    assert_eq!(
        called, advertised,
        "an API of the table is not in this test"
    );
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let mut sent = Vec::new();
    for _ in 0..40 {
        sent.push((true, client.send(9, &MetadataRequest::default()).await));
        sent.push((false, client.send(4, &ListGroupsRequest::default()).await));
    }
    for (is_metadata, id) in sent {
        if is_metadata {
            client.answer::<MetadataRequest>(9, id).await;
        } else {
            client.answer::<ListGroupsRequest>(4, id).await;
        }
    }
}
