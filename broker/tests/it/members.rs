//! Brokers that divide the shards: takeover, handover, twins, freezing, zombies, leaving.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamhouse_broker::handlers::APIS;
use streamhouse_broker::membership::history::Seen;
use streamhouse_broker::membership::{JoinError, LifeOver};
use streamhouse_broker::network::CloseReason;
use streamhouse_metadata::ShardId;
use streamhouse_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic,
};
use streamhouse_protocol::messages::{
    CreateTopicsRequest, DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest,
    MetadataResponse,
};

use crate::bench::Client;
use crate::brokers::{Member, SHARDS, World};
use crate::list_offsets::asking;
use crate::metadata::name;
use crate::records::{base_offsets, batch, fetched, produced};
use crate::topics::create;

/// How many partitions a topic has that lies on every shard.
pub(crate) const PARTITIONS: i32 = 12;
const NOT_LEADER: i16 = 6;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

async fn described(world: &World, client: &mut Client) -> MetadataResponse {
    let request = MetadataRequest::default().with_topics(None);
    world.turning(client.call(12, &request)).await
}

/// The leader of each partition of the only topic, as a broker tells it.
async fn told_leaders(world: &World, client: &mut Client) -> BTreeMap<i32, (i32, i32)> {
    let metadata = described(world, client).await;
    let partitions = metadata
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions);
    partitions
        .map(|it| (it.partition_index, (it.leader_id.0, it.leader_epoch)))
        .collect()
}

/// Brokers 1 to `count`, each with its share.
pub(crate) async fn cluster(world: &mut World, count: i32) -> Vec<Member> {
    let mut members = Vec::new();
    for number in 1..=count {
        members.push(world.start(number).await);
    }
    let share = usize::try_from(SHARDS).unwrap() / members.len();
    world
        .until(|| {
            members
                .iter()
                .all(|member| is_settled(member, &members, share))
        })
        .await;
    members
}

/// The same, with topic `t` on every shard, which all of them have seen; and a client of the first.
pub(crate) async fn cluster_with_topic(count: i32) -> (World, Vec<Member>, Client) {
    let mut world = World::new().await;
    let members = cluster(&mut world, count).await;
    let mut client = members[0].connect();
    world.turning(create(&mut client, "t", PARTITIONS)).await;
    world.pass(secs(2)).await;
    (world, members, client)
}

/// A member with its share, which shows the shares of all.
fn is_settled(member: &Member, members: &[Member], share: usize) -> bool {
    member.led().len() == share
        && members
            .iter()
            .all(|other| member.shows(other.number) == share)
}

/// Appends to a partition as a client does: looks for the leader, and again when it is another one. How long it took.
pub(crate) async fn append(
    world: &World,
    members: &[&Member],
    index: i32,
    value: &str,
) -> Duration {
    let mut took = Duration::ZERO;
    loop {
        for member in members {
            let mut client = member.connect();
            let records = batch(&[value]);
            let answer = produced(&mut client, "t", index, &records);
            let answer = world.turning(answer).await;
            match answer.error_code {
                0 => return took,
                NOT_LEADER => {}
                other => panic!("a producer would give up after error {other}"),
            }
        }
        let pause = Duration::from_millis(50);
        world.pass(pause).await;
        took += pause;
        assert!(took < secs(60), "partition {index} has no leader");
    }
}

/// How many records a partition holds, as its leader says.
pub(crate) async fn records(world: &World, members: &[&Member], index: i32) -> usize {
    for member in members {
        let mut client = member.connect();
        let data = world.turning(fetched(&mut client, "t", index, 0)).await;
        if data.error_code == 0 {
            return base_offsets(&data).len();
        }
        assert_eq!(data.error_code, NOT_LEADER);
    }
    panic!("partition {index} has no leader");
}

