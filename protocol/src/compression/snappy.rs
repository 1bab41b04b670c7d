//! Snappy as Kafka clients write it: blocks in the framing of snappy-java ("xerial"), or one raw block.
//!
//! ```text
//! magic 82 53 4E 41 50 50 59 00 | version i32 | compatible version i32 | { size i32 BE | raw block }*
//! ```
//! The versions are skipped unread, as librdkafka does: clients have written them in either byte order.
//!
//! A raw block begins with the size it claims to unpack to. The claim is checked against what snappy can reach at all
//! before memory is taken for it (the failure behind CVE-2023-34455).

use std::io;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_SIZE: usize = 16;

/// The size of a block before compression, as in snappy-java.
const BLOCK_SIZE: usize = 32 << 10;

/// The longest copy of a raw block gives 64 bytes for 3, which is 21.4:1.
const RATIO_MAX: usize = 22;

/// A stream of unpacked blocks; holds one block at a time.
pub(super) struct Snappy<'a> {
    input: &'a [u8],
    framing: Framing,
    block: Vec<u8>,
    block_read: usize,
}

#[derive(Clone, Copy)]
enum Framing {
    Xerial,
    Raw,
}

impl<'a> Snappy<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, String> {
        let (input, framing) = if input.starts_with(&MAGIC) {
            let blocks = input
                .get(HEADER_SIZE..)
                .ok_or("it ends within its header")?;
            (blocks, Framing::Xerial)
        } else {
            (input, Framing::Raw)
        };
        Ok(Self {
            input,
            framing,
            block: Vec::new(),
            block_read: 0,
        })
    }

    /// Makes the next block ready when the last one is used up. False if that block holds more than `left` bytes.
    pub(super) fn fill(&mut self, left: usize) -> Result<bool, String> {
        while self.block_read == self.block.len() && !self.input.is_empty() {
            let block = self.next_block()?;
            let claimed = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
            if claimed > block.len().saturating_mul(RATIO_MAX) {
                return Err(format!("a block of {} bytes claims {claimed}", block.len()));
            }
            if claimed > left {
                return Ok(false);
            }
            self.block.clear();
            self.block.resize(claimed, 0);
            self.block_read = 0;
            let unpacked = snap::raw::Decoder::new().decompress(block, &mut self.block);
            unpacked.map_err(|error| error.to_string())?;
        }
        Ok(true)
    }

    /// Gives bytes of the block that is ready; 0 at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let ready = &self.block[self.block_read..];
        let size = ready.len().min(buffer.len());
        buffer[..size].copy_from_slice(&ready[..size]);
        self.block_read += size;
        size
    }

    fn next_block(&mut self) -> Result<&'a [u8], String> {
        let (block, rest) = match self.framing {
            Framing::Raw => (self.input, &[][..]),
            Framing::Xerial => {
                let (size, rest) = self
                    .input
                    .split_first_chunk()
                    .ok_or("it ends within the size of a block")?;
                let size = usize::try_from(i32::from_be_bytes(*size))
                    .map_err(|_| "a block has a negative size")?;
                rest.split_at_checked(size)
                    .ok_or("it ends within a block")?
            }
        };
        self.input = rest;
        Ok(block)
    }
}

/// Compresses in the framing of snappy-java.
pub(super) fn compress(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = Vec::with_capacity(HEADER_SIZE + 64 + input.len() / 2);
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&1_i32.to_be_bytes());
    output.extend_from_slice(&1_i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(BLOCK_SIZE) {
        let packed = encoder.compress_vec(block).map_err(io::Error::other)?;
        let size = i32::try_from(packed.len()).map_err(io::Error::other)?;
        output.extend_from_slice(&size.to_be_bytes());
        output.extend_from_slice(&packed);
    }
    Ok(output)
}
