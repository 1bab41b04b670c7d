//! Reads lengths and numbers from a frame without believing them: every read is bounded by the bytes that remain,
//! and nothing is ever allocated.

use super::Problem;

/// The longest string Kafka reads, in bytes. The classic encoding cannot say more; the compact one could, and Kafka
/// refuses it there too.
pub(crate) const TEXT_BYTES_MAX: usize = 0x7fff;

/// A position in a frame. `end` is at most the length of `bytes` and is lower while a tagged field is read, so that
/// nothing inside the field can reach beyond it.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader of the whole of `bytes`.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            end: bytes.len(),
        }
    }

    /// How many bytes were read.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left before the end, or before the end of the tagged field that is being read.
    pub(crate) const fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Limits the reader to the next `length` bytes and returns the old end, to be given to [`Reader::widen`].
    pub(crate) fn narrow(&mut self, length: usize) -> Result<usize, Problem> {
        self.need(length)?;
        Ok(std::mem::replace(&mut self.end, self.at + length))
    }

    /// Undoes [`Reader::narrow`].
    pub(crate) const fn widen(&mut self, end: usize) {
        self.end = end;
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        self.need(length)?;
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Problem> {
        Ok(self.array::<1>()?[0])
    }

    /// A big-endian `i16`.
    pub(crate) fn i16(&mut self) -> Result<i16, Problem> {
        self.array().map(i16::from_be_bytes)
    }

    /// A big-endian `i32`.
    pub(crate) fn i32(&mut self) -> Result<i32, Problem> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned varint of at most five bytes that fits 32 bits. Longer ones are refused, where decoders that wrap
    /// would go on with another number than the sender meant.
    pub(crate) fn varint(&mut self) -> Result<u32, Problem> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Problem::VarintTooLong)
    }

    /// The length of a string: `None` is null.
    pub(crate) fn text_length(&mut self, compact: bool) -> Result<Option<usize>, Problem> {
        let length = if compact {
            self.compact_length()?
        } else {
            classic_length(self.i16()?.into())?
        };
        match length {
            Some(length) if length > TEXT_BYTES_MAX => Err(Problem::TextTooLong { length }),
            Some(_) | None => Ok(length),
        }
    }

    /// The length of bytes, or the count of an array: `None` is null.
    pub(crate) fn length(&mut self, compact: bool) -> Result<Option<usize>, Problem> {
        if compact {
            self.compact_length()
        } else {
            classic_length(self.i32()?)
        }
    }

    fn compact_length(&mut self) -> Result<Option<usize>, Problem> {
        let plus_one = usize::try_from(self.varint()?).expect("32 bits fit in a usize");
        Ok(plus_one.checked_sub(1))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returns what was asked for"))
    }

    const fn need(&self, length: usize) -> Result<(), Problem> {
        let remaining = self.remaining();
        if length > remaining {
            Err(Problem::Truncated { length, remaining })
        } else {
            Ok(())
        }
    }
}

fn classic_length(length: i32) -> Result<Option<usize>, Problem> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(Problem::Negative { length }),
    }
}
