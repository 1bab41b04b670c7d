//! Records to a topic: gathers them into batches per partition and keeps their order.
//!
//! Each partition has one batch on the way; what comes meanwhile is gathered into the next one, so batches grow when the
//! broker is slow. With an identity (idempotence), a batch that is sent again is written once.
//!
//! Invariants: memory is bounded by two batches per partition; the order of records of a partition is the order of
//! [`Producer::send`]; after an error nothing further is sent, since order could not be kept.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::record_batch::{
    RecordBatch, RecordBatchBuilder, RecordContent, sequence_after,
};

use crate::client::Client;
use crate::error::ClientError;
use crate::metadata::Topic;
use crate::partitioner::partition_of_key;
use crate::produce::{Appended, ProduceOptions, ProducerIdentity};

/// How records are gathered.
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    /// How batches are produced.
    pub produce: ProduceOptions,
    /// How batches are compressed.
    pub compression: Compression,
    /// When a batch is full, in bytes before compression. A single larger record is sent alone.
    pub batch_bytes_max: usize,
    /// Writes under this identity.
    pub identity: Option<ProducerIdentity>,
}

/// A batch that was acknowledged, by partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// How many records.
    pub records: i32,
    /// Where they are.
    pub appended: Appended,
}

/// Gathers records of one topic into batches.
pub struct Producer {
    client: Client,
    topic: Arc<Topic>,
    options: ProducerOptions,
    lanes: Vec<Lane>,
    /// The lane of records without a key: one after the other, a batch each.
    sticky: usize,
    on_the_way: FuturesUnordered<BoxFuture<'static, (usize, Result<Delivered, ClientError>)>>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.topic.name)
            .field("on_the_way", &self.on_the_way.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Lane {
    partition: i32,
    gathering: RecordBatchBuilder,
    is_sending: bool,
    next_sequence: i32,
}

impl Producer {
    /// A producer of a topic, whose partitions are those that it has now.
    #[must_use]
    pub fn new(client: Client, topic: Arc<Topic>, options: ProducerOptions) -> Self {
        let lanes = topic.partitions.iter().map(|partition| Lane {
            partition: partition.index,
            gathering: RecordBatchBuilder::new(options.compression),
            is_sending: false,
            next_sequence: 0,
        });
        let mut producer = Self {
            lanes: lanes.collect(),
            client,
            topic,
            options,
            sticky: 0,
            on_the_way: FuturesUnordered::new(),
        };
        for index in 0..producer.lanes.len() {
            producer.lanes[index].gathering = producer.builder(0);
        }
        producer
    }

    /// Adds a record; waits while its partition has a full batch and another one on the way.
    ///
    /// `partition` is chosen by the key if it is `None`, and in turns if there is no key either.
    ///
    /// # Errors
    /// [`ClientError`] of an earlier batch, or of a record that cannot be built. End then.
    pub async fn send(
        &mut self,
        partition: Option<i32>,
        record: &RecordContent<'_>,
    ) -> Result<Vec<Delivered>, ClientError> {
        let lane = self.lane(partition, record.key)?;
        let mut delivered = Vec::new();
        while self.is_full(lane, record) && self.lanes[lane].is_sending {
            delivered.extend(self.next_delivered().await?);
        }
        if self.is_full(lane, record) {
            self.start(lane)?;
        }
        let pushed = self.lanes[lane].gathering.push(record);
        pushed.map_err(|error| self.unbuildable(lane, &error.to_string()))?;
        Ok(delivered)
    }

    /// Sends what is gathered wherever nothing is on the way, without waiting.
    ///
    /// # Errors
    /// [`ClientError`] if a batch cannot be built.
    pub fn nudge(&mut self) -> Result<(), ClientError> {
        for lane in 0..self.lanes.len() {
            if !self.lanes[lane].is_sending && self.lanes[lane].gathering.records_count() > 0 {
                self.start(lane)?;
            }
        }
        Ok(())
    }

    /// Whether a batch is on the way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.on_the_way.is_empty()
    }

    /// Waits for one batch that is on the way; `None` if there is none.
    ///
    /// # Errors
    /// [`ClientError`] of that batch. End then.
    pub async fn next_delivered(&mut self) -> Result<Option<Delivered>, ClientError> {
        let Some((lane, result)) = self.on_the_way.next().await else {
            return Ok(None);
        };
        self.lanes[lane].is_sending = false;
        result.map(Some)
    }

    /// Sends everything and waits until it is acknowledged.
    ///
    /// # Errors
    /// [`ClientError`] of the first batch that failed; its outcome says whether it may have been written.
    pub async fn flush(&mut self) -> Result<Vec<Delivered>, ClientError> {
        let mut delivered = Vec::new();
        loop {
            self.nudge()?;
            match self.next_delivered().await? {
                Some(done) => delivered.push(done),
                None => return Ok(delivered),
            }
        }
    }

    fn lane(&mut self, partition: Option<i32>, key: Option<&[u8]>) -> Result<usize, ClientError> {
        let count = self.lanes.len();
        let lane = match (partition, key) {
            (Some(index), _) => self.lanes.iter().position(|lane| lane.partition == index),
            (None, Some(key)) => Some(partition_of_key(key, count)),
            (None, None) => Some(self.sticky),
        };
        lane.filter(|lane| *lane < count)
            .ok_or_else(|| ClientError::Build {
                subject: "a record".to_owned(),
                reason: format!(
                    "topic {:?} has partitions 0 to {}",
                    self.topic.name,
                    count.saturating_sub(1)
                ),
            })
    }

    fn is_full(&self, lane: usize, record: &RecordContent<'_>) -> bool {
        let gathering = &self.lanes[lane].gathering;
        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        gathering.records_count() > 0
            && gathering.records_bytes().saturating_add(size) > self.options.batch_bytes_max
    }

    fn builder(&self, sequence: i32) -> RecordBatchBuilder {
        let builder = RecordBatchBuilder::new(self.options.compression);
        match self.options.identity {
            Some(identity) => builder.producer(identity.id, identity.epoch, sequence),
            None => builder,
        }
    }

    fn start(&mut self, index: usize) -> Result<(), ClientError> {
        let records = self.lanes[index].gathering.records_count();
        let next_sequence = sequence_after(self.lanes[index].next_sequence, records);
        let fresh = self.builder(next_sequence);
        let lane = &mut self.lanes[index];
        lane.next_sequence = next_sequence;
        lane.is_sending = true;
        let full = std::mem::replace(&mut lane.gathering, fresh);
        let partition = lane.partition;
        let batch = full
            .build()
            .map_err(|error| self.unbuildable(index, &error.to_string()))?;
        self.on_the_way.push(Box::pin(deliver(
            self.client.clone(),
            Arc::clone(&self.topic),
            (index, partition, records),
            batch,
            self.options.produce,
        )));
        if self.sticky == index {
            self.sticky = (index + 1) % self.lanes.len();
        }
        Ok(())
    }

    fn unbuildable(&self, lane: usize, reason: &str) -> ClientError {
        ClientError::Build {
            subject: format!(
                "a batch for topic {:?} partition {}",
                self.topic.name, self.lanes[lane].partition
            ),
            reason: reason.to_owned(),
        }
    }
}

async fn deliver(
    client: Client,
    topic: Arc<Topic>,
    (lane, partition, records): (usize, i32, i32),
    batch: RecordBatch,
    options: ProduceOptions,
) -> (usize, Result<Delivered, ClientError>) {
    let appended = client
        .produce(&topic.name, partition, &batch, &options)
        .await;
    let delivered = appended.map(|appended| Delivered {
        partition,
        records,
        appended,
    });
    (lane, delivered)
}
