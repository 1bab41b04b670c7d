//! A message in pieces: what the broker sends without copying records into one buffer.
//!
//! A [`Rope`] is a list of [`Bytes`] that are sent one after the other. It is a [`Buf`], so a socket takes it with
//! vectored writes (`write_all_buf`). A [`RopeWriter`] collects the small parts of a message in one buffer and links
//! the large ones.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Shorter data is copied: a piece of its own costs more than that.
const LINK_BYTES_MIN: usize = 1024;

/// Pieces of bytes that are one message. It holds no empty piece.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Rope {
    /// The length of all pieces together, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is nothing (left) to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// All in one buffer; copies unless there is only one piece.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        self.copy_to_bytes(self.length)
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        let mut rope = Self::default();
        rope.push(bytes);
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.len().min(self.pieces.len());
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        filled
    }

    /// Panics if `count` is more than what remains, as every [`Buf`].
    fn advance(&mut self, mut count: usize) {
        assert!(
            count <= self.length,
            "cannot advance past the end of a rope"
        );
        self.length -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        if let Some(piece) = self.pieces.front_mut()
            && length <= piece.len()
        {
            let taken = piece.split_to(length);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            self.length -= length;
            return taken;
        }
        let mut copy = BytesMut::with_capacity(length);
        bytes::BufMut::put(&mut copy, self.take(length));
        copy.freeze()
    }
}

/// Writes a [`Rope`]. All that is not linked goes into one buffer, which is cut into pieces at the end.
#[derive(Debug)]
pub struct RopeWriter {
    small: BytesMut,
    /// Where in `small` each linked piece belongs; positions ascend.
    links: Vec<(usize, Bytes)>,
    linked_bytes: usize,
}

impl RopeWriter {
    /// A writer whose small parts are expected to take `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            small: BytesMut::with_capacity(capacity),
            links: Vec::new(),
            linked_bytes: 0,
        }
    }

    /// Where small parts are appended. Only append: what was written before is placed already.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.small
    }

    /// Appends `bytes` without copying them, unless they are so few that copying is cheaper.
    pub fn link(&mut self, bytes: Bytes) {
        if bytes.len() < LINK_BYTES_MIN {
            self.small.extend_from_slice(&bytes);
        } else {
            self.linked_bytes += bytes.len();
            self.links.push((self.small.len(), bytes));
        }
    }

    /// How many bytes were written and linked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.len() + self.linked_bytes
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rope.
    #[must_use]
    pub fn finish(self) -> Rope {
        let mut rope = Rope::default();
        let mut small = self.small.freeze();
        let mut cut = 0;
        for (at, linked) in self.links {
            rope.push(small.split_to(at - cut));
            rope.push(linked);
            cut = at;
        }
        rope.push(small);
        rope
    }
}

#[cfg(test)]
mod tests;
