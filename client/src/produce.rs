//! One batch to one partition: Produce, and InitProducerId for producers whose retries write nothing twice.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::{ProducerEpoch, ProducerId};
use streamhouse_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use streamhouse_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use streamhouse_protocol::record_batch::RecordBatch;

use crate::client::{Client, Retry, Target};
use crate::connection::{Connection, Encoded};
use crate::error::{CallError, ClientError, check};
use crate::metadata::Topic;
use crate::topics::name;

/// The highest version of Produce that is filled here.
pub const PRODUCE_MAX: i16 = 13;
/// The highest version of Produce that names topics; later ones have ids.
const PRODUCE_BY_NAME_MAX: i16 = 12;
/// The highest version of InitProducerId that is filled here.
const INIT_MAX: i16 = 4;

/// How many copies must have a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// No answer at all: fire and forget.
    None,
    /// The leader has it.
    Leader,
    /// It is as durable as the topic promises.
    All,
}

impl Acks {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How batches are produced.
#[derive(Clone, Copy, Debug)]
pub struct ProduceOptions {
    /// When a batch counts as written.
    pub acks: Acks,
    /// How long the broker may wait for that.
    pub timeout: Duration,
    /// Whether a batch whose fate is unknown may be sent again. Idempotent batches always may; others may then be
    /// written twice.
    pub may_duplicate: bool,
}

impl Default for ProduceOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            timeout: Duration::from_secs(30),
            may_duplicate: false,
        }
    }
}

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record; -1 with [`Acks::None`], which tells nothing.
    pub base_offset: i64,
    /// The time of the append in milliseconds, on topics with LogAppendTime; else -1.
    pub append_time_ms: i64,
}

/// The name under which an idempotent producer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The id.
    pub id: ProducerId,
    /// The epoch.
    pub epoch: ProducerEpoch,
}

impl Client {
    /// Writes a batch to a partition of a topic that exists.
    ///
    /// # Errors
    /// [`ClientError`]; its outcome says whether the batch may have been written.
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: &RecordBatch,
        options: &ProduceOptions,
    ) -> Result<Appended, ClientError> {
        let retry = if options.may_duplicate || batch.producer_id().is_some() {
            Retry::Always
        } else {
            Retry::WhenNotHappened
        };
        self.retrying(retry, move || async move {
            let produced = self.produce_once(topic, partition, batch, options).await;
            produced.inspect_err(|_| self.forget_topic(topic))
        })
        .await
    }

    async fn produce_once(
        &self,
        topic: &str,
        partition: i32,
        batch: &RecordBatch,
        options: &ProduceOptions,
    ) -> Result<Appended, ClientError> {
        let (known, leader) = self.leader(topic, partition).await?;
        let connection = self.connection(Target::Broker(leader)).await?;
        let encoded = encode_produce(&connection, &known, partition, batch, options)?;
        if options.acks == Acks::None {
            connection.send_only(&encoded).await?;
            return Ok(Appended {
                base_offset: -1,
                append_time_ms: -1,
            });
        }
        // The broker waits up to the timeout; after that its answer still has to come back.
        let limit =
            self.ambient().clock.monotonic() + options.timeout + self.options().request_timeout;
        let frame = connection.exchange(&encoded, limit).await?;
        let response = connection.decode::<ProduceRequest>(encoded.version, frame)?;
        appended(&connection, topic, partition, &response)
    }

    /// Asks for the identity of an idempotent producer.
    ///
    /// # Errors
    /// [`ClientError`]; an identity that was given and not received is never used.
    pub async fn init_producer_id(&self) -> Result<ProducerIdentity, ClientError> {
        self.retrying(Retry::Always, move || async move {
            let build = |_| {
                InitProducerIdRequest::default()
                    .with_transactional_id(None)
                    .with_transaction_timeout_ms(i32::MAX)
            };
            let (_, response) = self
                .ask::<InitProducerIdRequest>(Target::Any, INIT_MAX, build)
                .await?;
            check(response.error_code, None, || "get a producer id".to_owned())?;
            Ok(ProducerIdentity {
                id: ProducerId(response.producer_id.0),
                epoch: ProducerEpoch(response.producer_epoch),
            })
        })
        .await
    }
}

/// A Produce request with one batch, in the version that was agreed with the broker.
///
/// # Errors
/// [`CallError`] if there is no such version.
pub fn encode_produce(
    connection: &Connection,
    topic: &Topic,
    partition: i32,
    batch: &RecordBatch,
    options: &ProduceOptions,
) -> Result<Encoded, CallError> {
    let max = if topic.id.is_nil() {
        PRODUCE_BY_NAME_MAX
    } else {
        PRODUCE_MAX
    };
    let version = connection.version::<ProduceRequest>(max)?;
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.bytes().clone()));
    let mut topic_data = TopicProduceData::default().with_partition_data(vec![data]);
    if version > PRODUCE_BY_NAME_MAX {
        topic_data.topic_id = topic.id;
    } else {
        topic_data.name = name(&topic.name);
    }
    let request = ProduceRequest::default()
        .with_acks(options.acks.number())
        .with_timeout_ms(i32::try_from(options.timeout.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![topic_data]);
    Ok(Encoded::new(connection.client_id(), version, &request)?)
}

/// Reads the answer to [`encode_produce`].
///
/// # Errors
/// [`ClientError::Refused`] with the broker's words.
pub fn appended(
    connection: &Connection,
    topic: &str,
    partition: i32,
    response: &ProduceResponse,
) -> Result<Appended, ClientError> {
    let found = response
        .responses
        .first()
        .and_then(|topic| topic.partition_responses.first());
    let found = found.ok_or_else(|| ClientError::Incomplete {
        broker: Arc::clone(connection.broker()),
        what: format!("topic {topic:?} partition {partition}"),
    })?;
    let record = found
        .record_errors
        .first()
        .and_then(|error| error.batch_index_error_message.as_ref());
    let words = found.error_message.as_ref().or(record);
    check(found.error_code, words.map(|words| words.as_str()), || {
        format!("produce to topic {topic:?} partition {partition}")
    })?;
    Ok(Appended {
        base_offset: found.base_offset,
        append_time_ms: found.log_append_time_ms,
    })
}

/// Decodes the frame of an answer to [`encode_produce`].
///
/// # Errors
/// [`CallError::Decode`].
pub fn decode_produce(
    connection: &Connection,
    request: &Encoded,
    frame: bytes::Bytes,
) -> Result<ProduceResponse, CallError> {
    debug_assert_eq!(
        request.api_key,
        ApiKey::Produce,
        "the answer belongs to a Produce request"
    );
    connection.decode::<ProduceRequest>(request.version, frame)
}
