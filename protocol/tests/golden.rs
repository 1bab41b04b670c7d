//! Golden frames: requests and responses recorded from Apache Kafka by `golden/record.py`.
//!
//! Kafka accepted every one of these requests and sent every one of these responses, so each request must pass the
//! guard and each response must come out of our encoder bit for bit. The same frames, cut and bent, show that no
//! bytes from the network can do more than be refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::{Buf, Bytes};
use streamhouse_protocol::messages::{self, ApiKey};
use streamhouse_protocol::request::{DecodeError, decode};
use streamhouse_protocol::response::{decode_response, encode_response};
use streamhouse_protocol::{Request, api_key, guard};

/// How many times each golden request is bent.
const BENT: u64 = 40;

/// One exchange with Kafka; frames have no size prefix.
#[derive(Debug)]
struct Exchange {
    api: String,
    version: i16,
    case: String,
    request: Bytes,
    response: Bytes,
}

/// All exchanges, in the order of the files' names.
fn recorded() -> Vec<Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(folder).expect("the golden frames are part of the sources");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("a folder can be read").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.iter().flat_map(|path| exchanges(path)).collect()
}

fn exchanges(path: &Path) -> Vec<Exchange> {
    let api = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("names of APIs are text");
    let text = fs::read_to_string(path).expect("golden frames are text");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let pairs = lines.chunks_exact(2).map(|pair| {
        let ([version, case, "request", request], [_, _, "response", response]) =
            (&pair[0][..], &pair[1][..])
        else {
            panic!("{api}: a request and a response should follow each other");
        };
        Exchange {
            api: api.to_owned(),
            version: version.parse().expect("versions are numbers"),
            case: (*case).to_owned(),
            request: bytes_of(request),
            response: bytes_of(response),
        }
    });
    pairs.collect()
}

fn bytes_of(hex: &str) -> Bytes {
    let digit = |d: u8| char::from(d).to_digit(16).expect("frames are hexadecimal");
    let byte =
        |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    hex.as_bytes().chunks_exact(2).map(byte).collect()
}

/// Decodes a response as a client, encodes it as a broker, and returns it with its prefix checked and taken off.
fn again<R: Request>(exchange: &Exchange, version: i16) -> Bytes
where
    R::Response: streamhouse_protocol::response::ResponseBody<Request = R>,
{
    let (correlation_id, body) = decode_response::<R>(version, exchange.response.clone())
        .unwrap_or_else(|error| panic!("{}: {error}", exchange.case));
    let rope = encode_response::<R>(correlation_id, version, &body)
        .unwrap_or_else(|error| panic!("{}: {error}", exchange.case));
    let mut framed = rope.into_bytes();
    assert_eq!(usize::try_from(framed.get_i32()), Ok(framed.len()));
    framed
}

macro_rules! golden_apis {
    ($($name:ident $request:ident;)*) => {
        const GOLDEN_APIS: &[ApiKey] = &[$(ApiKey::$name),*];

        fn encoded_again(exchange: &Exchange, version: i16) -> Bytes {
            match exchange.api.as_str() {
                $(stringify!($name) => again::<messages::$request>(exchange, version),)*
                other => panic!("{other} is not in the list of golden APIs"),
            }
        }
    };
}

golden_apis! {
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
    ElectLeaders ElectLeadersRequest;
    AlterPartitionReassignments AlterPartitionReassignmentsRequest;
    ListConfigResources ListConfigResourcesRequest;
    DescribeTopicPartitions DescribeTopicPartitionsRequest;
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest;
    ConsumerGroupDescribe ConsumerGroupDescribeRequest;
}

/// Requests that are to be understood, that is all but the one with a version that does not exist.
fn understood() -> impl Iterator<Item = Exchange> {
    recorded()
        .into_iter()
        .filter(|exchange| exchange.case != "unsupported")
}

#[test]
fn every_version_of_every_golden_api_was_recorded() {
    let mut versions = BTreeMap::<String, Vec<i16>>::new();
    for exchange in understood() {
        versions
            .entry(exchange.api)
            .or_default()
            .push(exchange.version);
    }
    for &key in GOLDEN_APIS {
        let found = versions.remove(api_key::name(key)).unwrap_or_default();
        for version in api_key::versions(key) {
            assert!(
                found.contains(&version),
                "{key:?} v{version} is not among the golden frames"
            );
        }
    }
    assert!(versions.is_empty(), "no test for {versions:?}");
}

