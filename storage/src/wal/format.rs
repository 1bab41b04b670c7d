//! The bytes of the WAL: the header of a file and the records behind it. *On disk: never renumber, never reorder.*
//!
//! All numbers are little-endian. A file is `file_bytes` long from its first use; its length never changes.
//!
//! ```text
//! file    0     header, 4096 bytes          4096  record | record | ... | zeros or bytes of an earlier use
//!
//! header  0 magic "SHWALOG1"   8 format u32   12 note length u32   16 number u64   24 salt u64   32 base u64
//!         40 file bytes u64    48 cluster u128   64 folder u128   80 incarnation u128
//!         96 predecessor number u64 (0: none)   104 predecessor salt u64   112 predecessor end u64
//!         120 note, at most 2048 bytes   ... zeros ...   4092 CRC32C of bytes 0..4092
//!
//! record  0 salt u64   8 position u64   16 synced up to u64   24 payload length u32   28 kind u8   29 zeros
//!         36 CRC32C u32   40 payload, padded with zeros to a multiple of 8
//! ```
//!
//! - `salt` is drawn anew for every use of a file: what an earlier use left behind never looks like a record.
//! - `position` is `base + offset in the file - 4096`: a record that lies in the wrong place is no record.
//! - `synced up to` is the position below which everything was durable when the record was written. It is how recovery
//!   tells damage from a torn tail.
//! - The CRC runs over the payload with its padding first and then over bytes 0..36 of the record, so that the
//!   appending thread can do the long part before the WAL thread knows `synced up to`.

use super::{AppendClass, WalIdentity, WalPosition};

/// Bytes of a file's header. A whole block, so that no write of a record touches the header's sectors.
pub(super) const FILE_HEADER_BYTES: u64 = 4096;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: u64 = 40;
/// Records start at multiples of this.
pub(super) const RECORD_ALIGN: u64 = 8;
/// The most bytes a note may have.
pub(super) const NOTE_BYTES_MAX: usize = 2048;
/// The newest format that this release reads, and the one it writes.
pub(super) const FORMAT: u32 = 1;

/// No file starts behind this, and no record that was set aside, so that arithmetic on positions from the disk cannot
/// overflow.
pub(super) const POSITION_MAX: u64 = u64::MAX / 2;
const MAGIC: [u8; 8] = *b"SHWALOG1";
const HEADER_LEN: usize = 4096;
const HEADER_CRC_AT: usize = 4092;
const NOTE_AT: usize = 120;
const CRC_AT: usize = 36;
/// [`RECORD_HEADER_BYTES`] as a length in memory.
pub(super) const RECORD_HEADER_LEN: usize = 40;

/// Bytes of the padding behind a payload.
pub(super) const fn padding(payload_len: u64) -> u64 {
    payload_len.next_multiple_of(RECORD_ALIGN) - payload_len
}

/// Bytes that a record with this payload takes: header, payload, padding.
pub(super) const fn record_bytes(payload_len: u32) -> u64 {
    RECORD_HEADER_BYTES + (payload_len as u64).next_multiple_of(RECORD_ALIGN)
}

/// What a record is. *On disk: never renumber.*
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// A payload of class Run.
    Run = 1,
    /// A payload of class Other.
    Other = 2,
    /// No payload; says that everything before it was durable.
    Seal = 3,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Run),
            2 => Some(Self::Other),
            3 => Some(Self::Seal),
            _ => None,
        }
    }

    /// The class of its payload; none for a seal.
    pub(super) fn class(self) -> Option<AppendClass> {
        match self {
            Self::Run => Some(AppendClass::Run),
            Self::Other => Some(AppendClass::Other),
            Self::Seal => None,
        }
    }
}

impl From<AppendClass> for RecordKind {
    fn from(class: AppendClass) -> Self {
        match class {
            AppendClass::Run => Self::Run,
            AppendClass::Other => Self::Other,
        }
    }
}

/// The part of a record before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) salt: u64,
    pub(super) position: u64,
    pub(super) synced_upto: u64,
    pub(super) payload_len: u32,
    pub(super) kind: RecordKind,
}

/// The CRC of a payload with its padding: the long part of a record's CRC.
pub(super) fn payload_crc(head: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(head), body);
    let pad = padding((head.len() + body.len()) as u64);
    crc32c::crc32c_append(crc, &[0; 8][..usize::try_from(pad).unwrap_or(0)])
}

