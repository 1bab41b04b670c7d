//! The Fetch response, written field by field so that records are linked instead of copied. What it writes is bit
//! for bit what the schema crate writes; a property test holds the two together.

use std::collections::BTreeMap;
use std::slice;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::{Encodable, Message};

use super::ResponseBody;
use crate::rope::RopeWriter;

/// The versions in which fields appear.
const SESSIONS: i16 = 7;
const LOG_START_OFFSET: i16 = 5;
const PREFERRED_READ_REPLICA: i16 = 11;
const FLEXIBLE: i16 = 12;
const TOPIC_IDS: i16 = 13;
const NODE_ENDPOINTS: i16 = 16;

const UNAVAILABLE: &str = "a field is set that is not available in this version";

/// A Fetch response whose records lie in pieces, as a reader found them.
#[derive(Clone, Debug)]
pub struct FetchAnswer {
    /// The response; what its partitions say of records is not looked at.
    pub response: FetchResponse,
    /// The records of each of its partitions in order, in pieces; a partition for which nothing is left has none.
    pub records: Vec<Vec<Bytes>>,
}

impl ResponseBody for FetchAnswer {
    type Request = FetchRequest;

    fn write(&self, writer: &mut RopeWriter, version: i16) -> Result<(), String> {
        let mut records = self.records.iter();
        let pieces = |_| Some(records.next().map_or(&[][..], |pieces| pieces));
        write(&self.response, pieces, writer, version)
    }
}

/// Writes the body of a response whose partitions hold their records themselves.
pub(super) fn write_whole(
    response: &FetchResponse,
    writer: &mut RopeWriter,
    version: i16,
) -> Result<(), String> {
    write(response, records_of, writer, version)
}

fn records_of(partition: &PartitionData) -> Option<&[Bytes]> {
    partition.records.as_ref().map(slice::from_ref)
}

/// Writes the body of `response`. `records` gives the pieces of each partition's records in turn; `None` is null.
fn write<'a>(
    response: &'a FetchResponse,
    mut records: impl FnMut(&'a PartitionData) -> Option<&'a [Bytes]>,
    writer: &mut RopeWriter,
    version: i16,
) -> Result<(), String> {
    let known = FetchResponse::VERSIONS;
    if version < known.min || version > known.max {
        return Err("the version does not exist".to_owned());
    }
    let out = writer.buffer();
    out.put_i32(response.throttle_time_ms);
    if version >= SESSIONS {
        out.put_i16(response.error_code);
        out.put_i32(response.session_id);
    } else {
        available(response.session_id == 0)?;
    }
    count(out, response.responses.len(), version)?;
    for topic in &response.responses {
        write_topic(topic, &mut records, writer, version)?;
    }
    let out = writer.buffer();
    if version >= FLEXIBLE {
        let mut tags = Tags::default();
        if version >= NODE_ENDPOINTS && !response.node_endpoints.is_empty() {
            let mut value = BytesMut::new();
            count(&mut value, response.node_endpoints.len(), version)?;
            for endpoint in &response.node_endpoints {
                encode(endpoint, &mut value, version)?;
            }
            tags.push(0, value);
        }
        tags.write(out, &response.unknown_tagged_fields)?;
    }
    Ok(())
}

fn write_topic<'a>(
    topic: &'a FetchableTopicResponse,
    records: &mut impl FnMut(&'a PartitionData) -> Option<&'a [Bytes]>,
    writer: &mut RopeWriter,
    version: i16,
) -> Result<(), String> {
    let out = writer.buffer();
    if version >= TOPIC_IDS {
        out.put_slice(topic.topic_id.as_bytes());
    } else if version >= FLEXIBLE {
        varint(out, length_plus_one(topic.topic.len())?);
        out.put_slice(topic.topic.as_bytes());
    } else {
        out.put_i16(i16::try_from(topic.topic.len()).map_err(|e| e.to_string())?);
        out.put_slice(topic.topic.as_bytes());
    }
    count(out, topic.partitions.len(), version)?;
    for partition in &topic.partitions {
        write_partition(partition, records(partition), writer, version)?;
    }
    if version >= FLEXIBLE {
        Tags::default().write(writer.buffer(), &topic.unknown_tagged_fields)?;
    }
    Ok(())
}

