//! DescribeLogDirs (key 35): how many bytes partitions hold.
//!
//! Kafka's rules we keep: DESCRIBE on the cluster; a null list of topics means all; sizes of this broker's partitions.
//! Where we differ: the two folders are the places where records lie, the WAL and the object store. Every partition
//! stands in the object store, and in the WAL as well while that holds records of it which no object has: its size is
//! the sum. The volume's sizes are not told (-1), because the objects need not lie on it.

use std::ops::RangeInclusive;

use streamhouse_log::read::offsets::Sizes;
use streamhouse_metadata::Topic;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
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
        let shown = placed(partitions, request.topics.as_deref());
        let dirs = &partitions.cluster.log_dirs;
        let wal = dirs.wal.as_deref();
        let wal = wal.map(|dir| result(dir, shown.iter().filter_map(in_wal)));
        let objects = result(&dirs.objects, shown.iter().map(in_objects));
        let results = wal.into_iter().chain([objects]);
        Reply::now(response.with_results(results.collect()))
    }
}

/// The partitions of a topic, and what each holds.
struct Placed {
    topic: String,
    partitions: Vec<(i32, Sizes)>,
}

/// The partitions that are asked for and exist; all if none is named.
fn placed(partitions: &Partitions, asked: Option<&[DescribableLogDirTopic]>) -> Vec<Placed> {
    match asked {
        None => {
            let catalogue = partitions.topics.current();
            let topics = catalogue.topics();
            topics
                .map(|topic| Placed::of(partitions, topic, None))
                .collect()
        }
        Some(asked) => {
            let found = asked.iter().filter_map(|asked| {
                let topic = partitions.topics.find(&asked.topic)?;
                Some(Placed::of(partitions, &topic, Some(&asked.partitions)))
            });
            found.collect()
        }
    }
}

impl Placed {
    fn of(partitions: &Partitions, topic: &Topic, asked: Option<&[i32]>) -> Self {
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let indexes = (0..count).filter(|index| asked.is_none_or(|asked| asked.contains(index)));
        let sizes = indexes.filter_map(|index| {
            let address = partitions.address(Some(topic), index).ok()?;
            Some((index, partitions.log.sizes(address).ok()?))
        });
        Self {
            topic: topic.name.as_str().to_owned(),
            partitions: sizes.collect(),
        }
    }

    fn shown(&self, bytes: impl Fn(&Sizes) -> Option<u64>) -> DescribeLogDirsTopic {
        let partitions = self.partitions.iter().filter_map(|(index, sizes)| {
            let bytes = i64::try_from(bytes(sizes)?).unwrap_or(i64::MAX);
            let shown = DescribeLogDirsPartition::default().with_partition_index(*index);
            Some(shown.with_partition_size(bytes))
        });
        DescribeLogDirsTopic::default()
            .with_name(topic_name(self.topic.as_str()))
            .with_partitions(partitions.collect())
    }
}

/// What the WAL holds: partitions with records that no object has yet.
fn in_wal(placed: &Placed) -> Option<DescribeLogDirsTopic> {
    let topic = placed.shown(|sizes| (sizes.wal_bytes > 0).then_some(sizes.wal_bytes));
    (!topic.partitions.is_empty()).then_some(topic)
}

/// What objects hold: every partition is at home there, even if it is empty.
fn in_objects(placed: &Placed) -> DescribeLogDirsTopic {
    placed.shown(|sizes| Some(sizes.object_bytes))
}

fn result(dir: &str, topics: impl Iterator<Item = DescribeLogDirsTopic>) -> DescribeLogDirsResult {
    DescribeLogDirsResult::default()
        .with_log_dir(text(dir))
        .with_topics(topics.collect())
}
