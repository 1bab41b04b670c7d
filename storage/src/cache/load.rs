//! Getting blocks and indexes that are not in memory: one request for all who wait, neighbours together, everything
//! verified before it is shown to anybody.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{DefaultLifecycle, GuardResult, PlaceholderGuard};

use super::ahead::Kept;
use super::{BlockCache, BlockKey, FixedHash, ReadError, Weigh};
use crate::l0::{BadBlock, CRC_BLOCK_BYTES, IndexError, L0Index};
use crate::objects::{BlamesObject, GetError, ObjectClass, ObjectKey, ObjectTail};
use streamhouse_runtime::planted;

/// The right to load one block; others who want it wait until it is dropped or used.
type Loading<'a> =
    PlaceholderGuard<'a, BlockKey, Kept, Weigh, FixedHash, DefaultLifecycle<BlockKey, Kept>>;

/// Who wants blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand {
    pub(super) class: ObjectClass,
    /// Whether nobody reads them now.
    pub(super) is_ahead: bool,
}

/// One block as a reader gets it.
#[derive(Debug)]
pub(super) struct Block {
    /// Where it starts in the object.
    start: u64,
    bytes: Bytes,
    /// Set if the block was wrong twice; what is requested of it may still be right.
    bad: Option<BadBlock>,
}

impl Block {
    fn whole(start: u64, bytes: Bytes) -> Self {
        Self {
            start,
            bytes,
            bad: None,
        }
    }

    /// The part of the block that lies in `range`.
    pub(super) fn slice_of(
        &self,
        index: &L0Index,
        key: &ObjectKey,
        range: &Range<u64>,
    ) -> Result<Bytes, ReadError> {
        let end = self.start + self.bytes.len() as u64;
        let wanted = range.start.max(self.start)..range.end.min(end);
        if self.bad.is_some() {
            // Damage elsewhere in the block must not hide what is whole.
            let aligned = wanted.start - wanted.start % CRC_BLOCK_BYTES
                ..wanted.end.next_multiple_of(CRC_BLOCK_BYTES).min(end);
            let verified = index.verify(aligned.start, &self.slice(&aligned));
            verified.map_err(|bad| corrupt(*key, bad))?;
        }
        Ok(self.slice(&wanted))
    }

    fn slice(&self, range: &Range<u64>) -> Bytes {
        let within = |position: u64| {
            usize::try_from(position - self.start).expect("a block is smaller than memory")
        };
        self.bytes.slice(within(range.start)..within(range.end))
    }
}

fn corrupt(key: ObjectKey, bad: BadBlock) -> ReadError {
    ReadError::Corrupt {
        key,
        position: bad.start,
        what: "a 64 KiB block has another checksum",
    }
}

impl BlockCache {
    /// The index of an object, from memory or the store. The request that loads it brings a small object whole: one of one
    /// block.
    pub(super) async fn index(
        &self,
        key: &ObjectKey,
        class: ObjectClass,
        is_ahead: bool,
    ) -> Result<L0Index, ReadError> {
        let loading = match self.inner.indexes.get_value_or_guard_async(key).await {
            Ok(index) => return Ok(index),
            Err(loading) => loading,
        };
        let block_bytes = self.inner.settings.block_bytes;
        let load = || async {
            self.inner.counters.index_get();
            let loaded =
                L0Index::load_with_tail(&self.inner.objects, key, block_bytes, class).await;
            if let Err(IndexError::Damaged { .. } | IndexError::Get(GetError::Short { .. })) =
                loaded
            {
                self.inner.counters.corrupt();
            }
            loaded
        };
        let loaded = self.inner.objects.read_twice(key, class, load);
        let (index, tail) = loaded.await.map_err(ReadError::from_index)?;
        let index = index.without_sections();
        self.keep_small(key, &index, &tail, is_ahead);
        // If the object was forgotten meanwhile, the entry is gone and the index still serves this read.
        let _ = loading.insert(index.clone());
        Ok(index)
    }

    /// Keeps the one block of a small object, if it is what was written; a reader tries it once more otherwise. Of a large
    /// one nothing is kept: its last block would push out what others read now, long before anybody comes so far.
    fn keep_small(&self, key: &ObjectKey, index: &L0Index, tail: &ObjectTail, is_ahead: bool) {
        let data_end = usize::try_from(index.data_end()).unwrap_or(usize::MAX);
        let (true, Some(bytes)) = (tail.start() == 0, tail.bytes.get(..data_end)) else {
            return;
        };
        let is_wrong = index.verify(0, bytes).is_err();
        if bytes.len() as u64 > self.inner.settings.block_bytes
            || is_wrong && !planted::bug("block_checksum_not_checked")
        {
            return;
        }
        let block = BlockKey {
            object: *key,
            number: 0,
        };
        let blocks = &self.inner.blocks;
        if let GuardResult::Guard(loading) = blocks.get_value_or_guard(&block, Some(Duration::ZERO))
        {
            self.inner.counters.came_along(bytes.len() as u64);
            // Copied: a slice would keep the footer in memory, too.
            let bytes = Bytes::copy_from_slice(bytes);
            let _ = loading.insert(self.inner.ahead.keep(bytes, is_ahead));
        }
    }

