//! The five compressions of a record batch: none, gzip, snappy, lz4 and zstd.
//!
//! The broker relays what producers compressed without looking inside. Where a rule of Kafka's needs the records (a
//! lookup by time, a compacted topic), they are unpacked here.
//!
//! Invariants:
//! - The size of the output is bounded by [`Limits`] before memory is taken for it, whatever the input claims: 8 KB of
//!   zstd can stand for 256 MiB of zeros.
//! - Unpacking streams: a [`Decompressor`] holds one window, not the whole output: at most 8 MiB for zstd, about 12 MiB
//!   for lz4 (three blocks), and for snappy one block, which is at most 22 times its input.

mod decompressor;
mod lz4;
mod snappy;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

pub use self::decompressor::Decompressor;

/// How the records of a batch are compressed: bits 0 to 2 of its attributes, and the values of `compression.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not compressed.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy blocks in the framing of snappy-java ("xerial"); a single raw block is read too, since some clients send
    /// it.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in the attributes of a batch.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The compression with this number; `None` for 5, 6 and 7, which nobody uses.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|compression| compression.id() == id)
    }

    /// The value of `compression.type` that names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The compression of this name; `None` for names that Kafka does not know either.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|compression| compression.name() == name)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much one batch may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of output, whatever the ratio.
    pub bytes_max: usize,
    /// The most bytes of output per byte of input, once the output exceeds `ratio_free_bytes`.
    pub ratio_max: usize,
    /// Output up to this size may have any ratio.
    pub ratio_free_bytes: usize,
}

impl Limits {
    /// 64 MiB a batch, and 1000:1 above 1 MiB.
    ///
    /// 64 MiB is twice the largest request that is admitted by default, and one such buffer fits the broker's memory.
    /// Real records seldom exceed 100:1; zstd reaches 32,759:1 and gzip 1,032:1 only with a constant byte. Below 1 MiB
    /// no ratio can hurt.
    pub const DEFAULT: Self = Self {
        bytes_max: 64 << 20,
        ratio_max: 1000,
        ratio_free_bytes: 1 << 20,
    };

    /// The most bytes that an input of `input` bytes may unpack to.
    #[must_use]
    pub fn output_max(&self, input: usize) -> usize {
        input
            .saturating_mul(self.ratio_max)
            .max(self.ratio_free_bytes)
            .min(self.bytes_max)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why compressed bytes were not unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressionError {
    /// The bytes are not what the compression writes, or end too early. Refuse the batch (CORRUPT_MESSAGE); a stored
    /// one was accepted like this.
    #[error("{compression} data cannot be unpacked: {detail}")]
    Damaged {
        /// The compression that the batch names.
        compression: Compression,
        /// What the decoder met.
        detail: String,
    },
    /// The output would exceed the limits. Refuse the batch; its sender should compress less into one batch.
    #[error(
        "{input} bytes of {compression} data unpack to more than the {output_max} bytes allowed; send smaller batches"
    )]
    TooLarge {
        /// The compression that the batch names.
        compression: Compression,
        /// The size of the input in bytes.
        input: usize,
        /// The limit that applied, in bytes.
        output_max: usize,
    },
}

/// Bytes could not be compressed: they exceed what the format can hold. Split the batch.
#[derive(Debug, thiserror::Error)]
#[error("the records cannot be compressed with {compression}; split the batch")]
pub struct CompressionError {
    compression: Compression,
    source: io::Error,
}

/// Unpacks all of `input` into one buffer, which is never larger than `limits` allow. Without compression the input
/// itself is returned; nothing is copied.
pub fn decompress(
    compression: Compression,
    input: &Bytes,
    limits: &Limits,
) -> Result<Bytes, DecompressionError> {
    if compression == Compression::None {
        return Ok(input.clone());
    }
    let mut decompressor = Decompressor::new(compression, input, limits)?;
    // One byte beyond the limit, so that the read that proves an excess has room.
    let size_max = limits.output_max(input.len()).saturating_add(1);
    let size_first = input.len().saturating_mul(4).clamp(4 << 10, 1 << 20);
    let mut output = vec![0; size_first.min(size_max)];
    let mut filled = 0;
    loop {
        if filled == output.len() {
            let size = output.len().saturating_mul(2).min(size_max);
            output.reserve_exact(size - filled);
            output.resize(size, 0);
        }
        match decompressor.read(&mut output[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    output.truncate(filled);
    Ok(output.into())
}

/// Compresses `input` as Kafka's Java client does at its default levels. gzip and lz4 output differs in bytes from the
/// Java client's, never in content.
pub fn compress(compression: Compression, input: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let output = match compression {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => gzip(input),
        Compression::Snappy => snappy::compress(input),
        Compression::Lz4 => lz4(input),
        Compression::Zstd => zstd::stream::encode_all(input, zstd::DEFAULT_COMPRESSION_LEVEL),
    };
    output.map_err(|source| CompressionError {
        compression,
        source,
    })
}

fn gzip(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(input)?;
    encoder.finish()
}

/// 64 KiB independent blocks: the Java client reads no other block mode.
fn lz4(input: &[u8]) -> io::Result<Vec<u8>> {
    let frame = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(input)?;
    encoder.finish().map_err(io::Error::other)
}
