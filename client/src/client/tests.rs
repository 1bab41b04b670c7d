//! The cluster as a client sees it: bootstrap, leaders, retries, producers and consumers, against scripted brokers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use streamhouse_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use streamhouse_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use streamhouse_protocol::messages::produce_response::{
    PartitionProduceResponse, TopicProduceResponse,
};
use streamhouse_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, RequestKind, TopicName,
};
use streamhouse_protocol::record_batch::{RecordBatch, RecordBatchBuilder, RecordContent, Stamp};
use streamhouse_protocol::request::RequestHeader;
use tokio::sync::mpsc;

use super::{Client, Options};
use crate::address::BrokerAddress;
use crate::consumer::Consumer;
use crate::error::{ClientError, Outcome};
use crate::fetch::FetchOptions;
use crate::produce::{ProduceOptions, ProducerIdentity};
use crate::producer::{Producer, ProducerOptions};
use crate::scripted::{Peer, Wires, eager};
use crate::topics::NewTopic;

type Script = dyn FnMut(&BrokerAddress, &RequestHeader, RequestKind) -> Reply + Send;

enum Reply {
    Metadata(MetadataResponse),
    Produce(ProduceResponse),
    Fetch(FetchResponse),
    Close,
}

/// What scripts tell apart.
enum Asked {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    Other,
}

fn asked(body: RequestKind) -> Asked {
    if let RequestKind::Produce(request) = body {
        Asked::Produce(request)
    } else if let RequestKind::Fetch(request) = body {
        Asked::Fetch(request)
    } else {
        Asked::Other
    }
}

/// Serves every connection with `script` until the client closes.
async fn serve(mut peers: mpsc::Receiver<(BrokerAddress, Peer)>, script: Arc<Mutex<Box<Script>>>) {
    let mut serving = Vec::new();
    while let Some((address, peer)) = peers.recv().await {
        serving.push(
            eager()
                .tasks
                .spawn("peer", serve_one(address, peer, Arc::clone(&script))),
        );
    }
}

async fn serve_one(address: BrokerAddress, mut peer: Peer, script: Arc<Mutex<Box<Script>>>) {
    peer.greet(&BTreeMap::new()).await;
    while let Some((header, body)) = peer.next().await {
        let reply = (script.lock())(&address, &header, body);
        match reply {
            Reply::Metadata(response) => peer.answer::<MetadataRequest>(&header, &response).await,
            Reply::Produce(response) => peer.answer::<ProduceRequest>(&header, &response).await,
            Reply::Fetch(response) => peer.answer::<FetchRequest>(&header, &response).await,
            Reply::Close => return,
        }
    }
}

fn address(port: u16) -> BrokerAddress {
    BrokerAddress::new("b", port)
}

async fn client(
    script: impl FnMut(&BrokerAddress, &RequestHeader, RequestKind) -> Reply + Send + 'static,
) -> Result<Client, ClientError> {
    let (wires, peers) = Wires::new();
    let ambient = eager();
    let script: Box<Script> = Box::new(script);
    ambient
        .tasks
        .spawn("peers", serve(peers, Arc::new(Mutex::new(script))));
    Client::open_through(wires, vec![address(1)], Options::default(), ambient).await
}

/// Brokers 1 and 2 at ports 1 and 2; topic `t` whose partition 0 is led by `leader`.
fn metadata(leader: i32) -> MetadataResponse {
    let broker = |id: i32| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_static_str("b"))
            .with_port(id)
    };
    let partition = MetadataResponsePartition::default()
        .with_partition_index(0)
        .with_leader_id(BrokerId(leader))
        .with_replica_nodes(vec![BrokerId(1), BrokerId(2)]);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
        .with_topic_id(uuid::Uuid::from_u128(5))
        .with_partitions(vec![partition]);
    MetadataResponse::default()
        .with_brokers(vec![broker(1), broker(2)])
        .with_controller_id(BrokerId(1))
        .with_topics(vec![topic])
}

