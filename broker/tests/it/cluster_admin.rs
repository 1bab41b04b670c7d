//! What tools ask of a whole cluster: ACLs, elections, reassignments, the list of what has configs, topics in pages.

use std::collections::BTreeMap;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use streamhouse_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use streamhouse_protocol::messages::elect_leaders_request::TopicPartitions;
use streamhouse_protocol::messages::*;

use crate::bench::{BROKER, Bench, Client};
use crate::metadata::name;
use crate::topics::create;

const NONE: i16 = 0;
const UNKNOWN_TOPIC: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;
const SECURITY_DISABLED: i16 = 54;
const ELECTION_NOT_NEEDED: i16 = 84;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;

#[tokio::test]
async fn without_an_authorizer_there_are_no_acls_to_show_or_change() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let described = client.call(3, &DescribeAclsRequest::default()).await;
    assert_eq!(described.error_code, SECURITY_DISABLED);
    let text = described.error_message.unwrap();
    assert_eq!(&*text, "No Authorizer is configured on the broker");
    let creation = create_acls_request::AclCreation::default();
    let request = CreateAclsRequest::default().with_creations(vec![creation.clone(), creation]);
    let codes = client.call(2, &request).await.results;
    let codes: Vec<i16> = codes.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [SECURITY_DISABLED; 2]);
    let filter = delete_acls_request::DeleteAclsFilter::default();
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let deleted = client.call(1, &request).await;
    assert_eq!(deleted.filter_results[0].error_code, SECURITY_DISABLED);
}

async fn elected(client: &mut Client, kind: i8, asked: &[(&str, i32)]) -> Vec<(String, i32, i16)> {
    let topics = asked.iter().map(|(topic, index)| {
        TopicPartitions::default()
            .with_topic(name(topic))
            .with_partitions(vec![*index])
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(Some(topics.collect()));
    let response = client.call(2, &request).await;
    assert_eq!(response.error_code, NONE);
    let results = response.replica_election_results.into_iter();
    let results = results.flat_map(|topic| {
        let told = topic.topic.to_string();
        let partitions = topic.partition_result.into_iter();
        partitions.map(move |it| (told.clone(), it.partition_id, it.error_code))
    });
    results.collect()
}

#[tokio::test]
async fn an_election_is_not_needed_where_there_is_a_leader() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    let asked = [("a", 1), ("a", 1), ("a", 9), ("b", 0), ("a", -1)];
    for kind in [0, 1] {
        assert_eq!(
            elected(&mut client, kind, &asked).await,
            [
                ("a".to_owned(), -1, UNKNOWN_TOPIC),
                ("a".to_owned(), 1, ELECTION_NOT_NEEDED),
                ("a".to_owned(), 9, UNKNOWN_TOPIC),
                ("b".to_owned(), 0, UNKNOWN_TOPIC),
            ]
        );
    }
    // Of all partitions only those are told that have not what was asked for.
    let all = ElectLeadersRequest::default().with_topic_partitions(None);
    let answer = client.call(2, &all).await;
    assert_eq!(answer.replica_election_results.len(), 1);
    assert_eq!(answer.replica_election_results[0].partition_result, []);
    let strange = all.with_election_type(7);
    assert_eq!(client.call(2, &strange).await.error_code, INVALID_REQUEST);
}

async fn reassigned(client: &mut Client, topic: &str, replicas: Option<&[i32]>) -> i16 {
    let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
    let partition = ReassignablePartition::default()
        .with_partition_index(0)
        .with_replicas(replicas);
    let topic = ReassignableTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
    let response = client.call(1, &request).await;
    assert_eq!((response.error_code, response.error_message), (NONE, None));
    let partition = &response.responses[0].partitions[0];
    partition.error_code
}

#[tokio::test]
async fn only_the_replicas_that_a_partition_has_can_be_assigned() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let here: &[i32] = &[BROKER];
    for (topic, replicas, code) in [
        ("a", Some(here), NONE),
        ("a", None, NO_REASSIGNMENT_IN_PROGRESS),
        ("b", None, UNKNOWN_TOPIC),
        ("b", Some(here), UNKNOWN_TOPIC),
        ("a", Some(&[]), INVALID_REPLICA_ASSIGNMENT),
        ("a", Some(&[8]), INVALID_REPLICA_ASSIGNMENT),
        ("a", Some(&[BROKER, BROKER]), INVALID_REPLICA_ASSIGNMENT),
    ] {
        let told = reassigned(&mut client, topic, replicas).await;
        assert_eq!(told, code, "{topic} {replicas:?}");
    }
}

