//! Reading and writing the primitive parts of our stored formats: fixed numbers, varints, counted bytes.
//!
//! Everything read here may come from a damaged disk: every length is checked against what is left before anything is
//! allocated, and nothing panics.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use streamhouse_runtime::planted;

/// Why stored bytes could not be read. The caller says which object or record they came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the named part does.
    #[error("the bytes end inside {0}")]
    Short(&'static str),
    /// A part holds a value that the format does not allow.
    #[error("{0} holds a value that is not allowed")]
    Value(&'static str),
    /// Bytes are left over after the last part.
    #[error("{0} bytes are left over at the end")]
    Left(usize),
    /// Written by a release whose format this one cannot read.
    #[error(
        "{what} needs a reader of format {needed} or newer, this release reads up to {known}; use the release that wrote it"
    )]
    Newer {
        /// The thing that was read.
        what: &'static str,
        /// The oldest reader that may read it.
        needed: u8,
        /// What this release can read.
        known: u8,
    },
    /// An entry of a kind that this release does not know.
    #[error("entry kind {0} is unknown to this release; use the release that wrote it")]
    Kind(u8),
    /// A checksum does not match.
    #[error("the checksum of {0} does not match")]
    Checksum(&'static str),
}

/// Takes parts off the front of stored bytes.
#[derive(Debug)]
pub(crate) struct Reader {
    left: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { left: bytes }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FormatError> {
        self.left.try_get_u8().map_err(|_| FormatError::Short(what))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.left
            .try_get_u32_le()
            .map_err(|_| FormatError::Short(what))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.left
            .try_get_u64_le()
            .map_err(|_| FormatError::Short(what))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, FormatError> {
        self.left
            .try_get_i64_le()
            .map_err(|_| FormatError::Short(what))
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, FormatError> {
        self.left
            .try_get_u128_le()
            .map_err(|_| FormatError::Short(what))
    }

    /// An unsigned LEB128 number of at most 64 bits.
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(FormatError::Value(what));
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::Value(what))
    }

    /// A zig-zag coded signed number.
    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, FormatError> {
        let raw = self.varint(what)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A varint that fits `T`.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, FormatError> {
        T::try_from(self.varint(what)?).map_err(|_| FormatError::Value(what))
    }

    /// A signed varint that fits `T`.
    pub(crate) fn small<T: TryFrom<i64>>(&mut self, what: &'static str) -> Result<T, FormatError> {
        T::try_from(self.signed(what)?).map_err(|_| FormatError::Value(what))
    }

    /// A count of things that take at least `each` bytes: more than fit in what is left is refused before anything is
    /// allocated for them.
    pub(crate) fn count(&mut self, each: usize, what: &'static str) -> Result<usize, FormatError> {
        let count: usize = self.number(what)?;
        let is_covered = count <= self.left.len() / each.max(1);
        if !is_covered && !planted::bug("stored_count_not_bounded") {
            return Err(FormatError::Short(what));
        }
        Ok(count)
    }

    /// Counted bytes, shared with the input.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, FormatError> {
        let length = self.count(1, what)?;
        Ok(self.left.split_to(length))
    }

    /// Everything that is left, shared with the input.
    pub(crate) fn rest(self) -> Bytes {
        self.left
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(FormatError::Left(left)),
        }
    }
}

/// Appends parts in the form that [`Reader`] takes them off.
pub(crate) trait Writer {
    fn put_varint(&mut self, value: u64);
    fn put_signed(&mut self, value: i64);
    fn put_count(&mut self, count: usize);
    fn put_counted(&mut self, bytes: &[u8]);
}

impl Writer for BytesMut {
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn put_signed(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn put_count(&mut self, count: usize) {
        self.put_varint(count as u64);
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.put_slice(bytes);
    }
}
