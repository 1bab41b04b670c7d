//! Reads stored bytes that may be anything; every read checks what is left.

use std::sync::Arc;

use bytes::Bytes;

use super::super::super::classic::StoredGroupError;
use super::NONE;

/// What is left to read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoredGroupError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(StoredGroupError::CutShort)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, StoredGroupError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, StoredGroupError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, StoredGroupError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, StoredGroupError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, StoredGroupError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn u128(&mut self) -> Result<u128, StoredGroupError> {
        Ok(u128::from_be_bytes(self.array()?))
    }

    /// A count of things that take at least `least` bytes each.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, StoredGroupError> {
        let count = usize::try_from(self.u32()?).map_err(|_| StoredGroupError::CutShort)?;
        if count > self.0.len() / least {
            Err(StoredGroupError::CutShort)
        } else {
            Ok(count)
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, StoredGroupError> {
        let length = self.count(1)?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(Bytes::copy_from_slice(taken))
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, StoredGroupError> {
        let length = self.count(1)?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        let text = std::str::from_utf8(text);
        text.map(Arc::from).map_err(|_| StoredGroupError::NotText)
    }

    pub(super) fn optional(&mut self) -> Result<Option<Arc<str>>, StoredGroupError> {
        match self.0.split_first_chunk::<4>() {
            Some((length, rest)) if u32::from_be_bytes(*length) == NONE => {
                self.0 = rest;
                Ok(None)
            }
            Some(_) | None => self.text().map(Some),
        }
    }
}
