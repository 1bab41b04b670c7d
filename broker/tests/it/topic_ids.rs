//! Topics by id (KIP-516): a topic that was deleted and made again is another one to who knew the first.

use std::time::Duration;

use streamhouse_protocol::messages::fetch_request::FetchTopic;
use streamhouse_protocol::messages::metadata_request::MetadataRequestTopic;
use streamhouse_protocol::messages::*;
use uuid::Uuid;

use crate::bench::{Bench, Client};
use crate::brokers::World;
use crate::metadata::name;
use crate::records::{base_offsets, batch, fetching, only, producing, wanted};
use crate::topics::{create, delete};

const NOT_LEADER: i16 = 6;
const UNKNOWN_TOPIC: i16 = 3;
const UNKNOWN_TOPIC_ID: i16 = 100;

const PRODUCE: std::ops::RangeInclusive<i16> = 13..=13;
const FETCH: std::ops::RangeInclusive<i16> = 13..=18;

async fn id_of(client: &mut Client, topic: &str) -> Uuid {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    client.call(13, &request).await.topics[0].topic_id
}

fn producing_to(id: Uuid, index: i32, value: &str) -> ProduceRequest {
    let mut request = producing("", -1, &[(index, batch(&[value]))]);
    request.topic_data[0].topic_id = id;
    request
}

fn fetching_from(id: Uuid, index: i32, offset: i64) -> FetchRequest {
    let mut request = fetching("", Vec::new());
    request.topics = vec![
        FetchTopic::default()
            .with_topic_id(id)
            .with_partitions(vec![wanted(index, offset)]),
    ];
    request
}

#[tokio::test]
async fn records_are_written_and_read_by_topic_id() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let id = id_of(&mut client, "a").await;
    for version in PRODUCE {
        let answer = client.call(version, &producing_to(id, 0, "v")).await;
        assert_eq!(answer.responses[0].topic_id, id);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        let answer = client.call(version, &producing_to(id, 1, "v")).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, UNKNOWN_TOPIC);
    }
    for version in FETCH {
        let answer = client.call(version, &fetching_from(id, 0, 0)).await;
        assert_eq!(answer.responses[0].topic_id, id);
        assert_eq!(base_offsets(&only(answer)), [0]);
    }
}

#[tokio::test]
async fn a_topic_that_was_made_again_is_another_one() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let first = id_of(&mut client, "a").await;
    client.call(13, &producing_to(first, 0, "old")).await;
    delete(&mut client, "a").await;
    create(&mut client, "a", 1).await;
    let second = id_of(&mut client, "a").await;
    assert_ne!(first, second);
    for id in [first, Uuid::nil(), Uuid::from_u128(5)] {
        let answer = client.call(13, &producing_to(id, 0, "late")).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, UNKNOWN_TOPIC_ID);
        for version in FETCH {
            let answer = client.call(version, &fetching_from(id, 0, 0)).await;
            assert_eq!(answer.responses[0].topic_id, id);
            assert_eq!(only(answer).error_code, UNKNOWN_TOPIC_ID);
        }
    }
    let answer = client.call(13, &fetching_from(second, 0, 0)).await;
    let partition = only(answer);
    assert_eq!((partition.error_code, partition.high_watermark), (0, 0));
}

#[tokio::test]
async fn who_asks_the_wrong_broker_is_told_the_right_one() {
    let mut world = World::new().await;
    let members = [world.start(1).await, world.start(2).await];
    let settled = || members.iter().all(|member| !member.led().is_empty());
    world.until(settled).await;
    let mut clients = [members[0].connect(), members[1].connect()];
    world.turning(create(&mut clients[0], "a", 12)).await;
    world.pass(Duration::from_secs(3)).await;
    let id = world.turning(id_of(&mut clients[1], "a")).await;
    let topic = MetadataRequestTopic::default().with_name(Some(name("a")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let metadata = world.turning(clients[0].call(13, &request)).await;
    let mut hints = 0;
    for partition in &metadata.topics[0].partitions {
        let index = partition.partition_index;
        let leader = (partition.leader_id, partition.leader_epoch);
        for (client, number) in clients.iter_mut().zip(1..) {
            if leader.0 == BrokerId(number) {
                continue;
            }
            hints += 1;
            let request = producing_to(id, index, "v");
            let produced = world.turning(client.call(13, &request)).await;
            let refused = &produced.responses[0].partition_responses[0];
            assert_eq!(refused.error_code, NOT_LEADER);
            let told = &refused.current_leader;
            assert_eq!((told.leader_id, told.leader_epoch), leader);
            assert_eq!(produced.node_endpoints.len(), 1);
            assert_eq!(produced.node_endpoints[0].node_id, leader.0);
            for version in [15, 16, 18] {
                let request = fetching_from(id, index, 0);
                let fetched = world.turning(client.call(version, &request)).await;
                let endpoints: Vec<BrokerId> =
                    fetched.node_endpoints.iter().map(|it| it.node_id).collect();
                let refused = only(fetched);
                assert_eq!(refused.error_code, NOT_LEADER);
                let told = &refused.current_leader;
                if version < 16 {
                    assert_eq!((told.leader_id, endpoints), (BrokerId(-1), vec![]));
                } else {
                    assert_eq!((told.leader_id, told.leader_epoch), leader);
                    assert_eq!(endpoints, [leader.0]);
                }
            }
        }
    }
    assert_eq!(hints, 12);
}
