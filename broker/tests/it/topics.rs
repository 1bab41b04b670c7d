//! CreateTopics, DeleteTopics, CreatePartitions.

use streamhouse_broker::topics::TopicRules;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use streamhouse_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use streamhouse_protocol::messages::create_topics_response::CreatableTopicResult;
use streamhouse_protocol::messages::delete_topics_request::DeleteTopicState;
use streamhouse_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest,
};
use uuid::Uuid;

use crate::bench::{BROKER, Bench, Client, Wanted};
use crate::metadata::name;

fn topic(text: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(text))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
}

fn config(key: &str, value: Option<&str>) -> CreatableTopicConfig {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    CreatableTopicConfig::default()
        .with_name(text(key))
        .with_value(value.map(text))
}

fn assigned(text: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    });
    topic(text, -1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect())
}

/// Creates a topic that has to come about.
pub(crate) async fn create(client: &mut Client, text: &str, partitions: i32) {
    let result = ask(client, 7, topic(text, partitions)).await;
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
}

/// Creates a topic of one partition with configs.
pub(crate) async fn create_with(client: &mut Client, text: &str, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(key, value)| config(key, Some(value)));
    let result = ask(client, 7, topic(text, 1).with_configs(configs.collect())).await;
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
}

/// Deletes a topic that has to be there.
pub(crate) async fn delete(client: &mut Client, text: &str) {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(text)]);
    assert_eq!(client.call(4, &request).await.responses[0].error_code, 0);
}

async fn ask(client: &mut Client, version: i16, topic: CreatableTopic) -> CreatableTopicResult {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let response = client.call(version, &request).await;
    assert_eq!(response.topics.len(), 1);
    response.topics.into_iter().next().unwrap()
}

async fn partitions_of(client: &mut Client, text: &str) -> Option<usize> {
    let request = MetadataRequest::default().with_topics(None);
    let response = client.call(9, &request).await;
    let found = response
        .topics
        .iter()
        .find(|topic| topic.name == Some(name(text)));
    found.map(|topic| topic.partitions.len())
}

#[tokio::test]
async fn a_topic_is_there_as_soon_as_it_was_created() {
    let bench = Bench::new().await;
    let (mut client, mut other) = (bench.connect(), bench.connect());
    for version in 2..=7 {
        let text = format!("topic-{version}");
        let asked = topic(&text, 4).with_configs(vec![config("retention.ms", Some("1000"))]);
        let created = ask(&mut client, version, asked).await;
        assert_eq!(created.error_code, 0);
        assert_eq!(partitions_of(&mut other, &text).await, Some(4));
        if version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (4, 1));
            let configs = created.configs.unwrap();
            let retention = configs
                .iter()
                .find(|it| &*it.name == "retention.ms")
                .unwrap();
            assert_eq!(retention.value.as_deref(), Some("1000"));
            assert_eq!(retention.config_source, 1);
            assert!(
                configs
                    .iter()
                    .any(|it| &*it.name == "cleanup.policy" && it.config_source == 5)
            );
        }
        assert_eq!(created.topic_id.is_nil(), version < 7);
    }
}

#[tokio::test]
async fn minus_one_asks_for_the_defaults_and_any_replication_factor_means_the_one_replica_shown() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let defaults = ask(&mut client, 5, topic("a", -1).with_replication_factor(-1)).await;
    assert_eq!(
        (defaults.num_partitions, defaults.replication_factor),
        (3, 1)
    );
    let three = ask(&mut client, 5, topic("b", 1).with_replication_factor(3)).await;
    assert_eq!((three.error_code, three.replication_factor), (0, 1));
    let request = MetadataRequest::default().with_topics(None);
    let response = client.call(9, &request).await;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    for partition in partitions {
        let replicas = [BrokerId(BROKER)];
        assert_eq!(partition.replica_nodes, replicas);
        assert_eq!(partition.isr_nodes, replicas);
    }
}

#[tokio::test]
async fn a_request_adds_so_many_partitions_and_no_more() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let mut topics = Vec::new();
    for text in ["a", "b", "c"] {
        create(&mut client, text, 1).await;
        let topic = CreatePartitionsTopic::default()
            .with_name(name(text))
            .with_count(4001)
            .with_assignments(None);
        topics.push(topic);
    }
    let request = CreatePartitionsRequest::default().with_topics(topics);
    let response = client.call(3, &request).await;
    let codes: Vec<_> = response.results.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [0, 0, 44]);
    assert_eq!(partitions_of(&mut client, "c").await, Some(1));
}

