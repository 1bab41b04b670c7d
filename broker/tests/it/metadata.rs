//! Metadata and DescribeCluster.

use std::collections::BTreeMap;

use streamhouse_broker::topics::TopicRules;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::metadata_request::MetadataRequestTopic;
use streamhouse_protocol::messages::metadata_response::MetadataResponseTopic;
use streamhouse_protocol::messages::{
    DescribeClusterRequest, ListPartitionReassignmentsRequest, MetadataRequest, TopicName,
};
use uuid::Uuid;

use crate::bench::{BROKER, Bench, CLUSTER_ID, Client, Wanted};
use crate::topics::create;

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn topic(text: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(name(text)))
}

fn asking(topics: &[&str]) -> MetadataRequest {
    let topics = topics.iter().map(|text| topic(text)).collect();
    MetadataRequest::default()
        .with_topics(Some(topics))
        .with_allow_auto_topic_creation(false)
}

async fn one(client: &mut Client, version: i16, text: &str, create: bool) -> MetadataResponseTopic {
    let request = asking(&[text]).with_allow_auto_topic_creation(create || version < 4);
    let response = client.call(version, &request).await;
    assert_eq!(response.topics.len(), 1);
    response.topics.into_iter().next().unwrap()
}

async fn quiet() -> Bench {
    let rules = TopicRules {
        auto_create: false,
        ..Wanted::default().rules
    };
    Bench::with(Wanted {
        rules,
        ..Wanted::default()
    })
    .await
}

#[tokio::test]
async fn brokers_controller_and_cluster_are_told_in_every_version() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for version in 0..=12 {
        let asking = asking(&[]).with_allow_auto_topic_creation(version < 4);
        let response = client.call(version, &asking).await;
        assert_eq!(response.brokers.len(), 1);
        let broker = &response.brokers[0];
        assert_eq!((broker.node_id.0, broker.port), (BROKER, 9092));
        assert_eq!(&*broker.host, "broker.test");
        if version >= 1 {
            assert_eq!(response.controller_id.0, BROKER);
            assert_eq!(broker.rack.as_deref(), Some("zone-a"));
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.as_deref(), Some(CLUSTER_ID));
        }
    }
}

#[tokio::test]
async fn all_topics_and_no_topics_are_told_apart_by_version() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let none = MetadataRequest::default().with_topics(Some(Vec::new()));
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(client.call(0, &none).await.topics.len(), 1);
    assert_eq!(client.call(1, &none).await.topics.len(), 0);
    assert_eq!(client.call(12, &none).await.topics.len(), 0);
    assert_eq!(client.call(1, &all).await.topics.len(), 1);
    assert_eq!(client.call(12, &all).await.topics.len(), 1);
}

#[tokio::test]
async fn partitions_show_their_leader_and_its_epoch() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 6).await;
    let shown = one(&mut client, 12, "a", false).await;
    assert_eq!(shown.error_code, 0);
    assert!(!shown.topic_id.is_nil());
    let indexes: Vec<i32> = shown
        .partitions
        .iter()
        .map(|it| it.partition_index)
        .collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5]);
    for partition in &shown.partitions {
        assert_eq!((partition.error_code, partition.leader_id.0), (0, BROKER));
        assert_eq!(partition.leader_epoch, 1);
        assert_eq!(partition.replica_nodes, partition.isr_nodes);
        assert_eq!(partition.replica_nodes.len(), 1);
    }
    bench.leaders.replace(BTreeMap::new());
    let shown = one(&mut client, 12, "a", false).await;
    assert_eq!(
        (
            shown.partitions[0].error_code,
            shown.partitions[0].leader_id.0
        ),
        (5, -1)
    );
}

