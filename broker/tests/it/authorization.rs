//! What an authorizer denies is denied by every API, in Kafka's code for the kind of resource.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_broker::api::RequestContext;
use streamhouse_broker::handlers::APIS;
use streamhouse_broker::security::{Authorizer, Operation, Resource, ResourceKind};
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::*;

use crate::bench::{Bench, Client, Wanted};
use crate::metadata::name;

const TOPIC_DENIED: i16 = 29;
const GROUP_DENIED: i16 = 30;
const CLUSTER_DENIED: i16 = 31;
const TRANSACTIONAL_ID_DENIED: i16 = 53;

/// Denies what it is told to deny, and remembers what it was asked.
#[derive(Debug, Default)]
struct Rules {
    denies: Mutex<Option<ResourceKind>>,
    asked: Mutex<BTreeSet<String>>,
}

impl Rules {
    fn answer(&self, operation: Operation, kind: ResourceKind, name: &str) -> bool {
        self.asked
            .lock()
            .insert(format!("{operation:?} {kind:?} {name}"));
        self.denies.lock().is_none()
    }
}

#[derive(Debug)]
struct Switch(Arc<Rules>);

impl Authorizer for Switch {
    fn allows(&self, _: &RequestContext, operation: Operation, resource: Resource<'_>) -> bool {
        self.0.answer(operation, resource.kind, resource.name)
    }

    fn allows_some(&self, _: &RequestContext, operation: Operation, kind: ResourceKind) -> bool {
        self.0.answer(operation, kind, "*")
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// The code of a request of each API that names topic `t`, group `g` or the cluster.
async fn topic_codes(client: &mut Client) -> Vec<(i16, i16)> {
    use create_partitions_request::CreatePartitionsTopic;
    use create_topics_request::CreatableTopic;
    let mut codes = Vec::new();
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    codes.push((3, client.call(9, &request).await.topics[0].error_code));
    let topic = CreatableTopic::default()
        .with_name(name("t"))
        .with_num_partitions(1);
    let request =
        CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(1)]);
    codes.push((19, client.call(7, &request).await.topics[0].error_code));
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
    codes.push((20, client.call(5, &request).await.responses[0].error_code));
    let topic = CreatePartitionsTopic::default()
        .with_name(name("t"))
        .with_count(9);
    let request =
        CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)]);
    codes.push((37, client.call(3, &request).await.results[0].error_code));
    let topic = describe_topic_partitions_request::TopicRequest::default().with_name(name("t"));
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![topic]);
    codes.push((75, client.call(0, &request).await.topics[0].error_code));
    codes.extend(config_codes(client, 2, "t").await);
    codes.extend(log_codes(client).await);
    codes
}

/// The codes of the APIs that touch records of topic `t`.
async fn log_codes(client: &mut Client) -> Vec<(i16, i16)> {
    let mut codes = Vec::new();
    let partition = produce_request::PartitionProduceData::default();
    let topic = produce_request::TopicProduceData::default()
        .with_name(name("t"))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic]);
    let response = client.call(9, &request).await;
    codes.push((0, response.responses[0].partition_responses[0].error_code));
    let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(1000);
    let topic = fetch_request::FetchTopic::default()
        .with_topic(name("t"))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default().with_topics(vec![topic]);
    let response = client.call(12, &request).await;
    codes.push((1, response.responses[0].partitions[0].error_code));
    let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
    let topic = list_offsets_request::ListOffsetsTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let response = client.call(8, &request).await;
    codes.push((2, response.topics[0].partitions[0].error_code));
    let partition = delete_records_request::DeleteRecordsPartition::default();
    let topic = delete_records_request::DeleteRecordsTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
    let response = client.call(2, &request).await;
    codes.push((21, response.topics[0].partitions[0].error_code));
    let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
    let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
        .with_topic(name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let response = client.call(4, &request).await;
    codes.push((23, response.topics[0].partitions[0].error_code));
    codes
}

async fn config_codes(client: &mut Client, kind: i8, name: &str) -> Vec<(i16, i16)> {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let described = client.call(4, &request).await.results[0].error_code;
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name));
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let replaced = client.call(2, &request).await.responses[0].error_code;
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let altered = client.call(1, &request).await.responses[0].error_code;
    vec![(32, described), (33, replaced), (44, altered)]
}

async fn group_codes(client: &mut Client) -> Vec<(i16, i16)> {
    let mut codes = Vec::new();
    let partition = offset_commit_request::OffsetCommitRequestPartition::default();
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_topics(vec![topic]);
    let response = client.call(8, &request).await;
    codes.push((8, response.topics[0].partitions[0].error_code));
    let request = OffsetFetchRequest::default()
        .with_group_id(group())
        .with_topics(None);
    codes.push((9, client.call(7, &request).await.error_code));
    let request = FindCoordinatorRequest::default().with_key(text("g"));
    codes.push((10, client.call(3, &request).await.error_code));
    let request = JoinGroupRequest::default().with_group_id(group());
    codes.push((11, client.call(9, &request).await.error_code));
    let request = HeartbeatRequest::default().with_group_id(group());
    codes.push((12, client.call(4, &request).await.error_code));
    let request = LeaveGroupRequest::default().with_group_id(group());
    codes.push((13, client.call(5, &request).await.error_code));
    let request = SyncGroupRequest::default().with_group_id(group());
    codes.push((14, client.call(5, &request).await.error_code));
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    codes.push((15, client.call(6, &request).await.groups[0].error_code));
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    codes.push((42, client.call(2, &request).await.results[0].error_code));
    let request = OffsetDeleteRequest::default().with_group_id(group());
    codes.push((47, client.call(0, &request).await.error_code));
    let request = ConsumerGroupHeartbeatRequest::default().with_group_id(group());
    codes.push((68, client.call(1, &request).await.error_code));
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
    codes.push((69, client.call(1, &request).await.groups[0].error_code));
    codes
}

