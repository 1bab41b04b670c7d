//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs.

use std::collections::BTreeMap;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::describe_configs_request::DescribeConfigsResource;
use streamhouse_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use streamhouse_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    alter_configs_request, incremental_alter_configs_request as incremental,
};

use crate::bench::{Bench, Client};
use crate::topics::{create, create_with};

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER_TYPE: i8 = 4;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn resource(kind: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None)
}

pub(crate) fn describe(resources: Vec<DescribeConfigsResource>) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default().with_resources(resources)
}

pub(crate) async fn described(client: &mut Client, kind: i8, name: &str) -> DescribeConfigsResult {
    let request = describe(vec![resource(kind, name)]).with_include_synonyms(true);
    let response = client.call(4, &request).await;
    response.results.into_iter().next().unwrap()
}

async fn entry(client: &mut Client, key: &str) -> DescribeConfigsResourceResult {
    let result = described(client, TOPIC, "a").await;
    assert_eq!(result.error_code, 0);
    result
        .configs
        .into_iter()
        .find(|config| &*config.name == key)
        .unwrap()
}

pub(crate) fn op(key: &str, operation: i8, value: Option<&str>) -> incremental::AlterableConfig {
    incremental::AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(value.map(text))
}

pub(crate) fn change(
    kind: i8,
    name: &str,
    configs: Vec<incremental::AlterableConfig>,
) -> IncrementalAlterConfigsRequest {
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

async fn alter(
    client: &mut Client,
    configs: Vec<incremental::AlterableConfig>,
) -> (i16, Option<String>) {
    let response = client.call(1, &change(TOPIC, "a", configs)).await;
    let response = &response.responses[0];
    (
        response.error_code,
        response.error_message.as_ref().map(ToString::to_string),
    )
}

/// Sets one config of a topic, which has to succeed.
pub(crate) async fn set(client: &mut Client, topic: &str, key: &str, value: &str) {
    let request = change(TOPIC, topic, vec![op(key, 0, Some(value))]);
    let response = client.call(1, &request).await;
    assert_eq!(response.responses[0].error_code, 0);
}

#[tokio::test]
async fn a_topic_shows_every_config_with_its_source() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    assert_eq!(
        alter(&mut client, vec![op("max.message.bytes", 0, Some("2000"))])
            .await
            .0,
        0
    );
    for version in 1..=4 {
        let request = describe(vec![resource(TOPIC, "a")])
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3);
        let response = client.call(version, &request).await;
        let configs: BTreeMap<&str, _> = response.results[0]
            .configs
            .iter()
            .map(|it| (&*it.name, it))
            .collect();
        assert!(configs.len() >= 31, "{}", configs.len());
        let changed = configs["max.message.bytes"];
        assert_eq!(
            (changed.value.as_deref(), changed.config_source),
            (Some("2000"), 1)
        );
        let synonyms: Vec<(&str, i8)> = changed
            .synonyms
            .iter()
            .map(|it| (&*it.name, it.source))
            .collect();
        assert_eq!(
            synonyms,
            [("max.message.bytes", 1), ("message.max.bytes", 5)]
        );
        let policy = configs["cleanup.policy"];
        assert_eq!(
            (policy.value.as_deref(), policy.config_source),
            (Some("delete"), 5)
        );
        if version >= 3 {
            assert_eq!(policy.config_type, 7);
            assert!(
                policy
                    .documentation
                    .as_ref()
                    .is_some_and(|it| !it.is_empty())
            );
        }
    }
}

#[tokio::test]
async fn keys_filter_and_unknown_keys_are_left_out() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let keys = vec![text("retention.ms"), text("no.such.key")];
    let request = describe(vec![
        resource(TOPIC, "a").with_configuration_keys(Some(keys)),
    ]);
    let response = client.call(4, &request).await;
    let names: Vec<&str> = response.results[0]
        .configs
        .iter()
        .map(|it| &*it.name)
        .collect();
    assert_eq!(names, ["retention.ms"]);
}

#[tokio::test]
async fn what_schema_registry_and_connect_check_of_their_topics_is_so() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for topic in [
        "_schemas",
        "connect-configs",
        "connect-offsets",
        "connect-status",
    ] {
        create_with(&mut client, topic, &[("cleanup.policy", "compact")]).await;
        let keys = vec![text("cleanup.policy")];
        let asked = resource(TOPIC, topic).with_configuration_keys(Some(keys));
        let response = client.call(4, &describe(vec![asked])).await;
        let [config] = response.results[0].configs.as_slice() else {
            panic!("{:?}", response.results[0]);
        };
        // Exactly this policy, set on the topic.
        let shown = (config.value.as_deref(), config.config_source);
        assert_eq!(shown, (Some("compact"), 1), "{topic}");
    }
}

#[tokio::test]
async fn resources_that_are_not_here_are_refused_one_by_one() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let resources = vec![
        resource(TOPIC, "missing"),
        resource(TOPIC, "a b"),
        resource(BROKER_TYPE, "99"),
        resource(BROKER_TYPE, "x"),
        resource(16, "metrics"),
        resource(TOPIC, "a"),
    ];
    let response = client.call(4, &describe(resources)).await;
    let codes: Vec<i16> = response.results.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [3, 17, 42, 42, 42, 0]);
    assert!(
        response.results[2]
            .error_message
            .as_ref()
            .unwrap()
            .contains("99")
    );
}

