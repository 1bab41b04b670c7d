//! Groups as a consumer lives in them.

use bytes::Bytes;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use streamhouse_protocol::messages::leave_group_request::MemberIdentity;
use streamhouse_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use streamhouse_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use streamhouse_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use streamhouse_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};

use crate::bench::{BROKER, Bench, Client, settle};
use crate::metadata::name;
use crate::topics::create;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

pub(crate) fn join(member: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"subscription"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Rebalance timeouts exist since version 1.
fn join_in(version: i16, member: &StrBytes) -> JoinGroupRequest {
    let request = join(member);
    if version == 0 {
        request.with_rebalance_timeout_ms(-1)
    } else {
        request
    }
}

/// Joins alone, as a client of `version` does.
pub(crate) async fn joined(client: &mut Client, version: i16) -> JoinGroupResponse {
    let first = client
        .call(version, &join_in(version, &StrBytes::default()))
        .await;
    if version < 4 {
        return first;
    }
    assert_eq!(first.error_code, 79);
    assert!(
        first.member_id.starts_with("it-"),
        "{}",
        first.member_id.as_str()
    );
    client
        .call(version, &join_in(version, &first.member_id))
        .await
}

pub(crate) async fn synced(client: &mut Client, version: i16, joined: &JoinGroupResponse) -> Bytes {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"partitions"));
    let mut request = SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request = request
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")));
    }
    let response = client.call(version, &request).await;
    assert_eq!(response.error_code, 0);
    response.assignment
}

pub(crate) fn beat(joined: &JoinGroupResponse, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(generation)
        .with_member_id(joined.member_id.clone())
}

pub(crate) fn commit(
    member: &StrBytes,
    generation: i32,
    partitions: &[(&str, i32)],
) -> OffsetCommitRequest {
    let topics = partitions.iter().map(|(topic, index)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(42)
            .with_committed_metadata(Some(text("note")));
        OffsetCommitRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![partition])
    });
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_member_id(member.clone())
        .with_generation_id_or_member_epoch(generation)
        .with_topics(topics.collect())
}

pub(crate) fn fetch(topic: &str, indexes: &[i32]) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(name(topic))
        .with_partition_indexes(indexes.to_vec());
    OffsetFetchRequest::default()
        .with_group_id(group("g"))
        .with_topics(Some(vec![topic]))
}

#[tokio::test]
async fn a_member_joins_syncs_beats_and_leaves_in_every_version() {
    for version in 0..=9 {
        let bench = Bench::new().await;
        let mut client = bench.connect();
        let joined = joined(&mut client, version).await;
        assert_eq!(
            (joined.error_code, joined.generation_id),
            (0, 1),
            "v{version}"
        );
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.members.len(), 1);
        assert_eq!(
            joined.members[0].metadata,
            Bytes::from_static(b"subscription")
        );
        let assignment = synced(&mut client, version.min(5), &joined).await;
        assert_eq!(assignment, Bytes::from_static(b"partitions"));
        let beat_version = version.min(4);
        assert_eq!(
            client
                .call(beat_version, &beat(&joined, 1))
                .await
                .error_code,
            0
        );
        assert_eq!(
            client
                .call(beat_version, &beat(&joined, 5))
                .await
                .error_code,
            22
        );
        let leave_version = version.min(5);
        let leave = LeaveGroupRequest::default().with_group_id(group("g"));
        let leave = if leave_version >= 3 {
            let member = MemberIdentity::default().with_member_id(joined.member_id.clone());
            leave.with_members(vec![member])
        } else {
            leave.with_member_id(joined.member_id.clone())
        };
        let left = client.call(leave_version, &leave).await;
        assert_eq!(left.error_code, 0);
        let again = client.call(leave_version, &leave).await;
        let code = again
            .members
            .first()
            .map_or(again.error_code, |member| member.error_code);
        assert_eq!(code, 25, "v{version}");
        assert_eq!(
            client
                .call(beat_version, &beat(&joined, 1))
                .await
                .error_code,
            25
        );
    }
}

