//! Produce (key 0): appends record batches.
//!
//! Kafka's rules we keep: WRITE on each topic; one batch per partition; errors per partition; acks=0 gets no answer,
//! and a closed connection where the answer would be an error. The batches of a connection are staged in the order of
//! its requests before the next request starts; the answer waits for the promise of the acks. Where we differ: records
//! are opened only where a rule needs them, since header and CRC are enough to keep the log whole; a batch of a
//! transaction is always refused, with TRANSACTIONAL_ID_AUTHORIZATION_FAILED; versions below 3, which are advertised
//! because old clients look for them, are refused by closing, as Kafka does.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use streamhouse_log::append::validate::{Prepared, ValidateError};
use streamhouse_log::append::{Acks, Appended, Staged};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::messages::produce_request::PartitionProduceData;
use streamhouse_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use streamhouse_protocol::messages::{self, ProduceRequest, ProduceResponse};
use streamhouse_protocol::record_batch::RecordBatch;
use streamhouse_runtime::deadline;

use crate::api::{Answer, Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::network::CloseReason;
use crate::partitions::Partitions;
use crate::security::{Operation, ResourceKind};

use super::words::is_internal;

/// The handler.
#[derive(Debug)]
pub struct Produce;

/// The first version that may carry zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// The client id that may write to the topics that Kafka keeps for itself (`AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT: &str = "__admin_client";

/// The longest that an answer waits for durability, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The longest that a request waits for room in a full WAL before its batches are refused: shorter than what clients
/// allow a request, and longer than a flush that keeps pace takes.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

impl Handler for Produce {
    const KEY: ApiKey = ApiKey::Produce;
    const VERSIONS: RangeInclusive<i16> = 3..=9;
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
                .any(|(_, outcome)| outcome.is_err());
            let reason =
                CloseReason::Unanswerable("a batch of a produce request with acks=0 was refused");
            return Reply::Now(if failed {
                Answer::Close(reason)
            } else {
                Answer::Silent
            });
        }
        let (clock, version) = (std::sync::Arc::clone(&partitions.clock), cx.api_version);
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
            ProduceResponse::default().with_responses(join_all(topics).await)
        })
    }
}

/// What became of the partitions of one topic.
struct StagedTopic {
    name: messages::TopicName,
    partitions: Vec<(i32, Result<Staged, Failure>)>,
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
        let name = topic.name.0.as_str();
        let may_write = partitions.access.to_topic(cx, Operation::Write, name);
        let catalogue = partitions.topics.current();
        let found = partitions.topics.find(name);
        let stage = |data: &PartitionProduceData| {
            if !may_write {
                return Err(Failure::plain(error_code::TOPIC_AUTHORIZATION_FAILED));
            }
            let address = partitions
                .address(found.as_ref(), data.index)
                .map_err(Failure::plain)?;
            let topic = found
                .as_ref()
                .ok_or(Failure::plain(error_code::UNKNOWN_TOPIC_OR_PARTITION))?;
            let records = data.records.clone().unwrap_or_default();
            check_compression(&records, cx.api_version)?;
            let acks = acks.ok_or(Failure::plain(error_code::log::INVALID_REQUIRED_ACKS))?;
            if !may_write_internal && is_internal(name) {
                return Err(Failure::plain(error_code::log::INTERNAL_TOPIC));
            }
            let rules = partitions.rule(&catalogue, topic).append;
            let prepared = Prepared::new(&records, cx.request_bytes, &rules, now_ms)
                .map_err(|error| of_validation(&error))?;
            let staged = partitions.log.stage(address, prepared, acks);
            staged.map_err(|error| Failure::plain(Refusal::from(&error)))
        };
        StagedTopic {
            name: topic.name.clone(),
            partitions: topic
                .partition_data
                .iter()
                .map(|data| (data.index, stage(data)))
                .collect(),
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
    ) -> TopicProduceResponse {
        let partitions = self.partitions.into_iter().map(|(index, outcome)| {
            let acknowledged = &acknowledged;
            async move {
                let outcome = match outcome {
                    Ok(staged) => acknowledged(staged).await,
                    Err(failure) => Err(failure),
                };
                shown(index, outcome, version)
            }
        });
        TopicProduceResponse::default()
            .with_name(self.name)
            .with_partition_responses(join_all(partitions).await)
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