#[test]
fn every_golden_request_is_decoded() {
    for exchange in understood() {
        let (header, _) = decode(exchange.request.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", exchange.case));
        assert_eq!(api_key::name(header.api_key), exchange.api);
        assert_eq!(header.api_version, exchange.version);
        assert_eq!(header.client_id.as_str(), "golden");
    }
}

#[test]
fn every_golden_response_is_encoded_bit_for_bit() {
    for exchange in understood() {
        let Exchange {
            api,
            version,
            case,
            response,
            ..
        } = &exchange;
        let encoded = encoded_again(&exchange, *version);
        assert_eq!(encoded, response, "{api} v{version} {case}");
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_as_kafka_answers_it() {
    let exchange = recorded()
        .into_iter()
        .find(|exchange| exchange.case == "unsupported")
        .expect("record.py asks for a version that does not exist");
    let Err(DecodeError::UnsupportedVersion { header }) = decode(exchange.request.clone()) else {
        panic!("v{} does not exist", exchange.version);
    };
    assert_eq!(header.correlation_id, exchange.response.clone().get_i32());
    let (_, body) =
        decode_response::<messages::ApiVersionsRequest>(0, exchange.response.clone()).unwrap();
    assert_eq!(body.error_code, 35);
    assert_eq!(encoded_again(&exchange, 0), exchange.response);
}

#[test]
fn a_golden_request_cut_short_is_refused_at_every_byte() {
    for exchange in understood() {
        for cut in 0..exchange.request.len() {
            let refused = decode(exchange.request.slice(..cut));
            assert!(
                refused.is_err(),
                "{} v{} at {cut}",
                exchange.api,
                exchange.version
            );
        }
    }
}

#[test]
fn a_golden_request_however_bent_is_decoded_or_refused() {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE")
        .ok()
        .and_then(|scale| scale.parse().ok());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut decoded, mut refused) = (0u64, 0u64);
    for exchange in understood() {
        for _ in 0..BENT * scale.unwrap_or(1) {
            let bent = chance.bend(&exchange.request);
            match decode(bent.clone()) {
                Ok(_) => decoded += 1,
                Err(DecodeError::Codec { reason, .. }) => {
                    panic!("the guard let {bent:x?} pass, the decoder did not: {reason}");
                }
                Err(
                    DecodeError::Header(_)
                    | DecodeError::Malformed(_)
                    | DecodeError::UnsupportedVersion { .. },
                ) => refused += 1,
            }
        }
    }
    assert!(
        decoded > 100 && refused > 100,
        "{decoded} decoded, {refused} refused: all alike"
    );
}

#[test]
fn the_guard_sees_the_bodies_that_kafka_saw() {
    // Of two requests that differ in one length only, one passes and the other does not.
    let exchange = understood()
        .find(|e| e.api == "Metadata" && e.version == 1)
        .expect("recorded");
    let body = exchange.request.slice(16..);
    assert_eq!(guard::check(3, 1, &body), Ok(()));
    let longer = [&[0, 0, 0, 99], &body[4..]].concat();
    assert!(guard::check(3, 1, &longer).is_err());
}

/// Numbers that are the same in every run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound).expect("a usize fits in 64 bits");
        usize::try_from((self.0 >> 11) % bound).expect("less than a usize")
    }

    /// Replaces, removes, repeats or inserts some bytes behind the API key.
    fn bend(&mut self, frame: &[u8]) -> Bytes {
        let mut bent = frame.to_vec();
        for _ in 0..=self.below(3) {
            let at = 2 + self.below(bent.len() - 2);
            let byte = [
                0,
                1,
                2,
                0x7f,
                0x80,
                0xfe,
                0xff,
                bent[at] ^ 1 << self.below(8),
            ];
            let byte = byte[self.below(8)];
            let end = bent.len().min(at + 1 + self.below(8));
            match self.below(6) {
                0..=2 => bent[at] = byte,
                3 => bent.insert(at, byte),
                4 if bent.len() > 40 => drop(bent.drain(at..end)),
                _ => bent[at..end].fill(byte),
            }
        }
        bent.into()
    }
}
