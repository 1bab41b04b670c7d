//! Just enough of the Kafka protocol for a producer: one version of each request, none with tagged fields.
//!
//! A request that is not what it should be is [`Malformed`] and ends its connection.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// No error.
pub(crate) const NONE: i16 = 0;
/// The answer to versions of ApiVersions that are not spoken here; clients ask again in the one they are told.
pub(crate) const UNSUPPORTED_VERSION: i16 = 35;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;
const INIT_PRODUCER_ID: i16 = 22;

/// Each API with its one version.
const APIS: [(i16, i16); 5] = [
    (PRODUCE, 7),
    (METADATA, 5),
    (API_VERSIONS, 0),
    (CREATE_TOPICS, 4),
    (INIT_PRODUCER_ID, 1),
];

/// The id of the only broker.
const BROKER: i32 = 1;

/// Where the CRC of a batch stands, where what it covers begins, and where the number of its last record stands.
const CRC_AT: usize = 17;
const COVERED_AT: usize = 21;
const LAST_AT: usize = 23;

/// The bytes are no request that is spoken here.
#[derive(Debug)]
pub(crate) struct Malformed;

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        io::ErrorKind::InvalidData.into()
    }
}

/// What an answer begins with.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    correlation_id: i32,
}

pub(crate) enum Request {
    /// ApiVersions in a version that is not spoken here.
    Unknown,
    ApiVersions,
    Metadata {
        topics: Vec<String>,
    },
    CreateTopics {
        topics: Vec<(String, usize)>,
    },
    InitProducerId,
    /// One batch for one partition, as producers of benchmarks send them.
    Produce {
        topic: String,
        partition: usize,
        batch: Bytes,
    },
}

/// Reads a request without its length.
pub(crate) fn read(mut frame: Bytes) -> Result<(Head, Request), Malformed> {
    let key = frame.try_get_i16()?;
    let version = frame.try_get_i16()?;
    let correlation_id = frame.try_get_i32()?;
    skip_text(&mut frame)?;
    let is_spoken = APIS.contains(&(key, version));
    let request = match key {
        API_VERSIONS if is_spoken => Request::ApiVersions,
        API_VERSIONS => Request::Unknown,
        METADATA if is_spoken => Request::Metadata {
            topics: texts(&mut frame)?,
        },
        CREATE_TOPICS if is_spoken => Request::CreateTopics {
            topics: created(&mut frame)?,
        },
        INIT_PRODUCER_ID if is_spoken => Request::InitProducerId,
        PRODUCE if is_spoken => produce(frame)?,
        _ => return Err(Malformed),
    };
    Ok((Head { correlation_id }, request))
}

fn produce(mut frame: Bytes) -> Result<Request, Malformed> {
    skip_text(&mut frame)?;
    let _acks = frame.try_get_i16()?;
    let _timeout_ms = frame.try_get_i32()?;
    one(&mut frame)?;
    let topic = text(&mut frame)?;
    one(&mut frame)?;
    let partition = size(frame.try_get_i32()?)?;
    let length = size(frame.try_get_i32()?)?;
    if length > frame.len() {
        return Err(Malformed);
    }
    Ok(Request::Produce {
        topic,
        partition,
        batch: frame.split_to(length),
    })
}

/// The number of records in a batch whose CRC is right.
pub(crate) fn checked_records(batch: &[u8]) -> Result<i64, Malformed> {
    let number = |at: usize| {
        let bytes = batch.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or(Malformed)
    };
    let crc = u32::from_be_bytes(number(CRC_AT)?);
    let last = i32::from_be_bytes(number(LAST_AT)?);
    let covered = batch.get(COVERED_AT..).ok_or(Malformed)?;
    if crc32c::crc32c(covered) != crc || last < 0 {
        return Err(Malformed);
    }
    Ok(i64::from(last) + 1)
}

fn created(frame: &mut Bytes) -> Result<Vec<(String, usize)>, Malformed> {
    let mut topics = Vec::new();
    for _ in 0..size(frame.try_get_i32()?)? {
        let name = text(frame)?;
        let partitions = frame.try_get_i32()?;
        let _replicas = frame.try_get_i16()?;
        if frame.try_get_i32()? != 0 {
            return Err(Malformed);
        }
        for _ in 0..size(frame.try_get_i32()?)? {
            skip_text(frame)?;
            skip_text(frame)?;
        }
        topics.push((name, usize::try_from(partitions).unwrap_or(0)));
    }
    Ok(topics)
}

