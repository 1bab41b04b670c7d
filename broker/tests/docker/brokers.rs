//! Three brokers, PostgreSQL and an S3 server, without an engine: what `docker/compose.yaml` starts, as processes of this
//! machine with the variables and the health checks of the file. Two things differ from containers: addresses, and that
//! images other than ours are not run.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use streamhouse_config::Settings;

use crate::cluster::Cluster;
use crate::compose::{Compose, folder};
use crate::image::Image;

/// Keys per round: enough for every partition, and so for every broker.
const RECORDS: usize = 300;

/// How often the leaders are asked for. It takes a broker some heartbeats to get its share.
const ASKED_MAX: usize = 2000;

/// Another value than the default for every variable of the file: who does not follow it does not get in.
fn another(name: &str) -> Option<String> {
    Some(format!("another-{}", name.to_lowercase()))
}

fn records(round: usize) -> Vec<String> {
    let numbers = (0..RECORDS).map(|number| format!("{number}:round {round} of {number}"));
    numbers.collect()
}

/// Waits until each broker leads partitions of the topic. A broker that came later is given its share with its heartbeats.
fn wait_until_all_lead(cluster: &Cluster, bootstrap: &str, brokers: &[i64]) {
    let describe = ["topic", "describe", "orders", "--json", "-b", bootstrap];
    let mut leaders = BTreeSet::new();
    for _ in 0..ASKED_MAX {
        let topic: Value = serde_json::from_str(&cluster.tool(&describe, "")).unwrap();
        let partitions = topic["partitions"].as_array().unwrap();
        leaders = partitions
            .iter()
            .filter_map(|it| it["leader"].as_i64())
            .collect();
        if leaders.iter().eq(brokers) {
            return;
        }
    }
    panic!("of the brokers {brokers:?} only {leaders:?} lead partitions");
}

/// Writes records through one broker.
fn produce(cluster: &Cluster, bootstrap: &str, records: &[String]) {
    let lines = records.join("\n") + "\n";
    cluster.tool(&["produce", "orders", "-K", ":", "-b", bootstrap], &lines);
}

/// All records, through one broker, sorted.
fn consume(cluster: &Cluster, bootstrap: &str) -> Vec<String> {
    let from = ["consume", "orders", "--from-beginning", "--exit"];
    let how = ["-f", "%k:%v\\n", "-b", bootstrap];
    let told = cluster.tool(&[&from[..], &how].concat(), "");
    let mut records: Vec<_> = told.lines().map(str::to_owned).collect();
    records.sort();
    records
}

fn sorted(rounds: std::ops::Range<usize>) -> Vec<String> {
    let mut all: Vec<_> = rounds.flat_map(records).collect();
    all.sort();
    all
}

#[test]
fn three_brokers_serve_and_two_go_on_when_one_is_killed() {
    let compose = Compose::of_this_checkout(another);
    let Some(mut cluster) = Cluster::start(compose) else {
        return;
    };
    assert!(cluster.is_healthy("postgres"));
    let names = cluster.compose.brokers();
    assert_eq!(names, ["broker-1", "broker-2", "broker-3"]);
    for name in &names {
        assert!(!cluster.is_healthy(name), "{name} does not run yet");
        cluster.start_broker(name);
        assert!(cluster.is_healthy(name), "{name}");
    }
    // The health check hears what it is told.
    let mut elsewhere = cluster.compose.service("broker-1").healthcheck.clone();
    let check = &mut elsewhere.as_mut().unwrap().test;
    check[3] = check[3].replace("/readyz", "/nowhere");
    assert!(!cluster.passes("broker-1", check));

    // What the documentation tells clients, outside and inside.
    let [first, second, third] =
        ["localhost:9092", "localhost:9093", "localhost:9094"].map(|it| cluster.address("", it));
    let inside = cluster.address("broker-3", "broker-1:19092,broker-2:19092");
    cluster.tool(
        &[
            "topic",
            "create",
            "orders",
            "--partitions",
            "12",
            "-b",
            &first,
        ],
        "",
    );
    wait_until_all_lead(&cluster, &first, &[1, 2, 3]);
    produce(&cluster, &first, &records(0));
    assert_eq!(consume(&cluster, &second), sorted(0..1));
    assert_eq!(consume(&cluster, &inside), sorted(0..1));

    cluster.kill("broker-1");
    assert!(!cluster.is_healthy("broker-1"));
    produce(&cluster, &second, &records(1));
    assert_eq!(consume(&cluster, &third), sorted(0..2));

    // As its restart policy does.
    cluster.start_broker("broker-1");
    assert!(cluster.is_healthy("broker-1"));
    assert!(
        cluster.stop("broker-2").success(),
        "docker stop ends it with 0"
    );
    produce(&cluster, &third, &records(2));
    assert_eq!(consume(&cluster, &first), sorted(0..3));

    for name in &names {
        let kept = std::fs::read_dir(cluster.data_of(name)).unwrap();
        assert_eq!(kept.count(), 0, "{name} keeps something on its machine");
    }
}

