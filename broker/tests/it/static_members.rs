//! Static members on the wire: restarts, fencing, removal by an administrator, in every version that has them.

use bytes::Bytes;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::leave_group_request::MemberIdentity;
use streamhouse_protocol::messages::*;

use crate::bench::{Bench, Client};
use crate::groups::{beat, commit, group, join, synced, text};
use crate::topics::create;

fn instance() -> Option<StrBytes> {
    Some(text("i"))
}

async fn start(client: &mut Client, version: i16) -> JoinGroupResponse {
    let request = join(&StrBytes::default()).with_group_instance_id(instance());
    client.call(version, &request).await
}

#[tokio::test]
async fn a_restart_costs_no_rebalance_and_fences_the_former_member() {
    for version in 5..=9 {
        let bench = Bench::new().await;
        let mut client = bench.connect();
        create(&mut client, "t", 1).await;
        let first = start(&mut client, version).await;
        assert_eq!(
            (first.error_code, first.generation_id),
            (0, 1),
            "v{version}"
        );
        assert!(first.member_id.starts_with("i-"));
        assert_eq!(first.members[0].group_instance_id, instance());
        synced(&mut client, 3, &first).await;
        let second = start(&mut client, version).await;
        assert_eq!(
            (second.error_code, second.generation_id),
            (0, 1),
            "v{version}"
        );
        assert_ne!(second.member_id, first.member_id);
        assert_eq!(second.skip_assignment, version == 9);
        assert_eq!(second.members.len(), usize::from(version == 9));
        assert_eq!(second.leader == second.member_id, version == 9);
        let assignment = synced(&mut client, 3, &second).await;
        assert_eq!(assignment, Bytes::from_static(b"partitions"));

        let heartbeat = beat(&first, 1).with_group_instance_id(instance());
        assert_eq!(client.call(4, &heartbeat).await.error_code, 82);
        let sync = SyncGroupRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(1)
            .with_member_id(first.member_id.clone())
            .with_group_instance_id(instance());
        assert_eq!(client.call(4, &sync).await.error_code, 82);
        let rejoin = join(&first.member_id).with_group_instance_id(instance());
        let rejoin = client.call(version, &rejoin).await;
        assert_eq!(
            (rejoin.error_code, &rejoin.member_id),
            (82, &first.member_id)
        );
        let old = commit(&first.member_id, 1, &[("t", 0)]).with_group_instance_id(instance());
        let old = client.call(8, &old).await;
        assert_eq!(old.topics[0].partitions[0].error_code, 82);
        let new = commit(&second.member_id, 1, &[("t", 0)]).with_group_instance_id(instance());
        let new = client.call(8, &new).await;
        assert_eq!(new.topics[0].partitions[0].error_code, 0);
    }
}

#[tokio::test]
async fn instance_ids_are_described_since_version_4() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let first = start(&mut client, 9).await;
    synced(&mut client, 5, &first).await;
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
        let described = client.call(version, &request).await;
        let shown = described.groups[0].members[0].group_instance_id.clone();
        assert_eq!(shown, instance().filter(|_| version >= 4), "v{version}");
    }
}

#[tokio::test]
async fn an_administrator_removes_a_static_member_and_each_line_has_its_answer() {
    for version in 3..=5 {
        let bench = Bench::new().await;
        let mut client = bench.connect();
        let first = start(&mut client, 9).await;
        let line = |member: &StrBytes, instance: Option<StrBytes>| {
            MemberIdentity::default()
                .with_member_id(member.clone())
                .with_group_instance_id(instance)
        };
        let nobody = StrBytes::default();
        let request = LeaveGroupRequest::default()
            .with_group_id(group("g"))
            .with_members(vec![
                line(&nobody, Some(text("other"))),
                line(&text("i-stale"), instance()),
                line(&nobody, instance()),
                line(&first.member_id, instance()),
                line(&nobody, None),
            ]);
        let left = client.call(version, &request).await;
        assert_eq!(left.error_code, 0);
        let codes: Vec<i16> = left.members.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [25, 82, 0, 25, 25], "v{version}");
        assert_eq!(left.members[2].group_instance_id, instance());
        assert_eq!(left.members[2].member_id, nobody);
    }
}
