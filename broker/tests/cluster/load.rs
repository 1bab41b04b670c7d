//! Idempotent producers with acks=all and a reader, at work until they are told to stop.
//!
//! A producer repeats a batch, under its first sequence numbers, until it is acknowledged: at the end it knows
//! everything. The reader follows the leaders from the beginning; what it must never see are OFFSET_OUT_OF_RANGE, an end of
//! the log that goes back, and a gap.

use std::collections::BTreeMap;
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use streamhouse_protocol::compression::{Compression, Limits};
use streamhouse_protocol::ids::{ProducerEpoch, ProducerId};
use streamhouse_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use streamhouse_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use streamhouse_protocol::messages::{FetchRequest, InitProducerIdRequest, ProduceRequest};
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent, iterate};

use crate::client::{Client, is_retriable, topic_name};
use crate::ledger::{Ledger, Written};
use crate::say;
use crate::wait::{PATIENCE, now, pause, since, until};

pub(crate) const PRODUCE: i16 = 9;
const FETCH: i16 = 11;
const INIT_PRODUCER_ID: i16 = 4;

/// Records of a batch.
const RECORDS: i32 = 3;

/// The id and epoch of a producer.
pub(crate) type Identity = Option<(i64, i16)>;

/// Producers and a reader at work on one topic.
#[derive(Debug)]
pub(crate) struct Load {
    topic: String,
    partitions: i32,
    pub(crate) ledger: Arc<Ledger>,
    must_stop: Arc<AtomicBool>,
    producers: Vec<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
}

impl Load {
    /// Lets `producers` and a reader begin.
    pub(crate) fn begin(bootstrap: &[u16], topic: &str, partitions: i32, producers: usize) -> Self {
        let mut load = Self {
            topic: topic.to_owned(),
            partitions,
            ledger: Arc::default(),
            must_stop: Arc::default(),
            producers: Vec::new(),
            reader: None,
        };
        for number in 0..producers {
            let mut producer = Producer {
                number,
                topic: topic.to_owned(),
                client: Client::new(bootstrap),
                identity: None,
                next: vec![0; usize::try_from(partitions).unwrap()],
                ledger: Arc::clone(&load.ledger),
                must_stop: Arc::clone(&load.must_stop),
            };
            let work = move || producer.work();
            load.producers
                .push(spawn(&format!("producer-{number}"), work));
        }
        let (client, topic) = (Client::new(bootstrap), topic.to_owned());
        let must_stop = Arc::clone(&load.must_stop);
        let work = move || follow(client, &topic, partitions, &must_stop);
        load.reader = Some(spawn("reader", work));
        load
    }

    /// Waits until so many more records are acknowledged.
    pub(crate) fn until_more(&self, records: usize) {
        let wanted = self.ledger.records() + records;
        let what = format!("{records} more records");
        until(&what, || {
            self.check_alive();
            (self.ledger.records() >= wanted).then_some(())
        });
    }

    /// Waits until each partition has acknowledged something since `then`, and gives the time of the slowest one's
    /// first acknowledgement.
    pub(crate) fn until_all_write(&self) -> std::time::Duration {
        let then = now();
        let (_, took) = until("every partition acknowledges again", || {
            self.check_alive();
            let last = self.ledger.last();
            let are_back =
                (0..self.partitions).all(|it| last.get(&it).is_some_and(|at| *at > then));
            are_back.then_some(())
        });
        took
    }

    /// Fails with a client that failed.
    fn check_alive(&self) {
        let mut all = self.producers.iter().chain(&self.reader);
        assert!(
            all.all(|thread| !thread.is_finished()),
            "a client has failed; see above"
        );
    }

    /// Stops the clients once everything that was sent is acknowledged.
    pub(crate) fn end(mut self) -> Acknowledged {
        self.must_stop.store(true, Ordering::SeqCst);
        for thread in self.producers.drain(..).chain(self.reader.take()) {
            thread.join().expect("no client failed");
        }
        Acknowledged {
            topic: self.topic.clone(),
            partitions: self.partitions,
            ledger: Arc::clone(&self.ledger),
        }
    }
}

