//! Records on the wire: building batches, producing them, reading them back.

use bytes::Bytes;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::{ProducerEpoch, ProducerId};
use streamhouse_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use streamhouse_protocol::messages::fetch_response::PartitionData;
use streamhouse_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use streamhouse_protocol::messages::produce_response::PartitionProduceResponse;
use streamhouse_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest};
use streamhouse_protocol::record_batch::{RecordBatch, RecordBatchBuilder, RecordContent, iterate};

use crate::bench::Client;
use crate::metadata::name;

/// The newest version of Produce and of Fetch that names topics by name.
pub(crate) const PRODUCE: i16 = 12;
pub(crate) const FETCH: i16 = 12;

/// What the clock of a bench says at first.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A batch of these values, written now.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let records: Vec<_> = values.iter().map(|value| (NOW_MS, *value)).collect();
    timed_batch(&records, Compression::None)
}

/// A batch of one record of about `bytes` bytes.
pub(crate) fn batch_of(bytes: usize) -> Bytes {
    batch(&[&"x".repeat(bytes)])
}

pub(crate) fn timed_batch(records: &[(i64, &str)], compression: Compression) -> Bytes {
    filled(RecordBatchBuilder::new(compression), records)
}

/// A batch of an idempotent producer.
pub(crate) fn sequenced(id: i64, epoch: i16, first: i32, values: &[&str]) -> Bytes {
    let builder = RecordBatchBuilder::new(Compression::None);
    let records: Vec<_> = values.iter().map(|value| (NOW_MS, *value)).collect();
    let producer = (ProducerId(id), ProducerEpoch(epoch));
    filled(builder.producer(producer.0, producer.1, first), &records)
}

pub(crate) fn filled(mut builder: RecordBatchBuilder, records: &[(i64, &str)]) -> Bytes {
    for (timestamp_ms, value) in records {
        let record = RecordContent {
            timestamp_ms: *timestamp_ms,
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            ..RecordContent::default()
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap().into_bytes()
}

/// A request to append batches to partitions of one topic.
pub(crate) fn producing(topic: &str, acks: i16, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let data = batches.iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(records.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(data.collect());
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// Appends one batch with acks=all and returns what is answered for it.
pub(crate) async fn produced(
    client: &mut Client,
    topic: &str,
    index: i32,
    records: &Bytes,
) -> PartitionProduceResponse {
    let request = producing(topic, -1, &[(index, records.clone())]);
    let response = client.call(PRODUCE, &request).await;
    response.responses[0].partition_responses[0].clone()
}

/// Appends one batch that must be taken, and returns its base offset.
pub(crate) async fn append(client: &mut Client, topic: &str, index: i32, records: &Bytes) -> i64 {
    let answer = produced(client, topic, index, records).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.base_offset
}

/// A partition of a fetch.
pub(crate) fn wanted(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20)
}

/// A fetch of partitions of one topic that does not wait.
pub(crate) fn fetching(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic::default()
        .with_topic(name(topic))
        .with_partitions(partitions);
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}

/// What is answered for one partition from an offset on.
pub(crate) async fn fetched(
    client: &mut Client,
    topic: &str,
    index: i32,
    offset: i64,
) -> PartitionData {
    let request = fetching(topic, vec![wanted(index, offset)]);
    only(client.call(FETCH, &request).await)
}

/// The partitions of an answer, in its order.
pub(crate) fn partitions(response: FetchResponse) -> Vec<PartitionData> {
    assert_eq!(response.error_code, 0);
    let topics = response.responses.into_iter();
    topics.flat_map(|topic| topic.partitions).collect()
}

/// The only partition of an answer.
pub(crate) fn only(response: FetchResponse) -> PartitionData {
    let mut partitions = partitions(response);
    assert_eq!(partitions.len(), 1);
    partitions.remove(0)
}

/// The whole batches of a partition's answer.
pub(crate) fn batches(data: &PartitionData) -> Vec<RecordBatch> {
    let records = data.records.clone().expect("records are never null");
    iterate(records).collect::<Result<_, _>>().unwrap()
}

/// How many bytes of records a partition's answer has.
pub(crate) fn bytes(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, Bytes::len)
}

/// The base offsets of the batches of a partition's answer.
pub(crate) fn base_offsets(data: &PartitionData) -> Vec<i64> {
    batches(data).iter().map(RecordBatch::base_offset).collect()
}

/// A copy of `records` with other bytes at `at`.
pub(crate) fn bent(records: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut bent = records.to_vec();
    bent[at..at + bytes.len()].copy_from_slice(bytes);
    bent.into()
}

/// As [`bent`], with the CRC that belongs to it.
pub(crate) fn forged(records: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let bent = bent(records, at, bytes);
    let crc = crc32c(&bent[21..]);
    self::bent(&bent, 17, &crc.to_be_bytes())
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}