#[tokio::test]
async fn single_configs_are_set_unset_and_extended() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let set = vec![
        op("retention.ms", 0, Some("5000")),
        op("cleanup.policy", 2, Some("compact")),
    ];
    assert_eq!(alter(&mut client, set).await, (0, None));
    assert_eq!(
        entry(&mut client, "retention.ms").await.value.as_deref(),
        Some("5000")
    );
    assert_eq!(
        entry(&mut client, "cleanup.policy").await.value.as_deref(),
        Some("delete,compact")
    );
    let unset = vec![
        op("retention.ms", 1, None),
        op("cleanup.policy", 3, Some("delete")),
    ];
    assert_eq!(alter(&mut client, unset).await, (0, None));
    let retention = entry(&mut client, "retention.ms").await;
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("604800000"), 5)
    );
    assert_eq!(
        entry(&mut client, "cleanup.policy").await.value.as_deref(),
        Some("compact")
    );
}

#[tokio::test]
async fn changes_that_cannot_be_made_change_nothing() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let good = || op("retention.ms", 0, Some("5000"));
    let cases = [
        (
            vec![good(), op("no.such.key", 0, Some("1"))],
            40,
            "no.such.key",
        ),
        (
            vec![good(), op("max.message.bytes", 0, Some("-5"))],
            40,
            "max.message.bytes",
        ),
        (vec![good(), op("segment.bytes", 2, Some("1"))], 40, "LIST"),
        (vec![good(), op("segment.ms", 0, None)], 42, "segment.ms"),
        (vec![good(), good()], 42, "retention.ms"),
        (
            vec![good(), op("segment.ms", 9, Some("1"))],
            42,
            "Unknown operation type 9",
        ),
        (
            vec![
                good(),
                op("min.compaction.lag.ms", 0, Some("9")),
                op("max.compaction.lag.ms", 0, Some("8")),
            ],
            40,
            "min.compaction.lag.ms",
        ),
    ];
    for (configs, code, text) in cases {
        let (refused, message) = alter(&mut client, configs).await;
        assert_eq!(refused, code, "{text}");
        assert!(message.unwrap().contains(text), "{text}");
        assert_eq!(entry(&mut client, "retention.ms").await.config_source, 5);
    }
    let request = change(TOPIC, "missing", vec![good()]);
    assert_eq!(client.call(0, &request).await.responses[0].error_code, 3);
    // A value is looked at before the topic.
    let request = change(TOPIC, "missing", vec![op("retention.ms", 0, Some("soon"))]);
    assert_eq!(client.call(0, &request).await.responses[0].error_code, 40);
    let dry = change(TOPIC, "a", vec![good()]).with_validate_only(true);
    assert_eq!(client.call(0, &dry).await.responses[0].error_code, 0);
    assert_eq!(entry(&mut client, "retention.ms").await.config_source, 5);
}

#[tokio::test]
async fn alter_configs_replaces_everything() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let before = vec![
        op("retention.ms", 0, Some("5000")),
        op("segment.ms", 0, Some("7000")),
    ];
    assert_eq!(alter(&mut client, before).await.0, 0);
    let replace = |configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter().map(|(key, value)| {
            alter_configs_request::AlterableConfig::default()
                .with_name(text(key))
                .with_value(value.map(text))
        });
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("a"))
            .with_configs(configs.collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    for (bad, code) in [
        (replace(&[("segment.ms", None)]), 42),
        (
            replace(&[("segment.ms", Some("1")), ("segment.ms", Some("2"))]),
            42,
        ),
        (replace(&[("segment", Some("1"))]), 40),
    ] {
        assert_eq!(client.call(2, &bad).await.responses[0].error_code, code);
    }
    let request = replace(&[("segment.ms", Some("9000"))]);
    for version in 0..=2 {
        assert_eq!(
            client.call(version, &request).await.responses[0].error_code,
            0
        );
    }
    assert_eq!(
        entry(&mut client, "segment.ms").await.value.as_deref(),
        Some("9000")
    );
    assert_eq!(entry(&mut client, "retention.ms").await.config_source, 5);
}

#[tokio::test]
async fn two_clients_that_extend_a_list_at_once_both_succeed() {
    let bench = Bench::new().await;
    let (mut one, mut two) = (bench.connect(), bench.connect());
    create(&mut one, "a", 1).await;
    let key = "leader.replication.throttled.replicas";
    let first = change(TOPIC, "a", vec![op(key, 2, Some("0:1"))]);
    let second = change(TOPIC, "a", vec![op(key, 2, Some("1:1"))]);
    let (first, second) = tokio::join!(one.call(1, &first), two.call(1, &second));
    assert_eq!(
        (
            first.responses[0].error_code,
            second.responses[0].error_code
        ),
        (0, 0)
    );
    let value = entry(&mut one, key).await.value.unwrap().to_string();
    assert!(value.contains("0:1") && value.contains("1:1"), "{value}");
}