#[tokio::test]
async fn shards_are_divided_evenly_and_every_broker_tells_the_same() {
    let mut world = World::new().await;
    let members = cluster(&mut world, 3).await;
    let mut clients: Vec<Client> = members.iter().map(Member::connect).collect();
    let made = create(&mut clients[0], "t", PARTITIONS);
    world.turning(made).await;
    world.pass(secs(2)).await;
    let expected = told_leaders(&world, &mut clients[0]).await;
    assert_eq!(expected.len(), 12, "the topic is seen within a heartbeat");
    let leaders: BTreeSet<i32> = expected.values().map(|(leader, _)| *leader).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]));
    for client in &mut clients {
        assert_eq!(told_leaders(&world, client).await, expected);
        let metadata = described(&world, client).await;
        let brokers: Vec<(i32, String, i32)> = metadata
            .brokers
            .iter()
            .map(|it| (it.node_id.0, it.host.to_string(), it.port))
            .collect();
        let host = |number: i32| (number, format!("broker-{number}.test"), 9092);
        assert_eq!(brokers, [host(1), host(2), host(3)]);
        assert_eq!(metadata.controller_id.0, 1);
        let request = DescribeClusterRequest::default();
        let described = world.turning(client.call(1, &request)).await;
        assert_eq!((described.brokers.len(), described.controller_id.0), (3, 1));
    }
}

#[tokio::test]
async fn replicas_may_be_placed_on_every_living_broker_and_on_no_other() {
    let mut world = World::new().await;
    let members = cluster(&mut world, 2).await;
    let mut client = members[0].connect();
    for (broker, code) in [(1, 0), (2, 0), (3, INVALID_REPLICA_ASSIGNMENT)] {
        let placed = CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(vec![broker.into()]);
        let topic = CreatableTopic::default()
            .with_name(name(&format!("t{broker}")))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![placed]);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let created = world.turning(client.call(7, &request)).await;
        assert_eq!(created.topics[0].error_code, code);
    }
}

#[tokio::test]
async fn every_broker_names_the_one_coordinator_of_a_group_and_only_that_one_takes_it() {
    let mut world = World::new().await;
    let members = cluster(&mut world, 3).await;
    for group in ["a", "b", "c", "d"] {
        let request = FindCoordinatorRequest::default().with_key(group.to_owned().into());
        let mut named = BTreeSet::new();
        for member in &members {
            let mut client = member.connect();
            let found = world.turning(client.call(3, &request)).await;
            assert_eq!(found.error_code, 0);
            named.insert((found.node_id.0, found.host.to_string()));
        }
        assert_eq!(named.len(), 1, "{named:?}");
    }
}

#[tokio::test]
async fn clients_of_another_listener_are_told_its_addresses() {
    let mut world = World::new().await;
    let members = cluster(&mut world, 2).await;
    let mut client = members[0].connect_to("INSIDE");
    let ports: Vec<i32> = described(&world, &mut client)
        .await
        .brokers
        .iter()
        .map(|it| it.port)
        .collect();
    assert_eq!(ports, [9093, 9093]);
    let mut stranger = members[0].connect_to("UNKNOWN");
    assert_eq!(described(&world, &mut stranger).await.brokers, []);
}

#[tokio::test]
async fn the_shards_of_a_dead_broker_are_led_by_others_within_ten_seconds() {
    let (world, members, mut client) = cluster_with_topic(3).await;
    let all: Vec<&Member> = members.iter().collect();
    for index in 0..PARTITIONS {
        append(&world, &all, index, "before").await;
    }
    let before = told_leaders(&world, &mut client).await;
    members[1].freeze();
    let left = [&members[0], &members[2]];
    let took = world
        .until(|| left.iter().map(|member| member.led().len()).sum::<usize>() == 12)
        .await;
    assert!(took < secs(10), "{took:?}");
    let counts: Vec<usize> = left.iter().map(|member| member.led().len()).collect();
    assert_eq!(counts, [6, 6]);
    world.pass(secs(1)).await;
    let after = told_leaders(&world, &mut client).await;
    for index in 0..PARTITIONS {
        let (was, is) = (before[&index], after[&index]);
        assert_ne!(is.0, 2);
        let expected = if was.0 == 2 { was.1 + 1 } else { was.1 };
        assert_eq!(is.1, expected, "nobody else's shard moved");
        append(&world, &left, index, "after").await;
        assert_eq!(records(&world, &left, index).await, 2);
    }
    let alone = world
        .turning(client.call(12, &MetadataRequest::default()))
        .await;
    assert_eq!(alone.brokers.len(), 2, "the dead one is told of no more");
}

