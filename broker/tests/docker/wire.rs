//! A client of the container: whole frames over a socket, one at a time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use streamhouse_protocol::compression::{Compression, Limits};
use streamhouse_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use streamhouse_protocol::messages::metadata_request::MetadataRequestTopic;
use streamhouse_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use streamhouse_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest, TopicName};
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatch, RecordBatchBuilder, RecordContent};
use streamhouse_protocol::{Request, StrBytes};

use crate::connection::Connection;

/// A broker that does not answer is a failure, not a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let connection = Connection::open(port).unwrap();
        Self { connection }
    }

    /// Where the broker tells clients to connect to. Makes the topic if there is none.
    pub(crate) fn advertised(&mut self, topic: &str) -> (String, i32) {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let response = self.ask(9, &request);
        let broker = &response.brokers[0];
        (broker.host.to_string(), broker.port)
    }

    /// Appends one record, with acks=all.
    pub(crate) fn produce(&mut self, topic: &str, value: &[u8]) {
        let mut batch = RecordBatchBuilder::new(Compression::None);
        let content = RecordContent {
            value: Some(value),
            ..RecordContent::default()
        };
        batch.push(&content).unwrap();
        let partition =
            PartitionProduceData::default().with_records(Some(batch.build().unwrap().into_bytes()));
        let topic = TopicProduceData::default()
            .with_name(name(topic))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        let response = self.ask(9, &request);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }

    /// The value of the first record.
    pub(crate) fn fetch(&mut self, topic: &str) -> Vec<u8> {
        let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(name(topic))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_min_bytes(1)
            .with_max_wait_ms(10_000);
        let response = self.ask(11, &request.with_topics(vec![topic]));
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        let batch = RecordBatch::parse(partition.records.clone().unwrap()).unwrap();
        batch.verify_crc().unwrap();
        let records = Records::unpack(&batch, &Limits::DEFAULT).unwrap();
        records
            .iter()
            .next()
            .unwrap()
            .unwrap()
            .value
            .unwrap()
            .to_vec()
    }

    fn ask<R>(&mut self, version: i16, request: &R) -> R::Response
    where
        R: Request,
    {
        self.connection.ask(version, request).unwrap()
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// The status of a GET.
pub(crate) fn http_status(port: u16, path: &str) -> u16 {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
