//! Producers: idempotent ones, which send again what has no answer, and plain ones, which do not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use streamhouse_log::append::{Acks, AppendError};
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::{ProducerEpoch, ProducerId, TopicPartition};
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent, sequence_after};
use tokio::sync::oneshot;

use super::Sky;
use crate::executor::ProcessId;
use crate::invariant::Invariant;
use crate::network::{NoAnswer, Whom};

/// Batches that a broker must recognise when they come again.
const REMEMBERED: usize = 5;

/// A batch of an idempotent producer.
#[derive(Clone, Debug)]
struct Batch {
    ids: Vec<u64>,
    bytes: Bytes,
    base_offset: Option<i64>,
}

/// What an idempotent producer knows of a partition.
#[derive(Debug)]
struct Line {
    /// The producer id: another one after a loss, since the broker may have forgotten what this one sent.
    id: i64,
    /// How often the end of the partition was lost until then.
    losses: u64,
    next_sequence: i32,
    /// Sent, and not acknowledged yet, in order.
    open: VecDeque<Batch>,
    /// The last ones that were acknowledged.
    done: VecDeque<Batch>,
}

/// A producer with a producer id.
#[derive(Debug)]
pub(crate) struct Producer {
    id: i64,
    lines: BTreeMap<TopicPartition, Line>,
}

/// What the broker said to a batch.
#[derive(Clone, Debug)]
enum Answer {
    Done { base_offset: i64 },
    Refused(AppendError),
    Lost,
}

/// A record's value: its number, and bytes that follow from it.
fn value_of(id: u64) -> Vec<u8> {
    let len = 8 + usize::try_from(crate::chance::mix(id) % 90).unwrap_or(0);
    let mut value = id.to_be_bytes().to_vec();
    value.resize(len, id.to_be_bytes()[7]);
    value
}

/// The number of a record; none if its value is not what was sent.
pub(crate) fn id_of(value: &[u8]) -> Option<u64> {
    let id = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    (value == value_of(id)).then_some(id)
}

fn build(mut builder: RecordBatchBuilder, ids: &[u64]) -> Bytes {
    for id in ids {
        let value = value_of(*id);
        let record = RecordContent {
            value: Some(&value),
            ..RecordContent::default()
        };
        builder.push(&record).expect("a few small records fit");
    }
    let batch = builder.build().expect("a few small records fit");
    batch.into_bytes()
}

impl Producer {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            lines: BTreeMap::new(),
        }
    }

    fn line(&mut self, sky: &Sky, at: TopicPartition) -> &mut Line {
        let losses = sky.model.lock().floor(at).losses();
        if self
            .lines
            .get(&at)
            .is_some_and(|line| line.losses != losses)
        {
            self.lines.remove(&at);
        }
        let id = self.id + 1000 * i64::try_from(losses).unwrap_or(0);
        self.lines.entry(at).or_insert_with(|| Line {
            id,
            losses,
            // One of them comes to the end of the numbers.
            next_sequence: if id % 2 == 0 { i32::MAX - 12 } else { 0 },
            open: VecDeque::new(),
            done: VecDeque::new(),
        })
    }

    /// Whether an answer is missing.
    pub(crate) fn has_open(&self) -> bool {
        self.lines.values().any(|line| !line.open.is_empty())
    }

    /// The broker may have forgotten it: old batches are not sent again.
    pub(crate) fn forget_done(&mut self) {
        self.lines.values_mut().for_each(|line| line.done.clear());
    }

    /// Sends what has no answer yet, or else up to `burst` new batches at once.
    pub(crate) async fn produce(&mut self, sky: &Sky, at: TopicPartition, records: u64, burst: u8) {
        let line = self.line(sky, at);
        let (id, losses) = (line.id, line.losses);
        if line.open.is_empty() {
            for _ in 0..burst {
                let ids = sky.model.lock().send(at, records, true);
                let builder = RecordBatchBuilder::new(Compression::None);
                let sequence = line.next_sequence;
                let builder = builder.producer(ProducerId(id), ProducerEpoch(0), sequence);
                let steps = i32::try_from(records).unwrap_or(i32::MAX);
                line.next_sequence = sequence_after(sequence, steps);
                line.open.push_back(Batch {
                    bytes: build(builder, &ids),
                    ids,
                    base_offset: None,
                });
            }
        }
        let sent: Vec<Batch> = line.open.iter().cloned().collect();
        let answers = send(sky, at, &sent, Acks::All).await;
        if sky.model.lock().floor(at).losses() == losses {
            self.settle(sky, at, answers);
        }
    }

    /// Sends a batch again that was acknowledged.
    pub(crate) async fn resend(&mut self, sky: &Sky, at: TopicPartition) {
        let line = self.line(sky, at);
        let losses = line.losses;
        if line.done.is_empty() || !line.open.is_empty() {
            return;
        }
        let batch = line.done[sky.world().chance.place(line.done.len())].clone();
        let known = batch.base_offset;
        let answers = send(sky, at, &[batch], Acks::All).await;
        if sky.model.lock().floor(at).losses() != losses {
            return;
        }
        for answer in answers {
            match answer {
                Ok((Answer::Done { base_offset }, _)) if Some(base_offset) != known => {
                    let what = format!(
                        "a batch of producer {id} in {at} was at {known:?} and is answered with {base_offset}",
                        id = self.id
                    );
                    sky.world().breach(Invariant::Idempotence, what);
                }
                Ok((Answer::Done { .. }, _)) => {
                    sky.world().count(|counts| counts.duplicates += 1);
                }
                Ok((Answer::Refused(error), _)) => self.judge_refusal(sky, at, &error, true),
                Ok((Answer::Lost, _)) | Err(_) => {}
            }
        }
    }

    /// A refusal of the sequence is a breach, unless a batch before it was refused too.
    fn judge_refusal(&self, sky: &Sky, at: TopicPartition, error: &AppendError, is_first: bool) {
        if matches!(
            error,
            AppendError::OutOfOrder { .. } | AppendError::Fenced { .. }
        ) && is_first
        {
            let what = format!("producer {} in {at} was refused: {error}", self.id);
            sky.world().breach(Invariant::Idempotence, what);
        }
    }

    fn settle(
        &mut self,
        sky: &Sky,
        at: TopicPartition,
        answers: Vec<Result<(Answer, ProcessId), NoAnswer>>,
    ) {
        let mut is_first = true;
        for answer in answers {
            let id = self.id;
            sky.world()
                .tell(|| format!("  producer {id} in {at}: {answer:?}"));
            match answer {
                Ok((Answer::Done { base_offset }, life)) if is_first => {
                    let line = self.line(sky, at);
                    let Some(mut batch) = line.open.pop_front() else {
                        return;
                    };
                    batch.base_offset = Some(base_offset);
                    let ids = batch.ids.clone();
                    line.done.push_back(batch);
                    if line.done.len() > REMEMBERED {
                        line.done.pop_front();
                    }
                    let mut model = sky.model.lock();
                    let judged = model.acknowledged(at, base_offset, &ids, life, true);
                    drop(model);
                    sky.world().note(base_offset.unsigned_abs());
                    sky.world().count(|counts| counts.acknowledged += 1);
                    sky.world().judge(judged);
                }
                Ok((Answer::Done { .. } | Answer::Lost, _)) | Err(NoAnswer::Unknown) => {
                    // It goes again with what is before it, and is recognised.
                    sky.world().count(|counts| counts.unknown_outcomes += 1);
                    is_first = false;
                }
                Ok((Answer::Refused(error), _)) => {
                    self.judge_refusal(sky, at, &error, is_first);
                    is_first = false;
                }
                Err(NoAnswer::Refused) => is_first = false,
            }
        }
    }
}

