//! What a user of a client does, as data: the operations that scenarios are made of, and the answers to them. Drivers read
//! an operation as one line of JSON and answer with one line; bytes are hexadecimal, so that null, empty and binary differ.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a key, a value or a header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// A record, on its way in or out. What only the broker knows is `None` on the way in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Record {
    /// `None` leaves the choice to the client's partitioner.
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
    /// Who set the timestamp; `None` when the client does not show it.
    pub(crate) stamped_by: Option<StampedBy>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
}

/// A header of a record; a name may come more than once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: Option<Bytes>,
}

/// `message.timestamp.type` as a consumer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StampedBy {
    Producer,
    Broker,
}

/// `compression.type` of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How a producer is set up. A driver keeps one producer per setting, so that it lives across operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub(crate) compression: Compression,
    pub(crate) idempotent: bool,
    /// At most this many records in a batch, where the client can say so; 0 is the client's own choice.
    pub(crate) batch_records: u32,
    /// `max.request.size` and the like; 0 is the client's own choice.
    pub(crate) request_bytes: u32,
}

/// Where in a partition to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Position {
    Beginning,
    End,
    Offset(i64),
    /// The first record at or after this many milliseconds since 1970.
    Time(i64),
}

/// One thing that a user asks of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Answers `brokers` and, where the topic exists, `partitions`; refused with 3 where it does not.
    Metadata { topic: String },
    /// Creates a topic with these configs.
    CreateTopic {
        topic: String,
        partitions: i32,
        configs: BTreeMap<String, String>,
    },
    /// Deletes a topic.
    DeleteTopic { topic: String },
    /// Answers `value`: one config of a topic.
    TopicConfig { topic: String, name: String },
    /// Gives a topic this many partitions in all; refused with 37 where it has as many already.
    CreatePartitions { topic: String, partitions: i32 },
    /// Sets one config of a topic.
    AlterConfig {
        topic: String,
        name: String,
        value: String,
    },
    /// Deletes the records of partition 0 below an offset.
    DeleteRecords { topic: String, before: i64 },
    /// Answers `groups`: the names of all groups.
    Groups,
    /// Deletes a group; refused with 69 where there is none.
    DeleteGroup { group: String },
    /// Sends records with acks=all and waits for all answers.
    Produce {
        topic: String,
        records: Vec<Record>,
        producer: Producer,
    },
    /// Sends every value of a file of records to partition 0, in order; answers `count`.
    ProduceFile {
        topic: String,
        file: PathBuf,
        producer: Producer,
    },
    /// Answers `offset`: where a position lies. For a time after the last record: -1 or the end, as the client says it.
    Seek {
        topic: String,
        partition: i32,
        position: Position,
    },
    /// Answers `records`: the next `count` from a position.
    Consume {
        topic: String,
        partition: i32,
        position: Position,
        count: usize,
    },
    /// Writes the first `count` values of partition 0 into a file of records.
    ConsumeFile {
        topic: String,
        file: PathBuf,
        count: usize,
    },
    /// Becomes a member of a group; offsets are committed by `Commit` and start at the beginning where none is.
    Join { group: String, topic: String },
    /// The same by the protocol of KIP-848 (`group.protocol=consumer`).
    JoinConsumer { group: String, topic: String },
    /// Waits until this member has exactly `partitions` partitions.
    Assigned { partitions: usize },
    /// Answers `records`: the next `count` that arrive at this member.
    Take { count: usize },
    /// Commits what was taken.
    Commit,
    /// Leaves the group.
    Leave,
}

/// What a client answers; a request says which fields it fills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) brokers: Vec<Node>,
    pub(crate) partitions: Option<i32>,
    pub(crate) value: Option<String>,
    pub(crate) offset: Option<i64>,
    pub(crate) count: Option<usize>,
    pub(crate) records: Vec<Record>,
    pub(crate) groups: Vec<String>,
}

/// A broker as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The one line that a driver writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Answer(Answer),
    Refusal(Refusal),
}

/// The client says no: Kafka's error code, where the client tells it, and the client's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: Option<i16>,
    pub(crate) text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "the client says error {code}: {}", self.text),
            None => write!(f, "the client says: {}", self.text),
        }
    }
}

impl std::error::Error for Refusal {}

impl Record {
    /// A record with this value and nothing else.
    pub(crate) fn of(value: impl Into<Vec<u8>>) -> Self {
        Self {
            value: Some(Bytes(value.into())),
            ..Self::default()
        }
    }

    /// The same for one partition.
    pub(crate) fn at(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same with a key.
    pub(crate) fn keyed(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(Bytes(key.into()));
        self
    }

    /// What the producer gave: key, value and headers.
    pub(crate) fn content(&self) -> (&Option<Bytes>, &Option<Bytes>, &[Header]) {
        (&self.key, &self.value, &self.headers)
    }
}

impl Header {
    pub(crate) fn new(name: &str, value: Option<&[u8]>) -> Self {
        Self {
            name: name.to_owned(),
            value: value.map(|value| Bytes(value.to_vec())),
        }
    }
}

impl Compression {
    /// Kafka's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The low bits of a batch's attributes.
    pub(crate) fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(40)];
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())
        } else {
            Ok(())
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &self.0 {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
            }
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes();
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom(
                "bytes with an odd number of hexadecimal digits",
            ));
        }
        let pairs = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            u8::from_str_radix(pair, 16).map_err(|_| D::Error::custom("bytes are not hexadecimal"))
        });
        pairs.collect::<Result<_, _>>().map(Bytes)
    }
}
