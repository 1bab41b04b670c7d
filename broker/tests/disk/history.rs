//! What producers sent and were told, and what must therefore be read back.
//!
//! The law: every acknowledged record lies at its offset with its bytes. A record whose outcome is unknown appears at
//! most once. A record that was refused never appears. Batches are whole, each producer's records lie in the order in
//! which it sent them, and an idempotent producer leaves no gap. Offsets of a partition follow each other from 0.

use std::collections::BTreeMap;
use std::fmt;

/// Partitions of the topic.
pub(crate) const PARTITIONS: usize = 3;

/// What a producer knows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not answered, or answered with an error after which it may have happened.
    Unknown,
    /// Durable, from this offset.
    Acknowledged(i64),
    /// Answered with an error that says that it did not happen.
    Refused(i16),
}

/// A batch that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) partition: usize,
    pub(crate) records: i32,
    /// Of its first record; -1 without idempotence.
    pub(crate) sequence: i32,
    pub(crate) outcome: Outcome,
}

/// A producer and all it ever sent. The place of a batch in `sent` is its serial number.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) number: usize,
    /// Id and epoch of an idempotent producer.
    pub(crate) id: Option<(i64, i16)>,
    pub(crate) sent: Vec<Sent>,
    next_sequence: [i32; PARTITIONS],
}

impl Producer {
    pub(crate) const fn new(number: usize, id: Option<(i64, i16)>) -> Self {
        Self {
            number,
            id,
            sent: Vec::new(),
            next_sequence: [0; PARTITIONS],
        }
    }

    /// Notes the next batch, which is about to be sent, and gives its serial number.
    pub(crate) fn begin(&mut self) -> usize {
        let serial = self.sent.len();
        let drawn = mixed(self.number, serial, 0);
        let partition = drawn % PARTITIONS;
        let records = 1 + i32::from(u8::try_from(drawn / PARTITIONS % 4).unwrap());
        let next = &mut self.next_sequence[partition];
        let sequence = self.id.map_or(-1, |_| *next);
        *next += records;
        self.sent.push(Sent {
            partition,
            records,
            sequence,
            outcome: Outcome::Unknown,
        });
        serial
    }

    /// Notes that a batch did not happen: its sequence numbers are free again.
    pub(crate) fn refuse(&mut self, serial: usize, code: i16) {
        let sent = &mut self.sent[serial];
        sent.outcome = Outcome::Refused(code);
        let next = &mut self.next_sequence[sent.partition];
        *next = sent.sequence.min(*next);
    }

    /// Whether a batch without an answer cannot have happened: it follows one of an idempotent producer that was
    /// refused, and whose sequence numbers are still free.
    pub(crate) fn is_void(&self, serial: usize) -> bool {
        let sent = &self.sent[serial];
        self.id.is_some() && sent.sequence >= self.next_sequence[sent.partition]
    }

    /// The values of a batch. They name themselves, and no two are equal.
    pub(crate) fn values(&self, serial: usize) -> Vec<Vec<u8>> {
        (0..self.sent[serial].records)
            .map(|index| value(self.number, serial, index))
            .collect()
    }
}

fn value(producer: usize, serial: usize, index: i32) -> Vec<u8> {
    let drawn = mixed(producer, serial, 1 + usize::try_from(index).unwrap());
    let filler = match drawn % 16 {
        0 => 20_000 + drawn / 16 % 40_000,
        _ => drawn / 16 % 2000,
    };
    let mut value = format!("{producer} {serial} {index} ").into_bytes();
    let letters = (0..filler).map(|at| b'a' + u8::try_from((drawn + at * at) % 26).unwrap());
    value.extend(letters);
    value
}

/// A number that looks random and is the same in every run.
fn mixed(producer: usize, serial: usize, salt: usize) -> usize {
    let mut mixed = producer * 1_000_003 + serial * 31 + salt;
    mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d) & 0xffff_ffff;
    mixed = (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39) & 0xffff_ffff;
    mixed ^ (mixed >> 15)
}

/// A way to break the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// An acknowledged record is not there, or its partition cannot be read.
    Lost,
    /// Other bytes than were sent.
    Changed,
    /// A record that was sent once is there twice.
    Twice,
    /// A record is there whose producer was told that it did not happen.
    Resurrected,
    /// A later record of a producer lies before an earlier one.
    Reordered,
    /// A part of a batch.
    Torn,
    /// A later batch of an idempotent producer is there, and an earlier one is not.
    Gap,
    /// Offsets do not follow each other.
    Offsets,
    /// A batch that may have happened cannot be sent again.
    Retry,
}

