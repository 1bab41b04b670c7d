//! The producers of one topic, and the audit of it: read everything, send again what is unknown, read everything again.

use std::io::{Error, Result};
use std::time::Duration;

use bytes::Bytes;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::compression::{Compression, Limits};
use streamhouse_protocol::ids::{ProducerEpoch, ProducerId};
use streamhouse_protocol::messages::create_topics_request::CreatableTopic;
use streamhouse_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use streamhouse_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use streamhouse_protocol::messages::{
    CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ProduceRequest, ProduceResponse,
    TopicName,
};
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent, iterate};
use streamhouse_runtime::{Clock, SystemClock};

use crate::broker::Broker;
use crate::history::{Breach, Outcome, PARTITIONS, Producer, Read, Violation, audit};
use crate::wire::Connection;

/// The version of Produce.
pub(crate) const PRODUCE: i16 = 9;

const FETCH: i16 = 11;

/// `REQUEST_TIMED_OUT`, `NOT_LEADER_OR_FOLLOWER`, `NOT_ENOUGH_REPLICAS_AFTER_APPEND`, `KAFKA_STORAGE_ERROR`: it may
/// have happened all the same.
const INDETERMINATE: &[i16] = &[7, 6, 20, 56];

/// `NOT_ENOUGH_REPLICAS`: the WAL is full; it did not happen, try again.
pub(crate) const NO_ROOM: i16 = 19;

/// `OUT_OF_ORDER_SEQUENCE_NUMBER`: a batch before it did not happen.
const OUT_OF_ORDER: i16 = 45;

/// How long a broker may have no room after its start.
const RETRIES_END_AFTER: Duration = Duration::from_secs(10);

/// `UNKNOWN_TOPIC_OR_PARTITION`.
const UNKNOWN_TOPIC: i16 = 3;

/// A topic and its producers.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) producers: Vec<Producer>,
}

impl Ledger {
    /// Creates the topic, and two producers: an idempotent and a plain one.
    pub(crate) fn open(broker: &Broker) -> Self {
        let mut connection = Connection::open(broker.port).unwrap();
        let topic = CreatableTopic::default()
            .with_name(topic())
            .with_num_partitions(i32::try_from(PARTITIONS).unwrap())
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(30_000)
            .with_topics(vec![topic]);
        let created = connection.ask(5, &request).unwrap();
        assert_eq!(created.topics[0].error_code, 0);
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let given = connection.ask(4, &request).unwrap();
        assert_eq!(given.error_code, 0);
        let id = (given.producer_id.0, given.producer_epoch);
        Self {
            producers: vec![Producer::new(0, Some(id)), Producer::new(1, None)],
        }
    }

    /// Holds a broker that was started again against the law, and makes the unknown known: what an idempotent
    /// producer had no answer to is sent again and must not be there twice.
    pub(crate) fn audit(&mut self, broker: &Broker) -> Vec<Violation> {
        let mut connection = Connection::open(broker.port).unwrap();
        let mut violations = self.compare(&mut connection);
        if violations.is_empty() {
            violations = self.retry(&mut connection);
            violations.extend(self.compare(&mut connection));
        }
        violations
    }

    /// What is in the topic, against the law. Nothing is sent.
    pub(crate) fn compare(&self, connection: &mut Connection) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut read: [Read; PARTITIONS] = Default::default();
        for (partition, read) in read.iter_mut().enumerate() {
            if let Err(error) = read_all(connection, partition, read) {
                violations.push(Violation {
                    breach: Breach::Lost,
                    text: format!("partition {partition} cannot be read: {error}"),
                });
            }
        }
        violations.extend(audit(&self.producers, &read));
        violations
    }

    fn retry(&mut self, connection: &mut Connection) -> Vec<Violation> {
        let mut violations = Vec::new();
        let idempotent = self
            .producers
            .iter_mut()
            .filter(|producer| producer.id.is_some());
        for producer in idempotent {
            for serial in 0..producer.sent.len() {
                if producer.sent[serial].outcome != Outcome::Unknown {
                    continue;
                }
                if producer.is_void(serial) {
                    producer.sent[serial].outcome = Outcome::Refused(OUT_OF_ORDER);
                    continue;
                }
                match send_until_taken(connection, &request(producer, serial)) {
                    acknowledged @ Outcome::Acknowledged(_) => {
                        producer.sent[serial].outcome = acknowledged;
                    }
                    other @ (Outcome::Unknown | Outcome::Refused(_)) => {
                        violations.push(Violation {
                            breach: Breach::Retry,
                            text: format!("batch {serial}, {:?}: {other:?}", producer.sent[serial]),
                        })
                    }
                }
            }
        }
        violations
    }
}

