//! What the end of an L0 object says about it: who wrote it, the sections of its shards, and the checksums with which
//! every read of its data is verified.
//!
//! The bytes come from outside: every count and length is compared with the bytes that remain before memory is taken.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use streamhouse_runtime::planted;

use super::{
    CRC_BLOCK_BYTES, DATA_BYTES_MAX, FOOTER_BYTES_MAX, FORMAT_VERSION, HEADER_BYTES, HEADER_MAGIC,
    L0Header, TRAILER_BYTES, TRAILER_MAGIC,
};
use crate::objects::{BlamesObject, GetError, ObjectClass, ObjectKey, ObjectTail, Objects};

/// How many sections an object may have: one per shard of the cluster.
pub const L0_SECTIONS_MAX: usize = 65_536;

/// How much of the end of an object is read at first: the footer of nearly every flush fits.
const TAIL_BYTES: u64 = 64 * 1024;
const FOOTER_BYTES_MIN: u64 = HEADER_BYTES + 8 + 4 + 4;

/// What one shard of the cluster has in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The shard.
    pub shard: u32,
    /// Its manifest; opaque here.
    pub body: Bytes,
}

/// The index of an L0 object. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L0Index {
    header: L0Header,
    data_end: u64,
    sums: Arc<[u32]>,
    sections: Arc<[Section]>,
}

/// The index of an object could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    /// The object could not be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The bytes are not what was written. Read once more; if it stays so, the object is lost.
    #[error("object {key} is damaged: {what}")]
    Damaged {
        /// The key.
        key: ObjectKey,
        /// How large the object is.
        object_bytes: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A later version of the broker wrote the object. Update this broker.
    #[error(
        "object {key} needs a reader of format {min_reader}, this broker reads up to {FORMAT_VERSION}; update it"
    )]
    TooNew {
        /// The key.
        key: ObjectKey,
        /// The oldest format version that may read it.
        min_reader: u16,
    },
}

impl BlamesObject for IndexError {
    fn blames_object(&self) -> bool {
        match self {
            Self::Get(error) => error.blames_object(),
            Self::Damaged { .. } => true,
            // Newer or damaged: the second answer tells.
            Self::TooNew { .. } => true,
        }
    }
}

/// A block whose bytes do not have the checksum that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the 64 KiB block at byte {start} is damaged")]
pub struct BadBlock {
    /// Where the block starts in the object.
    pub start: u64,
}

/// Why bytes are not a footer.
#[derive(Debug)]
enum Refusal {
    Damaged(&'static str),
    TooNew(u16),
}

impl From<&'static str> for Refusal {
    fn from(what: &'static str) -> Self {
        Self::Damaged(what)
    }
}

impl Refusal {
    fn of(self, key: ObjectKey, object_bytes: u64) -> IndexError {
        match self {
            Self::Damaged(what) => IndexError::Damaged {
                key,
                object_bytes,
                what,
            },
            Self::TooNew(min_reader) => IndexError::TooNew { key, min_reader },
        }
    }
}

impl L0Index {
    pub(super) fn new(
        header: L0Header,
        data_end: u64,
        sums: Vec<u32>,
        sections: Vec<Section>,
    ) -> Self {
        Self {
            header,
            data_end,
            sums: sums.into(),
            sections: sections.into(),
        }
    }

    /// Reads the index of an object of `object_bytes` bytes, in one or two requests.
    ///
    /// # Errors
    /// See [`IndexError`]; an object that is shorter than `object_bytes` is [`GetError::Short`].
    pub async fn load(
        objects: &Objects,
        key: &ObjectKey,
        object_bytes: u64,
        class: ObjectClass,
    ) -> Result<Self, IndexError> {
        let tail_start = object_bytes.saturating_sub(TAIL_BYTES);
        let bytes = objects
            .get_range(key, tail_start..object_bytes, class)
            .await?;
        let tail = ObjectTail {
            object_bytes,
            bytes,
        };
        Self::from_tail(objects, key, &tail, class).await
    }

