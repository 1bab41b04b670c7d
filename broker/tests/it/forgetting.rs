//! A database that lost what it had said, because a replica took over: every broker that saw more stops, and whoever lost
//! nothing goes on.

use std::collections::BTreeSet;

use crate::brokers::{Member, World};
use crate::members::{PARTITIONS, append, cluster, cluster_with_topic, records, secs};
use crate::records::{batch, produced};
use crate::topics::create;

const NOT_LEADER: i16 = 6;

#[tokio::test]
async fn a_database_that_forgot_a_topic_stops_every_broker_that_saw_it() {
    let mut world = World::new().await;
    let members = cluster(&mut world, 2).await;
    let replica = world.store.copy();
    let mut client = members[0].connect();
    world.turning(create(&mut client, "t", PARTITIONS)).await;
    world.pass(secs(2)).await;
    world.store.fail_over(&replica);
    world.pass(secs(3)).await;
    for member in &members {
        let reasons = member.membership.reasons();
        assert!(reasons[0].contains("metadata_regression"), "{reasons:?}");
        assert!(reasons[0].contains("revision"), "{reasons:?}");
        assert_eq!(member.led(), BTreeSet::new());
        assert_eq!(member.is_over(), None);
        let mut client = member.connect();
        let records = batch(&["lost"]);
        let refused = produced(&mut client, "t", 0, &records);
        let refused = world.turning(refused).await;
        assert_eq!(
            refused.error_code, NOT_LEADER,
            "a code that producers try again"
        );
    }
    let stopped = world.holders().await;
    world.pass(secs(60)).await;
    assert_eq!(
        world.holders().await,
        stopped,
        "nobody goes on from what is left"
    );
}

#[tokio::test]
async fn a_database_that_forgot_manifests_stops_the_brokers_that_wrote_them() {
    let (world, members, _client) = cluster_with_topic(2).await;
    let replica = world.store.copy();
    let all: Vec<&Member> = members.iter().collect();
    for index in 0..PARTITIONS {
        append(&world, &all, index, "acknowledged").await;
    }
    world.store.fail_over(&replica);
    world.pass(secs(3)).await;
    for member in &members {
        let reasons = member.membership.reasons();
        assert!(reasons[0].contains("manifests"), "{reasons:?}");
        let mut client = member.connect();
        let records = batch(&["on top"]);
        let refused = produced(&mut client, "t", 0, &records);
        assert_eq!(world.turning(refused).await.error_code, NOT_LEADER);
    }
}

#[tokio::test]
async fn a_server_that_took_over_without_a_loss_changes_nothing() {
    let (world, members, _client) = cluster_with_topic(2).await;
    let all: Vec<&Member> = members.iter().collect();
    append(&world, &all, 0, "before").await;
    let before = world.holders().await;
    let replica = world.store.copy();
    world.store.fail_over(&replica);
    world.pass(secs(10)).await;
    assert_eq!(world.holders().await, before);
    append(&world, &all, 0, "after").await;
    assert_eq!(records(&world, &all, 0).await, 2);
}

#[tokio::test]
async fn a_life_that_begins_after_a_loss_remembers_what_the_one_before_it_saw() {
    let mut world = World::new().await;
    let first = world.start(1).await;
    world.until(|| first.led().len() == 12).await;
    let replica = world.store.copy();
    let mut client = first.connect();
    world.turning(create(&mut client, "t", PARTITIONS)).await;
    world.pass(secs(2)).await;
    first.freeze();
    let seen = first.membership.seen();
    world.store.fail_over(&replica);
    let second = world.try_start(1, seen).await.unwrap();
    world.pass(secs(3)).await;
    assert!(second.membership.reasons()[0].contains("metadata_regression"));
    assert_eq!(second.led(), BTreeSet::new());
}
