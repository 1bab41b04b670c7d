//! ElectLeaders (key 43): asks for another leader of partitions. `kafka-leader-election.sh` asks.
//!
//! Kafka's rules we keep: ALTER on the cluster; a null list means all topics, of whose partitions only those are told that
//! did not already have what was asked for; a partition whose leader is the preferred one, or that has a leader at all for
//! an unclean election, is ELECTION_NOT_NEEDED. Where we differ: a partition has one replica, its leader, whoever that
//! is, so no election ever changes anything; a partition that has no leader gets one without being asked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use streamhouse_metadata::Topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::elect_leaders_response::{
    PartitionResult, ReplicaElectionResult,
};
use streamhouse_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::reach::{Directory, VisibleLeaders};
use crate::security::{Operation, ResourceKind};

use super::words::topic_name;

/// The handler.
#[derive(Debug)]
pub struct ElectLeaders;

/// Kafka's numbers of elections (`ElectionType`). On the wire: never renumber.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

impl Handler for ElectLeaders {
    const KEY: ApiKey = ApiKey::ElectLeaders;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Alter, ResourceKind::Cluster));
    type Reach = Directory;
    type Request = ElectLeadersRequest;
    type Response = ElectLeadersResponse;

    async fn handle(
        directory: &Directory,
        cx: &RequestContext,
        request: ElectLeadersRequest,
    ) -> Reply<ElectLeadersResponse> {
        let is_known = [PREFERRED, UNCLEAN].contains(&request.election_type);
        let refusal = if !directory.cluster.access.to_cluster(cx, Operation::Alter) {
            Some(error_code::CLUSTER_AUTHORIZATION_FAILED)
        } else if !is_known && cx.api_version >= 1 {
            Some(Refusal::invalid_request(format!(
                "Unsupported election type {}; use 0 (preferred) or 1 (unclean)",
                request.election_type
            )))
        } else {
            None
        };
        let response = ElectLeadersResponse::default();
        Reply::now(match refusal {
            Some(refusal) => {
                let told = asked(&request, |_, _| refusal.clone());
                // Version 0 tells it per partition only.
                let code = if cx.api_version >= 1 {
                    refusal.code()
                } else {
                    0
                };
                response
                    .with_error_code(code)
                    .with_replica_election_results(told)
            }
            None => response.with_replica_election_results(elect(directory, cx, &request)),
        })
    }
}

fn elect(
    directory: &Directory,
    cx: &RequestContext,
    request: &ElectLeadersRequest,
) -> Vec<ReplicaElectionResult> {
    let leaders = directory.visible_leaders(&cx.peer.listener);
    let outcome =
        |topic: &Topic, index: i32| outcome(&leaders, topic, index, request.election_type);
    if request.topic_partitions.is_some() {
        return asked(request, |name, index| match directory.topics.find(name) {
            Some(topic) => outcome(&topic, index),
            None => Refusal::no_such_partition(format!("No such topic as {name}")),
        });
    }
    let catalogue = directory.topics.current();
    let results = catalogue.topics().map(|topic| {
        let partitions = topic.partitions.iter().zip(0..).filter_map(|(_, index)| {
            let refusal = outcome(topic, index);
            (refusal != error_code::ELECTION_NOT_NEEDED).then(|| told(index, &refusal))
        });
        ReplicaElectionResult::default()
            .with_topic(topic_name(topic.name.as_str()))
            .with_partition_result(partitions.collect())
    });
    results.collect()
}

/// What becomes of one partition's election.
fn outcome(leaders: &VisibleLeaders, topic: &Topic, index: i32, election: i8) -> Refusal {
    let mut at = usize::try_from(index).into_iter();
    let shard = at.find_map(|index| topic.partitions.get(index));
    match shard.map(|shard| leaders.of(*shard)) {
        None => Refusal::no_such_partition(format!("No such partition as {}-{index}", topic.name)),
        Some(Some(_)) => error_code::ELECTION_NOT_NEEDED,
        Some(None) if election == UNCLEAN => error_code::ELIGIBLE_LEADERS_NOT_AVAILABLE,
        Some(None) => error_code::PREFERRED_LEADER_NOT_AVAILABLE,
    }
}

/// The answer to each partition that stands in the request, once.
fn asked(
    request: &ElectLeadersRequest,
    outcome: impl Fn(&str, i32) -> Refusal,
) -> Vec<ReplicaElectionResult> {
    let mut results: BTreeMap<&str, BTreeMap<i32, PartitionResult>> = BTreeMap::new();
    for topic in request.topic_partitions.iter().flatten() {
        let partitions = results.entry(topic.topic.as_str()).or_default();
        for index in &topic.partitions {
            let result = || told(*index, &outcome(topic.topic.as_str(), *index));
            partitions.entry(*index).or_insert_with(result);
        }
    }
    let results = results.into_iter().map(|(name, partitions)| {
        ReplicaElectionResult::default()
            .with_topic(topic_name(name))
            .with_partition_result(partitions.into_values().collect())
    });
    results.collect()
}

fn told(index: i32, refusal: &Refusal) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(index)
        .with_error_code(refusal.code())
        .with_error_message(refusal.message())
}