    /// Reads the index of an object of unknown size, and with it the last `data_bytes` of its data or more, in one request
    /// or two.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub async fn load_with_tail(
        objects: &Objects,
        key: &ObjectKey,
        data_bytes: u64,
        class: ObjectClass,
    ) -> Result<(Self, ObjectTail), IndexError> {
        let wanted = data_bytes.saturating_add(TAIL_BYTES);
        let tail = objects.get_tail(key, wanted, class).await?;
        let index = Self::from_tail(objects, key, &tail, class).await?;
        Ok((index, tail))
    }

    async fn from_tail(
        objects: &Objects,
        key: &ObjectKey,
        tail: &ObjectTail,
        class: ObjectClass,
    ) -> Result<Self, IndexError> {
        let (object_bytes, tail_start) = (tail.object_bytes, tail.start());
        let refused = |refusal: Refusal| refusal.of(*key, object_bytes);
        let footer_bytes = footer_bytes(&tail.bytes, object_bytes).map_err(refused)?;
        let start = object_bytes - TRAILER_BYTES - footer_bytes;
        let end = if start >= tail_start {
            let skipped = usize::try_from(start - tail_start).expect("the tail is in memory");
            tail.bytes.slice(skipped..)
        } else {
            let before = objects.get_range(key, start..tail_start, class).await?;
            let mut whole = BytesMut::with_capacity(before.len() + tail.bytes.len());
            whole.extend_from_slice(&before);
            whole.extend_from_slice(&tail.bytes);
            whole.freeze()
        };
        let index = Self::parse(&end, object_bytes).map_err(refused)?;
        if !index.header.is_of(key.id()) {
            return Err(refused("its header names another object".into()));
        }
        Ok(index)
    }

    /// Reads an index from `end`, the footer and trailer of an object of `object_bytes` bytes.
    fn parse(end: &Bytes, object_bytes: u64) -> Result<Self, Refusal> {
        let footer_bytes = footer_bytes(end, object_bytes)?;
        if end.len() as u64 != footer_bytes + TRAILER_BYTES {
            return Err("its footer has another length".into());
        }
        let footer_len =
            usize::try_from(footer_bytes).map_err(|_| "its footer has another length")?;
        let (summed, mut sum) = (&end[..footer_len + 4], &end[footer_len + 4..footer_len + 8]);
        if crc32c::crc32c(summed) != sum.get_u32() {
            return Err("its footer has another checksum".into());
        }
        let mut footer = end.slice(..footer_len);
        let header = decode_header(&mut footer)?;
        let data_end = footer.try_get_u64().map_err(|_| "its footer ends early")?;
        let is_elsewhere = data_end != object_bytes - TRAILER_BYTES - footer_bytes;
        if is_elsewhere && !planted::bug("l0_data_end_not_compared") {
            return Err("its data ends elsewhere".into());
        }
        if !(HEADER_BYTES..=DATA_BYTES_MAX).contains(&data_end) {
            return Err("its data ends outside the bounds".into());
        }
        let sections = decode_sections(&mut footer)?;
        let sums = decode_sums(&mut footer, data_end)?;
        if footer.has_remaining() {
            return Err("its footer does not end".into());
        }
        Ok(Self::new(header, data_end, sums, sections))
    }

    /// The index of an object that is in memory as a whole.
    #[cfg(test)]
    pub(super) fn parse_whole(object: &Bytes) -> Result<Self, &'static str> {
        let length = object.len() as u64;
        let footer_bytes = footer_bytes(object, length).map_err(|_| "no footer")?;
        let start =
            usize::try_from(length - TRAILER_BYTES - footer_bytes).map_err(|_| "too long")?;
        Self::parse(&object.slice(start..), length).map_err(|_| "not a footer")
    }

    pub(super) fn encode_footer(&self) -> BytesMut {
        let bodies: usize = self
            .sections
            .iter()
            .map(|section| 8 + section.body.len())
            .sum();
        let mut footer = BytesMut::with_capacity(
            HEADER_BYTES as usize + 16 + bodies + 4 * self.sums.len() + TRAILER_BYTES as usize,
        );
        footer.put_slice(&self.header.encode());
        footer.put_u64(self.data_end);
        footer.put_u32(u32::try_from(self.sections.len()).expect("at most 65,536 sections"));
        for section in self.sections.iter() {
            footer.put_u32(section.shard);
            // A longer body makes a footer that is refused for its length before it is written.
            footer.put_u32(u32::try_from(section.body.len()).unwrap_or(u32::MAX));
            footer.put_slice(&section.body);
        }
        footer.put_u32(u32::try_from(self.sums.len()).expect("at most 65,536 blocks"));
        for sum in self.sums.iter() {
            footer.put_u32(*sum);
        }
        footer
    }

    /// Who wrote the object, and when.
    #[must_use]
    pub fn header(&self) -> L0Header {
        self.header
    }

    /// Where the data ends: the first byte of the footer. Data starts at [`HEADER_BYTES`].
    #[must_use]
    pub fn data_end(&self) -> u64 {
        self.data_end
    }

    /// The sections, in ascending order of their shards.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The same index without sections: what reads need.
    #[must_use]
    pub fn without_sections(&self) -> Self {
        Self {
            sections: Arc::new([]),
            ..self.clone()
        }
    }

    /// About how much memory the index takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let bodies: usize = self
            .sections
            .iter()
            .map(|section| 64 + section.body.len())
            .sum();
        (128 + 4 * self.sums.len() + bodies) as u64
    }

    /// Compares `bytes`, which start at `start` of the object, with the checksums of all blocks they touch.
    ///
    /// # Errors
    /// The first block that is damaged, or that `bytes` holds only in part: `start` must be the start of a block, and
    /// `bytes` must end with a block or with the data.
    pub fn verify(&self, start: u64, bytes: &[u8]) -> Result<(), BadBlock> {
        let mut position = start;
        let mut rest = bytes;
        while !rest.is_empty() {
            let bad = BadBlock { start: position };
            if !position.is_multiple_of(CRC_BLOCK_BYTES) || position >= self.data_end {
                return Err(bad);
            }
            let block_end = (position + CRC_BLOCK_BYTES).min(self.data_end);
            let length = usize::try_from(block_end - position).map_err(|_| bad)?;
            let number = usize::try_from(position / CRC_BLOCK_BYTES).map_err(|_| bad)?;
            let (Some(block), Some(sum)) = (rest.get(..length), self.sums.get(number)) else {
                return Err(bad);
            };
            if crc32c::crc32c(block) != *sum {
                return Err(bad);
            }
            position = block_end;
            rest = &rest[length..];
        }
        Ok(())
    }
}