    /// The first blocks of `numbers`: one that is in memory or being loaded, or a run of missing ones.
    pub(super) async fn blocks(
        &self,
        key: &ObjectKey,
        index: &L0Index,
        numbers: Range<u64>,
        errand: Errand,
    ) -> Result<Vec<Block>, ReadError> {
        let object = *key;
        let first = BlockKey {
            object,
            number: numbers.start,
        };
        let start = self.span(index, numbers.start).start;
        let hit = |kept: Kept| {
            self.inner.counters.hit();
            Ok(vec![Block {
                start,
                bytes: kept.read(errand.is_ahead),
                bad: None,
            }])
        };
        if let Some(kept) = self.find(&first, errand.class) {
            return hit(kept);
        }
        // Waiting here is safe: this reader holds no right to load anything.
        let mut run = match self.inner.blocks.get_value_or_guard_async(&first).await {
            Ok(kept) => return hit(kept),
            Err(loading) => vec![loading],
        };
        let blocks_max = self.inner.settings.get_bytes_max / self.inner.settings.block_bytes;
        for number in
            (numbers.start + 1..numbers.end).take_while(|n| n - numbers.start < blocks_max)
        {
            let next = BlockKey { object, number };
            // Not `get`: looking for the end of a run is not reading.
            if self.inner.blocks.contains_key(&next) {
                break;
            }
            match self
                .inner
                .blocks
                .get_value_or_guard(&next, Some(Duration::ZERO))
            {
                GuardResult::Guard(loading) => run.push(loading),
                GuardResult::Value(_) | GuardResult::Timeout => break,
            }
        }
        self.load(key, index, numbers.start, run, errand).await
    }

    /// A block in memory. Readers of old data leave no mark: a block that only they read stays cold.
    fn find(&self, block: &BlockKey, class: ObjectClass) -> Option<Kept> {
        match class {
            ObjectClass::CatchUpRead | ObjectClass::Reorganisation | ObjectClass::Garbage => {
                self.inner.blocks.peek(block)
            }
            ObjectClass::TailRead | ObjectClass::Flush | ObjectClass::Checkpoint => {
                self.inner.blocks.get(block)
            }
        }
    }

    /// Loads the run of blocks that starts at number `first`, in one request if nothing is wrong.
    async fn load(
        &self,
        key: &ObjectKey,
        index: &L0Index,
        first: u64,
        run: Vec<Loading<'_>>,
        errand: Errand,
    ) -> Result<Vec<Block>, ReadError> {
        self.inner.counters.missed(run.len() as u64);
        let last = first + run.len() as u64 - 1;
        let whole = self.span(index, first).start..self.span(index, last).end;
        let mut why = None;
        let mut fetched = match self.fetch(key, whole, errand.class).await {
            Ok(blocks) => blocks.into_iter(),
            // Each block is tried once more below.
            Err(error) if error.blames_object() => {
                why = Some(error);
                Vec::new().into_iter()
            }
            Err(error) => return Err(ReadError::from_get(error)),
        };
        let mut blocks = Vec::with_capacity(run.len());
        for (number, loading) in (first..).zip(run) {
            let span = self.span(index, number);
            let judged = fetched
                .next()
                .map(|bytes| (index.verify(span.start, &bytes), bytes));
            let block = match (judged, &why) {
                (Some((Ok(()), bytes)), _) => Block::whole(span.start, bytes),
                (Some((Err(_), bytes)), _) if planted::bug("block_checksum_not_checked") => {
                    Block::whole(span.start, bytes)
                }
                (Some((Err(bad), _)), _) => {
                    self.fetch_again(key, index, (span, errand.class), &bad)
                        .await?
                }
                (None, Some(error)) => {
                    self.fetch_again(key, index, (span, errand.class), error)
                        .await?
                }
                // A request that succeeds gives all blocks that were asked for.
                (None, None) => {
                    let bad = BadBlock { start: span.start };
                    self.fetch_again(key, index, (span, errand.class), &bad)
                        .await?
                }
            };
            if block.bad.is_none() {
                // If the object was forgotten meanwhile, the entry is gone and the bytes still serve this read.
                let _ = loading.insert(self.inner.ahead.keep(block.bytes.clone(), errand.is_ahead));
            }
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// The second and last try for a block that was wrong.
    async fn fetch_again(
        &self,
        key: &ObjectKey,
        index: &L0Index,
        (span, class): (Range<u64>, ObjectClass),
        why: &(dyn fmt::Display + Sync),
    ) -> Result<Block, ReadError> {
        self.inner.counters.corrupt();
        self.inner.objects.doubts(key, class, why);
        let blocks = self.fetch(key, span.clone(), class).await;
        let mut blocks = blocks.map_err(|error| {
            if error.blames_object() {
                self.inner.objects.condemns(key, class, &error);
            }
            ReadError::from_get(error)
        })?;
        // A span is one block.
        let bytes = blocks.pop().unwrap_or_default();
        let bad = index.verify(span.start, &bytes).err();
        let bad = bad.filter(|_| !planted::bug("second_read_not_checked"));
        if let Some(bad) = bad {
            self.inner.counters.corrupt();
            self.inner.objects.condemns(key, class, &bad);
        }
        Ok(Block {
            start: span.start,
            bytes,
            bad,
        })
    }

    async fn fetch(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        class: ObjectClass,
    ) -> Result<Vec<Bytes>, GetError> {
        self.inner.counters.get(range.end - range.start);
        let block_bytes = self.inner.settings.block_bytes;
        self.inner
            .objects
            .get_blocks(key, range, block_bytes, class)
            .await
    }

    /// Where block `number` lies in the object.
    fn span(&self, index: &L0Index, number: u64) -> Range<u64> {
        let block_bytes = self.inner.settings.block_bytes;
        let start = number * block_bytes;
        start..(start + block_bytes).min(index.data_end())
    }
}