#[tokio::test]
async fn what_has_configs_is_listed_by_type() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for (version, types, expected) in [
        (1, vec![], vec![(2, "a"), (4, "7"), (8, "7")]),
        (1, vec![4, 32, 16], vec![(4, "7")]),
        (1, vec![8, 2], vec![(2, "a"), (8, "7")]),
        // Version 0 asks for client metrics.
        (0, vec![], vec![]),
    ] {
        let request = ListConfigResourcesRequest::default().with_resource_types(types);
        let listed = client.call(version, &request).await;
        let listed = listed.config_resources.iter();
        let listed: Vec<(i8, &str)> = listed
            .map(|it| (it.resource_type, &*it.resource_name))
            .collect();
        assert_eq!(listed, expected);
    }
    let strange = ListConfigResourcesRequest::default().with_resource_types(vec![3]);
    let answer = client.call(1, &strange).await;
    assert_eq!(answer.error_code, UNSUPPORTED_VERSION);
}

fn page(topics: &[&str], from: Option<(&str, i32)>, limit: i32) -> DescribeTopicPartitionsRequest {
    let topics = topics
        .iter()
        .map(|topic| TopicRequest::default().with_name(name(topic)));
    let cursor = from.map(|(topic, index)| {
        Cursor::default()
            .with_topic_name(name(topic))
            .with_partition_index(index)
    });
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_cursor(cursor)
        .with_response_partition_limit(limit)
}

#[tokio::test]
async fn topics_come_in_pages_that_make_up_the_whole() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let topics = [("a", 3), ("b", 1), ("c", 4)];
    for (topic, partitions) in topics {
        create(&mut client, topic, partitions).await;
    }
    for limit in 1..10 {
        let mut seen: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        let mut from: Option<(String, i32)> = None;
        loop {
            let at = from.as_ref().map(|(topic, index)| (topic.as_str(), *index));
            let answer = client.call(0, &page(&[], at, limit)).await;
            let mut told = 0;
            for topic in answer.topics {
                assert_eq!(topic.error_code, NONE);
                let partitions = seen.entry(topic.name.unwrap().to_string()).or_default();
                for partition in topic.partitions {
                    assert_eq!(partition.leader_id, BrokerId(BROKER));
                    assert_eq!(partition.replica_nodes, [BrokerId(BROKER)]);
                    partitions.push(partition.partition_index);
                    told += 1;
                }
            }
            assert!(told <= limit);
            let Some(next) = answer.next_cursor else {
                break;
            };
            from = Some((next.topic_name.to_string(), next.partition_index));
        }
        let all = topics.map(|(topic, count)| (topic.to_owned(), (0..count).collect::<Vec<_>>()));
        assert_eq!(seen, BTreeMap::from(all), "limit {limit}");
    }
}

#[tokio::test]
async fn named_topics_are_described_or_refused_one_by_one() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let request = page(&["no such", "a", "b", "a"], None, 2000);
    let answer = client.call(0, &request).await;
    let told: Vec<(StrBytes, i16)> = answer
        .topics
        .iter()
        .map(|topic| (topic.name.clone().unwrap().0, topic.error_code))
        .collect();
    let told: Vec<(&str, i16)> = told.iter().map(|(name, code)| (&**name, *code)).collect();
    assert_eq!(
        told,
        [
            ("a", NONE),
            ("b", UNKNOWN_TOPIC),
            ("no such", INVALID_TOPIC)
        ]
    );
    assert!(!answer.topics[0].topic_id.is_nil());
    assert_eq!(answer.next_cursor, None);
    // A topic that went while a client turned pages is passed over.
    let answer = client.call(0, &page(&[], Some(("aa", 3)), 10)).await;
    assert_eq!(answer.topics, []);
    client.send(0, &page(&[], Some(("a", -1)), 10)).await;
    assert!(client.frame().await.is_none(), "the connection is closed");
}
