//! Produce (key 0): appends record batches.
//!
//! Kafka's rules we keep: WRITE on each topic; one batch per partition; errors per partition; acks=0 gets no answer,
//! and a closed connection where the answer would be an error. The batches of a connection are staged in the order of
//! its requests before the next request starts; the answer waits for the promise of the acks. Topics go by id since
//! version 13 (KIP-516), and who asks the wrong broker is told the right one since version 10 (KIP-951). Where we differ: records
//! are opened only where a rule needs them, since header and CRC are enough to keep the log whole; a batch of a
//! transaction is always refused, with TRANSACTIONAL_ID_AUTHORIZATION_FAILED; versions below 3, which are advertised
//! because old clients look for them, are refused by closing, as Kafka does.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use streamhouse_log::append::validate::{Prepared, ValidateError};
use streamhouse_log::append::{Acks, Appended, Staged};
use streamhouse_log::read::PartitionAddress;
use streamhouse_metadata::ShardId;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::TopicId;
use streamhouse_protocol::messages::produce_request::PartitionProduceData;
use streamhouse_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use streamhouse_protocol::messages::{self, ProduceRequest, ProduceResponse};
use streamhouse_protocol::record_batch::RecordBatch;
use streamhouse_runtime::deadline;
use uuid::Uuid;

use crate::api::{Answer, Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::network::CloseReason;
use crate::partitions::{Partitions, TopicNamed};
use crate::reach::Reachable;
use crate::security::{Operation, ResourceKind};

use super::leader_hints::LeaderHints;
use super::words::{is_internal, text};

/// The handler.
#[derive(Debug)]
pub struct Produce;

/// The first version that may carry zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// The first version that names topics by id (KIP-516).
const TOPIC_IDS_SINCE: i16 = 13;

/// The first version that tells the leader to who asks another broker (KIP-951).
const LEADERS_SINCE: i16 = 10;

/// The client id that may write to the topics that Kafka keeps for itself (`AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT: &str = "__admin_client";

/// The longest that an answer waits for durability, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The longest that a request waits for room in a full WAL before its batches are refused: shorter than what clients
/// allow a request, and longer than a flush that keeps pace takes.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

impl Handler for Produce {
    const KEY: ApiKey = ApiKey::Produce;
    const VERSIONS: RangeInclusive<i16> = 3..=13;
    const LANE: Lane = Lane::Pipelined;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Write, ResourceKind::Topic));
    type Reach = Partitions;
    type Request = ProduceRequest;
    type Response = ProduceResponse;

    async fn handle(
        partitions: &Partitions,
        cx: &RequestContext,
        request: ProduceRequest,
    ) -> Reply<ProduceResponse> {
        let acks = match request.acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        };
        let wait =
            Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(WAIT_MAX);
        let now = partitions.clock.monotonic();
        let until = now + wait;
        let room_until = now + wait.min(ROOM_WAIT_MAX);
        partitions.log.room(cx.request_bytes, room_until).await;
        let staged = stage_all(partitions, cx, &request, acks);
        if acks == Some(Acks::None) {
            let failed = staged
                .iter()
                .flat_map(|topic| &topic.partitions)
                .any(|partition| partition.outcome.is_err());
            let reason =
                CloseReason::Unanswerable("a batch of a produce request with acks=0 was refused");
            return Reply::Now(if failed {
                Answer::Close(reason)
            } else {
                Answer::Silent
            });
        }
        let (clock, version) = (std::sync::Arc::clone(&partitions.clock), cx.api_version);
        let hints = LeaderHints::since(LEADERS_SINCE, partitions, cx);
        Reply::later(async move {
            let topics = staged.into_iter().map(|topic| {
                topic.answer(version, |staged| {
                    let clock = std::sync::Arc::clone(&clock);
                    async move {
                        match deadline(&*clock, until, staged.acknowledged()).await {
                            Some(Ok(appended)) => Ok(appended),
                            Some(Err(lost)) => Err(Failure::plain(Refusal::from(&lost))),
                            None => Err(Failure::plain(error_code::log::REQUEST_TIMED_OUT)),
                        }
                    }
                })
            });
            respond(join_all(topics).await, hints, version)
        })
    }
}

fn respond(
    topics: Vec<AnsweredTopic>,
    mut hints: Option<LeaderHints>,
    version: i16,
) -> ProduceResponse {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|(shard, mut response)| {
            if let (Some(hints), Some(shard)) = (&mut hints, shard)
                && let Some(leader) = hints.of(response.error_code, shard)
            {
                response.current_leader = LeaderIdAndEpoch::default()
                    .with_leader_id(messages::BrokerId(leader.broker.0))
                    .with_leader_epoch(leader.epoch.0);
            }
            response
        });
        let response =
            TopicProduceResponse::default().with_partition_responses(partitions.collect());
        if version >= TOPIC_IDS_SINCE {
            response.with_topic_id(topic.topic_id)
        } else {
            response.with_name(topic.name)
        }
    });
    let topics = topics.collect();
    let brokers = hints.into_iter().flat_map(LeaderHints::brokers);
    ProduceResponse::default()
        .with_responses(topics)
        .with_node_endpoints(brokers.map(endpoint).collect())
}

fn endpoint(broker: Reachable) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(messages::BrokerId(broker.broker.0))
        .with_host(text(&*broker.endpoint.host))
        .with_port(i32::from(broker.endpoint.port))
        .with_rack(broker.rack.as_deref().map(text))
}