impl RecordHeader {
    /// The bytes before the payload, for a payload whose [`payload_crc`] is known.
    pub(super) fn encode(&self, payload_crc: u32) -> [u8; RECORD_HEADER_LEN] {
        let mut bytes = [0; RECORD_HEADER_LEN];
        bytes[0..8].copy_from_slice(&self.salt.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced_upto.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[28] = self.kind as u8;
        let crc = crc32c::crc32c_append(payload_crc, &bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the fields. The CRC is not checked: see [`RecordHeader::is_sound`].
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER_LEN] = bytes.first_chunk()?;
        if bytes[29..CRC_AT].iter().any(|byte| *byte != 0) {
            return None;
        }
        Some(Self {
            salt: u64_at(bytes, 0),
            position: u64_at(bytes, 8),
            synced_upto: u64_at(bytes, 16),
            payload_len: u32_at(bytes, 24),
            kind: RecordKind::from_byte(bytes[28])?,
        })
    }

    /// Whether `record` (header, payload, padding) is exactly what was written.
    pub(super) fn is_sound(record: &[u8]) -> bool {
        let Some((header, rest)) = record.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return false;
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(rest), &header[..CRC_AT]);
        crc == u32_at(header, CRC_AT)
    }

    /// Bytes of the whole record.
    pub(super) fn bytes(&self) -> u64 {
        record_bytes(self.payload_len)
    }
}

/// The file before this one in the log, and how far it is valid. What lies behind `end` in it is dead for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Predecessor {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) end: WalPosition,
}

/// The header of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) base: WalPosition,
    pub(super) file_bytes: u64,
    pub(super) identity: WalIdentity,
    pub(super) predecessor: Option<Predecessor>,
    pub(super) note: Vec<u8>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Damaged, or never written.
    Damaged,
    /// Sound, but of a format that this release does not know.
    Newer(u32),
}

impl FileHeader {
    /// The header's block. A note that is too long is cut; [`super::Wal::set_note`] refuses it before.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        let note = &self.note[..self.note.len().min(NOTE_BYTES_MAX)];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::try_from(note.len()).unwrap_or(0).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.identity.cluster.to_le_bytes());
        bytes[64..80].copy_from_slice(&self.identity.dir.to_le_bytes());
        bytes[80..96].copy_from_slice(&self.identity.incarnation.to_le_bytes());
        if let Some(before) = self.predecessor {
            bytes[96..104].copy_from_slice(&before.number.to_le_bytes());
            bytes[104..112].copy_from_slice(&before.salt.to_le_bytes());
            bytes[112..120].copy_from_slice(&before.end.0.to_le_bytes());
        }
        bytes[NOTE_AT..NOTE_AT + note.len()].copy_from_slice(note);
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header's block.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(HeaderError::Damaged)?;
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        if bytes[0..8] != MAGIC || crc != u32_at(bytes, HEADER_CRC_AT) {
            return Err(HeaderError::Damaged);
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(HeaderError::Newer(format));
        }
        let note_len = usize::try_from(u32_at(bytes, 12)).map_err(|_| HeaderError::Damaged)?;
        if note_len > NOTE_BYTES_MAX || format == 0 {
            return Err(HeaderError::Damaged);
        }
        let before = u64_at(bytes, 96);
        let (base, file_bytes, before_end) =
            (u64_at(bytes, 32), u64_at(bytes, 40), u64_at(bytes, 112));
        if base.max(before_end) > POSITION_MAX || file_bytes > u64::from(u32::MAX) {
            return Err(HeaderError::Damaged);
        }
        Ok(Self {
            number: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
            base: WalPosition(base),
            file_bytes,
            identity: WalIdentity {
                cluster: u128_at(bytes, 48),
                dir: u128_at(bytes, 64),
                incarnation: u128_at(bytes, 80),
            },
            predecessor: (before != 0).then(|| Predecessor {
                number: before,
                salt: u64_at(bytes, 104),
                end: WalPosition(before_end),
            }),
            note: bytes[NOTE_AT..NOTE_AT + note_len].to_vec(),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u128::from_le_bytes(*chunk))
}
