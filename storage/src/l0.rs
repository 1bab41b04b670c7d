//! The L0 object: one flush of one broker, as it lies in the object store. It describes itself: what it holds can be
//! read, checked and put back into the metadata from its own bytes.
//!
//! On disk: never renumber, never reformat. All numbers are big-endian; `u128` and smaller are unsigned, `created` is
//! signed milliseconds since 1970-01-01 UTC.
//!
//! ```text
//! 0        64                                 data end             object end
//! +--------+----------------------------------+--------+-----------+
//! | header | data: record batches, as appended | footer | trailer   |
//! +--------+----------------------------------+--------+-----------+
//!  <------- CRC32C of every 64 KiB ---------->  <- CRC32C in trailer
//!
//! header   magic "SHOUSEL0" | version u16 | min_reader u16 | block bytes u32 (65,536) | cluster u128
//!          | incarnation u128 | object seq u64 | created i64                              64 bytes
//! footer   header again, 64 bytes | data end u64
//!          | section count u32 | count x { shard u32 | length u32 | body }   shards strictly ascending
//!          | block count u32   | count x CRC32C u32                          block 0 starts at byte 0
//! trailer  footer bytes u32 | CRC32C(footer, footer bytes) u32 | magic "SHL0TAIL"          16 bytes
//! ```
//!
//! Invariants: every byte of an object is covered by a checksum or compared with a constant, so that no flipped bit is
//! served; positions that [`L0Writer::append`] returns count from the start of the object; one read of the end of an
//! object suffices to know and to check all of it, the identity included. A reader refuses an object whose
//! `min_reader` is above [`FORMAT_VERSION`].
//!
//! The bodies of sections are opaque here (the manifests of the shards), and so is the data.

mod index;
mod writer;

pub use self::index::{BadBlock, IndexError, L0_SECTIONS_MAX, L0Index, Section};
pub use self::writer::{L0WriteError, L0Writer, L0Written};

use crate::objects::ObjectId;

/// The version that is written, and the newest that is read.
pub const FORMAT_VERSION: u16 = 1;
/// What one checksum covers.
pub const CRC_BLOCK_BYTES: u64 = 64 * 1024;
/// The size of the header: the position of the first byte of data.
pub const HEADER_BYTES: u64 = 64;
/// The largest footer that is written or read: bounds the memory of a reader before anything is verified.
pub const FOOTER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Where data must end: bounds the table of checksums to 256 KiB.
pub const DATA_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

const HEADER_MAGIC: [u8; 8] = *b"SHOUSEL0";
const TRAILER_MAGIC: [u8; 8] = *b"SHL0TAIL";
const TRAILER_BYTES: u64 = 16;

/// Who wrote an object, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L0Header {
    /// The cluster that the data belongs to.
    pub cluster: u128,
    /// The broker incarnation that wrote the object.
    pub incarnation: u128,
    /// The number of the object within its incarnation.
    pub seq: u64,
    /// When it was begun, by the broker's wall clock: milliseconds since 1970-01-01 UTC.
    pub created_ms: i64,
}

impl L0Header {
    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.extend_from_slice(&HEADER_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        // The oldest reader that understands this version is one that knows it.
        bytes.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes.extend_from_slice(&(CRC_BLOCK_BYTES as u32).to_be_bytes());
        bytes.extend_from_slice(&self.cluster.to_be_bytes());
        bytes.extend_from_slice(&self.incarnation.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.created_ms.to_be_bytes());
        bytes
            .try_into()
            .expect("the fields above are 64 bytes long")
    }

    fn is_of(&self, id: ObjectId) -> bool {
        self.incarnation == id.incarnation && self.seq == id.seq
    }
}

#[cfg(test)]
mod tests;