fn texts(frame: &mut Bytes) -> Result<Vec<String>, Malformed> {
    // No list at all asks for every topic; producers ask for theirs.
    let count = usize::try_from(frame.try_get_i32()?).unwrap_or(0);
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(text(frame)?);
    }
    Ok(texts)
}

fn text(frame: &mut Bytes) -> Result<String, Malformed> {
    let length = usize::try_from(frame.try_get_i16()?).map_err(|_| Malformed)?;
    if length > frame.len() {
        return Err(Malformed);
    }
    String::from_utf8(frame.split_to(length).into()).map_err(|_| Malformed)
}

/// A text that may be null.
fn skip_text(frame: &mut Bytes) -> Result<(), Malformed> {
    let length = usize::try_from(frame.try_get_i16()?).unwrap_or(0);
    if length > frame.len() {
        return Err(Malformed);
    }
    frame.advance(length);
    Ok(())
}

fn one(frame: &mut Bytes) -> Result<(), Malformed> {
    let count = frame.try_get_i32()?;
    if count == 1 { Ok(()) } else { Err(Malformed) }
}

fn size(number: i32) -> Result<usize, Malformed> {
    usize::try_from(number).map_err(|_| Malformed)
}

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

/// An answer in the making.
pub(crate) struct Answer(BytesMut);

impl Answer {
    pub(crate) fn new(head: Head) -> Self {
        let mut bytes = BytesMut::with_capacity(128);
        bytes.put_i32(0);
        bytes.put_i32(head.correlation_id);
        Self(bytes)
    }

    pub(crate) fn api_versions(&mut self, error: i16) {
        self.0.put_i16(error);
        self.count(APIS.len());
        for (key, version) in APIS {
            self.0.put_i16(key);
            self.0.put_i16(version);
            self.0.put_i16(version);
        }
    }

    pub(crate) fn metadata(&mut self, host: &str, port: u16, topics: &[(&str, usize)]) {
        self.0.put_i32(0);
        self.count(1);
        self.0.put_i32(BROKER);
        self.text(host);
        self.0.put_i32(i32::from(port));
        self.null();
        self.text("floor");
        self.0.put_i32(BROKER);
        self.count(topics.len());
        for (name, partitions) in topics {
            let is_known = *partitions > 0;
            let error = if is_known {
                NONE
            } else {
                UNKNOWN_TOPIC_OR_PARTITION
            };
            self.0.put_i16(error);
            self.text(name);
            self.0.put_u8(0);
            self.count(*partitions);
            for index in 0..*partitions {
                self.0.put_i16(NONE);
                self.number(index);
                self.0.put_i32(BROKER);
                self.brokers();
                self.brokers();
                self.count(0);
            }
        }
    }

    pub(crate) fn create_topics(&mut self, topics: &[(String, usize)]) {
        self.0.put_i32(0);
        self.count(topics.len());
        for (name, _) in topics {
            self.text(name);
            self.0.put_i16(NONE);
            self.null();
        }
    }

    pub(crate) fn init_producer_id(&mut self) {
        self.0.put_i32(0);
        self.0.put_i16(NONE);
        self.0.put_i64(1);
        self.0.put_i16(0);
    }

    pub(crate) fn produce(&mut self, topic: &str, partition: usize, base_offset: i64) {
        self.count(1);
        self.text(topic);
        self.count(1);
        self.number(partition);
        self.0.put_i16(NONE);
        self.0.put_i64(base_offset);
        self.0.put_i64(-1);
        self.0.put_i64(0);
        self.0.put_i32(0);
    }

    /// The whole answer with its length.
    pub(crate) fn finish(mut self) -> Bytes {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0.freeze()
    }

    fn brokers(&mut self) {
        self.count(1);
        self.0.put_i32(BROKER);
    }

    fn count(&mut self, count: usize) {
        self.number(count);
    }

    fn number(&mut self, number: usize) {
        self.0.put_i32(i32::try_from(number).unwrap_or(i32::MAX));
    }

    /// Names here come from requests or are short: they fit their length.
    fn text(&mut self, text: &str) {
        self.0
            .put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.put_slice(text.as_bytes());
    }

    fn null(&mut self) {
        self.0.put_i16(-1);
    }
}

#[cfg(test)]
mod tests;