fn write_partition(
    partition: &PartitionData,
    records: Option<&[Bytes]>,
    writer: &mut RopeWriter,
    version: i16,
) -> Result<(), String> {
    let out = writer.buffer();
    out.put_i32(partition.partition_index);
    out.put_i16(partition.error_code);
    out.put_i64(partition.high_watermark);
    out.put_i64(partition.last_stable_offset);
    if version >= LOG_START_OFFSET {
        out.put_i64(partition.log_start_offset);
    }
    match &partition.aborted_transactions {
        None => null(out, version),
        Some(aborted) => {
            count(out, aborted.len(), version)?;
            for transaction in aborted {
                encode(transaction, out, version)?;
            }
        }
    }
    if version >= PREFERRED_READ_REPLICA {
        out.put_i32(partition.preferred_read_replica.0);
    } else {
        available(partition.preferred_read_replica.0 == -1)?;
    }
    match records {
        None => null(out, version),
        Some(pieces) => {
            count(out, pieces.iter().map(Bytes::len).sum(), version)?;
            for piece in pieces {
                writer.link(piece.clone());
            }
        }
    }
    write_partition_tags(partition, writer.buffer(), version)
}

fn write_partition_tags(
    partition: &PartitionData,
    out: &mut BytesMut,
    version: i16,
) -> Result<(), String> {
    if version < FLEXIBLE {
        return Ok(());
    }
    let mut tags = Tags::default();
    tags.push_unless_default(0, &partition.diverging_epoch, version)?;
    tags.push_unless_default(1, &partition.current_leader, version)?;
    tags.push_unless_default(2, &partition.snapshot_id, version)?;
    tags.write(out, &partition.unknown_tagged_fields)
}

/// The tagged fields of the schema that are not at their defaults, by ascending tag.
#[derive(Default)]
struct Tags(Vec<(u32, BytesMut)>);

impl Tags {
    fn push(&mut self, tag: u32, value: BytesMut) {
        self.0.push((tag, value));
    }

    fn push_unless_default<T: Encodable + Default + PartialEq>(
        &mut self,
        tag: u32,
        field: &T,
        version: i16,
    ) -> Result<(), String> {
        if *field != T::default() {
            let mut value = BytesMut::new();
            encode(field, &mut value, version)?;
            self.push(tag, value);
        }
        Ok(())
    }

    fn write(self, out: &mut BytesMut, unknown: &BTreeMap<i32, Bytes>) -> Result<(), String> {
        let number = self.0.len() + unknown.len();
        varint(out, u32::try_from(number).map_err(|e| e.to_string())?);
        for (tag, value) in self.0 {
            tagged(out, tag, &value)?;
        }
        for (&tag, value) in unknown {
            // Tags are unsigned on the wire; the schema crate keeps their bits in a signed number.
            tagged(out, tag.cast_unsigned(), value)?;
        }
        Ok(())
    }
}

fn tagged(out: &mut BytesMut, tag: u32, value: &[u8]) -> Result<(), String> {
    varint(out, tag);
    varint(out, u32::try_from(value.len()).map_err(|e| e.to_string())?);
    out.put_slice(value);
    Ok(())
}

/// The length of an array, of records or of a topic list.
fn count(out: &mut BytesMut, count: usize, version: i16) -> Result<(), String> {
    if version >= FLEXIBLE {
        varint(out, length_plus_one(count)?);
    } else {
        out.put_i32(i32::try_from(count).map_err(|e| e.to_string())?);
    }
    Ok(())
}

fn null(out: &mut BytesMut, version: i16) {
    if version >= FLEXIBLE {
        out.put_u8(0);
    } else {
        out.put_i32(-1);
    }
}

fn length_plus_one(length: usize) -> Result<u32, String> {
    u32::try_from(length + 1).map_err(|e| e.to_string())
}

fn varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

fn encode<T: Encodable>(value: &T, out: &mut BytesMut, version: i16) -> Result<(), String> {
    value.encode(out, version).map_err(|e| e.to_string())
}

fn available(is_available: bool) -> Result<(), String> {
    if is_available {
        Ok(())
    } else {
        Err(UNAVAILABLE.to_owned())
    }
}