/// Topics that cannot be created, with the code and a part of the text that say why. `me` is the broker.
fn impossible(me: &[i32]) -> Vec<(CreatableTopic, i16, &'static str)> {
    vec![
        (topic("there", 1), 36, "Topic 'there' already exists."),
        (
            topic("a_b", 1),
            17,
            "Topic 'a_b' collides with existing topic: a.b",
        ),
        (topic("a b", 1), 17, "a b"),
        (topic("x", 0), 37, "non-positive"),
        (topic("x", -2), 37, "non-positive"),
        (
            topic("x", 10_001),
            44,
            "Excessively large number of partitions",
        ),
        (
            topic("x", 1).with_replication_factor(0),
            38,
            "Replication factor must be larger than 0",
        ),
        (
            topic("x", 1).with_configs(vec![config("retention", Some("1"))]),
            40,
            "retention",
        ),
        (
            topic("x", 1).with_configs(vec![config("retention.ms", Some("x"))]),
            40,
            "retention.ms",
        ),
        (
            topic("x", 1).with_configs(vec![config("retention.ms", None)]),
            40,
            "retention.ms",
        ),
        (assigned("x", &[(0, &[99])]), 39, "broker 99"),
        (assigned("x", &[(0, &[])]), 39, "empty replica list"),
        (
            assigned("x", &[(0, &[BROKER, BROKER])]),
            39,
            "more than once",
        ),
        (
            assigned("x", &[(0, me), (0, me)]),
            39,
            "multiple manual partition assignments",
        ),
        (assigned("x", &[(0, me), (2, me)]), 39, "consecutive"),
        (
            assigned("x", &[(0, me)]).with_num_partitions(1),
            42,
            "numPartitions",
        ),
        (
            assigned("x", &[(0, me)]).with_replication_factor(1),
            42,
            "replication factor",
        ),
    ]
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_with_kafkas_code_and_a_text() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "there", 1).await;
    create(&mut client, "a.b", 1).await;
    let me: &[i32] = &[BROKER];
    for (asked, code, text) in impossible(me) {
        let refused = ask(&mut client, 7, asked).await;
        assert_eq!(refused.error_code, code, "{text}");
        assert!(refused.error_message.unwrap().contains(text), "{text}");
        assert_eq!(refused.num_partitions, -1);
    }
    assert_eq!(partitions_of(&mut client, "x").await, None);
    assert_eq!(
        ask(&mut client, 7, assigned("x", &[(1, me), (0, me)]))
            .await
            .error_code,
        0
    );
    assert_eq!(partitions_of(&mut client, "x").await, Some(2));
}

#[tokio::test]
async fn a_name_that_stands_twice_is_answered_once_and_not_created() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let topics = vec![topic("a", 1), topic("b", 1), topic("a", 2)];
    let request = CreateTopicsRequest::default().with_topics(topics);
    let response = client.call(7, &request).await;
    let codes: Vec<(String, i16)> = response
        .topics
        .iter()
        .map(|it| (it.name.to_string(), it.error_code))
        .collect();
    assert_eq!(codes, [("a".to_owned(), 42), ("b".to_owned(), 0)]);
    assert_eq!(partitions_of(&mut client, "a").await, None);
}

#[tokio::test]
async fn of_two_clients_that_create_a_topic_at_once_one_is_told_that_it_exists() {
    let bench = Bench::new().await;
    let (mut one, mut other) = (bench.connect(), bench.connect());
    for round in 0..10 {
        let text = format!("t{round}");
        let (first, second) = tokio::join!(
            ask(&mut one, 7, topic(&text, 2)),
            ask(&mut other, 7, topic(&text, 2))
        );
        let mut codes = [first.error_code, second.error_code];
        codes.sort_unstable();
        assert_eq!(codes, [0, 36]);
        assert_eq!(partitions_of(&mut one, &text).await, Some(2));
    }
}

