//! Reading a range in blocks, each in memory of its own: what keeps one of them keeps nothing else alive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use object_store::{GetOptions, GetRange, GetResultPayload};

use super::guard::{Cause, Failure, Repeat};
use super::{GetError, ObjectClass, ObjectKey, Objects, reading};

impl Objects {
    /// Reads exactly `range` of an object in one request, in blocks of `block_bytes`; the last one may be shorter. A
    /// folder's file is read straight into the blocks.
    ///
    /// # Errors
    /// See [`GetError`]; a range that does not lie inside the object is [`GetError::Short`].
    pub async fn get_blocks(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        block_bytes: u64,
        class: ObjectClass,
    ) -> Result<Vec<Bytes>, GetError> {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 || block_bytes == 0 {
            return Ok(Vec::new());
        }
        let path = key.path();
        let get = || async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                ..GetOptions::default()
            };
            let answer = self.inner.store.get_opts(&path, options).await?;
            let got = answer.range.clone();
            let blocks = match answer.payload {
                GetResultPayload::File(file, _) => {
                    self.read_file(file, got.clone(), block_bytes).await?
                }
                GetResultPayload::Stream(_) => split(&answer.bytes().await?, block_bytes),
            };
            Ok((got.start == range.start, blocks))
        };
        let request = reading(key, class, wanted, Repeat::Always);
        match self.inner.guard.run(request, get).await {
            Ok((starts_right, blocks)) => {
                let got = blocks.iter().map(|block| block.len() as u64).sum();
                if starts_right && got == wanted {
                    return Ok(blocks);
                }
                let key = *key;
                Err(GetError::Short { key, wanted, got })
            }
            Err(Failure {
                cause: Cause::NotFound,
                ..
            }) => Err(GetError::NotFound { key: *key }),
            Err(failure) => Err(self.why_unreadable(key, &range, class, failure).await),
        }
    }

    async fn read_file(
        &self,
        file: File,
        range: Range<u64>,
        block_bytes: u64,
    ) -> object_store::Result<Vec<Bytes>> {
        let tasks = &self.inner.guard.ambient().tasks;
        let read = tasks.blocking(move || read_blocks(file, range, block_bytes));
        let stopped = |_| Err(io::Error::from(io::ErrorKind::Interrupted));
        let blocks = read.await.unwrap_or_else(stopped);
        blocks.map_err(|error| object_store::Error::Generic {
            store: "folder",
            source: Box::new(error),
        })
    }
}

/// Fewer bytes than the range has if the file ends in it.
fn read_blocks(mut file: File, range: Range<u64>, block_bytes: u64) -> io::Result<Vec<Bytes>> {
    file.seek(SeekFrom::Start(range.start))?;
    let mut blocks = Vec::new();
    let mut left = range.end.saturating_sub(range.start);
    while left > 0 {
        let wanted = left.min(block_bytes);
        let capacity = usize::try_from(wanted).map_err(io::Error::other)?;
        // Memory that was reserved and never filled needs no zeros.
        let mut block = Vec::with_capacity(capacity);
        (&mut file).take(wanted).read_to_end(&mut block)?;
        let is_short = block.len() < capacity;
        blocks.push(block.into());
        if is_short {
            break;
        }
        left -= wanted;
    }
    Ok(blocks)
}

/// Copies, unless there is one block only: a slice would keep the whole answer in memory.
fn split(bytes: &Bytes, block_bytes: u64) -> Vec<Bytes> {
    let block_bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
    if bytes.len() <= block_bytes {
        return vec![bytes.clone()];
    }
    bytes
        .chunks(block_bytes)
        .map(Bytes::copy_from_slice)
        .collect()
}

#[cfg(test)]
mod tests;