/// The request that sends a batch, the same each time.
pub(crate) fn request(producer: &Producer, serial: usize) -> ProduceRequest {
    let sent = producer.sent[serial];
    let mut batch = RecordBatchBuilder::new(Compression::None);
    if let Some((id, epoch)) = producer.id {
        batch = batch.producer(ProducerId(id), ProducerEpoch(epoch), sent.sequence);
    }
    for value in producer.values(serial) {
        let content = RecordContent {
            value: Some(&value),
            ..RecordContent::default()
        };
        batch.push(&content).unwrap();
    }
    let partition = PartitionProduceData::default()
        .with_index(i32::try_from(sent.partition).unwrap())
        .with_records(Some(batch.build().unwrap().into_bytes()));
    let topic = TopicProduceData::default()
        .with_name(topic())
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// Sends a batch as a producer does: while the broker has no room for it, it is sent again.
fn send_until_taken(connection: &mut Connection, request: &ProduceRequest) -> Outcome {
    let clock = SystemClock::new();
    loop {
        let response = connection.ask(PRODUCE, request).unwrap();
        let outcome = outcome(&response);
        if outcome != Outcome::Refused(NO_ROOM) || clock.monotonic().0 > RETRIES_END_AFTER {
            return outcome;
        }
    }
}

/// What an answer says.
pub(crate) fn outcome(response: &ProduceResponse) -> Outcome {
    let partition = &response.responses[0].partition_responses[0];
    match partition.error_code {
        0 => Outcome::Acknowledged(partition.base_offset),
        code if INDETERMINATE.contains(&code) => Outcome::Unknown,
        code => Outcome::Refused(code),
    }
}

/// Reads a partition from its beginning to its high watermark. A topic that is not there has no records.
fn read_all(connection: &mut Connection, partition: usize, read: &mut Read) -> Result<()> {
    let mut next = 0;
    loop {
        let wanted = FetchPartition::default()
            .with_partition(i32::try_from(partition).unwrap())
            .with_fetch_offset(next)
            .with_partition_max_bytes(4 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic())
            .with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_bytes(8 << 20)
            .with_topics(vec![topic]);
        let response = connection.ask(FETCH, &request)?;
        let answer = &response.responses[0].partitions[0];
        match answer.error_code {
            0 => {}
            UNKNOWN_TOPIC => return Ok(()),
            code => return Err(Error::other(format!("error {code} at offset {next}"))),
        }
        let before = read.len();
        unpack(answer.records.clone().unwrap_or_default(), read)?;
        if let Some((last, _)) = read[before..].last() {
            next = last + 1;
        }
        if next >= answer.high_watermark {
            return Ok(());
        }
        if read.len() == before {
            let end = answer.high_watermark;
            let text = format!("nothing at offset {next} below the high watermark {end}");
            return Err(Error::other(text));
        }
    }
}

fn unpack(bytes: Bytes, read: &mut Read) -> Result<()> {
    for batch in iterate(bytes) {
        let batch = batch.map_err(Error::other)?;
        batch.verify_crc().map_err(Error::other)?;
        let records = Records::unpack(&batch, &Limits::DEFAULT).map_err(Error::other)?;
        for record in records.iter() {
            let record = record.map_err(Error::other)?;
            read.push((record.offset, record.value.unwrap_or_default().to_vec()));
        }
    }
    Ok(())
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("ledger"))
}
