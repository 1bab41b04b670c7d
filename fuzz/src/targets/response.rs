//! An answer of a broker, as the command line reads it: the broker may be anybody's.
//!
//! Decoding takes memory in proportion to the frame, and what was decoded comes back when it is encoded and decoded again.

use bytes::{Buf, Bytes};
use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::response::{ResponseBody, decode_response, encode_response};
use streamhouse_protocol::{Request, messages};

use crate::corpus;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "response",
    reads: "an answer of a broker",
    executions: 300_000,
    length_max: 16 << 10,
    memory: Memory {
        per_byte: 48,
        free: 3 << 20,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

macro_rules! apis {
    ($($name:ident $request:ident;)*) => {
        /// The APIs whose answers were recorded, which are those that the client speaks and more.
        const APIS: &[ApiKey] = &[$(ApiKey::$name),*];

        fn read(api: ApiKey, version: i16, frame: Bytes) -> Verdict {
            $(if api == ApiKey::$name {
                return read_as::<messages::$request>(version, frame);
            })*
            Verdict::Refused
        }
    };
}

apis! {
    Produce ProduceRequest;
    Fetch FetchRequest;
    ListOffsets ListOffsetsRequest;
    Metadata MetadataRequest;
    OffsetCommit OffsetCommitRequest;
    OffsetFetch OffsetFetchRequest;
    FindCoordinator FindCoordinatorRequest;
    JoinGroup JoinGroupRequest;
    Heartbeat HeartbeatRequest;
    LeaveGroup LeaveGroupRequest;
    SyncGroup SyncGroupRequest;
    DescribeGroups DescribeGroupsRequest;
    ListGroups ListGroupsRequest;
    SaslHandshake SaslHandshakeRequest;
    ApiVersions ApiVersionsRequest;
    CreateTopics CreateTopicsRequest;
    DeleteTopics DeleteTopicsRequest;
    DeleteRecords DeleteRecordsRequest;
    InitProducerId InitProducerIdRequest;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest;
    DescribeAcls DescribeAclsRequest;
    CreateAcls CreateAclsRequest;
    DeleteAcls DeleteAclsRequest;
    DescribeConfigs DescribeConfigsRequest;
    AlterConfigs AlterConfigsRequest;
    DescribeLogDirs DescribeLogDirsRequest;
    SaslAuthenticate SaslAuthenticateRequest;
    CreatePartitions CreatePartitionsRequest;
    DeleteGroups DeleteGroupsRequest;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest;
    ListPartitionReassignments ListPartitionReassignmentsRequest;
    OffsetDelete OffsetDeleteRequest;
    DescribeCluster DescribeClusterRequest;
}

/// The first two bytes of an input name API and version.
fn seeds() -> Vec<Vec<u8>> {
    let seed = |exchange: corpus::Exchange| {
        let api = APIS.iter().position(|api| *api == exchange.api)?;
        let (api, version) = (
            u8::try_from(api).ok()?,
            u8::try_from(exchange.version).ok()?,
        );
        Some([&[api, version][..], &exchange.response].concat())
    };
    corpus::exchanges().into_iter().filter_map(seed).collect()
}

fn check(input: &[u8]) -> Verdict {
    let mut input = Bytes::copy_from_slice(input);
    let (Ok(api), Ok(version)) = (input.try_get_u8(), input.try_get_u8()) else {
        return Verdict::Refused;
    };
    let Some(api) = APIS.get(usize::from(api)).copied() else {
        return Verdict::Refused;
    };
    // The client agrees on a version before it asks in it.
    let version = i16::from(version);
    if !api_key::versions(api).contains(&version) {
        return Verdict::Refused;
    }
    read(api, version, input)
}

fn read_as<R: Request>(version: i16, frame: Bytes) -> Verdict
where
    R::Response: ResponseBody<Request = R>,
{
    let Ok((correlation_id, body)) = decode_response::<R>(version, frame) else {
        return Verdict::Refused;
    };
    let encode = |body: &R::Response| {
        let mut frame = encode_response::<R>(correlation_id, version, body)
            .expect("what was decoded in a version can be encoded in it")
            .into_bytes();
        frame.advance(4);
        frame
    };
    let first = encode(&body);
    let (id, again) =
        decode_response::<R>(version, first.clone()).expect("what we encode, we can read");
    assert_eq!(id, correlation_id);
    assert_eq!(encode(&again), first);
    Verdict::Accepted
}
