//! Configs of brokers, of one and of all, and the levels of their loggers.

use std::time::Duration;

use streamhouse_metadata::TopicShelf;
use streamhouse_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use streamhouse_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use streamhouse_protocol::messages::{AlterConfigsRequest, alter_configs_request as replacing};

use crate::bench::{BROKER, Bench, Client};
use crate::brokers::World;
use crate::configs::{BROKER_TYPE, TOPIC, change, describe, described, op, resource, text};
use crate::topics::create;

const LOGGER: i8 = 8;
const ALL: &str = "";

/// Changes configs of a broker; the code and the text of the answer.
async fn alter(
    client: &mut Client,
    kind: i8,
    name: &str,
    configs: Vec<AlterableConfig>,
) -> (i16, String) {
    let response = client.call(1, &change(kind, name, configs)).await;
    let response = &response.responses[0];
    let text = response.error_message.as_ref().map(ToString::to_string);
    (response.error_code, text.unwrap_or_default())
}

/// Sets one config, which has to succeed.
async fn set(client: &mut Client, name: &str, key: &str, value: &str) {
    let set = alter(client, BROKER_TYPE, name, vec![op(key, 0, Some(value))]).await;
    assert_eq!(set, (0, String::new()), "{key}");
}

async fn entry(
    client: &mut Client,
    kind: i8,
    name: &str,
    key: &str,
) -> Option<DescribeConfigsResourceResult> {
    let result = described(client, kind, name).await;
    assert_eq!(result.error_code, 0);
    let mut configs = result.configs.into_iter();
    configs.find(|config| &*config.name == key)
}

/// The value of a config, and who set it.
async fn value(client: &mut Client, kind: i8, name: &str, key: &str) -> (String, i8) {
    let entry = entry(client, kind, name, key).await.unwrap();
    (entry.value.unwrap().to_string(), entry.config_source)
}

#[tokio::test]
async fn this_broker_shows_all_its_settings() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let result = described(&mut client, BROKER_TYPE, &BROKER.to_string()).await;
    assert_eq!(result.error_code, 0);
    let is_read_only = |name: &str| {
        let mut configs = result.configs.iter();
        configs.find(|it| &*it.name == name).unwrap().read_only
    };
    for name in [
        "advertised.listeners",
        "num.partitions",
        "node.id",
        "log.retention.hours",
    ] {
        assert!(is_read_only(name), "{name}");
    }
    for name in ["log.retention.ms", "max.connections", "num.io.threads"] {
        assert!(!is_read_only(name), "{name}");
    }
    assert!(
        described(&mut client, BROKER_TYPE, ALL)
            .await
            .configs
            .is_empty()
    );
}

#[tokio::test]
async fn one_broker_wins_over_all_and_both_are_kept() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let (own, key) = (BROKER.to_string(), "log.retention.ms");
    create(&mut client, "t", 1).await;
    set(&mut client, ALL, key, "7200000").await;
    assert_eq!(
        value(&mut client, BROKER_TYPE, &own, key).await,
        ("7200000".into(), 3)
    );
    set(&mut client, &own, key, "3600000").await;
    let shown = entry(&mut client, BROKER_TYPE, &own, key).await.unwrap();
    let synonyms = shown.synonyms.iter();
    let synonyms: Vec<_> = synonyms
        .map(|it| (&*it.name, it.value.as_deref().unwrap(), it.source))
        .collect();
    assert_eq!(
        synonyms,
        [
            (key, "3600000", 2),
            (key, "7200000", 3),
            ("log.retention.hours", "168", 5)
        ]
    );
    assert_eq!(
        value(&mut client, BROKER_TYPE, ALL, key).await,
        ("7200000".into(), 3)
    );
    assert_eq!(
        value(&mut client, TOPIC, "t", "retention.ms").await,
        ("3600000".into(), 2)
    );
    let stored = bench.store.topics().await.unwrap();
    assert_eq!(stored.broker_defaults[key], "7200000");
    assert_eq!(
        stored.broker_configs.values().next().unwrap()[key],
        "3600000"
    );
    let unset = vec![op(key, 1, None)];
    assert_eq!(
        alter(&mut client, BROKER_TYPE, &own, unset.clone()).await.0,
        0
    );
    assert_eq!(
        value(&mut client, BROKER_TYPE, &own, key).await,
        ("7200000".into(), 3)
    );
    assert_eq!(alter(&mut client, BROKER_TYPE, ALL, unset).await.0, 0);
    assert_eq!(
        value(&mut client, TOPIC, "t", "retention.ms").await,
        ("604800000".into(), 5)
    );
}

