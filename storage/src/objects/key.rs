//! The names of objects, so that recovery and garbage collection can find them without an index.
//!
//! On disk: never renumber, never reformat. A key is `hh/<incarnation>/<seq>-<attempt>.<kind>`:
//!
//! ```text
//! 7f/00000000000000000000000000c0ffee/000000000000002a-00000001.l0
//! |  |                                |                |        +-- kind
//! |  |                                |                +-- attempt: 8 hex digits, one more for each upload that may have failed
//! |  |                                +-- object number of that incarnation: 16 hex digits
//! |  +-- broker incarnation: 32 hex digits
//! +-- shard: the low byte of CRC32C(incarnation, seq), both big-endian
//! ```
//!
//! The hashed shard comes first because stores such as S3 split their capacity by key prefix. The shard depends on
//! the incarnation and the number alone, so recovery probes the names of an incarnation's next objects instead of
//! listing the bucket. Digits have a fixed width, so names sort by number.

use std::fmt;

/// How many shards keys are spread over: the first two hex digits of every key.
pub const KEY_SHARDS: u16 = 256;

/// The number of an object: unique because an incarnation is random, a number is never given twice within one, and
/// every further upload of the same content is a new attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The run of the broker process that wrote the object (random, never reused).
    pub incarnation: u128,
    /// The number of the object within its incarnation.
    pub seq: u64,
    /// Which try to upload it: a try whose outcome is unknown is followed by one under a new name.
    pub attempt: u32,
}

impl ObjectId {
    /// The key of this object as `kind`.
    #[must_use]
    pub fn key(self, kind: ObjectKind) -> ObjectKey {
        ObjectKey { id: self, kind }
    }

    /// The shard of this object's key: spreads consecutive numbers over all shards.
    #[must_use]
    pub fn key_shard(self) -> u8 {
        let sum = crc32c::crc32c(&self.incarnation.to_be_bytes());
        let [.., low] = crc32c::crc32c_append(sum, &self.seq.to_be_bytes()).to_be_bytes();
        low
    }
}

/// What an object holds. On disk as the ending of the key: never rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// One flush of one broker: batches of many partitions. Ending `l0`.
    L0,
    /// The state of one shard of the cluster. Ending `checkpoint`.
    Checkpoint,
    /// Topics, settings, security and group offsets of the whole cluster. Ending `cluster`.
    ClusterCheckpoint,
    /// A long run of one partition, made from L0 objects. Ending `segment`.
    Segment,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::L0,
        Self::Checkpoint,
        Self::ClusterCheckpoint,
        Self::Segment,
    ];

    /// The ending of keys of this kind.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::L0 => "l0",
            Self::Checkpoint => "checkpoint",
            Self::ClusterCheckpoint => "cluster",
            Self::Segment => "segment",
        }
    }
}

/// The key of an object: its path inside the store. Shown and parsed as that path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    id: ObjectId,
    kind: ObjectKind,
}

/// A path that is not the key of an object of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} is not the key of an object")]
pub struct ParseKeyError {
    path: String,
}

impl ObjectKey {
    /// The number of the object.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// What the object holds.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// Reads a path back. Accepts exactly what [`ObjectKey`] shows as, so a key has one spelling.
    ///
    /// # Errors
    /// The path is something else: another file in the folder, or an upload that was not finished.
    pub fn parse(path: &str) -> Result<Self, ParseKeyError> {
        Self::parse_parts(path)
            .filter(|key| key.to_string() == path)
            .ok_or_else(|| ParseKeyError {
                path: path.chars().take(200).collect(),
            })
    }

    fn parse_parts(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let (_shard, incarnation, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (number, ending) = name.split_once('.')?;
        let (seq, attempt) = number.split_once('-')?;
        let id = ObjectId {
            incarnation: u128::from_str_radix(incarnation, 16).ok()?,
            seq: u64::from_str_radix(seq, 16).ok()?,
            attempt: u32::from_str_radix(attempt, 16).ok()?,
        };
        let kind = ObjectKind::ALL
            .into_iter()
            .find(|kind| kind.ending() == ending)?;
        Some(id.key(kind))
    }

    pub(crate) fn path(&self) -> object_store::path::Path {
        object_store::path::Path::from(self.to_string())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectId {
            incarnation,
            seq,
            attempt,
        } = self.id;
        let shard = self.id.key_shard();
        let ending = self.kind.ending();
        write!(
            f,
            "{shard:02x}/{incarnation:032x}/{seq:016x}-{attempt:08x}.{ending}"
        )
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = ParseKeyError;

    fn from_str(path: &str) -> Result<Self, ParseKeyError> {
        Self::parse(path)
    }
}

#[cfg(test)]
mod tests;
