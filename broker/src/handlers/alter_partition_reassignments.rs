//! AlterPartitionReassignments (key 45): moves replicas between brokers. `kafka-reassign-partitions.sh` asks.
//!
//! Kafka's rules we keep: ALTER on the cluster; a null list of replicas cancels, and there is never anything to cancel;
//! unknown partitions, unknown brokers, empty and repeated replicas are refused one by one. Where we differ: the object
//! store keeps the records and the cluster places leaders by itself, so the only list of replicas that is accepted is
//! the one that is true already; any other is INVALID_REPLICA_ASSIGNMENT with the reason, instead of a move that never
//! ends.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use streamhouse_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use streamhouse_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::{Directory, VisibleLeaders};
use crate::security::{Operation, ResourceKind};

/// The handler.
#[derive(Debug)]
pub struct AlterPartitionReassignments;

impl Handler for AlterPartitionReassignments {
    const KEY: ApiKey = ApiKey::AlterPartitionReassignments;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Alter, ResourceKind::Cluster));
    type Reach = Directory;
    type Request = AlterPartitionReassignmentsRequest;
    type Response = AlterPartitionReassignmentsResponse;

    async fn handle(
        directory: &Directory,
        cx: &RequestContext,
        request: AlterPartitionReassignmentsRequest,
    ) -> Reply<AlterPartitionReassignmentsResponse> {
        // Null, as Kafka says "no error"; the schema's default is an empty message.
        let mut response = AlterPartitionReassignmentsResponse::default().with_error_message(None);
        if cx.api_version >= 1 {
            response.allow_replication_factor_change = request.allow_replication_factor_change;
        }
        if !directory.cluster.access.to_cluster(cx, Operation::Alter) {
            let refusal = error_code::CLUSTER_AUTHORIZATION_FAILED;
            return Reply::now(
                response
                    .with_error_code(refusal.code())
                    .with_error_message(refusal.message()),
            );
        }
        let leaders = directory.visible_leaders(&cx.peer.listener);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let outcome = reassign(directory, &leaders, &topic.name, partition);
                ReassignablePartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error_code::code_of(&outcome))
                    .with_error_message(outcome.err().and_then(|refusal| message(&refusal)))
            });
            ReassignableTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        Reply::now(response.with_responses(topics.collect()))
    }
}

fn reassign(
    directory: &Directory,
    leaders: &VisibleLeaders,
    name: &str,
    asked: &ReassignablePartition,
) -> Result<(), Refusal> {
    let topic = directory.topics.find(name);
    let topic = topic.ok_or_else(|| {
        Refusal::no_such_partition(format!("Unable to find a topic named {name}."))
    })?;
    let index = usize::try_from(asked.partition_index).ok();
    let shard = index.and_then(|index| topic.partitions.get(index));
    let shard = *shard.ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let Some(replicas) = &asked.replicas else {
        return Err(error_code::NO_REASSIGNMENT_IN_PROGRESS);
    };
    check_replicas(directory, replicas)?;
    let leader = leaders.of(shard).map(|leader| leader.broker.0);
    if matches!(replicas.as_slice(), [only] if Some(only.0) == leader) {
        return Ok(());
    }
    Err(Refusal::invalid_replicas(format!(
        "Replicas are not moved here: the object store keeps the records, and the brokers divide the partitions among \
         themselves. {name}-{} has one replica, its leader{}.",
        asked.partition_index,
        leader.map_or_else(String::new, |leader| format!(" {leader}")),
    )))
}

/// The text beside a refusal; Kafka has none beside a cancellation of nothing.
fn message(refusal: &Refusal) -> Option<StrBytes> {
    let is_nothing = *refusal == error_code::NO_REASSIGNMENT_IN_PROGRESS;
    (!is_nothing).then(|| refusal.message()).flatten()
}

fn check_replicas(directory: &Directory, replicas: &[BrokerId]) -> Result<(), Refusal> {
    if replicas.is_empty() {
        let text = "The manual partition assignment includes an empty replica list.";
        return Err(Refusal::invalid_replicas(text));
    }
    let living = directory.cluster.brokers.current();
    let mut seen = BTreeSet::new();
    for replica in replicas {
        if !living.iter().any(|known| known.broker.0 == replica.0) {
            return Err(Refusal::invalid_replicas(format!(
                "The manual partition assignment includes broker {}, but no such broker is registered.",
                replica.0
            )));
        }
        if !seen.insert(replica.0) {
            return Err(Refusal::invalid_replicas(format!(
                "The manual partition assignment includes the broker {} more than once.",
                replica.0
            )));
        }
    }
    Ok(())
}