#[tokio::test]
async fn what_is_not_set_may_be_unset_whatever_it_is() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let revision = bench.store.topics().await.unwrap().revision;
    for name in [ALL, &BROKER.to_string()] {
        let unset = [
            "leader.replication.throttled.rate",
            "log.retention.ms",
            "node.id",
            "no.such",
        ];
        let unset = unset.iter().map(|key| op(key, 1, None)).collect();
        assert_eq!(
            alter(&mut client, BROKER_TYPE, name, unset).await,
            (0, String::new())
        );
    }
    let after = bench.store.topics().await.unwrap().revision;
    assert_eq!(after, revision, "nothing is written");
}

#[tokio::test]
async fn what_cannot_change_while_a_broker_runs_is_refused_as_kafka_does() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let own = BROKER.to_string();
    let good = || op("log.retention.ms", 0, Some("5"));
    for (name, config, code, text) in [
        (
            &*own,
            op("node.id", 0, Some("3")),
            42,
            "Cannot update these configs dynamically: [node.id]",
        ),
        (
            ALL,
            op("listeners", 0, Some("PLAINTEXT://:1")),
            42,
            "Cannot update these configs dynamically: [listeners]",
        ),
        (
            &own,
            op("log.roll.ms", 0, Some("x")),
            42,
            "Invalid value x for configuration log.roll.ms: Not a number of type LONG",
        ),
        (
            &own,
            op("log.roll.ms", 0, None),
            42,
            "Null value not supported for : log.roll.ms",
        ),
        (
            &own,
            op("log.roll.ms", 2, Some("1")),
            40,
            "Config value append is not allowed for config key: log.roll.ms",
        ),
        (
            &own,
            op("no.such", 2, Some("1")),
            40,
            "Unknown config name: no.such",
        ),
        (
            &own,
            op("no.such", 0, Some("1")),
            40,
            "Unknown config name: no.such",
        ),
        (&own, good(), 42, "Error due to duplicate config keys"),
        (
            "8",
            good(),
            42,
            "Unexpected broker id, expected 7, but received 8",
        ),
        ("x", good(), 42, "Node id must be an integer, but it is: x"),
    ] {
        let refused = alter(&mut client, BROKER_TYPE, name, vec![good(), config]).await;
        assert_eq!(refused, (code, text.to_owned()));
    }
    let dry = change(BROKER_TYPE, &own, vec![good()]).with_validate_only(true);
    assert_eq!(client.call(1, &dry).await.responses[0].error_code, 0);
    let stored = bench.store.topics().await.unwrap();
    assert!(stored.broker_defaults.is_empty() && stored.broker_configs.is_empty());
}

#[tokio::test]
async fn alter_configs_replaces_what_is_set_on_a_broker() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let own = BROKER.to_string();
    set(&mut client, &own, "log.retention.ms", "3600000").await;
    let replace = |kind: i8, configs: &[(&str, &str)]| {
        let configs = configs.iter().map(|(key, value)| {
            replacing::AlterableConfig::default()
                .with_name(text(key))
                .with_value(Some(text(value)))
        });
        let resource = replacing::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text("7"))
            .with_configs(configs.collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    let request = replace(BROKER_TYPE, &[("message.max.bytes", "3000000")]);
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    let key = "message.max.bytes";
    assert_eq!(
        value(&mut client, BROKER_TYPE, &own, key).await,
        ("3000000".into(), 2)
    );
    let retention = entry(&mut client, BROKER_TYPE, &own, "log.retention.ms").await;
    assert_eq!(retention.unwrap().value, None);
    // Even the value that it has.
    let request = replace(BROKER_TYPE, &[("node.id", "7")]);
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 42);
    let request = replace(LOGGER, &[("root", "INFO")]);
    let refused = client.call(2, &request).await.responses.remove(0);
    assert_eq!(
        refused.error_message.as_deref(),
        Some("Unknown resource type 8")
    );
}