fn produced(code: i16, base_offset: i64) -> Reply {
    let partition = PartitionProduceResponse::default()
        .with_error_code(code)
        .with_base_offset(base_offset);
    let topic = TopicProduceResponse::default()
        .with_topic_id(uuid::Uuid::from_u128(5))
        .with_partition_responses(vec![partition]);
    Reply::Produce(ProduceResponse::default().with_responses(vec![topic]))
}

fn batch(values: &[&str], identity: bool) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new(Compression::None);
    if identity {
        builder = builder.producer(ProducerId(7), ProducerEpoch(0), 0);
    }
    for value in values {
        let content = RecordContent {
            value: Some(value.as_bytes()),
            ..RecordContent::default()
        };
        builder.push(&content).unwrap();
    }
    builder.build().unwrap()
}

#[tokio::test]
async fn a_wrong_bootstrap_list_is_told_at_once_with_what_was_tried() {
    let (wires, _peers) = Wires::new();
    for port in [1, 2] {
        wires.refuse(&address(port));
    }
    let bootstrap = vec![address(1), address(2)];
    let error = Client::open_through(wires, bootstrap, Options::default(), eager())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no broker can be reached at b:1, b:2: connection refused"),
        "{error}"
    );
    assert_eq!(error.outcome(), Outcome::DidNotHappen);
}

#[tokio::test]
async fn the_second_address_serves_when_the_first_does_not() {
    let (wires, peers) = Wires::new();
    wires.refuse(&address(1));
    let ambient = eager();
    let script: Box<Script> = Box::new(|_, _, _| Reply::Metadata(metadata(1)));
    ambient
        .tasks
        .spawn("peers", serve(peers, Arc::new(Mutex::new(script))));
    let bootstrap = vec![address(1), address(2)];
    let client = Client::open_through(wires, bootstrap, Options::default(), ambient)
        .await
        .unwrap();
    assert_eq!(client.cluster().brokers.len(), 2);
}

