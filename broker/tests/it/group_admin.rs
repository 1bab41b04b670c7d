//! Groups and offsets that administrators remove.

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use streamhouse_protocol::messages::*;

use crate::bench::{Bench, Client};
use crate::groups::{commit, fetch, group, join, joined, synced};
use crate::metadata::name;
use crate::topics::create;

fn delete(groups: &[&str]) -> DeleteGroupsRequest {
    let groups = groups.iter().map(|id| group(id));
    DeleteGroupsRequest::default().with_groups_names(groups.collect())
}

fn forget(partitions: &[(&str, i32)]) -> OffsetDeleteRequest {
    let topics = partitions.iter().map(|(topic, index)| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(*index);
        OffsetDeleteRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![partition])
    });
    OffsetDeleteRequest::default()
        .with_group_id(group("g"))
        .with_topics(topics.collect())
}

async fn offset(client: &mut Client, topic: &str) -> i64 {
    let fetched = client.call(7, &fetch(topic, &[0])).await;
    fetched.topics[0].partitions[0].committed_offset
}

#[tokio::test]
async fn groups_are_deleted_one_by_one_each_with_its_code() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    for version in 0..=2 {
        let nobody = StrBytes::default();
        let old = commit(&nobody, -1, &[("t", 0)]).with_group_id(group("old"));
        assert_eq!(
            client.call(8, &old).await.topics[0].partitions[0].error_code,
            0
        );
        let member = joined(&mut client, 3).await;
        let request = delete(&["old", "g", "unknown", "old"]);
        let deleted = client.call(version, &request).await;
        let results: Vec<(&str, i16)> = deleted
            .results
            .iter()
            .map(|one| (&**one.group_id, one.error_code))
            .collect();
        assert_eq!(
            results,
            [("old", 0), ("g", 68), ("unknown", 69)],
            "v{version}"
        );
        let leave = LeaveGroupRequest::default()
            .with_group_id(group("g"))
            .with_member_id(member.member_id);
        assert_eq!(client.call(2, &leave).await.error_code, 0);
        let deleted = client.call(version, &delete(&["g"])).await;
        assert_eq!(deleted.results[0].error_code, 0);
        let listed = client.call(5, &ListGroupsRequest::default()).await;
        assert_eq!(listed.groups, []);
    }
}

#[tokio::test]
async fn offsets_are_deleted_one_by_one_each_with_its_code() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    create(&mut client, "u", 1).await;
    let request = forget(&[("t", 0)]);
    assert_eq!(client.call(0, &request).await.error_code, 69);
    let unnamed = forget(&[("t", 0)]).with_group_id(group(""));
    assert_eq!(client.call(0, &unnamed).await.error_code, 24);
    let nobody = StrBytes::default();
    client
        .call(8, &commit(&nobody, -1, &[("t", 0), ("u", 0)]))
        .await;
    let request = forget(&[("missing", 0), ("t", 0), ("t", 1), ("t", -1)]);
    let deleted = client.call(0, &request).await;
    assert_eq!(deleted.error_code, 0);
    let codes: Vec<i16> = deleted
        .topics
        .iter()
        .map(|topic| topic.partitions[0].error_code)
        .collect();
    assert_eq!(codes, [3, 0, 3, 3]);
    assert_eq!(offset(&mut client, "t").await, -1);
    assert_eq!(offset(&mut client, "u").await, 42);
}

#[tokio::test]
async fn offsets_of_what_a_consumer_reads_are_kept() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    let nobody = StrBytes::default();
    client.call(8, &commit(&nobody, -1, &[("t", 0)])).await;
    // What this member says of its subscription cannot be read, so it may read anything.
    let member = joined(&mut client, 3).await;
    synced(&mut client, 3, &member).await;
    let deleted = client.call(0, &forget(&[("t", 0)])).await;
    assert_eq!(deleted.topics[0].partitions[0].error_code, 86);
    assert_eq!(offset(&mut client, "t").await, 42);
}

#[tokio::test]
async fn what_may_be_done_to_a_group_is_shown_when_asked_for() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    joined(&mut client, 3).await;
    for version in 3..=6 {
        for asks in [false, true] {
            let request = DescribeGroupsRequest::default()
                .with_groups(vec![group("g")])
                .with_include_authorized_operations(asks);
            let described = client.call(version, &request).await;
            // Read, delete, describe, describe configs and alter configs, each the bit of its number.
            let all = (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11);
            let expected = if asks { all } else { i32::MIN };
            assert_eq!(described.groups[0].authorized_operations, expected);
        }
    }
}

#[tokio::test]
async fn groups_without_a_name_or_with_a_hostile_one_get_kafkas_codes() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    let nobody = StrBytes::default();
    let commit_to = |id: &str| commit(&nobody, -1, &[("t", 0)]).with_group_id(group(id));
    // The empty id is legal for offsets of simple consumers only.
    let committed = client.call(8, &commit_to("")).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let heartbeat = HeartbeatRequest::default().with_group_id(group(""));
    assert_eq!(client.call(4, &heartbeat).await.error_code, 24);
    let sync = SyncGroupRequest::default().with_group_id(group(""));
    assert_eq!(client.call(4, &sync).await.error_code, 24);
    let leave = LeaveGroupRequest::default().with_group_id(group(""));
    assert_eq!(client.call(5, &leave).await.error_code, 24);
    let deleted = client.call(2, &delete(&[""])).await;
    assert_eq!(deleted.results[0].error_code, 0);

    let endless = "g".repeat(30_000);
    let committed = client.call(8, &commit_to(&endless)).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 24);
    let request = join(&nobody).with_group_id(group(&endless));
    assert_eq!(client.call(9, &request).await.error_code, 24);
    let described = DescribeGroupsRequest::default().with_groups(vec![group(&endless)]);
    assert_eq!(client.call(6, &described).await.groups[0].error_code, 69);
    for hostile in ["\0", "\n", "../../x", "\u{202e}g", "\"}"] {
        let committed = client.call(8, &commit_to(hostile)).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);
        let request = fetch("t", &[0]).with_group_id(group(hostile));
        let fetched = client.call(7, &request).await;
        assert_eq!(fetched.topics[0].partitions[0].committed_offset, 42);
    }
}