#[tokio::test]
async fn a_broker_has_what_another_one_was_told_with_its_next_heartbeat() {
    let mut world = World::new().await;
    let (one, two) = (world.start(1).await, world.start(2).await);
    let (mut of_one, mut of_two) = (one.connect(), two.connect());
    let key = "message.max.bytes";
    set(&mut of_one, ALL, key, "2000000").await;
    set(&mut of_one, "1", key, "3000000").await;
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(
        value(&mut of_one, BROKER_TYPE, "1", key).await,
        ("3000000".into(), 2)
    );
    assert_eq!(
        value(&mut of_two, BROKER_TYPE, "2", key).await,
        ("2000000".into(), 3)
    );
    assert_eq!(
        value(&mut of_two, BROKER_TYPE, ALL, key).await,
        ("2000000".into(), 3)
    );
}

#[tokio::test]
async fn levels_of_loggers_change_and_are_shown() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let own = BROKER.to_string();
    let module = "streamhouse_log::append";
    assert_eq!(
        value(&mut client, LOGGER, &own, "root").await,
        ("INFO".into(), 6)
    );
    let set = vec![op(module, 0, Some("DEBUG")), op("root", 0, Some("WARN"))];
    assert_eq!(
        alter(&mut client, LOGGER, &own, set).await,
        (0, String::new())
    );
    assert_eq!(
        value(&mut client, LOGGER, &own, module).await,
        ("DEBUG".into(), 6)
    );
    assert_eq!(
        value(&mut client, LOGGER, &own, "streamhouse_broker")
            .await
            .0,
        "WARN"
    );
    let keys = vec![text("streamhouse_log::append::order"), text("no.such")];
    let asked = resource(LOGGER, &own).with_configuration_keys(Some(keys));
    let response = client.call(4, &describe(vec![asked])).await;
    let [shown] = response.results[0].configs.as_slice() else {
        panic!("{:?}", response.results[0]);
    };
    assert_eq!(shown.value.as_deref(), Some("DEBUG"), "it inherits");
    let unset = vec![op(module, 1, None)];
    assert_eq!(alter(&mut client, LOGGER, &own, unset).await.0, 0);
    assert!(entry(&mut client, LOGGER, &own, module).await.is_none());
}

#[tokio::test]
async fn levels_that_cannot_be_are_refused_as_kafka_does() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for (name, config, code, text) in [
        (
            "7",
            op("nope", 0, Some("INFO")),
            40,
            "Logger nope does not exist!",
        ),
        (
            "7",
            op("root", 1, None),
            42,
            "Removing the log level of the root logger is not allowed",
        ),
        (
            "7",
            op("root", 2, Some("INFO")),
            42,
            "APPEND operation is not allowed for the BROKER_LOGGER resource",
        ),
        (
            "7",
            op("root", 0, None),
            42,
            "Null value not supported for : root",
        ),
        (
            "8",
            op("root", 0, Some("INFO")),
            42,
            "Unexpected node id. Expected 7, but received 8",
        ),
        (
            "",
            op("root", 0, Some("INFO")),
            42,
            "Node id must be an integer, but it is: ",
        ),
    ] {
        let refused = alter(&mut client, LOGGER, name, vec![config]).await;
        assert_eq!(refused, (code, text.to_owned()));
    }
    let resources = ["", "8", "x"].map(|name| resource(LOGGER, name));
    let response = client.call(4, &describe(resources.into())).await;
    let texts = response
        .results
        .iter()
        .map(|it| it.error_message.as_deref().unwrap());
    assert_eq!(
        texts.collect::<Vec<_>>(),
        [
            "Broker id must not be empty",
            "Unexpected broker id, expected 7 but received 8",
            "Broker id must be an integer, but it is: x"
        ]
    );
}