/// Everything that was acknowledged in a topic, and nothing else is in it.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    topic: String,
    partitions: i32,
    ledger: Arc<Ledger>,
}

impl Acknowledged {
    /// Reads everything from the beginning with a fresh consumer, and holds it against what was acknowledged.
    pub(crate) fn check(&self, bootstrap: &[u16]) {
        let mut client = Client::new(bootstrap);
        for partition in 0..self.partitions {
            let read = read_all(&mut client, &self.topic, partition);
            self.ledger.check(partition, &read);
        }
        let records = self.ledger.records();
        say(&format!(
            "{}: {records} acknowledged records lie at their offsets",
            self.topic
        ));
    }
}

/// Clients that are still at work would go on without a cluster.
impl Drop for Load {
    fn drop(&mut self) {
        self.must_stop.store(true, Ordering::SeqCst);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .unwrap()
}

struct Producer {
    number: usize,
    topic: String,
    client: Client,
    identity: Identity,
    /// The next sequence number of each partition.
    next: Vec<i32>,
    ledger: Arc<Ledger>,
    must_stop: Arc<AtomicBool>,
}

impl Producer {
    fn work(&mut self) {
        self.identity = Some(self.begin());
        let all: Vec<i32> = (0..i32::try_from(self.next.len()).unwrap()).collect();
        let mut waiting = Vec::new();
        while !self.must_stop.load(Ordering::SeqCst) {
            waiting = self.round(&all);
        }
        let began = now();
        while !waiting.is_empty() {
            waiting = self.round(&waiting);
            let is_over = since(began) > PATIENCE;
            assert!(!is_over, "partitions {waiting:?} acknowledge nothing");
        }
    }

    fn begin(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let (answer, _) = until("a producer id", || {
            let answer = self.client.ask_any(INIT_PRODUCER_ID, &request).ok()?;
            (answer.error_code == 0).then_some(answer)
        });
        (answer.producer_id.0, answer.producer_epoch)
    }

    /// Sends the next batch of each of these partitions to its leader, and gives those that are to be sent again.
    fn round(&mut self, partitions: &[i32]) -> Vec<i32> {
        let Ok(leaders) = self.client.leaders(&self.topic) else {
            pause();
            return partitions.to_vec();
        };
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let mut again = Vec::new();
        for partition in partitions {
            match leaders.get(partition) {
                Some((leader, _)) => by_leader.entry(*leader).or_default().push(*partition),
                None => again.push(*partition),
            }
        }
        for (leader, partitions) in by_leader {
            match self.send(leader, &partitions) {
                Ok(failed) => again.extend(failed),
                Err(_) => again.extend(partitions),
            }
        }
        if !again.is_empty() {
            pause();
        }
        again
    }

    fn send(&mut self, leader: i32, partitions: &[i32]) -> Result<Vec<i32>> {
        let batches = partitions.iter().map(|partition| {
            let sequence = self.next[usize::try_from(*partition).unwrap()];
            (
                *partition,
                batch(self.identity, self.written(sequence), *partition),
            )
        });
        let request = produce(&self.topic, batches.collect());
        let answer = self.client.ask(leader, PRODUCE, &request)?;
        let mut failed = Vec::new();
        for answer in answer
            .responses
            .iter()
            .flat_map(|it| &it.partition_responses)
        {
            let partition = answer.index;
            let place = usize::try_from(partition).unwrap();
            match answer.error_code {
                0 => {
                    let first = self.written(self.next[place]);
                    let offset = answer.base_offset;
                    assert!(offset >= 0, "acknowledged at offset {offset}");
                    self.ledger.acknowledge(partition, offset, first, RECORDS);
                    self.next[place] += RECORDS;
                }
                code => {
                    assert!(
                        is_retriable(code),
                        "producer {}, partition {partition}, sequence {}: error {code}",
                        self.number,
                        self.next[place]
                    );
                    failed.push(partition);
                }
            }
        }
        Ok(failed)
    }