#[tokio::test]
async fn a_heartbeat_behind_a_parked_join_is_not_held_up_for_others() {
    let bench = Bench::new().await;
    let (mut one, mut two) = (bench.connect(), bench.connect());
    let first = joined(&mut one, 5).await;
    synced(&mut one, 3, &first).await;
    // The second member's join parks until the first one joins again.
    let id = two.call(5, &join(&StrBytes::default())).await.member_id;
    let parked = two.send(5, &join(&id)).await;
    settle().await;
    assert_eq!(one.call(3, &beat(&first, 1)).await.error_code, 27);
    let rejoined = one.call(5, &join(&first.member_id)).await;
    assert_eq!(rejoined.generation_id, 2);
    let second = two.answer::<JoinGroupRequest>(5, parked).await;
    assert_eq!((second.error_code, second.generation_id), (0, 2));
    assert_eq!(
        rejoined.members.len() + second.members.len(),
        2,
        "only the leader sees members"
    );
}

#[tokio::test]
async fn requests_of_groups_that_make_no_sense_get_kafkas_codes() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let no_name = join(&StrBytes::default()).with_group_id(group(""));
    assert_eq!(client.call(9, &no_name).await.error_code, 24);
    let short = join(&StrBytes::default()).with_session_timeout_ms(10);
    assert_eq!(client.call(9, &short).await.error_code, 26);
    let stranger = client.call(9, &join(&text("stranger"))).await;
    assert_eq!((stranger.error_code, stranger.generation_id), (25, -1));
    let sync = SyncGroupRequest::default().with_group_id(group("g"));
    assert_eq!(
        client.call(5, &sync).await.error_code,
        23,
        "the protocol is not named"
    );
    assert_eq!(client.call(4, &sync).await.error_code, 25);
}

#[tokio::test]
async fn committed_offsets_come_back_in_every_version() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 2).await;
    let nobody = StrBytes::default();
    for version in 2..=8 {
        let request = commit(&nobody, -1, &[("t", 0), ("t", 2), ("missing", 0)]);
        let response = client.call(version, &request).await;
        let codes: Vec<i16> = response
            .topics
            .iter()
            .map(|topic| topic.partitions[0].error_code)
            .collect();
        assert_eq!(codes, [0, 3, 3], "v{version}");
    }
    for version in 1..=7 {
        let response = client.call(version, &fetch("t", &[0, 1, 7])).await;
        let offsets: Vec<(i64, i16)> = response.topics[0]
            .partitions
            .iter()
            .map(|it| (it.committed_offset, it.error_code))
            .collect();
        assert_eq!(offsets, [(42, 0), (-1, 0), (-1, 0)], "v{version}");
        assert_eq!(
            response.topics[0].partitions[0].metadata.as_deref(),
            Some("note")
        );
    }
    let all = OffsetFetchRequest::default()
        .with_group_id(group("g"))
        .with_topics(None);
    let response = client.call(7, &all).await;
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].partitions.len(), 1);
    let missing = client.call(5, &fetch("missing", &[0])).await;
    assert_eq!(missing.topics[0].partitions[0].committed_offset, -1);
}

#[tokio::test]
async fn offsets_of_many_groups_are_fetched_at_once() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 2).await;
    client
        .call(8, &commit(&StrBytes::default(), -1, &[("t", 1)]))
        .await;
    let topics = OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0, 1]);
    let groups = vec![
        OffsetFetchRequestGroup::default()
            .with_group_id(group("g"))
            .with_topics(None),
        OffsetFetchRequestGroup::default()
            .with_group_id(group("unknown"))
            .with_topics(Some(vec![topics])),
    ];
    let request = OffsetFetchRequest::default().with_groups(groups);
    let response = client.call(8, &request).await;
    assert_eq!(response.groups[0].group_id, group("g"));
    assert_eq!(
        response.groups[0].topics[0].partitions[0].partition_index,
        1
    );
    assert_eq!(
        response.groups[0].topics[0].partitions[0].committed_offset,
        42
    );
    let unknown = &response.groups[1].topics[0].partitions;
    assert!(
        unknown
            .iter()
            .all(|it| it.committed_offset == -1 && it.error_code == 0)
    );
}

