//! A checkpoint: the recorded state of a shard as of one manifest, so that older manifests may leave the database.
//!
//! ```text
//! checkpoint = magic "SHCP" | format u8 | min_reader u8 | head length u32 | head | crc32c(all before) u32 | page bytes
//! head       = shard | next lsn | last flush | stamp | partitions[] | pages[]
//! partition  = topic u128 | index | log start | next offset | epochs[] | producers[]
//! page       = object (0: this one) | first byte in the page area | length | crc32c u32
//! page bytes = partitions[] { topic u128 | index | runs[] }
//! ```
//! A run of format 1 carries no stamp; the shard's own stands for it, so that it is kept rather too long than too short.
//!
//! The head is small (offsets, producers, epochs); the index of runs lies in pages that the head names by reference, so
//! that later releases can share unchanged pages between checkpoints. This release writes one page, inside the object.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_metadata::store::{Lsn, ObjectId, ShardId};
use streamhouse_protocol::ids::{
    LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};
use streamhouse_runtime::planted;

use super::bytes::{FormatError, Reader, Writer};
use super::entry::{Point, decode_bounds, encode_bounds};
use super::manifest::{decode_flush_id, encode_flush_id};
use crate::state::locations::{Locations, RunLocation};
use crate::state::recorded::Recorded;
use crate::state::{EpochStart, PartitionState, ProducerState, ShardState};

const MAGIC: u32 = u32::from_le_bytes(*b"SHCP");
const FORMAT: u8 = 2;
/// The first format whose runs carry a stamp.
const FORMAT_WITH_STAMPS: u8 = 2;
const PREFIX_BYTES: usize = 4 + 1 + 1 + 4;

/// Encodes the recorded state of `shard`.
#[must_use]
pub fn encode(shard: ShardId, recorded: &Recorded) -> Bytes {
    let page = encode_page(&recorded.locations);
    let mut head = BytesMut::new();
    head.put_varint(u64::from(shard.0));
    head.put_varint(recorded.next_lsn.0);
    encode_flush_id(recorded.last_flush, &mut head);
    head.put_signed(recorded.state.stamp.0);
    head.put_count(recorded.state.partitions.len());
    for (at, partition) in &recorded.state.partitions {
        encode_at(*at, &mut head);
        encode_partition(partition, &mut head);
    }
    head.put_count(1);
    head.put_varint(0);
    head.put_varint(0);
    head.put_count(page.len());
    head.put_u32_le(crc32c::crc32c(&page));

    let mut out = BytesMut::with_capacity(PREFIX_BYTES + head.len() + 4 + page.len());
    out.put_u32_le(MAGIC);
    out.put_u8(FORMAT);
    out.put_u8(FORMAT);
    out.put_u32_le(
        u32::try_from(head.len())
            .expect("the producers and epochs of a shard are bounded far below 4 GiB"),
    );
    out.put_slice(&head);
    out.put_u32_le(crc32c::crc32c(&out));
    out.put_slice(&page);
    out.freeze()
}

/// Decodes what [`encode`] wrote and checks that it belongs to `shard`.
///
/// # Errors
/// If the bytes are damaged, belong to another shard, or are newer than this release.
pub fn decode(shard: ShardId, bytes: Bytes) -> Result<Recorded, FormatError> {
    let mut prefix = Reader::new(bytes.clone());
    if prefix.u32("checkpoint magic")? != MAGIC {
        return Err(FormatError::Value("checkpoint magic"));
    }
    let format = prefix.u8("checkpoint format")?;
    let needed = prefix.u8("checkpoint reader")?;
    if needed > FORMAT {
        return Err(FormatError::Newer {
            what: "a checkpoint",
            needed,
            known: FORMAT,
        });
    }
    let head_length = prefix.u32("checkpoint head length")? as usize;
    let head_end = PREFIX_BYTES
        .checked_add(head_length)
        .ok_or(FormatError::Short("checkpoint head"))?;
    if bytes.len() < head_end + 4 {
        return Err(FormatError::Short("checkpoint head"));
    }
    let crc = Reader::new(bytes.slice(head_end..head_end + 4)).u32("checkpoint crc")?;
    if crc != crc32c::crc32c(&bytes[..head_end]) {
        return Err(FormatError::Checksum("the checkpoint head"));
    }
    decode_head(
        (shard, format),
        bytes.slice(PREFIX_BYTES..head_end),
        &bytes.slice(head_end + 4..),
    )
}

fn decode_head(
    (shard, format): (ShardId, u8),
    head: Bytes,
    pages: &Bytes,
) -> Result<Recorded, FormatError> {
    let mut reader = Reader::new(head);
    if reader.number::<u32>("shard")? != shard.0 {
        return Err(FormatError::Value("the shard of the checkpoint"));
    }
    let next_lsn = Lsn(reader.varint("next lsn")?);
    let last_flush = decode_flush_id(&mut reader)?;
    let stamp = Timestamp(reader.signed("stamp")?);
    let run_stamp = (format < FORMAT_WITH_STAMPS).then_some(stamp);
    let mut partitions = BTreeMap::new();
    for _ in 0..reader.count(20, "partitions")? {
        let at = decode_at(&mut reader)?;
        partitions.insert(at, decode_partition(&mut reader)?);
    }
    let mut locations = Locations::default();
    for _ in 0..reader.count(7, "pages")? {
        if reader.varint("page object")? != 0 {
            return Err(FormatError::Value("page object"));
        }
        let first: usize = reader.number("page start")?;
        let length: usize = reader.number("page length")?;
        let crc = reader.u32("page crc")?;
        let end = first.checked_add(length).filter(|end| *end <= pages.len());
        let page = pages.slice(first..end.ok_or(FormatError::Short("page"))?);
        let is_sound = crc32c::crc32c(&page) == crc;
        if !is_sound && !planted::bug("checkpoint_page_not_checked") {
            return Err(FormatError::Checksum("a checkpoint page"));
        }
        decode_page(page, run_stamp, &mut locations)?;
    }
    reader.finish()?;
    let producers = partitions.values().map(|at| at.producers.len()).sum();
    let state = ShardState {
        stamp,
        partitions,
        producers,
    };
    Ok(Recorded {
        state,
        locations,
        next_lsn,
        last_flush,
    })
}

