//! Groups of the consumer protocol (KIP-848), as a client lives in them.

use std::sync::Arc;

use bytes::Bytes;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use streamhouse_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use streamhouse_protocol::messages::*;

use crate::bench::{Bench, Client, Wanted};
use crate::groups::{commit, group, join, text};
use crate::metadata::name;
use crate::topics::create;

pub(crate) fn join_with(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    let names = topics.iter().map(|topic| name(topic)).collect();
    beat(member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(names))
        .with_topic_partitions(Some(Vec::new()))
}

pub(crate) fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

/// The partitions of the only topic in an answer.
pub(crate) fn assigned(response: &ConsumerGroupHeartbeatResponse) -> Vec<i32> {
    let assignment = response.assignment.as_ref().unwrap();
    let topics = assignment.topic_partitions.iter();
    topics.flat_map(|topic| topic.partitions.clone()).collect()
}

async fn describe(
    client: &mut Client,
    version: i16,
) -> consumer_group_describe_response::DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group("g")]);
    client.call(version, &request).await.groups.remove(0)
}

#[tokio::test]
async fn two_consumers_share_a_topic() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 4).await;
    let first = client.call(1, &join_with("m", &["t"])).await;
    assert_eq!((first.error_code, first.member_epoch), (0, 1));
    assert_eq!(first.heartbeat_interval_ms, 5_000);
    assert_eq!(assigned(&first), [0, 1, 2, 3]);
    let topic = first
        .assignment
        .unwrap()
        .topic_partitions
        .remove(0)
        .topic_id;
    let second = client.call(1, &join_with("n", &["t"])).await;
    assert_eq!((second.member_epoch, assigned(&second)), (2, vec![]));
    let told = client.call(1, &beat("m", 1)).await;
    assert_eq!((told.member_epoch, assigned(&told)), (1, vec![0, 1]));
    let owned = TopicPartitions::default()
        .with_topic_id(topic)
        .with_partitions(vec![0, 1]);
    let done = beat("m", 1).with_topic_partitions(Some(vec![owned]));
    let done = client.call(1, &done).await;
    assert_eq!((done.member_epoch, done.assignment), (2, None));
    let got = client.call(1, &beat("n", 2)).await;
    assert_eq!(assigned(&got), [2, 3]);
    for version in 0..=1 {
        let described = describe(&mut client, version).await;
        assert_eq!(described.group_state, text("Stable"));
        assert_eq!((described.group_epoch, described.assignment_epoch), (2, 2));
        assert_eq!(described.assignor_name, text("uniform"));
        let member = &described.members[0];
        assert_eq!((member.member_epoch, &member.client_id), (2, &text("it")));
        assert_eq!(member.assignment.topic_partitions[0].topic_name, name("t"));
        assert_eq!(member.assignment.topic_partitions[0].partitions, [0, 1]);
        assert_eq!(member.member_type, if version == 0 { -1 } else { 1 });
    }
    assert_eq!(client.call(1, &beat("n", -1)).await.member_epoch, -1);
}

#[tokio::test]
async fn before_version_one_the_coordinator_names_the_member() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    let joined = client.call(0, &join_with("", &["t"])).await;
    assert_eq!(joined.error_code, 0);
    assert!(!joined.member_id.unwrap().is_empty());
    assert_eq!(client.call(1, &join_with("", &["t"])).await.error_code, 42);
}

#[tokio::test]
async fn refusals_have_kafkas_codes() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    assert_eq!(client.call(1, &beat("m", 3)).await.error_code, 69);
    client.call(1, &join_with("m", &["t"])).await;
    assert_eq!(client.call(1, &beat("m", 3)).await.error_code, 110);
    assert_eq!(client.call(1, &beat("x", 1)).await.error_code, 25);
    let assignor = join_with("n", &["t"]).with_server_assignor(Some(text("mine")));
    assert_eq!(client.call(1, &assignor).await.error_code, 112);
    let regex = join_with("n", &[]).with_subscribed_topic_regex(Some(text("(")));
    let refused = client.call(1, &regex).await;
    assert_eq!(refused.error_code, 128);
    assert!(
        refused
            .error_message
            .unwrap()
            .contains("not a valid regular expression")
    );
    let holder = join_with("s", &["t"]).with_instance_id(Some(text("i")));
    client.call(1, &holder).await;
    let taken = join_with("s2", &["t"]).with_instance_id(Some(text("i")));
    assert_eq!(client.call(1, &taken).await.error_code, 111);
    let fenced = beat("s2", 1).with_instance_id(Some(text("i")));
    assert_eq!(client.call(1, &fenced).await.error_code, 82);
    let joined = client.call(3, &join(&text(""))).await;
    assert_eq!(joined.error_code, 23);
}