/// What became of the partitions of one topic.
struct StagedTopic {
    name: messages::TopicName,
    topic_id: Uuid,
    partitions: Vec<StagedPartition>,
}

/// The answers of the partitions of one topic, each with its shard if there is such a partition.
struct AnsweredTopic {
    name: messages::TopicName,
    topic_id: Uuid,
    partitions: Vec<(Option<ShardId>, PartitionProduceResponse)>,
}

struct StagedPartition {
    index: i32,
    shard: Option<ShardId>,
    outcome: Result<Staged, Failure>,
}

/// Why a partition's batch was refused, and which of its records is to blame.
#[derive(Debug)]
struct Failure {
    refusal: Refusal,
    record: Option<i32>,
}

impl Failure {
    const fn plain(refusal: Refusal) -> Self {
        Self {
            refusal,
            record: None,
        }
    }
}

fn stage_all(
    partitions: &Partitions,
    cx: &RequestContext,
    request: &ProduceRequest,
    acks: Option<Acks>,
) -> Vec<StagedTopic> {
    let now_ms = partitions.clock.wall_ms();
    let may_write_internal = &*cx.client_id == ADMIN_CLIENT;
    let stage_topic = |topic: &messages::produce_request::TopicProduceData| {
        let named = if cx.api_version >= TOPIC_IDS_SINCE {
            TopicNamed::Id(TopicId(topic.topic_id.as_u128()))
        } else {
            TopicNamed::Name(topic.name.0.as_str())
        };
        let catalogue = partitions.topics.current();
        let found = partitions.authorized(cx, Operation::Write, named);
        let stage = |data: &PartitionProduceData, address: Result<PartitionAddress, Refusal>| {
            let address = address.map_err(Failure::plain)?;
            let topic = found.as_ref().map_err(|it| Failure::plain(it.clone()))?;
            let records = data.records.clone().unwrap_or_default();
            check_compression(&records, cx.api_version)?;
            let acks = acks.ok_or(Failure::plain(error_code::log::INVALID_REQUIRED_ACKS))?;
            if !may_write_internal && is_internal(topic.name.as_str()) {
                return Err(Failure::plain(error_code::log::INTERNAL_TOPIC));
            }
            let rules = partitions.rule(&catalogue, topic).append;
            let prepared = Prepared::new(&records, cx.request_bytes, &rules, now_ms)
                .map_err(|error| of_validation(&error))?;
            let staged = partitions.log.stage(address, prepared, acks);
            staged.map_err(|error| Failure::plain(Refusal::from(&error)))
        };
        let staged = topic.partition_data.iter().map(|data| {
            let address = match &found {
                Ok(found) => partitions.address(Some(found), data.index),
                Err(refusal) => Err(refusal.clone()),
            };
            StagedPartition {
                index: data.index,
                shard: address.as_ref().ok().map(|address| address.shard),
                outcome: stage(data, address),
            }
        });
        StagedTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: staged.collect(),
        }
    };
    request.topic_data.iter().map(stage_topic).collect()
}

fn check_compression(records: &Bytes, version: i16) -> Result<(), Failure> {
    if version >= ZSTD_SINCE {
        return Ok(());
    }
    let compression = RecordBatch::parse(records.clone())
        .ok()
        .and_then(|batch| batch.attributes().compression());
    if compression == Some(Compression::Zstd) {
        return Err(Failure::plain(
            error_code::log::UNSUPPORTED_COMPRESSION_TYPE,
        ));
    }
    Ok(())
}

fn of_validation(error: &ValidateError) -> Failure {
    let record = match error {
        ValidateError::NullKey { index } => Some(*index),
        ValidateError::TooLarge { .. }
        | ValidateError::LargerThanSegment { .. }
        | ValidateError::Batch(_)
        | ValidateError::Records(_)
        | ValidateError::Timestamp { .. }
        | ValidateError::Transactional => None,
    };
    Failure {
        refusal: Refusal::from(error),
        record,
    }
}

impl StagedTopic {
    async fn answer<F: Future<Output = Result<Appended, Failure>>>(
        self,
        version: i16,
        acknowledged: impl Fn(Staged) -> F,
    ) -> AnsweredTopic {
        let partitions = self.partitions.into_iter().map(|partition| {
            let acknowledged = &acknowledged;
            async move {
                let outcome = match partition.outcome {
                    Ok(staged) => acknowledged(staged).await,
                    Err(failure) => Err(failure),
                };
                (partition.shard, shown(partition.index, outcome, version))
            }
        });
        AnsweredTopic {
            name: self.name,
            topic_id: self.topic_id,
            partitions: join_all(partitions).await,
        }
    }
}

fn shown(index: i32, outcome: Result<Appended, Failure>, version: i16) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match outcome {
        Ok(appended) => {
            let log_start = if version >= 5 { appended.log_start } else { -1 };
            response
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.append_time.0)
                .with_log_start_offset(log_start)
        }
        Err(failure) => {
            let response = response
                .with_error_code(failure.refusal.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1);
            if version < 8 {
                return response;
            }
            let records = failure.record.map(|index| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(index)
                    .with_batch_index_error_message(failure.refusal.message())
            });
            response
                .with_record_errors(records.into_iter().collect())
                .with_error_message(failure.refusal.message())
        }
    }
}