async fn cluster_codes(client: &mut Client) -> Vec<(i16, i16)> {
    let mut codes = config_codes(client, 4, "7").await;
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    codes.push((22, client.call(4, &request).await.error_code));
    let request = DescribeLogDirsRequest::default().with_topics(None);
    codes.push((35, client.call(4, &request).await.error_code));
    let request = ListPartitionReassignmentsRequest::default();
    codes.push((46, client.call(0, &request).await.error_code));
    let request = AlterPartitionReassignmentsRequest::default();
    codes.push((45, client.call(1, &request).await.error_code));
    let request = ElectLeadersRequest::default();
    codes.push((43, client.call(2, &request).await.error_code));
    let request = ListConfigResourcesRequest::default();
    codes.push((74, client.call(1, &request).await.error_code));
    let request = DescribeAclsRequest::default();
    codes.push((29, client.call(3, &request).await.error_code));
    let creation = create_acls_request::AclCreation::default();
    let request = CreateAclsRequest::default().with_creations(vec![creation]);
    codes.push((30, client.call(3, &request).await.results[0].error_code));
    let filter = delete_acls_request::DeleteAclsFilter::default();
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let response = client.call(3, &request).await;
    codes.push((31, response.filter_results[0].error_code));
    codes
}

/// APIs that everybody may use, or that show less instead of refusing.
const NEVER_DENIED: [i16; 3] = [16, 18, 60];

#[tokio::test]
async fn every_api_is_denied_by_an_authorizer_that_denies() {
    let rules = Arc::<Rules>::default();
    *rules.denies.lock() = Some(ResourceKind::Cluster);
    let authorizer = Arc::new(Switch(Arc::clone(&rules)));
    let bench = Bench::with(Wanted {
        authorizer,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    let mut covered: BTreeSet<i16> = NEVER_DENIED.into();
    for (expected, codes) in [
        (TOPIC_DENIED, topic_codes(&mut client).await),
        (GROUP_DENIED, group_codes(&mut client).await),
        (CLUSTER_DENIED, cluster_codes(&mut client).await),
    ] {
        for (key, code) in codes {
            assert_eq!(code, expected, "API {key}");
            covered.insert(key);
        }
    }
    let served: BTreeSet<i16> = APIS.iter().map(|api| api.key as i16).collect();
    assert_eq!(covered, served, "an API of the table is not in this test");
}

#[tokio::test]
async fn an_authorizer_that_allows_hears_of_every_resource() {
    let rules = Arc::<Rules>::default();
    let authorizer = Arc::new(Switch(Arc::clone(&rules)));
    let bench = Bench::with(Wanted {
        authorizer,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    for (key, code) in [
        topic_codes(&mut client).await,
        group_codes(&mut client).await,
        cluster_codes(&mut client).await,
    ]
    .concat()
    {
        assert!(
            ![TOPIC_DENIED, GROUP_DENIED, CLUSTER_DENIED].contains(&code),
            "API {key}"
        );
    }
    let asked = rules.asked.lock().clone();
    for wanted in [
        "Describe Topic t",
        "Create Cluster kafka-cluster",
        "Delete Topic t",
        "Alter Topic t",
        "DescribeConfigs Topic t",
        "AlterConfigs Topic t",
        "DescribeConfigs Cluster kafka-cluster",
        "AlterConfigs Cluster kafka-cluster",
        "Describe Cluster kafka-cluster",
        "Alter Cluster kafka-cluster",
        "IdempotentWrite Cluster kafka-cluster",
        "Read Group g",
        "Describe Group g",
        "Delete Group g",
        "Read Topic t",
        "Write Topic t",
    ] {
        assert!(asked.contains(wanted), "{wanted} was not asked");
    }
}

#[tokio::test]
async fn what_may_not_be_seen_is_left_out_of_lists() {
    let rules = Arc::<Rules>::default();
    let authorizer = Arc::new(Switch(Arc::clone(&rules)));
    let bench = Bench::with(Wanted {
        authorizer,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    crate::topics::create(&mut client, "t", 1).await;
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(client.call(9, &all).await.topics.len(), 1);
    *rules.denies.lock() = Some(ResourceKind::Topic);
    assert_eq!(client.call(9, &all).await.topics.len(), 0);
    // A denied topic is not created either, and does not show whether it exists.
    for asked in ["t", "other"] {
        let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name(asked)));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let shown = client.call(12, &request).await;
        assert_eq!(shown.topics[0].error_code, TOPIC_DENIED);
        assert!(shown.topics[0].topic_id.is_nil());
    }
    *rules.denies.lock() = None;
    assert_eq!(client.call(9, &all).await.topics.len(), 1);
}

#[tokio::test]
async fn a_denied_transactional_id_is_denied_as_such() {
    let authorizer = Arc::new(streamhouse_broker::security::DenyAll);
    let bench = Bench::with(Wanted {
        authorizer,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    let request =
        InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("tx"))));
    assert_eq!(
        client.call(4, &request).await.error_code,
        TRANSACTIONAL_ID_DENIED
    );
    let cluster =
        DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    let described = client.call(1, &cluster).await;
    assert_eq!(
        (
            described.error_code,
            described.cluster_authorized_operations
        ),
        (0, 0)
    );
}
