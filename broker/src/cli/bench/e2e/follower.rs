//! The consumers of `streamhouse bench e2e`: one connection that follows the end of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use streamhouse_client::connection::Connection;
use streamhouse_client::fetch::{FetchFrom, FetchOptions, Fetched, fetch};
use streamhouse_client::metadata::Topic;
use streamhouse_client::{Client, ClientError};
use streamhouse_protocol::compression::Limits;
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatch, iterate};
use streamhouse_runtime::Monotonic;

use super::super::Run;
use super::super::measured::{Measured, Size};
use super::super::sender::Stamp;

/// How long an answer without records is waited for. It delays the end of a run, never a record.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// How many records were sent and how many have arrived, in the window.
#[derive(Debug)]
pub(super) struct Progress {
    /// Known when all were sent.
    expected: AtomicU64,
    arrived: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            expected: AtomicU64::new(u64::MAX),
            arrived: AtomicU64::new(0),
        }
    }
}

impl Progress {
    /// Says how many records were sent.
    pub(super) fn expect(&self, records: u64) {
        self.expected.store(records, Ordering::Release);
    }

    fn arrive(&self, records: u64) {
        self.arrived.fetch_add(records, Ordering::AcqRel);
    }

    fn is_complete(&self) -> bool {
        self.arrived.load(Ordering::Acquire) >= self.expected.load(Ordering::Acquire)
    }
}

/// One connection (one per leader, where a topic has several) and what it follows.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) topic: Arc<Topic>,
    pub(super) places: Vec<(i32, Connection)>,
    /// The next offset of each partition.
    pub(super) positions: BTreeMap<i32, i64>,
    /// Records of other runs do not count.
    pub(super) run: u64,
    pub(super) progress: Arc<Progress>,
}

impl Follower {
    /// Reads until everything has arrived, or `patience` is over.
    pub(super) async fn run(mut self, patience: Monotonic, mut measured: Measured) -> Run {
        let clock = Arc::clone(&self.client.ambient().clock);
        loop {
            let now = clock.monotonic();
            if self.progress.is_complete() || now >= patience {
                return Ok((measured, now));
            }
            for fetched in self.fetch().await? {
                let now = clock.monotonic();
                self.read(fetched, now, &mut measured)?;
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Fetched>, ClientError> {
        let mut by_leader: BTreeMap<&Arc<str>, (&Connection, Vec<FetchFrom>)> = BTreeMap::new();
        for (partition, connection) in &self.places {
            let entry = by_leader.entry(connection.broker());
            let (_, from) = entry.or_insert_with(|| (connection, Vec::new()));
            from.push(FetchFrom {
                partition: *partition,
                offset: self.positions.get(partition).copied().unwrap_or_default(),
            });
        }
        let options = FetchOptions {
            wait_max: WAIT_MAX,
            ..FetchOptions::default()
        };
        let asked = by_leader
            .values()
            .map(|(connection, from)| fetch(&self.client, connection, &self.topic, from, &options));
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    fn read(
        &mut self,
        fetched: Fetched,
        now: Monotonic,
        measured: &mut Measured,
    ) -> Result<(), ClientError> {
        if let Some(error) = fetched.error {
            return Err(error);
        }
        let position = self.positions.entry(fetched.partition).or_default();
        let unreadable = |offset: i64, reason: String| ClientError::Records {
            topic: Arc::from(self.topic.name.as_str()),
            partition: fetched.partition,
            offset,
            reason,
        };
        for batch in iterate(fetched.records) {
            let batch = batch.map_err(|error| unreadable(*position, error.to_string()))?;
            let records = arrivals(&batch, *position, self.run, now, measured);
            let records = records.map_err(|reason| unreadable(*position, reason))?;
            self.progress.arrive(records);
            *position = batch.next_offset().max(*position);
        }
        Ok(())
    }
}

/// Enters the records of a batch that were not seen before and belong to this run; tells how many count.
fn arrivals(
    batch: &RecordBatch,
    position: i64,
    run: u64,
    now: Monotonic,
    measured: &mut Measured,
) -> Result<u64, String> {
    let bytes = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let records = Records::unpack(batch, &Limits::DEFAULT).map_err(|error| error.to_string())?;
    let mut size = Size {
        requests: 1,
        batch_bytes: bytes(batch.size_bytes()),
        ..Size::default()
    };
    let mut counted = 0;
    for record in &records {
        let record = record.map_err(|error| error.to_string())?;
        let value = record.value.unwrap_or_default();
        let stamp = Stamp::read(value).filter(|stamp| stamp.run == run);
        let Some(stamp) = stamp.filter(|_| record.offset >= position) else {
            continue;
        };
        let due = Monotonic(Duration::from_nanos(stamp.due_ns));
        if measured.counts(due) {
            counted += 1;
            size.records = 1;
            size.payload_bytes = bytes(value.len());
            measured.finished(due, now, &size);
            // A batch counts once, with the first of its records.
            size.requests = 0;
            size.batch_bytes = 0;
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests;
