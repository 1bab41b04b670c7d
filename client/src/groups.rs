//! Consumer groups: which there are, who is in them, how far they are.

mod changes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::describe_groups_response::DescribedGroupMember;
use streamhouse_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use streamhouse_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    ListGroupsRequest, OffsetFetchRequest, OffsetFetchResponse,
};

use crate::address::BrokerAddress;
use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};

/// The highest version of ListGroups that is filled here.
const LIST_MAX: i16 = 5;
/// The highest version of DescribeGroups that is filled here.
const DESCRIBE_MAX: i16 = 6;
/// The highest version of FindCoordinator that is filled here.
const COORDINATOR_MAX: i16 = 4;
/// The highest version of OffsetFetch that is filled here.
const OFFSETS_MAX: i16 = 8;

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedGroup {
    /// The id.
    pub id: String,
    /// `consumer`, `connect` or whatever the members agreed on; empty for groups that only commit offsets.
    pub protocol_type: String,
    /// The state; empty where the broker does not tell it (before Kafka 2.6).
    pub state: String,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The id.
    pub id: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// The state.
    pub state: String,
    /// What the members agreed on.
    pub protocol_type: String,
    /// The assignor.
    pub protocol: String,
    /// The members.
    pub members: Vec<Member>,
    /// Committed offsets by topic and partition.
    pub committed: BTreeMap<(String, i32), i64>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id that the coordinator gave it.
    pub id: String,
    /// Its `group.instance.id`, if it is a static member.
    pub instance: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub host: String,
    /// The partitions it was assigned, as far as it tells in the way of consumers.
    pub assigned: Vec<(String, i32)>,
}

impl Client {
    /// All groups of all brokers, by id.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ClientError> {
        let mut groups = Vec::new();
        let brokers = self.refresh_cluster().await?;
        for broker in brokers.brokers.keys().copied() {
            let response = self
                .retrying(Retry::Always, move || async move {
                    let target = Target::Broker(broker);
                    let build = |_| ListGroupsRequest::default();
                    let (_, response) = self
                        .ask::<ListGroupsRequest>(target, LIST_MAX, build)
                        .await?;
                    check(response.error_code, None, || {
                        format!("groups of broker {broker}")
                    })?;
                    Ok(response)
                })
                .await?;
            groups.extend(response.groups.iter().map(|group| ListedGroup {
                id: group.group_id.0.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// A group with its members and committed offsets. An unknown group has the state `Dead` or is refused with
    /// GROUP_ID_NOT_FOUND, as the broker's version has it.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn describe_group(&self, group: &str) -> Result<Group, ClientError> {
        self.retrying(Retry::Always, move || async move {
            let coordinator = self.find_coordinator(group).await?;
            let mut described = self.describe_at(group, coordinator).await?;
            described.committed = self.committed_at(group, coordinator).await?;
            Ok(described)
        })
        .await
    }

    /// The broker that coordinates a group.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn find_coordinator(&self, group: &str) -> Result<i32, ClientError> {
        let key = StrBytes::from_string(group.to_owned());
        let build = |version| {
            let request = FindCoordinatorRequest::default();
            if version >= 4 {
                request.with_coordinator_keys(vec![key.clone()])
            } else {
                request.with_key(key.clone())
            }
        };
        let (_, response) = self
            .ask::<FindCoordinatorRequest>(Target::Any, COORDINATOR_MAX, build)
            .await?;
        let (id, address) = coordinator(group, &response)?;
        if !self.cluster().brokers.contains_key(&id) {
            // It joined after our metadata: learn it, so that its address is known.
            let cluster = self.refresh_cluster().await?;
            if !cluster.brokers.contains_key(&id) {
                return Err(ClientError::Connect {
                    broker: address.to_string().into(),
                    reason: format!(
                        "it coordinates group {group:?} but is not in the metadata of the cluster"
                    ),
                });
            }
        }
        Ok(id)
    }

    async fn describe_at(&self, group: &str, coordinator: i32) -> Result<Group, ClientError> {
        let target = Target::Broker(coordinator);
        let build = |_| DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let (connection, response) = self
            .ask::<DescribeGroupsRequest>(target, DESCRIBE_MAX, build)
            .await?;
        let found = response
            .groups
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Incomplete {
                broker: Arc::clone(connection.broker()),
                what: format!("group {group:?}"),
            })?;
        check(found.error_code, found.error_message.as_deref(), || {
            format!("describe group {group:?}")
        })?;
        Ok(Group {
            id: group.to_owned(),
            coordinator,
            state: found.group_state.to_string(),
            protocol_type: found.protocol_type.to_string(),
            protocol: found.protocol_data.to_string(),
            members: found.members.iter().map(member).collect(),
            committed: BTreeMap::new(),
        })
    }

    async fn committed_at(
        &self,
        group: &str,
        coordinator: i32,
    ) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
        let build = |version| {
            let request = OffsetFetchRequest::default();
            if version >= 8 {
                let asked = OffsetFetchRequestGroup::default()
                    .with_group_id(group_id(group))
                    .with_topics(None);
                request.with_groups(vec![asked])
            } else {
                request.with_group_id(group_id(group)).with_topics(None)
            }
        };
        let target = Target::Broker(coordinator);
        let (_, response) = self
            .ask::<OffsetFetchRequest>(target, OFFSETS_MAX, build)
            .await?;
        committed(group, &response)
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn coordinator(
    group: &str,
    response: &FindCoordinatorResponse,
) -> Result<(i32, BrokerAddress), ClientError> {
    let subject = || format!("find the coordinator of group {group:?}");
    let address =
        |host: &str, port: i32| BrokerAddress::new(host, u16::try_from(port).unwrap_or_default());
    match response.coordinators.first() {
        Some(found) => {
            check(found.error_code, found.error_message.as_deref(), subject)?;
            Ok((found.node_id.0, address(&found.host, found.port)))
        }
        None => {
            check(
                response.error_code,
                response.error_message.as_deref(),
                subject,
            )?;
            Ok((response.node_id.0, address(&response.host, response.port)))
        }
    }
}

fn committed(
    group: &str,
    response: &OffsetFetchResponse,
) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
    let subject = || format!("committed offsets of group {group:?}");
    let mut found = BTreeMap::new();
    check(response.error_code, None, subject)?;
    for topic in &response.topics {
        for partition in &topic.partitions {
            check(partition.error_code, None, subject)?;
            found.insert(
                (topic.name.0.to_string(), partition.partition_index),
                partition.committed_offset,
            );
        }
    }
    for group in &response.groups {
        check(group.error_code, None, subject)?;
        for topic in &group.topics {
            for partition in &topic.partitions {
                check(partition.error_code, None, subject)?;
                found.insert(
                    (topic.name.0.to_string(), partition.partition_index),
                    partition.committed_offset,
                );
            }
        }
    }
    found.retain(|_, offset| *offset >= 0);
    Ok(found)
}

fn member(member: &DescribedGroupMember) -> Member {
    Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: assignment(member.member_assignment.clone()).unwrap_or_default(),
    }
}

/// Reads what consumers write as their assignment (`ConsumerProtocolAssignment`): version, then topics with partitions.
/// Other kinds of groups write what they like; `None` then.
fn assignment(mut bytes: Bytes) -> Option<Vec<(String, i32)>> {
    let _version = bytes.try_get_i16().ok()?;
    let topics = bytes.try_get_i32().ok()?;
    let mut found = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        if bytes.len() < length {
            return None;
        }
        let topic = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        for _ in 0..bytes.try_get_i32().ok()? {
            found.push((topic.clone(), bytes.try_get_i32().ok()?));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests;