fn encode_at(at: TopicPartition, out: &mut BytesMut) {
    out.put_u128_le(at.topic.0);
    out.put_signed(i64::from(at.partition.0));
}

fn decode_at(reader: &mut Reader) -> Result<TopicPartition, FormatError> {
    let topic = TopicId(reader.u128("topic id")?);
    Ok(TopicPartition::new(
        topic,
        PartitionIndex(reader.small("partition")?),
    ))
}

fn encode_partition(partition: &PartitionState, out: &mut BytesMut) {
    out.put_signed(partition.log_start);
    out.put_signed(partition.next_offset);
    out.put_count(partition.epochs.len());
    for start in &partition.epochs {
        out.put_signed(i64::from(start.epoch.0));
        out.put_signed(start.start_offset);
    }
    out.put_count(partition.producers.len());
    for (id, producer) in &partition.producers {
        out.put_signed(id.0);
        out.put_signed(i64::from(producer.epoch.0));
        out.put_signed(producer.last_stamp.0);
        // -1 stands for no open transaction: offsets begin at 0.
        out.put_signed(producer.open_transaction.unwrap_or(-1));
        encode_bounds(&producer.batches, out);
    }
}

fn decode_partition(reader: &mut Reader) -> Result<PartitionState, FormatError> {
    let mut partition = PartitionState {
        log_start: reader.signed("log start")?,
        next_offset: reader.signed("next offset")?,
        ..PartitionState::default()
    };
    for _ in 0..reader.count(2, "epochs")? {
        let epoch = LeaderEpoch(reader.small("epoch")?);
        partition.epochs.push(EpochStart {
            epoch,
            start_offset: reader.signed("epoch start")?,
        });
    }
    for _ in 0..reader.count(5, "producers")? {
        let id = ProducerId(reader.signed("producer id")?);
        let epoch = ProducerEpoch(reader.small("producer epoch")?);
        let last_stamp = Timestamp(reader.signed("producer stamp")?);
        let open = reader.signed("open transaction")?;
        let batches = decode_bounds(reader)?;
        let open_transaction = (open >= 0).then_some(open);
        let producer = ProducerState {
            epoch,
            last_stamp,
            batches,
            open_transaction,
        };
        partition.put_producer(id, producer);
    }
    Ok(partition)
}

fn encode_page(locations: &Locations) -> Bytes {
    let mut out = BytesMut::new();
    out.put_count(locations.iter().count());
    for (at, runs) in locations.iter() {
        encode_at(*at, &mut out);
        out.put_count(runs.len());
        for run in runs {
            out.put_signed(run.base_offset);
            out.put_signed(run.next_offset);
            out.put_u128_le(run.object.incarnation);
            out.put_varint(run.object.seq);
            out.put_varint(u64::from(run.object.attempt));
            out.put_varint(run.first_byte);
            out.put_varint(run.bytes);
            out.put_signed(run.max_timestamp.0);
            out.put_signed(run.stamp.0);
            out.put_u32_le(run.crc);
            out.put_count(run.points.len());
            for point in &run.points {
                out.put_varint(point.offset_delta);
                out.put_varint(point.byte_delta);
                out.put_signed(point.max_timestamp_before.0);
            }
        }
    }
    out.freeze()
}

/// `stamp` stands for those of the runs if they carry none.
fn decode_page(
    page: Bytes,
    stamp: Option<Timestamp>,
    locations: &mut Locations,
) -> Result<(), FormatError> {
    let mut reader = Reader::new(page);
    for _ in 0..reader.count(18, "page partitions")? {
        let at = decode_at(&mut reader)?;
        for _ in 0..reader.count(28, "page runs")? {
            let run = decode_location(&mut reader, stamp)?;
            locations.push(at, run);
        }
    }
    reader.finish()
}

fn decode_location(
    reader: &mut Reader,
    stamp: Option<Timestamp>,
) -> Result<RunLocation, FormatError> {
    let base_offset = reader.signed("run base offset")?;
    let next_offset = reader.signed("run next offset")?;
    let object = ObjectId {
        incarnation: reader.u128("object incarnation")?,
        seq: reader.varint("object seq")?,
        attempt: reader.number("object attempt")?,
    };
    let mut run = RunLocation {
        base_offset,
        next_offset,
        object,
        first_byte: reader.varint("run first byte")?,
        bytes: reader.varint("run bytes")?,
        max_timestamp: Timestamp(reader.signed("run max timestamp")?),
        stamp: match stamp {
            Some(stamp) => stamp,
            None => Timestamp(reader.signed("run stamp")?),
        },
        crc: reader.u32("run crc")?,
        points: Vec::new(),
    };
    if base_offset < 0 || next_offset <= base_offset {
        return Err(FormatError::Value("run offsets"));
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