#[tokio::test]
async fn members_commit_and_fetch_by_epoch_and_tools_see_the_type() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    client.call(1, &join_with("m", &["t"])).await;
    let commit = |epoch| commit(&text("m"), epoch, &[("t", 0)]);
    let code = |response: OffsetCommitResponse| response.topics[0].partitions[0].error_code;
    assert_eq!(code(client.call(9, &commit(1)).await), 0);
    assert_eq!(code(client.call(9, &commit(2)).await), 113);
    assert_eq!(code(client.call(8, &commit(1)).await), 35);
    let topics = OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let asked = |member: Option<&str>, epoch| {
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group("g"))
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(vec![topics.clone()]));
        OffsetFetchRequest::default().with_groups(vec![asked])
    };
    for (member, epoch, expected) in [
        (None, -1, 0),
        (Some("m"), 1, 0),
        (Some("m"), 2, 113),
        (Some("x"), 1, 25),
    ] {
        let fetched = client.call(9, &asked(member, epoch)).await.groups.remove(0);
        assert_eq!(fetched.error_code, expected);
        if expected == 0 {
            assert_eq!(fetched.topics[0].partitions[0].committed_offset, 42);
        }
    }
    for (filter, expected) in [("Consumer", 1), ("classic", 0)] {
        let request = ListGroupsRequest::default().with_types_filter(vec![text(filter)]);
        let listed = client.call(5, &request).await.groups;
        assert_eq!(listed.len(), expected);
        if let Some(one) = listed.first() {
            assert_eq!(
                (&one.group_type, &one.group_state),
                (&text("consumer"), &text("Stable"))
            );
            assert_eq!(one.protocol_type, text("consumer"));
        }
    }
    let described = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    assert_eq!(client.call(6, &described).await.groups[0].error_code, 69);
    assert_eq!(
        client.call(5, &described).await.groups[0].group_state,
        text("Dead")
    );
    let deleted = DeleteGroupsRequest::default().with_groups_names(vec![group("g")]);
    assert_eq!(client.call(2, &deleted).await.results[0].error_code, 68);
    client.call(1, &beat("m", -1)).await;
    assert_eq!(client.call(2, &deleted).await.results[0].error_code, 0);
    assert_eq!(describe(&mut client, 1).await.error_code, 69);
}

#[tokio::test]
async fn who_may_do_nothing_hears_so() {
    let authorizer = Arc::new(streamhouse_broker::security::DenyAll);
    let bench = Bench::with(Wanted {
        authorizer,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    assert_eq!(client.call(1, &join_with("m", &["t"])).await.error_code, 30);
    assert_eq!(describe(&mut client, 1).await.error_code, 30);
}

/// A subscription to topic `t`, as consumers of the classic protocol write it.
fn classic_join(member: &StrBytes) -> JoinGroupRequest {
    let mut request = join(member);
    request.protocols[0].metadata =
        Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0");
    request
}

/// SyncGroup; `assigned` is what a leader gives itself.
async fn classic_sync(
    client: &mut Client,
    joined: &JoinGroupResponse,
    assigned: &'static [u8],
) -> Bytes {
    let line = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(assigned));
    let request = SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(vec![line]);
    let response = client.call(5, &request).await;
    assert_eq!(response.error_code, 0);
    response.assignment
}

async fn classic_beat(client: &mut Client, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    client.call(4, &request).await.error_code
}

async fn type_of_group(client: &mut Client) -> StrBytes {
    let listed = client.call(5, &ListGroupsRequest::default()).await.groups;
    listed[0].group_type.clone()
}

#[tokio::test]
async fn a_group_changes_its_protocol_while_members_are_in_it() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 2).await;
    let both = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff";
    let one = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";
    let id = client.call(9, &classic_join(&text(""))).await.member_id;
    let joined = client.call(9, &classic_join(&id)).await;
    // Until everybody has an assignment nobody knows who reads what.
    let early = client.call(1, &join_with("m", &["t"])).await;
    assert_eq!(early.error_code, 15);
    assert_eq!(classic_sync(&mut client, &joined, both).await, &both[..]);

    let newcomer = client.call(1, &join_with("m", &["t"])).await;
    assert_eq!((newcomer.error_code, newcomer.member_epoch), (0, 2));
    assert_eq!(assigned(&newcomer), Vec::<i32>::new());
    assert_eq!(type_of_group(&mut client).await, text("consumer"));
    assert_eq!(classic_beat(&mut client, &joined).await, 27);
    let joined = client.call(9, &classic_join(&id)).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 2));
    assert_eq!(joined.leader, text(""));
    assert_eq!(classic_sync(&mut client, &joined, b"").await, &one[..]);
    assert_eq!(classic_beat(&mut client, &joined).await, 0);
    assert_eq!(assigned(&client.call(1, &beat("m", 2)).await), [1]);
    let described = describe(&mut client, 1).await;
    let kinds = described.members.iter();
    let mut kinds: Vec<i8> = kinds.map(|member| member.member_type).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [0, 1]);
    let commit = commit(&id, 2, &[("t", 0)]);
    let committed = client.call(8, &commit).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);

    client.call(1, &beat("m", -1)).await;
    assert_eq!(type_of_group(&mut client).await, text("classic"));
    let joined = client.call(9, &classic_join(&id)).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 4));
    assert_eq!(joined.leader, id);
    assert_eq!(classic_sync(&mut client, &joined, both).await, &both[..]);
}
