//! Fetch: record batches of partitions of one leader.

use std::time::Duration;

use bytes::Bytes;
use streamhouse_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use streamhouse_protocol::messages::{BrokerId, FetchRequest};

use crate::client::Client;
use crate::connection::Connection;
use crate::error::{ClientError, check};
use crate::metadata::Topic;
use crate::topics::name;

/// The highest version of Fetch that is filled here.
const FETCH_MAX: i16 = 16;
/// The highest version of Fetch that names topics; later ones have ids.
const FETCH_BY_NAME_MAX: i16 = 12;
/// From this version on, a fetch may belong to a session; ours never does.
const SESSIONS_SINCE: i16 = 7;
/// From this version on, the replica id has gone elsewhere.
const REPLICA_STATE_SINCE: i16 = 15;

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    /// The index of the partition.
    pub partition: i32,
    /// The offset of the next record that is wanted.
    pub offset: i64,
}

/// How much is fetched at once.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// How long the broker may wait for `bytes_min`.
    pub wait_max: Duration,
    /// The bytes for which it waits.
    pub bytes_min: i32,
    /// The most bytes of an answer; a single larger batch comes all the same.
    pub bytes_max: i32,
    /// The most bytes of one partition in an answer; a single larger batch comes all the same.
    pub partition_bytes_max: i32,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 50 << 20,
            partition_bytes_max: 1 << 20,
        }
    }
}

/// What came of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The index of the partition.
    pub partition: i32,
    /// Whole batches, and perhaps a cut one at the end. The first may begin before the offset that was asked for.
    pub records: Bytes,
    /// The offset behind the last record that consumers see.
    pub high_watermark: i64,
    /// The refusal, if the broker refused this partition.
    pub error: Option<ClientError>,
}

/// Fetches once from partitions of one topic that all have this broker as their leader.
///
/// # Errors
/// [`ClientError`] if the whole request failed; refused partitions have their own error.
pub async fn fetch(
    client: &Client,
    connection: &Connection,
    topic: &Topic,
    from: &[FetchFrom],
    options: &FetchOptions,
) -> Result<Vec<Fetched>, ClientError> {
    let max = if topic.id.is_nil() {
        FETCH_BY_NAME_MAX
    } else {
        FETCH_MAX
    };
    let version = connection.version::<FetchRequest>(max)?;
    let request = request(version, topic, from, options);
    let limit =
        client.ambient().clock.monotonic() + options.wait_max + client.options().request_timeout;
    let response = connection.call(version, &request, limit).await?;
    check(response.error_code, None, || {
        format!("fetch from topic {:?}", topic.name)
    })?;
    let partitions = response
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions);
    let fetched = partitions.map(|partition| {
        let index = partition.partition_index;
        let error = check(partition.error_code, None, || {
            let offset = from
                .iter()
                .find(|from| from.partition == index)
                .map_or(-1, |from| from.offset);
            format!(
                "fetch from topic {:?} partition {index} at offset {offset}",
                topic.name
            )
        });
        Fetched {
            partition: index,
            records: partition.records.unwrap_or_default(),
            high_watermark: partition.high_watermark,
            error: error.err(),
        }
    });
    Ok(fetched.collect())
}

fn request(
    version: i16,
    topic: &Topic,
    from: &[FetchFrom],
    options: &FetchOptions,
) -> FetchRequest {
    let partitions = from.iter().map(|from| {
        FetchPartition::default()
            .with_partition(from.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(from.offset)
            .with_partition_max_bytes(options.partition_bytes_max)
    });
    let mut fetch_topic = FetchTopic::default().with_partitions(partitions.collect());
    if version > FETCH_BY_NAME_MAX {
        fetch_topic.topic_id = topic.id;
    } else {
        fetch_topic.topic = name(&topic.name);
    }
    let mut request = FetchRequest::default()
        .with_max_wait_ms(i32::try_from(options.wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(options.bytes_min)
        .with_max_bytes(options.bytes_max)
        .with_topics(vec![fetch_topic]);
    if version < REPLICA_STATE_SINCE {
        request.replica_id = BrokerId(-1);
    }
    if version >= SESSIONS_SINCE {
        // Epoch -1: no session, and none is wanted.
        request.session_epoch = -1;
    }
    request
}