#[test]
fn brokers_wait_for_the_database_and_the_bucket() {
    let compose = Compose::of_this_checkout(|_| None);
    let condition = |service: &str, other: &str| {
        let dependency = compose.service(service).depends_on.get(other);
        dependency
            .map(|it| it.condition.clone())
            .unwrap_or_default()
    };
    for broker in compose.brokers() {
        assert_eq!(condition(&broker, "postgres"), "service_healthy");
        let made = condition(&broker, "bucket");
        assert_eq!(made, "service_completed_successfully");
    }
    assert_eq!(condition("bucket", "s3"), "service_healthy");
}

#[test]
fn only_the_database_and_the_store_keep_data_and_only_brokers_are_published() {
    let compose = Compose::of_this_checkout(|_| None);
    for (name, service) in &compose.services {
        let keeps_data = ["postgres", "s3"].contains(&name.as_str());
        assert_eq!(service.volumes.len(), usize::from(keeps_data), "{name}");
        for port in &service.ports {
            let is_ours = port.starts_with("127.0.0.1:") && name.starts_with("broker-");
            assert!(is_ours, "{name} publishes {port}");
        }
        let (_, tag) = service.image.rsplit_once(':').unwrap();
        assert_ne!(tag, "latest", "{name}");
    }
    let data = &compose.service("postgres").volumes[0];
    assert!(
        data.ends_with(":/var/lib/postgresql/data"),
        "where the image keeps it: {data}"
    );
    for name in ["postgres", "s3", "bucket"] {
        let networks = &compose.service(name).networks;
        let is_shut = networks.iter().all(|network| compose.is_internal(network));
        assert!(
            is_shut && !networks.is_empty(),
            "{name} can be reached: {networks:?}"
        );
    }
    let s3 = compose.service("s3");
    let path = s3.volumes[0].rsplit(':').next();
    assert_eq!(path, s3.command.last().map(String::as_str));
}

#[test]
fn clients_outside_and_inside_are_told_addresses_that_they_reach() {
    let compose = Compose::of_this_checkout(|_| None);
    let listener = |text: &str, name: &str| {
        let mut all = text.split(',');
        let address = all.find_map(|it| it.strip_prefix(name)?.strip_prefix("://"));
        let (host, port) = address.unwrap().rsplit_once(':').unwrap();
        (host.to_owned(), port.parse::<u16>().unwrap())
    };
    for broker in compose.brokers() {
        let service = compose.service(&broker);
        let bound = service.variable("KAFKA_LISTENERS");
        let told = service.variable("KAFKA_ADVERTISED_LISTENERS");
        let (_, inside) = listener(bound, "INSIDE");
        assert_eq!(listener(told, "INSIDE"), (broker.clone(), inside));
        assert!(service.networks.contains("clients") && !compose.is_internal("clients"));
        let (_, behind) = listener(bound, "HOST");
        let (host, outside) = listener(told, "HOST");
        assert_eq!(host, "localhost", "{broker}");
        let is_published = service.published().any(|it| it == (outside, behind));
        assert!(is_published, "{broker}: {outside} leads elsewhere");
    }
}

#[test]
fn a_broker_that_is_stopped_has_the_time_to_hand_over_and_to_answer() {
    let compose = Compose::of_this_checkout(|_| None);
    let patience = Settings::default().broker.shutdown_timeout;
    for broker in compose.brokers() {
        let service = compose.service(&broker);
        let grace = service.stop_grace_period.as_deref();
        let seconds = grace.and_then(|grace| grace.strip_suffix('s'));
        let grace = Duration::from_secs(seconds.unwrap().parse().unwrap());
        assert!(grace > patience * 2, "{broker}: {grace:?}");
    }
}

#[test]
fn brokers_have_the_image_of_the_dockerfile_and_the_password_of_the_database() {
    assert!(folder().join("Dockerfile").is_file());
    let image = Image::of_this_checkout();
    let metrics = image.variable("STREAMHOUSE_TELEMETRY__METRICS_ADDRESS");
    let (_, metrics) = metrics.and_then(|it| it.rsplit_once(':')).unwrap();
    let compose = Compose::of_this_checkout(another);
    let secret = compose.service("postgres").variable("POSTGRES_PASSWORD");
    let store = compose.service("s3");
    for broker in compose.brokers() {
        let service = compose.service(&broker);
        assert_eq!(service.image, "streamhouse:dev");
        let check = service.healthcheck.as_ref().unwrap().test.join(" ");
        assert!(check.contains(&format!("/127.0.0.1/{metrics} ")), "{check}");
        let url = service.variable("STREAMHOUSE_METADATA__URL");
        assert!(url.contains(&format!(":{secret}@")), "{broker}");
        // The S3 server of the tests lets every secret in.
        let key = service.variable("AWS_SECRET_ACCESS_KEY");
        assert_eq!(key, store.variable("ROOT_SECRET_KEY"), "{broker}");
    }
}
