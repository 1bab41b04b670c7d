//! Entries: the changes that a shard's log consists of.
//!
//! ```text
//! entry   = kind u8, then by kind:
//! 1 run            topic, partition, base offset, records, batches, bytes, append epoch, max timestamp, crc u32,
//!                  producers[], points[]
//! 2 trim           topic, partition, new log start
//! 3 drop-partition topic, partition
//! 4 evict-producer topic, partition, producer id
//! reserved: 5 marker, 6 replace, 7 inline, 8 adopt, 9 release
//! ```
//! Numbers are varints; a topic is its index in the manifest's topic table. A kind that is not known stops the shard.

use bytes::{BufMut, BytesMut};
use streamhouse_protocol::ids::{
    LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};

use super::bytes::{FormatError, Reader, Writer};

/// How many batches of a producer are remembered for exact dedupe (Kafka: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_REMEMBERED: usize = 5;

/// A sparse point is kept for each this many bytes of a run, so that a cold seek reads one small range.
pub const POINT_EVERY_BYTES: u64 = 1 << 20;

/// One change of a shard's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Batches were appended to a partition.
    Run(Run),
    /// The log start of a partition moved up.
    Trim {
        /// The partition.
        at: TopicPartition,
        /// Its new first offset.
        log_start: i64,
    },
    /// A partition of a deleted topic is gone.
    DropPartition {
        /// The partition.
        at: TopicPartition,
    },
    /// A partition forgot a producer that was idle for too long.
    EvictProducer {
        /// The partition.
        at: TopicPartition,
        /// The producer.
        producer: ProducerId,
    },
}

/// Consecutive batches of one partition and one append epoch, whoever produced them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The partition.
    pub at: TopicPartition,
    /// The offset of the first record.
    pub base_offset: i64,
    /// How many offsets the run covers.
    pub records: u64,
    /// How many batches it holds.
    pub batches: u32,
    /// How many bytes the batches take, headers included.
    pub bytes: u64,
    /// The leader epoch stamped into the batches.
    pub append_epoch: LeaderEpoch,
    /// The largest record timestamp.
    pub max_timestamp: Timestamp,
    /// CRC32C of all its bytes. Readers do not compute it: every block of an object is held against the checksums of its
    /// footer when it is read, and a batch carries its own. It ties the manifest to the bytes for checks of a whole bucket.
    pub crc: u32,
    /// One row per idempotent producer, in the order of their first batch.
    pub producers: Vec<RunProducer>,
    /// One point per [`POINT_EVERY_BYTES`]; none for the first byte.
    pub points: Vec<Point>,
}

impl Run {
    /// The offset behind the last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add_unsigned(self.records)
    }
}

/// What one producer wrote in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunProducer {
    /// Who.
    pub id: ProducerId,
    /// The epoch of all these batches.
    pub epoch: ProducerEpoch,
    /// Whether they belong to a transaction.
    pub transactional: bool,
    /// The sequence of the first record.
    pub first_sequence: i32,
    /// The offset of the first record.
    pub first_offset: i64,
    /// The shard's stamp when the last batch was staged: the producer's last sign of life.
    pub last_stamp: Timestamp,
    /// The last batches, oldest first, at most [`BATCHES_REMEMBERED`].
    pub last_batches: Vec<BatchBounds>,
}

/// The identity of a produced batch and what its duplicate is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBounds {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// LogAppendTime of the batch, or -1 with CreateTime.
    pub timestamp: Timestamp,
}

/// A place inside a run where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Offset of that batch, from the run's base offset.
    pub offset_delta: u64,
    /// Its first byte, from the run's first byte.
    pub byte_delta: u64,
    /// The largest timestamp of all batches before it.
    pub max_timestamp_before: Timestamp,
}

impl Entry {
    /// The partition that changes.
    #[must_use]
    pub fn at(&self) -> TopicPartition {
        match self {
            Self::Run(run) => run.at,
            Self::Trim { at, .. } | Self::DropPartition { at } | Self::EvictProducer { at, .. } => {
                *at
            }
        }
    }

    pub(crate) fn encode(&self, topics: &TopicTable, out: &mut BytesMut) {
        let kind = match self {
            Self::Run(_) => 1,
            Self::Trim { .. } => 2,
            Self::DropPartition { .. } => 3,
            Self::EvictProducer { .. } => 4,
        };
        out.put_u8(kind);
        out.put_count(topics.index(self.at().topic));
        out.put_signed(i64::from(self.at().partition.0));
        match self {
            Self::Run(run) => encode_run(run, out),
            Self::Trim { log_start, .. } => out.put_signed(*log_start),
            Self::DropPartition { .. } => {}
            Self::EvictProducer { producer, .. } => out.put_signed(producer.0),
        }
    }

    pub(crate) fn decode(topics: &[TopicId], reader: &mut Reader) -> Result<Self, FormatError> {
        let kind = reader.u8("entry kind")?;
        if !(1..=4).contains(&kind) {
            return Err(FormatError::Kind(kind));
        }
        let topic = reader.number::<usize>("entry topic")?;
        let topic = *topics.get(topic).ok_or(FormatError::Value("entry topic"))?;
        let at = TopicPartition::new(topic, PartitionIndex(reader.small("entry partition")?));
        match kind {
            1 => decode_run(at, reader).map(Self::Run),
            2 => Ok(Self::Trim {
                at,
                log_start: reader.signed("log start")?,
            }),
            3 => Ok(Self::DropPartition { at }),
            4 => Ok(Self::EvictProducer {
                at,
                producer: ProducerId(reader.signed("producer id")?),
            }),
            other => Err(FormatError::Kind(other)),
        }
    }
}