/// Sends one batch without a producer id.
pub(crate) async fn produce_plain(sky: &Sky, at: TopicPartition, records: u64, acks: Acks) {
    let ids = sky.model.lock().send(at, records, false);
    let batch = Batch {
        bytes: build(RecordBatchBuilder::new(Compression::None), &ids),
        ids,
        base_offset: None,
    };
    let losses = sky.model.lock().floor(at).losses();
    let answers = send(sky, at, std::slice::from_ref(&batch), acks).await;
    let is_lost = sky.model.lock().floor(at).losses() != losses;
    if acks == Acks::None || is_lost {
        return;
    }
    for answer in answers {
        let mut model = sky.model.lock();
        let judged = match answer {
            Ok((Answer::Done { base_offset }, life)) => {
                sky.world().note(base_offset.unsigned_abs());
                sky.world().count(|counts| counts.acknowledged += 1);
                model.acknowledged(at, base_offset, &batch.ids, life, acks == Acks::All)
            }
            Ok((Answer::Refused(_), _)) => model.refused(&batch.ids),
            Err(NoAnswer::Refused) => model.refused(&batch.ids),
            Ok((Answer::Lost, _)) | Err(NoAnswer::Unknown) => {
                sky.world().count(|counts| counts.unknown_outcomes += 1);
                Ok(())
            }
        };
        drop(model);
        sky.world().judge(judged);
    }
}

/// Sends batches on one connection: the broker stages them in order and answers each when it is done.
async fn send(
    sky: &Sky,
    at: TopicPartition,
    batches: &[Batch],
    acks: Acks,
) -> Vec<Result<(Answer, ProcessId), NoAnswer>> {
    let (tells, hears): (Vec<_>, Vec<_>) = batches.iter().map(|_| oneshot::channel()).unzip();
    let bytes: Vec<Bytes> = batches.iter().map(|batch| batch.bytes.clone()).collect();
    let world = sky.world().clone();
    let sent = sky.send(Whom::Leader(at), move |broker| {
        async move {
            let life = Arc::clone(&broker.life);
            let process = life.process;
            let mut refused = None;
            let stage = |batch| {
                // A producer that the broker does not know may begin anywhere, as in Kafka: what follows a batch that was
                // refused must not be its beginning.
                let staged = match &refused {
                    None => broker.stage(at, batch, acks),
                    Some(error) => Err(AppendError::clone(error)),
                };
                refused = staged.as_ref().err().cloned();
                staged
            };
            let staged: Vec<_> = bytes.iter().map(stage).collect();
            drop(broker);
            for (staged, tell) in staged.into_iter().zip(tells) {
                let answer = match staged {
                    Err(error) => Answer::Refused(error),
                    Ok(staged) => match staged.acknowledged().await {
                        Ok(done) => Answer::Done {
                            base_offset: done.base_offset,
                        },
                        Err(_) => Answer::Lost,
                    },
                };
                if !life.is_zombie() && !world.chance.hits(world.weather().network_per_mille) {
                    // A client that gave up does not hear it.
                    let _ = tell.send((answer, process));
                }
            }
        }
        .boxed()
    });
    if let Err(none) = sent.await {
        return vec![Err(none); batches.len()];
    }
    let mut answers = Vec::with_capacity(hears.len());
    for heard in hears {
        answers.push(sky.hear(heard).await);
    }
    answers
}
