//! What administrators change of groups that nobody is in: their offsets, and whether there are any.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamhouse_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use streamhouse_protocol::messages::{DeleteGroupsRequest, OffsetCommitRequest};

use super::group_id;
use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};
use crate::topics::name;

/// The highest version of OffsetCommit that is filled here.
const COMMIT_MAX: i16 = 8;
/// The highest version of DeleteGroups that is filled here.
const DELETE_MAX: i16 = 2;

impl Client {
    /// Commits offsets for a group that has no members; it is made if it does not exist. The same offsets twice are the
    /// same offsets, so it is tried again.
    ///
    /// # Errors
    /// [`ClientError`]: UNKNOWN_MEMBER_ID if the group has members. Where one partition is refused, others may be
    /// committed.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<(String, i32), i64>,
    ) -> Result<(), ClientError> {
        self.retrying(Retry::Always, move || async move {
            let target = Target::Broker(self.find_coordinator(group).await?);
            let build = |_| commit(group, offsets);
            let (_, response) = self
                .ask::<OffsetCommitRequest>(target, COMMIT_MAX, build)
                .await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    check(partition.error_code, None, || {
                        format!(
                            "commit an offset of group {group:?} for topic {:?} partition {}",
                            topic.name.as_str(),
                            partition.partition_index
                        )
                    })?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes a group with all its offsets.
    ///
    /// # Errors
    /// [`ClientError`]: NON_EMPTY_GROUP if it has members, GROUP_ID_NOT_FOUND if there is none. See its outcome.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        self.retrying(Retry::WhenNotHappened, move || async move {
            let target = Target::Broker(self.find_coordinator(group).await?);
            let build = |_| DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
            let (connection, response) = self
                .ask::<DeleteGroupsRequest>(target, DELETE_MAX, build)
                .await?;
            let result = response
                .results
                .first()
                .ok_or_else(|| ClientError::Incomplete {
                    broker: Arc::clone(connection.broker()),
                    what: format!("group {group:?}"),
                })?;
            check(result.error_code, None, || {
                format!("delete group {group:?}")
            })
        })
        .await
    }
}

fn commit(group: &str, offsets: &BTreeMap<(String, i32), i64>) -> OffsetCommitRequest {
    let mut by_topic: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1);
        by_topic.entry(topic).or_default().push(partition);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(partitions)
    });
    // No member and no generation: an administrator.
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect())
}