fn encode_run(run: &Run, out: &mut BytesMut) {
    out.put_signed(run.base_offset);
    out.put_varint(run.records);
    out.put_varint(u64::from(run.batches));
    out.put_varint(run.bytes);
    out.put_signed(i64::from(run.append_epoch.0));
    out.put_signed(run.max_timestamp.0);
    out.put_u32_le(run.crc);
    out.put_count(run.producers.len());
    for producer in &run.producers {
        encode_producer(producer, out);
    }
    out.put_count(run.points.len());
    for point in &run.points {
        out.put_varint(point.offset_delta);
        out.put_varint(point.byte_delta);
        out.put_signed(point.max_timestamp_before.0);
    }
}

fn decode_run(at: TopicPartition, reader: &mut Reader) -> Result<Run, FormatError> {
    let mut run = Run {
        at,
        base_offset: reader.signed("run base offset")?,
        records: reader.varint("run records")?,
        batches: reader.number("run batches")?,
        bytes: reader.varint("run bytes")?,
        append_epoch: LeaderEpoch(reader.small("run append epoch")?),
        max_timestamp: Timestamp(reader.signed("run max timestamp")?),
        crc: reader.u32("run crc")?,
        producers: Vec::new(),
        points: Vec::new(),
    };
    if run.base_offset < 0
        || run.records == 0
        || run.base_offset.checked_add_unsigned(run.records).is_none()
    {
        return Err(FormatError::Value("run offsets"));
    }
    for _ in 0..reader.count(8, "run producers")? {
        run.producers.push(decode_producer(reader)?);
    }
    for _ in 0..reader.count(3, "run points")? {
        run.points.push(Point {
            offset_delta: reader.varint("point offset")?,
            byte_delta: reader.varint("point byte")?,
            max_timestamp_before: Timestamp(reader.signed("point timestamp")?),
        });
    }
    Ok(run)
}

fn encode_producer(producer: &RunProducer, out: &mut BytesMut) {
    out.put_signed(producer.id.0);
    out.put_signed(i64::from(producer.epoch.0));
    out.put_u8(u8::from(producer.transactional));
    out.put_signed(i64::from(producer.first_sequence));
    out.put_signed(producer.first_offset);
    out.put_signed(producer.last_stamp.0);
    encode_bounds(&producer.last_batches, out);
}

fn decode_producer(reader: &mut Reader) -> Result<RunProducer, FormatError> {
    let producer = RunProducer {
        id: ProducerId(reader.signed("producer id")?),
        epoch: ProducerEpoch(reader.small("producer epoch")?),
        transactional: match reader.u8("transactional flag")? {
            0 => false,
            1 => true,
            _ => return Err(FormatError::Value("transactional flag")),
        },
        first_sequence: reader.small("first sequence")?,
        first_offset: reader.signed("first offset")?,
        last_stamp: Timestamp(reader.signed("last stamp")?),
        last_batches: decode_bounds(reader)?,
    };
    // A transaction that is open since then could not be told from none in a checkpoint.
    if producer.first_offset < 0 {
        return Err(FormatError::Value("first offset"));
    }
    Ok(producer)
}

pub(crate) fn encode_bounds(batches: &[BatchBounds], out: &mut BytesMut) {
    out.put_count(batches.len());
    for batch in batches {
        out.put_signed(i64::from(batch.first_sequence));
        out.put_signed(i64::from(batch.last_sequence));
        out.put_signed(batch.base_offset);
        out.put_signed(batch.timestamp.0);
    }
}

pub(crate) fn decode_bounds(reader: &mut Reader) -> Result<Vec<BatchBounds>, FormatError> {
    let count = reader.count(4, "remembered batches")?;
    if count > BATCHES_REMEMBERED {
        return Err(FormatError::Value("remembered batches"));
    }
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        batches.push(BatchBounds {
            first_sequence: reader.small("batch first sequence")?,
            last_sequence: reader.small("batch last sequence")?,
            base_offset: reader.signed("batch offset")?,
            timestamp: Timestamp(reader.signed("batch timestamp")?),
        });
    }
    Ok(batches)
}

/// The topic ids of a manifest, so that an entry names its topic in a byte or two.
#[derive(Debug, Default)]
pub(crate) struct TopicTable {
    ids: Vec<TopicId>,
}

impl TopicTable {
    pub(crate) fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut ids: Vec<TopicId> = entries.map(|entry| entry.at().topic).collect();
        ids.sort_unstable();
        ids.dedup();
        Self { ids }
    }

    fn index(&self, topic: TopicId) -> usize {
        self.ids
            .binary_search(&topic)
            .expect("the table was made of the topics of all entries")
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_count(self.ids.len());
        for id in &self.ids {
            out.put_u128_le(id.0);
        }
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Vec<TopicId>, FormatError> {
        let count = reader.count(16, "topic table")?;
        (0..count)
            .map(|_| reader.u128("topic id").map(TopicId))
            .collect()
    }
}
