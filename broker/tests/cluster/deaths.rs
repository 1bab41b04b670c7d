//! Brokers that die, stop for longer than their lease and go on, and come twice.

use std::time::Duration;

use streamhouse_protocol::messages::ProduceRequest;

use crate::audit::close;
use crate::client::{Client, is_retriable};
use crate::cluster::{BROKERS, Cluster};
use crate::group::Groups;
use crate::ledger::Written;
use crate::load::{Load, PRODUCE, batch, produce};
use crate::wait::{lasts, now, since, until};
use crate::wire::Connection;
use crate::{say, scaled};

const PARTITIONS: i32 = 6;

/// How long partitions may be without a leader after a death, at the default lease.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// Of so many zombies one is stopped for long.
const LONG_EVERY: usize = 20;
const LONG: Duration = Duration::from_secs(60);

/// A partition that a broker leads; waits until there is one.
fn led_by(client: &mut Client, topic: &str, node: i32) -> i32 {
    let (partition, _) = until("a partition of that broker", || {
        let leaders = client.leaders(topic).ok()?;
        let mut leaders = leaders.iter();
        leaders
            .find(|(_, (leader, _))| *leader == node)
            .map(|(partition, _)| *partition)
    });
    partition
}

/// Waits until nobody is told that `node` leads something.
fn until_replaced(client: &mut Client, topic: &str, node: i32, ports: &[u16]) -> Duration {
    let all = usize::try_from(PARTITIONS).unwrap();
    let ((), took) = until("others lead what it led", || {
        for port in ports {
            let (_, leaders) = client.told_by(*port, topic).ok()?;
            if leaders.len() < all || leaders.values().any(|(leader, _)| *leader == node) {
                return None;
            }
        }
        Some(())
    });
    took
}

#[test]
fn a_leader_that_is_killed_is_replaced_within_ten_seconds_and_nothing_is_lost() {
    let defaults = [
        "membership.lease=5s",
        "membership.heartbeat_interval=1500ms",
        "shared.flush_interval=250ms",
    ];
    let Some(mut cluster) = Cluster::start(&defaults) else {
        return;
    };
    cluster.create("deaths", PARTITIONS);
    let load = Load::begin(&cluster.ports, "deaths", PARTITIONS, 3);
    let groups = Groups::begin(&cluster.ports, "deaths", 4);
    for round in 0..scaled(2) {
        load.until_more(100);
        groups.until_all_commit();
        let victim = 1 + i32::try_from(round).unwrap() % BROKERS;
        led_by(&mut cluster.client(), "deaths", victim);
        cluster.take(victim).kill();
        let began = now();
        let others: Vec<u16> = cluster.running().map(|broker| broker.port).collect();
        until_replaced(&mut cluster.client(), "deaths", victim, &others);
        load.until_all_write();
        let took = since(began);
        say(&format!(
            "kill -9 of a leader: all partitions write again after {took:?}"
        ));
        assert!(took < TAKEOVER_MAX, "{took:?}");
        groups.until_all_commit();
        cluster.start_broker(victim);
        cluster.until_settled();
    }
    groups.end();
    close(&mut cluster, load);
}

#[test]
fn a_broker_that_was_stopped_for_longer_than_its_lease_never_acknowledges_as_leader() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("zombies", PARTITIONS);
    // What zombies are sent lies in a topic that nobody counts.
    cluster.create("late", PARTITIONS);
    let load = Load::begin(&cluster.ports, "zombies", PARTITIONS, 3);
    let groups = Groups::begin(&cluster.ports, "zombies", 2);
    for round in 0..scaled(5) {
        let node = 1 + i32::try_from(round).unwrap() % BROKERS;
        let is_long = round % LONG_EVERY == LONG_EVERY - 1;
        zombie(&cluster, node, if is_long { LONG } else { Duration::ZERO });
        load.until_all_write();
        groups.until_all_commit();
    }
    groups.end();
    close(&mut cluster, load);
    say(&format!(
        "{} zombies: none acknowledged anything",
        scaled(5)
    ));
}

/// Stops a broker until others lead what it led, at least for `length`, and lets it go on.
fn zombie(cluster: &Cluster, node: i32, length: Duration) {
    let mut client = cluster.client();
    let partition = led_by(&mut client, "late", node);
    led_by(&mut client, "zombies", node);
    let broker = cluster.broker(node);
    let mut late = Connection::open(broker.port).unwrap();
    let before = life(cluster, node);
    broker.pause();
    let began = now();
    let first = Written {
        producer: 99,
        sequence: 0,
    };
    let request = produce("late", vec![(partition, batch(None, first, partition))]);
    // It lies in the zombie's socket until it goes on.
    late.send(PRODUCE, &request).unwrap();
    let mut others = cluster.ports.clone();
    others.retain(|port| *port != broker.port);
    until_replaced(&mut client, "zombies", node, &others);
    until_replaced(&mut client, "late", node, &others);
    let took = since(began);
    lasts(length.saturating_sub(took));
    broker.go_on();
    // A connection that breaks says as little as an error does: both make a producer look for the leader.
    if let Ok(answer) = late.receive::<ProduceRequest>(PRODUCE) {
        let code = answer.responses[0].partition_responses[0].error_code;
        assert!(is_retriable(code), "a zombie answered {code}");
    }
    let (_, rejoined) = until("the next life of the broker", || {
        let after = life(cluster, node);
        (!after.is_empty() && after != before).then_some(())
    });
    cluster.until_settled();
    say(&format!(
        "SIGSTOP: others lead after {took:?}; it joins again {rejoined:?} after SIGCONT"
    ));
    assert!(took < TAKEOVER_MAX, "{took:?}");
}

/// The incarnation of a broker that counts as alive.
fn life(cluster: &Cluster, node: i32) -> String {
    cluster.ask(&format!(
        "SELECT encode(incarnation, 'hex') FROM {}.brokers WHERE died_ms IS NULL AND broker_id = {node}",
        cluster.schema
    ))
}

#[test]
fn a_twin_of_a_living_broker_is_refused_at_once() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("twins", PARTITIONS);
    let load = Load::begin(&cluster.ports, "twins", PARTITIONS, 1);
    for round in 0..scaled(2) {
        let node = 1 + i32::try_from(round).unwrap() % BROKERS;
        let before = life(&cluster, node);
        let mut twin = cluster.start_of(node);
        twin.port = 0;
        twin.log.set_extension("twin");
        let began = now();
        let (status, words) = twin.start().expect_err("it is refused");
        let took = since(began);
        assert_eq!(status.code(), Some(78), "{words}");
        assert!(words.contains("broker.node_id"), "{words}");
        say(&format!("a twin was refused after {took:?}"));
        assert_eq!(life(&cluster, node), before, "the first one lives");
        load.until_all_write();
    }
    close(&mut cluster, load);
}