#[tokio::test]
async fn topics_are_found_by_id_since_version_12() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let id = one(&mut client, 12, "a", false).await.topic_id;
    let by_id = |id| {
        let topic = MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let found = client.call(12, &by_id(id)).await;
    assert_eq!(found.topics[0].name, Some(name("a")));
    let missing = client.call(12, &by_id(Uuid::from_u128(5))).await;
    assert_eq!(missing.topics[0].error_code, 100);
    assert_eq!(missing.topics[0].topic_id, Uuid::from_u128(5));
    let too_early = MetadataRequestTopic::default()
        .with_name(Some(name("a")))
        .with_topic_id(id);
    let too_early = MetadataRequest::default().with_topics(Some(vec![too_early]));
    assert_eq!(client.call(11, &too_early).await.topics[0].error_code, 42);
}

#[tokio::test]
async fn an_unknown_topic_is_created_when_request_and_broker_allow_it() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    assert_eq!(one(&mut client, 4, "a", false).await.error_code, 3);
    let created = one(&mut client, 4, "a", true).await;
    assert_eq!(created.error_code, 0);
    assert_eq!(created.partitions.len(), 3, "num.partitions");
    // Before version 4 nobody can say no.
    assert_eq!(one(&mut client, 3, "b", false).await.error_code, 0);
    let quiet = quiet().await;
    let mut client = quiet.connect();
    assert_eq!(one(&mut client, 4, "a", true).await.error_code, 3);
}

#[tokio::test]
async fn two_clients_that_create_a_topic_at_once_get_the_same_one() {
    let bench = Bench::new().await;
    let (mut first, mut second) = (bench.connect(), bench.connect());
    let request = asking(&["race"]).with_allow_auto_topic_creation(true);
    let (one, two) = tokio::join!(first.call(12, &request), second.call(12, &request));
    assert_eq!((one.topics[0].error_code, two.topics[0].error_code), (0, 0));
    assert_eq!(one.topics[0].topic_id, two.topics[0].topic_id);
}

#[tokio::test]
async fn names_that_are_none_are_refused_and_not_created() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for bad in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
        assert_eq!(one(&mut client, 9, bad, true).await.error_code, 17, "{bad}");
    }
    create(&mut client, "a.b", 1).await;
    assert_eq!(
        one(&mut client, 9, "a_b", true).await.error_code,
        17,
        "it collides"
    );
}

#[tokio::test]
async fn authorized_operations_are_told_on_request() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let request = asking(&["a"]);
    for version in 8..=12 {
        let response = client.call(version, &request).await;
        assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
        let asked = request
            .clone()
            .with_include_topic_authorized_operations(true);
        let asked = client.call(version, &asked).await;
        // READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
        assert_eq!(
            asked.topics[0].topic_authorized_operations,
            0b1101_1111_1000
        );
        if version <= 10 {
            assert_eq!(response.cluster_authorized_operations, i32::MIN);
        }
    }
    let asked = request.with_include_cluster_authorized_operations(true);
    let cluster = client.call(8, &asked).await.cluster_authorized_operations;
    assert_eq!(cluster, 0b1_1111_1010_0000);
}

#[tokio::test]
async fn the_cluster_is_described_to_clients_of_brokers_only() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for version in 0..=2 {
        let described = client
            .call(version, &DescribeClusterRequest::default())
            .await;
        assert_eq!(described.error_code, 0);
        assert_eq!(&*described.cluster_id, CLUSTER_ID);
        assert_eq!(described.controller_id.0, BROKER);
        assert_eq!(described.brokers.len(), 1);
        assert_eq!(described.cluster_authorized_operations, i32::MIN);
    }
    for (kind, code) in [(2, 114), (3, 115)] {
        let request = DescribeClusterRequest::default().with_endpoint_type(kind);
        let refused = client.call(1, &request).await;
        assert_eq!(refused.error_code, code);
        assert!(refused.error_message.is_some());
    }
    let moving = client
        .call(0, &ListPartitionReassignmentsRequest::default())
        .await;
    assert_eq!((moving.error_code, moving.topics.len()), (0, 0));
}
