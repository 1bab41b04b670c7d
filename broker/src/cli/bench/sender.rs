//! One connection that sends batches when they are due and waits for their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use streamhouse_client::connection::{Connection, ConnectionOptions, Encoded};
use streamhouse_client::metadata::Topic;
use streamhouse_client::produce::{
    ProduceOptions, ProducerIdentity, appended, decode_produce, encode_produce,
};
use streamhouse_client::{CallError, Client, ClientError};
use streamhouse_protocol::record_batch::{RecordBatch, sequence_after};
use streamhouse_runtime::Monotonic;

use super::measured::{Measured, Size};
use super::payload::{BatchShape, batch};
use super::places::{own_partitions, places};
use super::schedule::Schedule;
use crate::cli::failure::Failure;

/// Different batches that each connection sends in turns.
const VARIANTS: usize = 4;

/// The bytes of a [`Stamp`].
pub(super) const STAMP_BYTES: usize = 16;

/// What every record of a stamped batch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Tells the records of one run from all others.
    pub(super) run: u64,
    /// When the batch was due, in nanoseconds of this process's clock.
    pub(super) due_ns: u64,
}

impl Stamp {
    pub(super) fn new(run: u64, due: Monotonic) -> Self {
        let due_ns = u64::try_from(due.0.as_nanos()).unwrap_or(u64::MAX);
        Self { run, due_ns }
    }

    pub(super) fn bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..].copy_from_slice(&self.due_ns.to_be_bytes());
        bytes
    }

    /// The stamp that a value begins with; `None` if it is too short for one.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let (run, rest) = value.split_first_chunk()?;
        let due_ns = rest.first_chunk()?;
        Some(Self {
            run: u64::from_be_bytes(*run),
            due_ns: u64::from_be_bytes(*due_ns),
        })
    }
}

/// Bytes of batches that all connections together may still send.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Takes a batch out; the last one may be larger than what is left.
    fn take(&self, bytes: u64) -> bool {
        let rest = |left: u64| (left > 0).then(|| left.saturating_sub(bytes));
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .is_ok()
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// What distinguishes one batch from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: batches are encoded before and sent again and again.
    Repeated,
    /// Sequence numbers: each connection is an idempotent producer.
    Idempotent,
    /// A [`Stamp`] of this run in each record.
    Stamped(u64),
}

/// What connections send.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) shape: BatchShape,
    pub(super) kind: Kind,
    pub(super) options: ProduceOptions,
    pub(super) in_flight_max: usize,
    pub(super) connections: usize,
    pub(super) budget: Option<Budget>,
}

/// One connection (one per leader, where a topic has several) and what it sends.
pub(super) struct Sender {
    client: Client,
    topic: Arc<Topic>,
    plan: Plan,
    /// Sent to in turns.
    places: Vec<(i32, Connection)>,
    source: Source,
    turn: usize,
}

enum Source {
    Repeated(Vec<Request>),
    Idempotent {
        values: Vec<Vec<u8>>,
        identity: ProducerIdentity,
        /// The next sequence number of each place.
        sequences: Vec<i32>,
    },
    Stamped {
        values: Vec<Vec<u8>>,
        run: u64,
    },
}

#[derive(Clone)]
struct Request {
    encoded: Encoded,
    place: usize,
    size: Size,
}

impl Sender {
    pub(super) async fn new(
        plan: &Plan,
        client: &Client,
        topic: &Arc<Topic>,
        index: usize,
    ) -> Result<Self, Failure> {
        let options = ConnectionOptions {
            in_flight_max: plan.in_flight_max,
            ..client.options().connection.clone()
        };
        let own = own_partitions(topic.partitions.len(), plan.connections, index);
        let places = places(client, topic, &own, &options).await?;
        let values = || plan.shape.values(&*client.ambient().chance);
        let source = match plan.kind {
            Kind::Repeated => Source::Repeated(Vec::new()),
            Kind::Idempotent => Source::Idempotent {
                values: values(),
                identity: client.init_producer_id().await?,
                sequences: vec![0; places.len()],
            },
            Kind::Stamped(run) => Source::Stamped {
                values: values(),
                run,
            },
        };
        let mut sender = Self {
            client: client.clone(),
            topic: Arc::clone(topic),
            plan: plan.clone(),
            places,
            source,
            turn: 0,
        };
        if plan.kind == Kind::Repeated {
            sender.source = Source::Repeated(sender.repeated()?);
        }
        Ok(sender)
    }

