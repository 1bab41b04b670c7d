//! Writing an L0 object: streamed, so that a flush of any size needs memory for one part of the upload and four bytes
//! per 64 KiB.

use bytes::{BufMut, Bytes, BytesMut};

use super::index::{L0_SECTIONS_MAX, L0Index, Section};
use super::{
    CRC_BLOCK_BYTES, DATA_BYTES_MAX, FOOTER_BYTES_MAX, HEADER_BYTES, L0Header, TRAILER_MAGIC,
};
use crate::objects::{ObjectWriter, PutError};

/// An L0 object was not written, or nobody knows whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum L0WriteError {
    /// The store failed; the error says whether the object may exist.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The flush is larger than an object may be: it did not happen. Make smaller flushes.
    #[error(
        "{what} of an L0 object would be {bytes} bytes, more than {limit}; make smaller flushes (did not happen)"
    )]
    TooLarge {
        /// Which part of the object.
        what: &'static str,
        /// How large it would be.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The sections are not in strictly ascending order of their shards, or too many: it did not happen.
    #[error(
        "the sections of an L0 object are not one per shard in ascending order (did not happen)"
    )]
    Sections,
}

/// An L0 object on its way into the store. Dropping it gives the object up.
#[derive(Debug)]
pub struct L0Writer {
    writer: ObjectWriter,
    header: L0Header,
    position: u64,
    sums: Vec<u32>,
    /// CRC32C of the block that is not full yet.
    open_sum: u32,
}

/// A finished L0 object.
#[derive(Clone, Debug)]
pub struct L0Written {
    /// The size of the object.
    pub bytes: u64,
    /// Its index, to seed the block cache with.
    pub index: L0Index,
}

impl L0Writer {
    /// Begins the object that `writer` stores, for `cluster`; incarnation and number are those of its key.
    ///
    /// # Errors
    /// The store failed; nothing is visible.
    pub async fn begin(
        writer: ObjectWriter,
        cluster: u128,
        created_ms: i64,
    ) -> Result<Self, L0WriteError> {
        let id = writer.key().id();
        let header = L0Header {
            cluster,
            incarnation: id.incarnation,
            seq: id.seq,
            created_ms,
        };
        let mut begun = Self {
            writer,
            header,
            position: 0,
            sums: Vec::new(),
            open_sum: 0,
        };
        begun
            .append(Bytes::copy_from_slice(&header.encode()))
            .await?;
        debug_assert_eq!(
            begun.position, HEADER_BYTES,
            "data starts behind the header"
        );
        Ok(begun)
    }

    /// Where the next byte of data will lie in the object.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Appends data and says where in the object it starts.
    ///
    /// # Errors
    /// The store failed, or the object is full; nothing is visible.
    pub async fn append(&mut self, data: Bytes) -> Result<u64, L0WriteError> {
        let start = self.position;
        let end = start.saturating_add(data.len() as u64);
        if end > DATA_BYTES_MAX {
            return Err(L0WriteError::TooLarge {
                what: "the data",
                bytes: end,
                limit: DATA_BYTES_MAX,
            });
        }
        self.sum(&data);
        self.position = end;
        self.writer.write(data).await?;
        Ok(start)
    }

    fn sum(&mut self, data: &[u8]) {
        let mut rest = data;
        let mut position = self.position;
        while !rest.is_empty() {
            let room = usize::try_from(CRC_BLOCK_BYTES - position % CRC_BLOCK_BYTES)
                .expect("a block is smaller than memory");
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.open_sum = crc32c::crc32c_append(self.open_sum, now);
            position += now.len() as u64;
            rest = later;
            if position.is_multiple_of(CRC_BLOCK_BYTES) {
                self.sums.push(std::mem::take(&mut self.open_sum));
            }
        }
    }

    /// Writes the footer, with one section per shard in ascending order, and makes the object visible and durable.
    ///
    /// # Errors
    /// Says whether the object may exist.
    pub async fn finish(mut self, sections: Vec<Section>) -> Result<L0Written, L0WriteError> {
        let is_ascending = sections
            .windows(2)
            .all(|pair| pair[0].shard < pair[1].shard);
        if !is_ascending || sections.len() > L0_SECTIONS_MAX {
            return Err(L0WriteError::Sections);
        }
        if !self.position.is_multiple_of(CRC_BLOCK_BYTES) {
            self.sums.push(self.open_sum);
        }
        let index = L0Index::new(self.header, self.position, self.sums, sections);
        let footer = index.encode_footer();
        let bytes = footer.len() as u64;
        if bytes > FOOTER_BYTES_MAX {
            return Err(L0WriteError::TooLarge {
                what: "the footer",
                bytes,
                limit: FOOTER_BYTES_MAX,
            });
        }
        self.writer.write(with_trailer(footer)).await?;
        let bytes = self.writer.finish().await?;
        Ok(L0Written { bytes, index })
    }
}

fn with_trailer(mut footer: BytesMut) -> Bytes {
    let length = u32::try_from(footer.len()).expect("the caller has bounded the footer");
    footer.put_u32(length);
    let sum = crc32c::crc32c(&footer);
    footer.put_u32(sum);
    footer.put_slice(&TRAILER_MAGIC);
    footer.freeze()
}