#[tokio::test]
async fn a_zombie_never_answers_as_leader() {
    let (world, members, mut client) = cluster_with_topic(2).await;
    let led = told_leaders(&world, &mut client).await;
    let (index, _) = led.iter().find(|(_, (leader, _))| *leader == 2).unwrap();
    let zombie = &members[1];
    append(&world, &[zombie], *index, "before").await;
    let mut parked: Vec<Client> = (0..3).map(|_| zombie.connect()).collect();
    settle_connections(&world).await;
    zombie.freeze();
    parked[0].send(8, &asking("t", &[(*index, -1)])).await;
    parked[1].send(12, &MetadataRequest::default()).await;
    let finding = FindCoordinatorRequest::default().with_key("g".to_owned().into());
    parked[2].send(3, &finding).await;
    world.until(|| members[0].led().len() == 12).await;
    append(&world, &[&members[0]], *index, "after").await;
    zombie.thaw();
    for mut client in parked {
        assert_eq!(world.turning(client.frame()).await, None, "it says nothing");
        assert_eq!(client.closed().await, CloseReason::LeaseOver);
    }
    world.until(|| zombie.is_over().is_some()).await;
    assert_eq!(zombie.is_over(), Some(LifeOver::Dead));
    world.pass(secs(1)).await;
    assert_eq!(zombie.led(), BTreeSet::new());
    assert_eq!(records(&world, &[&members[0]], *index).await, 2);
}