#[tokio::test]
async fn a_validated_topic_is_not_created_and_meets_the_same_rules() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a.b", 1).await;
    for (text, code) in [("x", 0), ("a_b", 17), ("a.b", 36)] {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic(text, 2)])
            .with_validate_only(true);
        assert_eq!(
            client.call(6, &request).await.topics[0].error_code,
            code,
            "{text}"
        );
    }
    assert_eq!(partitions_of(&mut client, "x").await, None);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_makes_another_one() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let ask_id = MetadataRequest::default().with_topics(None);
    let old = client.call(12, &ask_id).await.topics[0].topic_id;
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![name("a")]);
    assert_eq!(client.call(4, &by_name).await.responses[0].error_code, 0);
    assert_eq!(partitions_of(&mut client, "a").await, None);
    assert_eq!(client.call(4, &by_name).await.responses[0].error_code, 3);
    create(&mut client, "a", 1).await;
    let new = client.call(12, &ask_id).await.topics[0].topic_id;
    assert_ne!(old, new);
    let by_id = |id| {
        let state = DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(id);
        DeleteTopicsRequest::default().with_topics(vec![state])
    };
    assert_eq!(
        client.call(6, &by_id(old)).await.responses[0].error_code,
        100
    );
    let deleted = client.call(6, &by_id(new)).await;
    assert_eq!(deleted.responses[0].error_code, 0);
    assert_eq!(deleted.responses[0].name, Some(name("a")));
}

#[tokio::test]
async fn deletions_that_make_no_sense_are_refused() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let state = DeleteTopicState::default;
    let both = state()
        .with_name(Some(name("a")))
        .with_topic_id(Uuid::from_u128(9));
    let neither = state().with_name(None);
    let request = DeleteTopicsRequest::default().with_topics(vec![both, neither]);
    let response = client.call(6, &request).await;
    assert!(response.responses.iter().all(|it| it.error_code == 42));
    let rules = TopicRules {
        may_delete: false,
        ..Wanted::default().rules
    };
    let bench = Bench::with(Wanted {
        rules,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("a")]);
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 42);
    assert_eq!(client.call(3, &request).await.responses[0].error_code, 73);
    assert_eq!(partitions_of(&mut client, "a").await, Some(1));
}

#[tokio::test]
async fn partitions_are_added_and_never_taken_away() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    let asked = |text: &str, count| {
        CreatePartitionsTopic::default()
            .with_name(name(text))
            .with_count(count)
            .with_assignments(None)
    };
    let placed = |brokers: &[i32]| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        vec![CreatePartitionsAssignment::default().with_broker_ids(brokers)]
    };
    let cases = [
        (
            asked("a", 1),
            37,
            "Topic currently has 2 partitions, which is higher than the requested 1.",
        ),
        (asked("a", 2), 37, "Topic already has 2 partition(s)."),
        (asked("a", -1), 37, "higher than the requested -1"),
        (asked("missing", 2), 3, "does not host"),
        (asked("a", 20_000), 44, "Excessively large"),
        (
            asked("a", 4).with_assignments(Some(placed(&[BROKER]))),
            39,
            "add 2 additional",
        ),
        (
            asked("a", 3).with_assignments(Some(placed(&[1]))),
            39,
            "broker 1",
        ),
    ];
    for version in 0..=3 {
        for (asked, code, text) in cases.clone() {
            let request = CreatePartitionsRequest::default().with_topics(vec![asked]);
            let response = client.call(version, &request).await;
            assert_eq!(response.results[0].error_code, code, "{text}");
            assert!(
                response.results[0]
                    .error_message
                    .as_ref()
                    .unwrap()
                    .contains(text),
                "{text}"
            );
        }
    }
    let grow = CreatePartitionsRequest::default().with_topics(vec![asked("a", 5)]);
    let dry = grow.clone().with_validate_only(true);
    assert_eq!(client.call(3, &dry).await.results[0].error_code, 0);
    assert_eq!(partitions_of(&mut client, "a").await, Some(2));
    assert_eq!(client.call(3, &grow).await.results[0].error_code, 0);
    assert_eq!(partitions_of(&mut client, "a").await, Some(5));
    let twice = CreatePartitionsRequest::default().with_topics(vec![asked("a", 6), asked("a", 7)]);
    let response = client.call(3, &twice).await;
    assert_eq!(
        (response.results.len(), response.results[0].error_code),
        (1, 42)
    );
}
