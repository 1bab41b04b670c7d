//! Records of partitions of a topic, from chosen offsets on, without a group.
//!
//! One fetch per leader is on the way. What arrives is given out by partition, in order of offsets; between partitions
//! there is no order. Where a leader moved or does not answer, metadata is asked again after a pause.
//!
//! Invariants: no offset is given twice, none that the broker has is left out; memory is bounded by one answer per
//! leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use streamhouse_protocol::record_batch::{RecordBatch, iterate};
use streamhouse_runtime::Monotonic;

use crate::client::{Client, Target};
use crate::error::ClientError;
use crate::fetch::{FetchFrom, FetchOptions, Fetched, fetch};
use crate::metadata::Topic;

/// The pause before partitions are tried again whose leader refused or did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Batches of one partition.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The index of the partition.
    pub partition: i32,
    /// The first offset that is wanted: the first batch may begin before it.
    pub from_offset: i64,
    /// The batches in order; at least one record may lie at or behind `from_offset`.
    pub batches: Vec<RecordBatch>,
    /// Behind the last record that consumers see now.
    pub high_watermark: i64,
}

type Answer = (i32, Vec<FetchFrom>, Result<Vec<Fetched>, ClientError>);

/// Reads partitions of one topic.
pub struct Consumer {
    client: Client,
    topic: String,
    options: FetchOptions,
    /// Where each partition is read next.
    positions: BTreeMap<i32, Position>,
    on_the_way: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Since when nothing but retriable errors came.
    troubled_since: Option<Monotonic>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    offset: i64,
    is_fetching: bool,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of these partitions, each from its offset on.
    #[must_use]
    pub fn new(
        client: Client,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        options: FetchOptions,
    ) -> Self {
        let positions = from.iter().map(|(partition, offset)| {
            let position = Position {
                offset: *offset,
                is_fetching: false,
            };
            (*partition, position)
        });
        Self {
            client,
            topic: topic.to_owned(),
            options,
            positions: positions.collect(),
            on_the_way: FuturesUnordered::new(),
            troubled_since: None,
        }
    }

    /// The offset of the next record that is wanted of a partition.
    #[must_use]
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.positions
            .get(&partition)
            .map(|position| position.offset)
    }

    /// No longer reads a partition.
    pub fn stop(&mut self, partition: i32) {
        self.positions.remove(&partition);
    }

    /// Whether no partition is left to read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.positions.is_empty()
    }

    /// Waits for the next answer of some leader: one entry per partition that had news, also without batches, so that
    /// the high watermark is known. Waits for ever if no partition is left.
    ///
    /// # Errors
    /// [`ClientError`] that trying again does not cure, or that was not cured within the patience of the client.
    pub async fn next(&mut self) -> Result<Vec<Arrived>, ClientError> {
        loop {
            self.start_fetches().await?;
            let Some((_, from, result)) = self.on_the_way.next().await else {
                self.client.ambient().clock.sleep(PAUSE).await;
                continue;
            };
            for from in &from {
                if let Some(position) = self.positions.get_mut(&from.partition) {
                    position.is_fetching = false;
                }
            }
            match result {
                Ok(fetched) => {
                    let arrived = self.arrived(fetched).await?;
                    if !arrived.is_empty() {
                        return Ok(arrived);
                    }
                }
                Err(error) => self.pause_after(error).await?,
            }
        }
    }

    async fn start_fetches(&mut self) -> Result<(), ClientError> {
        let idle = self
            .positions
            .iter()
            .filter(|(_, position)| !position.is_fetching);
        let idle: Vec<FetchFrom> = idle
            .map(|(partition, position)| FetchFrom {
                partition: *partition,
                offset: position.offset,
            })
            .collect();
        let mut by_leader: BTreeMap<i32, (Arc<Topic>, Vec<FetchFrom>)> = BTreeMap::new();
        for from in idle {
            match self.client.leader(&self.topic, from.partition).await {
                Ok((topic, leader)) => {
                    let entry = by_leader
                        .entry(leader)
                        .or_insert_with(|| (topic, Vec::new()));
                    entry.1.push(from);
                }
                Err(error) => self.pause_after(error).await?,
            }
        }
        for (leader, (topic, from)) in by_leader {
            for from in &from {
                if let Some(position) = self.positions.get_mut(&from.partition) {
                    position.is_fetching = true;
                }
            }
            self.on_the_way.push(Box::pin(ask(
                self.client.clone(),
                leader,
                topic,
                from,
                self.options,
            )));
        }
        Ok(())
    }

    async fn arrived(&mut self, fetched: Vec<Fetched>) -> Result<Vec<Arrived>, ClientError> {
        let mut arrived = Vec::with_capacity(fetched.len());
        for fetched in fetched {
            if let Some(error) = fetched.error {
                self.pause_after(error).await?;
                continue;
            }
            self.troubled_since = None;
            let Some(position) = self.positions.get_mut(&fetched.partition) else {
                continue;
            };
            let from_offset = position.offset;
            let batches = read(&self.topic, fetched.partition, from_offset, fetched.records)?;
            let next = batches.last().map(RecordBatch::next_offset);
            position.offset = next.map_or(from_offset, |next| next.max(from_offset));
            arrived.push(Arrived {
                partition: fetched.partition,
                from_offset,
                batches,
                high_watermark: fetched.high_watermark,
            });
        }
        Ok(arrived)
    }

    /// Passes errors on that will not pass; else waits a moment and forgets who leads what.
    async fn pause_after(&mut self, error: ClientError) -> Result<(), ClientError> {
        let clock = Arc::clone(&self.client.ambient().clock);
        let since = *self.troubled_since.get_or_insert_with(|| clock.monotonic());
        if !error.is_retriable() || clock.monotonic() - since > self.client.options().patience {
            return Err(error);
        }
        self.client.forget_topic(&self.topic);
        clock.sleep(PAUSE).await;
        Ok(())
    }
}

async fn ask(
    client: Client,
    leader: i32,
    topic: Arc<Topic>,
    from: Vec<FetchFrom>,
    options: FetchOptions,
) -> Answer {
    let asked = async {
        let connection = client.connection(Target::Broker(leader)).await?;
        fetch(&client, &connection, &topic, &from, &options).await
    };
    let result = asked.await;
    (leader, from, result)
}

/// The whole batches in `records` that end at or behind `from_offset`.
fn read(
    topic: &str,
    partition: i32,
    from_offset: i64,
    records: Bytes,
) -> Result<Vec<RecordBatch>, ClientError> {
    let unreadable = |reason: String| ClientError::Records {
        topic: Arc::from(topic),
        partition,
        offset: from_offset,
        reason,
    };
    let mut batches = Vec::new();
    for batch in iterate(records) {
        let batch = batch.map_err(|error| unreadable(error.to_string()))?;
        batch
            .verify_crc()
            .map_err(|error| unreadable(error.to_string()))?;
        if batch.last_offset() >= from_offset {
            batches.push(batch);
        }
    }
    Ok(batches)
}
