//! A producer and a consumer who behave: each number is appended once, in its place, and read back.

use bytes::Bytes;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::compression::{Compression, Limits};
use streamhouse_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use streamhouse_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use streamhouse_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use streamhouse_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ProduceRequest, TopicName,
};
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent, iterate};

use super::wire::Connection;

/// The versions that are spoken here.
pub(super) const PRODUCE: i16 = 9;
pub(super) const FETCH: i16 = 11;
const CREATE_TOPICS: i16 = 5;

fn named(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Creates a topic of one partition with these configs.
pub(super) fn create(port: u16, topic: &str, configs: &[(&str, &str)]) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(named(topic))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(30_000)
        .with_topics(vec![topic]);
    let created = Connection::open(port)
        .unwrap()
        .ask(CREATE_TOPICS, &request)
        .unwrap();
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
}

/// A batch of one record.
pub(super) fn batch(value: &[u8]) -> Bytes {
    let mut batch = RecordBatchBuilder::new(Compression::None);
    let content = RecordContent {
        key: Some(b"key"),
        value: Some(value),
        ..RecordContent::default()
    };
    batch.push(&content).unwrap();
    batch.build().unwrap().into_bytes()
}

/// A request to append `records` to the one partition of `topic`.
pub(super) fn producing(topic: &str, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(named(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// Appends a batch: the error code and the offset.
pub(super) fn produce(connection: &mut Connection, topic: &str, records: Bytes) -> (i16, i64) {
    let answer = connection.ask(PRODUCE, &producing(topic, records)).unwrap();
    let answer = &answer.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

/// A request for up to `bytes_max` bytes of records from `offset` on.
pub(super) fn fetching(topic: &str, offset: i64, bytes_max: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(bytes_max);
    let topic = FetchTopic::default()
        .with_topic(named(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_wait_ms(500)
        .with_max_bytes(bytes_max)
        .with_topics(vec![topic])
}

/// Somebody who writes numbers to a topic of their own and reads them.
#[derive(Debug)]
pub(super) struct Honest {
    topic: &'static str,
    producer: Connection,
    consumer: Connection,
    next: i64,
}

impl Honest {
    pub(super) fn start(port: u16) -> Self {
        let topic = "honest";
        create(port, topic, &[]);
        Self {
            topic,
            producer: Connection::open(port).unwrap(),
            consumer: Connection::open(port).unwrap(),
            next: 0,
        }
    }

    /// Writes and reads the next numbers; all must arrive once, in their order.
    pub(super) fn goes_on(&mut self, numbers: i64) {
        for number in self.next..self.next + numbers {
            let value = number.to_be_bytes();
            let appended = produce(&mut self.producer, self.topic, batch(&value));
            assert_eq!(appended, (0, number));
        }
        let end = self.next + numbers;
        while self.next < end {
            for (offset, value) in self.read() {
                assert_eq!(
                    (offset, &value[..]),
                    (self.next, &self.next.to_be_bytes()[..])
                );
                self.next += 1;
            }
        }
    }

    /// Offsets and values from the next number on.
    fn read(&mut self) -> Vec<(i64, Bytes)> {
        let request = fetching(self.topic, self.next, 1 << 20);
        let answer = self.consumer.ask(FETCH, &request).unwrap();
        let answer = &answer.responses[0].partitions[0];
        assert_eq!(answer.error_code, 0);
        let mut read = Vec::new();
        for batch in iterate(answer.records.clone().unwrap_or_default()) {
            let records = Records::unpack(&batch.unwrap(), &Limits::DEFAULT).unwrap();
            for record in records.iter() {
                let record = record.unwrap();
                let value = Bytes::copy_from_slice(record.value.unwrap());
                read.push((record.offset, value));
            }
        }
        read
    }
}