#[tokio::test]
async fn a_batch_goes_to_the_leader_and_follows_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut leader = 1;
    let client = client(move |at, _, body| match asked(body) {
        Asked::Produce(_) => {
            log.lock().push(at.port);
            if at.port == 1 {
                leader = 2;
                produced(6, -1)
            } else {
                produced(0, 41)
            }
        }
        Asked::Fetch(_) | Asked::Other => Reply::Metadata(metadata(leader)),
    });
    let client = client.await.unwrap();
    let appended = client
        .produce("t", 0, &batch(&["a"], false), &ProduceOptions::default())
        .await
        .unwrap();
    assert_eq!(appended.base_offset, 41);
    assert_eq!(
        *seen.lock(),
        [1, 2],
        "the first broker said that it no longer leads"
    );
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_sent_again_only_if_it_is_idempotent() {
    for is_idempotent in [false, true] {
        let mut count = 0;
        let client = client(move |_, _, body| match asked(body) {
            Asked::Produce(_) => {
                count += 1;
                if count == 1 {
                    Reply::Close
                } else {
                    produced(0, 3)
                }
            }
            Asked::Fetch(_) | Asked::Other => Reply::Metadata(metadata(1)),
        });
        let client = client.await.unwrap();
        let result = client
            .produce(
                "t",
                0,
                &batch(&["a"], is_idempotent),
                &ProduceOptions::default(),
            )
            .await;
        if is_idempotent {
            assert_eq!(result.unwrap().base_offset, 3);
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_not_tried_again() {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let client = client(move |_, _, body| match asked(body) {
        Asked::Produce(_) => {
            *counted.lock() += 1;
            produced(10, -1)
        }
        Asked::Fetch(_) | Asked::Other => Reply::Metadata(metadata(1)),
    });
    let client = client.await.unwrap();
    let error = client
        .produce("t", 0, &batch(&["a"], true), &ProduceOptions::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("MESSAGE_TOO_LARGE; send smaller batches"),
        "{error}"
    );
    assert_eq!(*count.lock(), 1);
}

#[tokio::test]
async fn retries_end_with_the_patience_and_the_last_error() {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let client = client(move |_, _, body| match asked(body) {
        Asked::Produce(_) => {
            *counted.lock() += 1;
            produced(19, -1)
        }
        Asked::Fetch(_) | Asked::Other => Reply::Metadata(metadata(1)),
    });
    let client = client.await.unwrap();
    let error = client
        .produce("t", 0, &batch(&["a"], true), &ProduceOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "{error}");
    let tried = *count.lock();
    // 60 s of patience with pauses of half a second to one second, after a few shorter ones.
    assert!((60..=140).contains(&tried), "{tried}");
}

#[tokio::test]
async fn a_creation_without_answer_is_not_tried_again() {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let client = client(move |_, header, _| {
        if header.api_key as i16 == <CreateTopicsRequest as streamhouse_protocol::Request>::KEY {
            *counted.lock() += 1;
            return Reply::Close;
        }
        Reply::Metadata(metadata(1))
    });
    let client = client.await.unwrap();
    let topic = NewTopic {
        name: "x".to_owned(),
        partitions: None,
        replication_factor: None,
        configs: Vec::new(),
    };
    let error = client.create_topic(&topic, false).await.unwrap_err();
    assert_eq!(
        (error.outcome(), *count.lock()),
        (Outcome::MayHaveHappened, 1),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_topic_is_absent_at_once() {
    let client = client(|_, _, _| {
        let mut response = metadata(1);
        response.topics[0].error_code = 3;
        Reply::Metadata(response)
    });
    let error = client.await.unwrap().topic("t").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic \"t\": it does not exist; check the name with `streamhouse topic list`"
    );
}

fn small_batches() -> ProducerOptions {
    let identity = ProducerIdentity {
        id: ProducerId(9),
        epoch: ProducerEpoch(1),
    };
    ProducerOptions {
        produce: ProduceOptions::default(),
        compression: Compression::None,
        batch_bytes_max: 200,
        identity: Some(identity),
    }
}

#[tokio::test]
async fn a_producer_gathers_while_a_batch_is_on_the_way_and_keeps_order_and_sequences() {
    let batches = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&batches);
    let client = client(move |_, _, body| match asked(body) {
        Asked::Produce(request) => {
            let records = request.topic_data[0].partition_data[0]
                .records
                .clone()
                .unwrap();
            let batch = RecordBatch::parse(records).unwrap();
            let offset = log
                .lock()
                .iter()
                .map(RecordBatch::records_count)
                .sum::<i32>();
            log.lock().push(batch);
            produced(0, i64::from(offset))
        }
        Asked::Fetch(_) | Asked::Other => Reply::Metadata(metadata(1)),
    });
    let client = client.await.unwrap();
    let topic = client.topic("t").await.unwrap();
    let mut producer = Producer::new(client, topic, small_batches());
    let mut delivered = Vec::new();
    for number in 0..100 {
        let value = format!("value {number:03}");
        let content = RecordContent {
            value: Some(value.as_bytes()),
            ..RecordContent::default()
        };
        delivered.extend(producer.send(None, &content).await.unwrap());
    }
    delivered.extend(producer.flush().await.unwrap());
    assert_eq!(
        delivered
            .iter()
            .map(|delivered| delivered.records)
            .sum::<i32>(),
        100
    );
    let batches = batches.lock();
    assert!(batches.len() > 3, "{}", batches.len());
    let mut next = 0;
    for batch in batches.iter() {
        assert_eq!(
            (batch.producer_id(), batch.base_sequence()),
            (ProducerId(9), next)
        );
        next += batch.records_count();
    }
    let all: Bytes = batches
        .iter()
        .fold(BytesMut::new(), |mut all, batch| {
            all.extend_from_slice(batch.bytes());
            all
        })
        .freeze();
    let text = String::from_utf8_lossy(&all).into_owned();
    let places: Vec<usize> = (0..100)
        .map(|number| text.find(&format!("value {number:03}")).unwrap())
        .collect();
    assert!(places.is_sorted(), "records are in the order of send");
}

fn fetched(code: i16, high_watermark: i64, records: Bytes) -> Reply {
    let partition = PartitionData::default()
        .with_error_code(code)
        .with_high_watermark(high_watermark)
        .with_records(Some(records));
    let topic = FetchableTopicResponse::default()
        .with_topic_id(uuid::Uuid::from_u128(5))
        .with_partitions(vec![partition]);
    Reply::Fetch(FetchResponse::default().with_responses(vec![topic]))
}

#[tokio::test]
async fn a_consumer_gives_every_offset_once_across_a_change_of_leader_and_a_lost_connection() {
    let stamped = |base_offset: i64, values: &[&str]| {
        let stamp = Stamp {
            base_offset,
            leader_epoch: LeaderEpoch(0),
            append_time: None,
        };
        batch(values, false).stamp(&stamp).into_bytes()
    };
    let (first, second) = (stamped(0, &["a", "b", "c"]), stamped(3, &["d", "e"]));
    let mut step = 0;
    let client = client(move |at, _, body| match asked(body) {
        Asked::Fetch(request) => {
            step += 1;
            let offset = request.topics[0].partitions[0].fetch_offset;
            match (step, at.port) {
                (1, _) => Reply::Close,
                (2, 1) => fetched(6, -1, Bytes::new()),
                (3.., 2) if offset < 3 => {
                    // A cut batch at the end, as brokers may send it.
                    let cut = [first.clone(), second.slice(..20)].concat();
                    fetched(0, 5, Bytes::from(cut))
                }
                (3.., 2) => fetched(0, 5, second.clone()),
                other => panic!("a fetch that was not expected: {other:?}"),
            }
        }
        Asked::Produce(_) | Asked::Other => Reply::Metadata(metadata(if step < 2 { 1 } else { 2 })),
    });
    let client = client.await.unwrap();
    let mut consumer = Consumer::new(
        client,
        "t",
        &BTreeMap::from([(0, 1)]),
        FetchOptions::default(),
    );
    let arrived = consumer.next().await.unwrap().remove(0);
    assert_eq!(
        (
            arrived.partition,
            arrived.from_offset,
            arrived.high_watermark
        ),
        (0, 1, 5)
    );
    assert_eq!(
        arrived.batches.len(),
        1,
        "the cut batch is left for the next fetch"
    );
    assert_eq!(consumer.position(0), Some(3));
    let arrived = consumer.next().await.unwrap().remove(0);
    assert_eq!(
        (arrived.from_offset, arrived.batches[0].base_offset()),
        (3, 3)
    );
    assert_eq!(consumer.position(0), Some(5));
}

#[tokio::test]
async fn a_consumer_passes_on_what_waiting_does_not_cure() {
    let client = client(|_, _, body| match asked(body) {
        Asked::Fetch(_) => fetched(1, 5, Bytes::new()),
        Asked::Produce(_) | Asked::Other => Reply::Metadata(metadata(1)),
    });
    let client = client.await.unwrap();
    let mut consumer = Consumer::new(
        client,
        "t",
        &BTreeMap::from([(0, 99)]),
        FetchOptions::default(),
    );
    let error = consumer.next().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("partition 0 at offset 99: OFFSET_OUT_OF_RANGE"),
        "{error}"
    );
}

#[tokio::test]
async fn a_batch_with_a_wrong_crc_is_not_given_out() {
    let mut damaged = batch(&["a"], false).into_bytes().to_vec();
    let last = damaged.len() - 2;
    damaged[last] ^= 1;
    let damaged = Bytes::from(damaged);
    let client = client(move |_, _, body| match asked(body) {
        Asked::Fetch(_) => fetched(0, 1, damaged.clone()),
        Asked::Produce(_) | Asked::Other => Reply::Metadata(metadata(1)),
    });
    let client = client.await.unwrap();
    let mut consumer = Consumer::new(
        client,
        "t",
        &BTreeMap::from([(0, 0)]),
        FetchOptions::default(),
    );
    let error = consumer.next().await.unwrap_err().to_string();
    assert!(
        error.contains("partition 0 at offset 0 cannot be read: the CRC"),
        "{error}"
    );
}