/// Lets connections come to rest.
async fn settle_connections(world: &World) {
    world.pass(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_zombie_acknowledges_nothing() {
    let (world, members, mut client) = cluster_with_topic(2).await;
    let led = told_leaders(&world, &mut client).await;
    let (index, _) = led.iter().find(|(_, (leader, _))| *leader == 2).unwrap();
    let mut client = members[1].connect();
    settle_connections(&world).await;
    members[1].freeze();
    let late = crate::records::producing("t", -1, &[(*index, batch(&["late"]))]);
    let sent = client.send(crate::records::PRODUCE, &late).await;
    world.until(|| members[0].led().len() == 12).await;
    append(&world, &[&members[0]], *index, "mine").await;
    members[1].thaw();
    let answer = client
        .answer::<streamhouse_protocol::messages::ProduceRequest>(crate::records::PRODUCE, sent);
    let answer = world.turning(answer).await;
    assert_eq!(
        answer.responses[0].partition_responses[0].error_code,
        NOT_LEADER
    );
    assert_eq!(records(&world, &[&members[0]], *index).await, 1);
}

#[tokio::test]
async fn shards_with_records_are_handed_over_without_an_error_that_ends_a_producer() {
    let mut world = World::new().await;
    let first = world.start(1).await;
    world.until(|| first.led().len() == 12).await;
    let mut client = first.connect();
    world.turning(create(&mut client, "t", PARTITIONS)).await;
    for index in 0..PARTITIONS {
        append(&world, &[&first], index, "before").await;
    }
    let second = world.start(2).await;
    let both = [&first, &second];
    let mut longest = Duration::ZERO;
    let mut rounds = 0;
    while second.led().len() < 6 {
        rounds += 1;
        for index in 0..PARTITIONS {
            longest = longest.max(append(&world, &both, index, "meanwhile").await);
        }
        assert!(rounds < 200, "they are never handed over");
    }
    world.pass(secs(2)).await;
    assert!(longest < secs(1), "{longest:?} without a leader");
    let after = told_leaders(&world, &mut client).await;
    assert_eq!(after.values().filter(|(leader, _)| *leader == 2).count(), 6);
    for index in 0..PARTITIONS {
        assert_eq!(records(&world, &both, index).await, rounds + 1);
    }
    let before = world.holders().await;
    world.pass(secs(60)).await;
    assert_eq!(world.holders().await, before, "nothing moves back");
}

#[tokio::test]
async fn what_was_taken_over_stays_for_a_while_when_the_dead_broker_comes_back() {
    let (mut world, members, _client) = cluster_with_topic(2).await;
    let all: Vec<&Member> = members.iter().collect();
    for index in 0..PARTITIONS {
        append(&world, &all, index, "before").await;
    }
    world.pass(secs(20)).await;
    members[1].freeze();
    world.until(|| members[0].led().len() == 12).await;
    let again = world.start(2).await;
    world.pass(secs(10)).await;
    assert_eq!(again.led().len(), 0, "a broker that dies again and again");
    let took = world.until(|| again.led().len() == 6).await;
    assert!(took < secs(20), "{took:?}");
}

#[tokio::test]
async fn brokers_that_start_one_after_the_other_share_what_was_written_at_once() {
    let mut world = World::new().await;
    let first = world.start(1).await;
    world.until(|| first.led().len() == 12).await;
    let mut client = first.connect();
    world.turning(create(&mut client, "t", PARTITIONS)).await;
    for index in 0..PARTITIONS {
        append(&world, &[&first], index, "before").await;
    }
    let others = [world.start(2).await, world.start(3).await];
    let has_its_share = |member: &Member| member.led().len() == 4;
    let took = world
        .until(|| others.iter().all(has_its_share) && has_its_share(&first))
        .await;
    assert!(took < secs(5), "{took:?}");
}

#[tokio::test]
async fn shards_that_were_never_written_move_at_once() {
    let mut world = World::new().await;
    let first = world.start(1).await;
    world.until(|| first.led().len() == 12).await;
    let second = world.start(2).await;
    let took = world.until(|| second.led().len() == 6).await;
    assert!(took < secs(10), "{took:?}");
}

#[tokio::test]
async fn a_twin_that_lives_is_refused_and_one_that_was_killed_is_waited_for() {
    let mut world = World::new().await;
    let first = world.start(1).await;
    let refused = world.try_start(1, Seen::default()).await;
    let error = refused.map(|_| ()).unwrap_err();
    assert!(matches!(error, JoinError::Twin { .. }), "{error}");
    assert!(error.to_string().contains("broker.node_id"), "{error}");
    world.pass(secs(2)).await;
    assert_eq!(first.is_over(), None);
    first.freeze();
    let second = world.start(1).await;
    let took = world.until(|| second.led().len() == 12).await;
    assert!(
        took < secs(1),
        "the life before it is known to be dead: {took:?}"
    );
}

#[tokio::test]
async fn answers_wait_while_the_lease_is_over_and_go_out_when_it_is_renewed() {
    let mut world = World::new().await;
    let member = world.start(1).await;
    world.until(|| member.led().len() == 12).await;
    let mut client = member.connect();
    world.turning(create(&mut client, "t", PARTITIONS)).await;
    let before = world.holders().await;
    member.hold_heartbeats();
    world.pass(secs(6)).await;
    assert!(!member.membership.lease().holds());
    assert_eq!(member.membership.reasons().len(), 1);
    let sent = client.send(8, &asking("t", &[(0, -1)])).await;
    world.pass(secs(1)).await;
    member.thaw();
    let answer = client.answer::<streamhouse_protocol::messages::ListOffsetsRequest>(8, sent);
    let answer = world.turning(answer).await;
    assert_eq!(answer.topics[0].partitions[0].offset, 0);
    assert_eq!(member.membership.reasons(), Vec::<String>::new());
    // Longer than an answer waits.
    member.hold_heartbeats();
    world.pass(secs(6)).await;
    client.send(8, &asking("t", &[(0, -1)])).await;
    assert_eq!(world.turning(client.frame()).await, None);
    assert_eq!(client.closed().await, CloseReason::LeaseOver);
    member.thaw();
    world.pass(secs(2)).await;
    assert_eq!(member.is_over(), None, "nobody declared it dead");
    assert_eq!(world.holders().await, before, "it leads what it led");
    append(&world, &[&member], 0, "after").await;
}

#[tokio::test]
async fn a_broker_that_leaves_records_everything_and_others_take_over_at_once() {
    let (world, members, _client) = cluster_with_topic(2).await;
    let all: Vec<&Member> = members.iter().collect();
    for index in 0..PARTITIONS {
        append(&world, &all, index, "before").await;
    }
    world.turning(members[1].membership.leave(secs(5))).await;
    assert_eq!(members[1].is_over(), Some(LifeOver::Left));
    assert_eq!(members[1].led(), BTreeSet::new());
    let took = world.until(|| members[0].led().len() == 12).await;
    assert!(took < secs(1), "{took:?}");
    for index in 0..PARTITIONS {
        assert_eq!(records(&world, &[&members[0]], index).await, 1);
    }
}

#[tokio::test]
async fn brokers_that_were_all_cut_off_do_not_take_from_each_other() {
    let mut world = World::new().await;
    let members = cluster(&mut world, 3).await;
    let before = world.holders().await;
    for member in &members {
        member.hold_heartbeats();
    }
    world.pass(secs(8)).await;
    for member in &members {
        assert!(!member.membership.lease().holds());
        member.thaw();
        // The first ones are back while the leases of the others are still over.
        world.pass(secs(1)).await;
    }
    world.pass(secs(10)).await;
    assert_eq!(world.holders().await, before);
    let led: usize = members.iter().map(|member| member.led().len()).sum();
    assert_eq!(led, 12);
}

#[tokio::test]
async fn brokers_that_race_for_a_shard_never_both_lead_it() {
    let mut world = World::new().await;
    let mut members = cluster(&mut world, 3).await;
    for round in 0..6 {
        let victim = round % 3;
        members[victim].freeze();
        world.pass(secs(7)).await;
        assert_each_led_once(&world, &members, victim).await;
        members[victim].thaw();
        world.pass(secs(1)).await;
        let number = members[victim].number;
        members[victim] = world.start(number).await;
        world.pass(Duration::from_millis(300)).await;
        assert_each_led_once(&world, &members, 9).await;
    }
}

/// No shard is led twice, and who leads one holds it; broker `except` does not count.
async fn assert_each_led_once(world: &World, members: &[Member], except: usize) {
    let holders = world.holders().await;
    let mut led: BTreeMap<ShardId, i32> = BTreeMap::new();
    for (_, member) in members
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != except)
    {
        for (shard, epoch) in member.log.led() {
            assert_eq!(
                led.insert(shard, member.number),
                None,
                "{shard} is led twice"
            );
            assert_eq!(holders[&shard].1, epoch.0);
        }
    }
}

#[test]
fn only_answers_that_cannot_become_untrue_go_out_without_a_lease() {
    let unbound = APIS.iter().filter(|api| !api.is_under_lease);
    let names: Vec<&str> = unbound.map(|api| api.name).collect();
    // Writes whose commits are fenced or made by the database alone, and facts that every broker has.
    let expected = [
        "Produce",
        "ApiVersions",
        "CreateTopics",
        "DeleteTopics",
        "InitProducerId",
        "DescribeAcls",
        "CreateAcls",
        "DeleteAcls",
        "DescribeConfigs",
        "AlterConfigs",
        "DescribeLogDirs",
        "CreatePartitions",
        "IncrementalAlterConfigs",
        "ListPartitionReassignments",
        "ListConfigResources",
    ];
    assert_eq!(names, expected);
}