/// The length of the footer, from the trailer at the end of `tail`. Bounded, but not verified yet.
fn footer_bytes(tail: &[u8], object_bytes: u64) -> Result<u64, Refusal> {
    let bound = object_bytes
        .checked_sub(HEADER_BYTES + TRAILER_BYTES)
        .ok_or("it is too short")?;
    let mut trailer = tail
        .len()
        .checked_sub(TRAILER_BYTES as usize)
        .map(|at| &tail[at..])
        .ok_or("it is too short")?;
    let footer_bytes = u64::from(trailer.get_u32());
    trailer.advance(4);
    if trailer != TRAILER_MAGIC {
        return Err("it does not end with the mark of an L0 object".into());
    }
    if !(FOOTER_BYTES_MIN..=FOOTER_BYTES_MAX.min(bound)).contains(&footer_bytes) {
        return Err("its footer has an impossible length".into());
    }
    Ok(footer_bytes)
}

fn decode_header(footer: &mut Bytes) -> Result<L0Header, Refusal> {
    if footer.remaining() < HEADER_BYTES as usize {
        return Err("its footer ends early".into());
    }
    let mut header = footer.split_to(HEADER_BYTES as usize);
    if header.split_to(HEADER_MAGIC.len()) != HEADER_MAGIC.as_slice() {
        return Err("it is not an L0 object".into());
    }
    // The version itself is for people; `min_reader` decides.
    let _version = header.get_u16();
    let min_reader = header.get_u16();
    if min_reader > FORMAT_VERSION {
        return Err(Refusal::TooNew(min_reader));
    }
    if u64::from(header.get_u32()) != CRC_BLOCK_BYTES {
        return Err("its blocks have another size".into());
    }
    Ok(L0Header {
        cluster: header.get_u128(),
        incarnation: header.get_u128(),
        seq: header.get_u64(),
        created_ms: header.get_i64(),
    })
}

fn decode_sections(footer: &mut Bytes) -> Result<Vec<Section>, Refusal> {
    let count = bounded_count(footer, 8)?;
    if count > L0_SECTIONS_MAX {
        return Err("it has too many sections".into());
    }
    let mut sections: Vec<Section> = Vec::with_capacity(count);
    for _ in 0..count {
        let shard = footer.try_get_u32().map_err(|_| "its footer ends early")?;
        let length = bounded_count(footer, 1)?;
        if sections.last().is_some_and(|before| before.shard >= shard) {
            return Err("its sections are out of order".into());
        }
        sections.push(Section {
            shard,
            body: footer.split_to(length),
        });
    }
    Ok(sections)
}

fn decode_sums(footer: &mut Bytes, data_end: u64) -> Result<Vec<u32>, Refusal> {
    let count = bounded_count(footer, 4)?;
    if count as u64 != data_end.div_ceil(CRC_BLOCK_BYTES) {
        return Err("it has another number of blocks".into());
    }
    Ok((0..count).map(|_| footer.get_u32()).collect())
}

/// Reads a count of things that take at least `bytes_each` of what remains.
fn bounded_count(footer: &mut Bytes, bytes_each: usize) -> Result<usize, Refusal> {
    let count = footer.try_get_u32().map_err(|_| "its footer ends early")?;
    let count = usize::try_from(count).map_err(|_| "its footer ends early")?;
    if count > footer.remaining() / bytes_each && !planted::bug("l0_count_not_bounded") {
        return Err("its footer ends early".into());
    }
    Ok(count)
}
