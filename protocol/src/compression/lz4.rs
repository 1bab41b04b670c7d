//! Finds the end of an LZ4 frame before it is unpacked.
//!
//! ```text
//! magic 04 22 4D 18 | flags u8 | block descriptor u8 | content size u64? | dictionary u32? | header checksum u8
//!   | { block size u32 LE (top bit: not compressed) | block | checksum u32? }* | 0 u32 | content checksum u32?
//! ```
//! The decoder takes the end of its input for the end of the frame, so that a frame that was cut off between two blocks
//! would look whole, and it would go on into what follows a frame. Kafka reads one whole frame.

/// How a frame begins. The legacy frame, which Kafka does not read either, would take 8 MiB per block.
const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

const FLAG_DICTIONARY: u8 = 0x01;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const BLOCK_NOT_COMPRESSED: u32 = 1 << 31;

/// The one frame at the beginning of `input`, up to its end mark and checksum. The blocks are not opened.
pub(super) fn first_frame(input: &[u8]) -> Result<&[u8], &'static str> {
    let frame = input
        .strip_prefix(&MAGIC)
        .ok_or("it does not begin as an LZ4 frame")?;
    let size_if = |flags: u8, flag: u8, size: usize| if flags & flag == 0 { 0 } else { size };
    let cut_off = "the frame has no end mark";
    let flags = *frame.first().ok_or(cut_off)?;
    let header_size = 3 + size_if(flags, FLAG_CONTENT_SIZE, 8) + size_if(flags, FLAG_DICTIONARY, 4);
    let block_checksum_size = size_if(flags, FLAG_BLOCK_CHECKSUM, 4);
    let mut rest = frame.get(header_size..).ok_or(cut_off)?;
    loop {
        let (size, blocks) = rest.split_first_chunk().ok_or(cut_off)?;
        let size = u32::from_le_bytes(*size) & !BLOCK_NOT_COMPRESSED;
        if size == 0 {
            let left = blocks
                .get(size_if(flags, FLAG_CONTENT_CHECKSUM, 4)..)
                .ok_or(cut_off)?;
            return Ok(&input[..input.len() - left.len()]);
        }
        let size = usize::try_from(size).map_err(|_| cut_off)?;
        let step = size.checked_add(block_checksum_size).ok_or(cut_off)?;
        rest = blocks.get(step..).ok_or(cut_off)?;
    }
}