    fn repeated(&self) -> Result<Vec<Request>, Failure> {
        let ambient = self.client.ambient();
        let mut requests = Vec::with_capacity(VARIANTS * self.places.len());
        for _ in 0..VARIANTS {
            let values = self.plan.shape.values(&*ambient.chance);
            let batch = batch(self.plan.shape.builder(), &values, ambient.clock.wall_ms());
            let batch = batch.map_err(unbuildable)?;
            for place in 0..self.places.len() {
                requests.push(self.request(&batch, place)?);
            }
        }
        Ok(requests)
    }

    fn request(&self, batch: &RecordBatch, place: usize) -> Result<Request, Failure> {
        let (partition, connection) = &self.places[place];
        let options = &self.plan.options;
        let encoded = encode_produce(connection, &self.topic, *partition, batch, options);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let records = self.plan.shape.records();
        Ok(Request {
            encoded: encoded.map_err(ClientError::from)?,
            place,
            size: Size {
                requests: 1,
                records: count(records),
                payload_bytes: count(records * self.plan.shape.record_bytes),
                batch_bytes: count(batch.size_bytes()),
            },
        })
    }

    /// The request that is due at `due`.
    fn next(&mut self, due: Monotonic) -> Result<Request, Failure> {
        let (turn, now_ms) = (self.turn, self.client.ambient().clock.wall_ms());
        let place = turn % self.places.len();
        self.turn += 1;
        let built = match &mut self.source {
            Source::Repeated(requests) => return Ok(requests[turn % requests.len()].clone()),
            Source::Idempotent {
                values,
                identity,
                sequences,
            } => {
                let sequence = sequences[place];
                let records = i32::try_from(values.len()).unwrap_or(i32::MAX);
                sequences[place] = sequence_after(sequence, records);
                let builder = self.plan.shape.builder();
                let builder = builder.producer(identity.id, identity.epoch, sequence);
                batch(builder, values, now_ms)
            }
            Source::Stamped { values, run } => {
                let stamp = Stamp::new(*run, due).bytes();
                for value in values.iter_mut() {
                    value[..STAMP_BYTES].copy_from_slice(&stamp);
                }
                batch(self.plan.shape.builder(), values, now_ms)
            }
        };
        self.request(&built.map_err(unbuildable)?, place)
    }

    /// Sends until the schedule ends, or the budget.
    pub(super) async fn run(
        mut self,
        mut schedule: Schedule,
        mut measured: Measured,
    ) -> super::Run {
        let clock = Arc::clone(&self.client.ambient().clock);
        let mut on_the_way = FuturesUnordered::new();
        let mut is_over = false;
        loop {
            is_over = is_over || self.plan.budget.as_ref().is_some_and(Budget::is_spent);
            let may_send = !is_over && on_the_way.len() < self.plan.in_flight_max;
            let due = match &mut schedule {
                Schedule::Closed { until } => {
                    let now = clock.monotonic();
                    is_over = is_over || now >= *until;
                    (may_send && !is_over).then_some(now)
                }
                // Both arms are cancel-safe: a due time is taken or not, an answer is given out or not.
                Schedule::Open { due } => tokio::select! {
                    biased;
                    due = due.recv(), if may_send => {
                        is_over = due.is_none();
                        due
                    }
                    Some(answer) = on_the_way.next() => {
                        self.account(answer, &mut measured)?;
                        continue;
                    }
                    else => None,
                },
            };
            if let Some(due) = due {
                let request = self.next(due)?;
                let size = request.size.batch_bytes;
                if self
                    .plan
                    .budget
                    .as_ref()
                    .is_some_and(|budget| !budget.take(size))
                {
                    continue;
                }
                let answer = self.places[request.place].1.send(&request.encoded).await;
                let answer = answer.map_err(ClientError::from)?;
                on_the_way.push(async move { (request, due, answer.frame().await) });
                continue;
            }
            match on_the_way.next().await {
                Some(answer) => self.account(answer, &mut measured)?,
                None if is_over => return Ok((measured, clock.monotonic())),
                None => {}
            }
        }
    }

    fn account(
        &self,
        (request, due, frame): (Request, Monotonic, Result<Bytes, CallError>),
        measured: &mut Measured,
    ) -> Result<(), Failure> {
        let (partition, connection) = &self.places[request.place];
        let frame = frame.map_err(ClientError::from)?;
        let now = self.client.ambient().clock.monotonic();
        let response = decode_produce(connection, &request.encoded, frame);
        let response = response.map_err(ClientError::from)?;
        appended(connection, &self.topic.name, *partition, &response)?;
        measured.finished(due, now, &request.size);
        Ok(())
    }
}

fn unbuildable(error: streamhouse_protocol::record_batch::BuildError) -> Failure {
    Failure::Usage(format!("such batches cannot be built: {error}"))
}

#[cfg(test)]
mod tests;