/// One breach, with what was expected and what is there.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) breach: Breach,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.breach, self.text)
    }
}

/// The records of a partition from the beginning: offsets and values.
pub(crate) type Read = Vec<(i64, Vec<u8>)>;

/// Holds what was read against what was sent.
pub(crate) fn audit(producers: &[Producer], read: &[Read; PARTITIONS]) -> Vec<Violation> {
    let mut audit = Audit::default();
    for (partition, records) in read.iter().enumerate() {
        let mut found = Found::new();
        for (place, (offset, value)) in records.iter().enumerate() {
            let wanted = i64::try_from(place).unwrap();
            if *offset != wanted {
                let text = format!("partition {partition} has offset {offset} in place {wanted}");
                audit.breach(Breach::Offsets, text);
            }
            match identity(producers, partition, value) {
                Some((producer, serial, index)) => {
                    let offsets = found.entry((producer, serial)).or_default();
                    offsets.push((*offset, index));
                }
                None => {
                    let text = format!("partition {partition}, offset {offset}: nobody sent this");
                    audit.breach(Breach::Changed, text);
                }
            }
        }
        for producer in producers {
            audit.producer(producer, partition, &found);
        }
    }
    audit.violations
}

/// Offsets and indices of the records that were found of each batch of a partition.
type Found = BTreeMap<(usize, usize), Vec<(i64, i32)>>;

/// Which record this is, if it is one, bit for bit.
fn identity(producers: &[Producer], partition: usize, found: &[u8]) -> Option<(usize, usize, i32)> {
    let mut words = found.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (producer, serial, index): (usize, usize, usize) = (number()?, number()?, number()?);
    let index = i32::try_from(index).ok()?;
    let sent = producers.get(producer)?.sent.get(serial)?;
    let is_it = sent.partition == partition
        && index < sent.records
        && value(producer, serial, index) == found;
    is_it.then_some((producer, serial, index))
}

#[derive(Debug, Default)]
struct Audit {
    violations: Vec<Violation>,
}

impl Audit {
    fn breach(&mut self, breach: Breach, text: String) {
        self.violations.push(Violation { breach, text });
    }

    /// One producer's batches in one partition.
    fn producer(&mut self, producer: &Producer, partition: usize, found: &Found) {
        let mut end = 0;
        let mut missing = None;
        let sent = producer.sent.iter().enumerate();
        for (serial, sent) in sent.filter(|(_, sent)| sent.partition == partition) {
            let name = || {
                let kind = producer.id.map_or("plain", |_| "idempotent");
                let number = producer.number;
                format!(
                    "batch {serial} of {kind} producer {number} in partition {partition}, {sent:?}"
                )
            };
            let Some(records) = found.get(&(producer.number, serial)) else {
                match sent.outcome {
                    Outcome::Acknowledged(_) => self.breach(Breach::Lost, name()),
                    Outcome::Unknown => missing = missing.or(Some(serial)),
                    Outcome::Refused(_) => {}
                }
                continue;
            };
            let text = || format!("{}: found (offset, index) {records:?}", name());
            self.batch(sent, records, text);
            if records[0].0 < end {
                self.breach(Breach::Reordered, text());
            }
            end = records[records.len() - 1].0;
            if let (Some(missing), Some(_)) = (missing, producer.id) {
                self.breach(Breach::Gap, format!("{}, but not batch {missing}", name()));
            }
        }
    }

    /// A batch of which something was found.
    fn batch(&mut self, sent: &Sent, records: &[(i64, i32)], text: impl Fn() -> String) {
        let base = records[0].0;
        let whole: Vec<_> = (0..sent.records)
            .map(|index| (base + i64::from(index), index))
            .collect();
        if records != whole {
            let is_more = records.len() > whole.len();
            let breach = if is_more { Breach::Twice } else { Breach::Torn };
            self.breach(breach, text());
        }
        match sent.outcome {
            Outcome::Acknowledged(offset) if offset != base => self.breach(Breach::Lost, text()),
            Outcome::Refused(_) => self.breach(Breach::Resurrected, text()),
            Outcome::Acknowledged(_) | Outcome::Unknown => {}
        }
    }
}
