//! DescribeLogDirs (key 35): how many bytes partitions hold.
//!
//! Kafka's rules we keep: DESCRIBE on the cluster; a null list of topics means all; sizes of this broker's partitions.
//! Where we differ: there is one folder, and a size counts what the WAL and the objects hold; the volume's sizes are
//! not told (-1), because the objects need not lie on it.

use std::ops::RangeInclusive;

use streamhouse_metadata::Topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use streamhouse_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code;
use crate::partitions::Partitions;
use crate::security::{Operation, ResourceKind};

use super::words::{text, topic_name};

/// The handler.
#[derive(Debug)]
pub struct DescribeLogDirs;

impl Handler for DescribeLogDirs {
    const KEY: ApiKey = ApiKey::DescribeLogDirs;
    const VERSIONS: RangeInclusive<i16> = 1..=4;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Cluster));
    type Reach = Partitions;
    type Request = DescribeLogDirsRequest;
    type Response = DescribeLogDirsResponse;

    async fn handle(
        partitions: &Partitions,
        cx: &RequestContext,
        request: DescribeLogDirsRequest,
    ) -> Reply<DescribeLogDirsResponse> {
        let response = DescribeLogDirsResponse::default();
        if !partitions.access.to_cluster(cx, Operation::Describe) {
            let code = error_code::CLUSTER_AUTHORIZATION_FAILED.code();
            // Before version 3 the answer has no room for the code; Kafka sends an empty list.
            return Reply::now(if cx.api_version >= 3 {
                response.with_error_code(code)
            } else {
                response
            });
        }
        let catalogue = partitions.topics.current();
        let topics: Vec<DescribeLogDirsTopic> = match &request.topics {
            None => catalogue
                .topics()
                .map(|topic| sizes(partitions, topic, None))
                .collect(),
            Some(asked) => {
                let found = asked.iter().filter_map(|asked| {
                    let topic = partitions.topics.find(&asked.topic)?;
                    Some(sizes(partitions, &topic, Some(&asked.partitions)))
                });
                found.collect()
            }
        };
        let result = DescribeLogDirsResult::default()
            .with_log_dir(text("streamhouse"))
            .with_topics(topics);
        Reply::now(response.with_results(vec![result]))
    }
}

fn sizes(partitions: &Partitions, topic: &Topic, asked: Option<&[i32]>) -> DescribeLogDirsTopic {
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let indexes = (0..count).filter(|index| asked.is_none_or(|asked| asked.contains(index)));
    let sizes = indexes.filter_map(|index| {
        let address = partitions.address(Some(topic), index).ok()?;
        let sizes = partitions.log.sizes(address).ok()?;
        let bytes = sizes.wal_bytes.saturating_add(sizes.object_bytes);
        let shown = DescribeLogDirsPartition::default().with_partition_index(index);
        Some(shown.with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX)))
    });
    DescribeLogDirsTopic::default()
        .with_name(topic_name(topic.name.as_str()))
        .with_partitions(sizes.collect())
}
