//! The APIs of Kafka that can be read and written here, and in which versions.
//!
//! What a broker *offers* is a smaller set and is decided where requests are handled. A version counts as readable
//! only if both its request and its response can be coded: the table of the schema crate tells the range of the
//! response alone, which for OffsetCommit, OffsetFetch and InitProducerId is one version more than its requests
//! have.

use std::ops::RangeInclusive;

use kafka_protocol::messages;
pub use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Message, VersionRange};

/// Calls the macro `$per_api` with every API as `Name NameRequest NameResponse;`, by ascending key.
macro_rules! for_each_api {
    ($per_api:ident) => {
        $per_api! {
         Produce ProduceRequest ProduceResponse;
         Fetch FetchRequest FetchResponse;
         ListOffsets ListOffsetsRequest ListOffsetsResponse;
         Metadata MetadataRequest MetadataResponse;
         OffsetCommit OffsetCommitRequest OffsetCommitResponse;
         OffsetFetch OffsetFetchRequest OffsetFetchResponse;
         FindCoordinator FindCoordinatorRequest FindCoordinatorResponse;
         JoinGroup JoinGroupRequest JoinGroupResponse;
         Heartbeat HeartbeatRequest HeartbeatResponse;
         LeaveGroup LeaveGroupRequest LeaveGroupResponse;
         SyncGroup SyncGroupRequest SyncGroupResponse;
         DescribeGroups DescribeGroupsRequest DescribeGroupsResponse;
         ListGroups ListGroupsRequest ListGroupsResponse;
         SaslHandshake SaslHandshakeRequest SaslHandshakeResponse;
         ApiVersions ApiVersionsRequest ApiVersionsResponse;
         CreateTopics CreateTopicsRequest CreateTopicsResponse;
         DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
         DeleteRecords DeleteRecordsRequest DeleteRecordsResponse;
         InitProducerId InitProducerIdRequest InitProducerIdResponse;
         OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
         AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
         AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
         EndTxn EndTxnRequest EndTxnResponse;
         WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse;
         TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse;
         DescribeAcls DescribeAclsRequest DescribeAclsResponse;
         CreateAcls CreateAclsRequest CreateAclsResponse;
         DeleteAcls DeleteAclsRequest DeleteAclsResponse;
         DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
         AlterConfigs AlterConfigsRequest AlterConfigsResponse;
         AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
         DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse;
         SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse;
         CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
         CreateDelegationToken CreateDelegationTokenRequest CreateDelegationTokenResponse;
         RenewDelegationToken RenewDelegationTokenRequest RenewDelegationTokenResponse;
         ExpireDelegationToken ExpireDelegationTokenRequest ExpireDelegationTokenResponse;
         DescribeDelegationToken DescribeDelegationTokenRequest DescribeDelegationTokenResponse;
         DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
         ElectLeaders ElectLeadersRequest ElectLeadersResponse;
         IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
         AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
         ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
         OffsetDelete OffsetDeleteRequest OffsetDeleteResponse;
         DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse;
         AlterClientQuotas AlterClientQuotasRequest AlterClientQuotasResponse;
         DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
         AlterUserScramCredentials AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse;
         Vote VoteRequest VoteResponse;
         BeginQuorumEpoch BeginQuorumEpochRequest BeginQuorumEpochResponse;
         EndQuorumEpoch EndQuorumEpochRequest EndQuorumEpochResponse;
         DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse;
         AlterPartition AlterPartitionRequest AlterPartitionResponse;
         UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse;
         Envelope EnvelopeRequest EnvelopeResponse;
         FetchSnapshot FetchSnapshotRequest FetchSnapshotResponse;
         DescribeCluster DescribeClusterRequest DescribeClusterResponse;
         DescribeProducers DescribeProducersRequest DescribeProducersResponse;
         BrokerRegistration BrokerRegistrationRequest BrokerRegistrationResponse;
         BrokerHeartbeat BrokerHeartbeatRequest BrokerHeartbeatResponse;
         UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse;
         DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse;
         ListTransactions ListTransactionsRequest ListTransactionsResponse;
         AllocateProducerIds AllocateProducerIdsRequest AllocateProducerIdsResponse;
         ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
         ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
         ControllerRegistration ControllerRegistrationRequest ControllerRegistrationResponse;
         GetTelemetrySubscriptions GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse;
         PushTelemetry PushTelemetryRequest PushTelemetryResponse;
         AssignReplicasToDirs AssignReplicasToDirsRequest AssignReplicasToDirsResponse;
         ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse;
         DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
         ShareGroupHeartbeat ShareGroupHeartbeatRequest ShareGroupHeartbeatResponse;
         ShareGroupDescribe ShareGroupDescribeRequest ShareGroupDescribeResponse;
         ShareFetch ShareFetchRequest ShareFetchResponse;
         ShareAcknowledge ShareAcknowledgeRequest ShareAcknowledgeResponse;
         AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse;
         RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse;
         UpdateRaftVoter UpdateRaftVoterRequest UpdateRaftVoterResponse;
         InitializeShareGroupState InitializeShareGroupStateRequest InitializeShareGroupStateResponse;
         ReadShareGroupState ReadShareGroupStateRequest ReadShareGroupStateResponse;
         WriteShareGroupState WriteShareGroupStateRequest WriteShareGroupStateResponse;
         DeleteShareGroupState DeleteShareGroupStateRequest DeleteShareGroupStateResponse;
         ReadShareGroupStateSummary ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse;
         DescribeShareGroupOffsets DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse;
         AlterShareGroupOffsets AlterShareGroupOffsetsRequest AlterShareGroupOffsetsResponse;
         DeleteShareGroupOffsets DeleteShareGroupOffsetsRequest DeleteShareGroupOffsetsResponse;
        }
    };
}
pub(crate) use for_each_api;

macro_rules! version_table {
    ($($name:ident $request:ident $response:ident;)*) => {
        const fn coded_versions(api_key: ApiKey) -> VersionRange {
            match api_key {
                $(ApiKey::$name => both(
                    <messages::$request as Message>::VERSIONS,
                    <messages::$response as Message>::VERSIONS,
                ),)*
            }
        }

        const fn api_name(api_key: ApiKey) -> &'static str {
            match api_key {
                $(ApiKey::$name => stringify!($name),)*
            }
        }
    };
}
for_each_api!(version_table);

const fn both(request: VersionRange, response: VersionRange) -> VersionRange {
    let min = if request.min > response.min {
        request.min
    } else {
        response.min
    };
    let max = if request.max < response.max {
        request.max
    } else {
        response.max
    };
    VersionRange { min, max }
}

/// The versions of an API whose requests can be decoded and whose responses can be encoded.
#[must_use]
pub const fn versions(api_key: ApiKey) -> RangeInclusive<i16> {
    let coded = coded_versions(api_key);
    coded.min..=coded.max
}

/// Kafka's name of an API, for example `ListOffsets`.
#[must_use]
pub const fn name(api_key: ApiKey) -> &'static str {
    api_name(api_key)
}

#[cfg(test)]
mod tests;