    const fn written(&self, sequence: i32) -> Written {
        Written {
            producer: self.number,
            sequence,
        }
    }
}

/// A request that writes these batches with acks=all.
pub(crate) fn produce(topic: &str, batches: Vec<(i32, Bytes)>) -> ProduceRequest {
    let partitions = batches.into_iter().map(|(partition, batch)| {
        PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch))
    });
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(partitions.collect());
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(3_000)
        .with_topic_data(vec![topic])
}

/// A batch of [`RECORDS`] records from `first` on.
pub(crate) fn batch(identity: Identity, first: Written, partition: i32) -> Bytes {
    let mut batch = RecordBatchBuilder::new(Compression::None);
    if let Some((id, epoch)) = identity {
        batch = batch.producer(ProducerId(id), ProducerEpoch(epoch), first.sequence);
    }
    for index in 0..RECORDS {
        let written = Written {
            sequence: first.sequence + index,
            ..first
        };
        let value = written.value(partition);
        let content = RecordContent {
            value: Some(&value),
            ..RecordContent::default()
        };
        batch.push(&content).unwrap();
    }
    batch.build().unwrap().into_bytes()
}

/// What a reader knows of a partition.
#[derive(Debug, Default)]
struct Position {
    next: i64,
    end: i64,
}

fn follow(mut client: Client, topic: &str, partitions: i32, must_stop: &AtomicBool) {
    let mut positions: BTreeMap<i32, Position> = BTreeMap::new();
    while !must_stop.load(Ordering::SeqCst) {
        let Ok(leaders) = client.leaders(topic) else {
            pause();
            continue;
        };
        for partition in 0..partitions {
            let position = positions.entry(partition).or_default();
            let leader = leaders.get(&partition).map(|(leader, _)| *leader);
            // A broker that has gone is looked for again.
            let fetched = leader
                .and_then(|it| fetch(&mut client, it, topic, (partition, position.next)).ok());
            let Some((end, records)) = fetched.flatten() else {
                continue;
            };
            assert!(
                end >= position.end,
                "the end of partition {partition} went from {} back to {end}",
                position.end
            );
            position.end = end;
            for (offset, _) in records {
                assert_eq!(offset, position.next, "partition {partition} has a gap");
                position.next = offset + 1;
            }
        }
        pause();
    }
}

/// The high watermark and the records from an offset on.
type Fetched = (i64, Vec<(i64, Vec<u8>)>);

/// Reads from the leader; nothing if it answers with an error that is worth another try.
fn fetch(
    client: &mut Client,
    leader: i32,
    topic: &str,
    from: (i32, i64),
) -> Result<Option<Fetched>> {
    let (partition, offset) = from;
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(4 << 20);
    let topics = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_max_bytes(8 << 20)
        .with_topics(vec![topics]);
    let answer = client.ask(leader, FETCH, &request)?;
    let answer = &answer.responses[0].partitions[0];
    if answer.error_code != 0 {
        let code = answer.error_code;
        assert!(
            is_retriable(code),
            "reading {partition}:{offset}: error {code}"
        );
        return Ok(None);
    }
    let mut records = Vec::new();
    for batch in iterate(answer.records.clone().unwrap_or_default()) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let unpacked = Records::unpack(&batch, &Limits::DEFAULT).unwrap();
        for record in unpacked.iter() {
            let record = record.unwrap();
            if record.offset >= offset {
                records.push((record.offset, record.value.unwrap_or_default().to_vec()));
            }
        }
    }
    Ok(Some((answer.high_watermark, records)))
}

/// Everything in a partition up to its high watermark.
pub(crate) fn read_all(client: &mut Client, topic: &str, partition: i32) -> BTreeMap<i64, Vec<u8>> {
    let mut read = BTreeMap::new();
    let mut next = 0;
    until(&format!("the end of partition {partition}"), || {
        loop {
            let leaders = client.leaders(topic).ok()?;
            let (leader, _) = *leaders.get(&partition)?;
            let (end, records) = fetch(client, leader, topic, (partition, next)).ok()??;
            let found = records.len();
            read.extend(records);
            next = read.last_key_value().map_or(0, |(last, _)| last + 1);
            if next >= end {
                return Some(());
            }
            assert!(
                found > 0,
                "nothing at {partition}:{next} below the end {end}"
            );
        }
    });
    read
}