#[tokio::test]
async fn a_commit_is_of_the_current_generation() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "t", 1).await;
    let member = joined(&mut client, 9).await;
    synced(&mut client, 5, &member).await;
    for (who, generation, code) in [
        (member.member_id.clone(), 1, 0),
        (member.member_id.clone(), 2, 22),
        (text("stranger"), 1, 25),
        (StrBytes::default(), -1, 25),
    ] {
        let response = client.call(8, &commit(&who, generation, &[("t", 0)])).await;
        assert_eq!(response.topics[0].partitions[0].error_code, code);
    }
    let elsewhere = commit(&member.member_id, 3, &[("t", 0)]).with_group_id(group("unknown"));
    let response = client.call(8, &elsewhere).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 22);
}

#[tokio::test]
async fn groups_are_listed_and_described() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let member = joined(&mut client, 9).await;
    synced(&mut client, 5, &member).await;
    for version in 0..=5 {
        let response = client.call(version, &ListGroupsRequest::default()).await;
        assert_eq!(response.groups.len(), 1);
        assert_eq!(&*response.groups[0].protocol_type, "consumer");
        if version >= 4 {
            assert_eq!(&*response.groups[0].group_state, "Stable");
        }
        if version >= 5 {
            assert_eq!(&*response.groups[0].group_type, "classic");
        }
    }
    for (states, types, found) in [
        (vec!["stable"], vec![], 1),
        (vec!["Empty"], vec![], 0),
        (vec![], vec!["Classic"], 1),
        (vec![], vec!["consumer"], 0),
    ] {
        let request = ListGroupsRequest::default()
            .with_states_filter(states.into_iter().map(text).collect())
            .with_types_filter(types.into_iter().map(text).collect());
        assert_eq!(client.call(5, &request).await.groups.len(), found);
    }
    for version in 0..=6 {
        let request =
            DescribeGroupsRequest::default().with_groups(vec![group("g"), group("unknown")]);
        let response = client.call(version, &request).await;
        let [known, unknown] = response.groups.as_slice() else {
            panic!("two groups")
        };
        assert_eq!((known.error_code, &*known.group_state), (0, "Stable"));
        assert_eq!(&*known.protocol_data, "range");
        assert_eq!(known.members[0].member_id, member.member_id);
        assert_eq!(&*known.members[0].client_host, "/192.0.2.9");
        assert_eq!(&*known.members[0].client_id, "it");
        assert_eq!(
            known.members[0].member_assignment,
            Bytes::from_static(b"partitions")
        );
        let code = if version >= 6 { 69 } else { 0 };
        assert_eq!((unknown.error_code, &*unknown.group_state), (code, "Dead"));
        assert_eq!(unknown.error_message.is_some(), version >= 6);
    }
}

#[tokio::test]
async fn the_coordinator_of_a_group_is_found_by_one_key_or_many() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for version in 0..=3 {
        let request = FindCoordinatorRequest::default().with_key(text("g"));
        let response = client.call(version, &request).await;
        assert_eq!((response.error_code, response.node_id.0), (0, BROKER));
        assert_eq!((&*response.host, response.port), ("broker.test", 9092));
    }
    let request =
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"), text("h")]);
    let response = client.call(4, &request).await;
    let keys: Vec<&str> = response.coordinators.iter().map(|it| &*it.key).collect();
    assert_eq!(keys, ["g", "h"]);
    assert!(
        response
            .coordinators
            .iter()
            .all(|it| it.node_id.0 == BROKER && it.error_code == 0)
    );
    let share = FindCoordinatorRequest::default()
        .with_key(text("g"))
        .with_key_type(2);
    assert_eq!(client.call(3, &share).await.error_code, 42);
}
