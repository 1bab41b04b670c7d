//! Every broker tells clients the same, soon after it changed.

use std::collections::BTreeMap;
use std::time::Duration;

use streamhouse_protocol::messages::alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use streamhouse_protocol::messages::describe_configs_request::DescribeConfigsResource;
use streamhouse_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest};

use crate::client::{Client, Leader, text};
use crate::cluster::{BROKERS, Cluster};
use crate::say;
use crate::wait::until;

const PARTITIONS: i32 = 12;

/// A heartbeat of these clusters, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(5);

/// What all brokers tell, once they tell the same and every partition has a leader.
fn agreed(cluster: &Cluster, topic: &str) -> (BTreeMap<i32, Leader>, Duration) {
    let mut client = cluster.client();
    let ports: Vec<u16> = cluster.running().map(|broker| broker.port).collect();
    until("all brokers tell the same leaders", || {
        let mut told = Vec::new();
        for port in &ports {
            told.push(client.told_by(*port, topic).ok()?);
        }
        let (first, rest) = told.split_first()?;
        let is_whole = first.1.len() == usize::try_from(PARTITIONS).unwrap();
        let is_agreed =
            is_whole && first.0.len() == ports.len() && rest.iter().all(|it| it == first);
        is_agreed.then(|| first.1.clone())
    })
}

#[test]
fn all_brokers_agree_on_topics_configs_leaders_and_coordinators() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("agreed", PARTITIONS);
    let (mut before, took) = agreed(&cluster, "agreed");
    say(&format!(
        "a topic that one broker created is known to all after {took:?}"
    ));
    assert!(took < SOON, "{took:?}");
    let took = change_config(&cluster);
    say(&format!(
        "a config that one broker changed is known to all after {took:?}"
    ));
    assert!(took < SOON, "{took:?}");
    coordinators_agree(&cluster);
    for victim in 1..=BROKERS {
        cluster.take(victim).kill();
        for broker in cluster.running() {
            broker.until_ready();
        }
        let after = agreed(&cluster, "agreed").0;
        epochs_grow(&before, &after);
        assert!(after.values().all(|(leader, _)| *leader != victim));
        coordinators_agree(&cluster);
        cluster.start_broker(victim);
        cluster.until_settled();
        before = agreed(&cluster, "agreed").0;
        epochs_grow(&after, &before);
    }
    let last = cluster.take(BROKERS);
    last.stop();
    let (after, took) = agreed(&cluster, "agreed");
    epochs_grow(&before, &after);
    say(&format!(
        "the shards of a broker that was stopped are led by others after {took:?}"
    ));
}

/// A leader changes with its epoch, and epochs never go back.
fn epochs_grow(before: &BTreeMap<i32, Leader>, after: &BTreeMap<i32, Leader>) {
    for (partition, (leader, epoch)) in after {
        let (was, at) = before[partition];
        let grows = if *leader == was {
            *epoch >= at
        } else {
            *epoch > at
        };
        assert!(
            grows,
            "{partition}: {was} in {at}, then {leader} in {epoch}"
        );
    }
}

fn coordinators_agree(cluster: &Cluster) {
    let mut client = cluster.client();
    let ports: Vec<u16> = cluster.running().map(|broker| broker.port).collect();
    for number in 0..10 {
        let group = format!("group-{number}");
        until("all brokers tell the same coordinator", || {
            let mut told = Vec::new();
            for port in &ports {
                told.push(client.coordinator_told_by(*port, &group).ok()?);
            }
            let is_agreed = told.iter().all(|it| it.0 == 0 && *it == told[0]);
            is_agreed.then_some(())
        });
    }
}

/// Changes a config through the first broker, and waits until all tell it.
fn change_config(cluster: &Cluster) -> Duration {
    let config = AlterableConfig::default()
        .with_name(text("max.message.bytes"))
        .with_value(Some(text("123456")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("agreed"))
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let mut client = cluster.client();
    let altered = client.ask_port(cluster.ports[0], 1, &request).unwrap();
    assert_eq!(altered.responses[0].error_code, 0);
    let ((), took) = until("every broker tells the new value", || {
        let mut ports = cluster.ports.iter();
        let all = ports.all(|port| told(&mut client, *port).as_deref() == Some("123456"));
        all.then_some(())
    });
    took
}

fn told(client: &mut Client, port: u16) -> Option<String> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("agreed"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.ask_port(port, 1, &request).ok()?;
    let configs = &answer.results.first()?.configs;
    let config = configs
        .iter()
        .find(|it| it.name.as_str() == "max.message.bytes")?;
    config.value.as_ref().map(|value| value.as_str().to_owned())
}
