//! The memory of Fetch answers whose records were read from the WAL or from objects (`listener.fetch_memory`).
//!
//! Records of the hot tail are shared with it and cost nothing, but for batches so small that they are copied. Others are reserved here before they are read, and let
//! go as their bytes are written, or when the answer is dropped.
//!
//! Invariants: one partition of an answer gets a quarter of what is free, so that the first who ask leave something to
//! those who follow; nobody waits while holding anything; a wait ends with the patience of the fetch, which then answers
//! what it has. Those who wait are served in the order in which they began to: a connection whose fetch had to answer
//! without memory keeps its place for the next one, so that asking again and again never means being last again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use streamhouse_runtime::{Clock, Monotonic, deadline};
use tokio::sync::oneshot;

/// One partition of an answer may take at most this part of what is free.
const SHARE: usize = 4;

/// However little is free, no read is made smaller than this part of the whole.
const FLOOR: usize = 64;

/// Records are let go in steps of at least so many bytes.
const STEP_BYTES: usize = 64 * 1024;

/// Smaller pieces are copied when an answer is encoded, and what they are copied to would not be counted: they are joined
/// here.
const PIECE_BYTES_MIN: usize = 1024;

/// The memory of all answers together.
#[derive(Clone, Debug)]
pub struct FetchMemory {
    pool: Arc<Pool>,
}

/// What one connection holds of the memory, and its place among those who wait for it.
#[derive(Debug, Default)]
pub struct FetchReader {
    /// The memory that its fetches use, from the first one on.
    pool: OnceLock<Arc<Pool>>,
    /// Bytes that its answers hold, and those that are read for them.
    held: AtomicUsize,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// Since when it waits, if its last fetch got no memory.
    kept: Option<u64>,
    /// How many of its fetches got none.
    unserved: u64,
}

/// What is wanted for one partition.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// As many bytes as may be read at most.
    pub bytes: usize,
    /// The size of a batch that may be read however few bytes are granted (KIP-74); 0 if none is.
    pub batch_bytes: usize,
}

/// Memory that was reserved for one partition of an answer.
#[derive(Debug)]
pub struct Reserved {
    charge: Charge,
    /// How many bytes may be read for it.
    pub bytes: usize,
}

#[derive(Debug)]
struct Pool {
    capacity: usize,
    /// Held for a few instructions only, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// By place. Bounded by the number of connections: each has one fetch that waits.
    waiting: BTreeMap<u64, Waiting>,
    next_place: u64,
    /// How many waits ended without memory.
    unserved: u64,
}

#[derive(Debug)]
struct Waiting {
    share: Share,
    reader: Arc<FetchReader>,
    granted: oneshot::Sender<Reserved>,
}

impl FetchMemory {
    /// Memory of `bytes` in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let pool = Pool {
            capacity: bytes.max(FLOOR),
            state: Mutex::default(),
        };
        Self {
            pool: Arc::new(pool),
        }
    }

    /// Reserves memory if some is free that nobody waits for.
    #[must_use]
    pub fn try_reserve(&self, reader: &Arc<FetchReader>, share: Share) -> Option<Reserved> {
        let mut state = self.pool.state.lock();
        if !state.waiting.is_empty() {
            return None;
        }
        self.pool.grant(&mut state, reader, share)
    }

    /// Reserves memory, and waits for it until `until`; `None` says that none was free in time. May be dropped.
    pub async fn reserve(
        &self,
        reader: &Arc<FetchReader>,
        share: Share,
        clock: &dyn Clock,
        until: Monotonic,
    ) -> Option<Reserved> {
        let mut turn = {
            let mut state = self.pool.state.lock();
            let place = state.place_of(reader);
            let first = state.waiting.first_key_value();
            if first.is_none_or(|(first, _)| place < *first)
                && let Some(reserved) = self.pool.grant(&mut state, reader, share)
            {
                return Some(reserved);
            }
            let (grant, granted) = oneshot::channel();
            let waiting = Waiting {
                share,
                reader: Arc::clone(reader),
                granted: grant,
            };
            state.waiting.insert(place, waiting);
            Turn {
                pool: &self.pool,
                reader,
                place,
                granted,
            }
        };
        if let Some(granted) = deadline(clock, until, &mut turn.granted).await {
            return granted.ok();
        }
        // It may have come in the last moment.
        turn.granted.try_recv().ok()
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        let used = self.pool.state.lock().used;
        self.pool.capacity.saturating_sub(used)
    }
}

impl FetchReader {
    /// How many fetches of others had to answer without memory so far.
    #[must_use]
    pub fn unserved_others(&self) -> u64 {
        let Some(pool) = self.pool.get() else {
            return 0;
        };
        let state = pool.state.lock();
        state.unserved - self.place.lock().unserved
    }

    /// Whether it holds memory for which others wait, or had to do without since [`FetchReader::unserved_others`] was
    /// `before`.
    #[must_use]
    pub fn stands_in_the_way(&self, before: u64) -> bool {
        let Some(pool) = self.pool.get() else {
            return false;
        };
        if self.held.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let state = pool.state.lock();
        let is_other = |waiting: &Waiting| !std::ptr::eq(&*waiting.reader, self);
        state.waiting.values().any(is_other)
            || state.unserved - self.place.lock().unserved != before
    }
}

impl State {
    /// The place that the reader kept, or the last one.
    fn place_of(&mut self, reader: &FetchReader) -> u64 {
        let kept = reader.place.lock().kept.take();
        match kept.map(|place| (place, self.waiting.entry(place))) {
            Some((place, Entry::Vacant(_))) => place,
            Some((_, Entry::Occupied(_))) | None => {
                self.next_place += 1;
                self.next_place
            }
        }
    }
}

impl Pool {
    /// Takes a share out of what is free; `None` if that is too little.
    fn grant(
        self: &Arc<Self>,
        state: &mut State,
        reader: &Arc<FetchReader>,
        share: Share,
    ) -> Option<Reserved> {
        let free = self.capacity.saturating_sub(state.used);
        let bytes = share.bytes.min((free / SHARE).max(self.capacity / FLOOR));
        let charged = bytes.max(share.batch_bytes).min(self.capacity);
        if charged > free {
            return None;
        }
        state.used += charged;
        reader.held.fetch_add(charged, Ordering::Relaxed);
        reader.pool.get_or_init(|| Arc::clone(self));
        let charge = Charge {
            pool: Arc::clone(self),
            reader: Arc::clone(reader),
            bytes: charged,
        };
        Some(Reserved { charge, bytes })
    }

    /// Serves those who wait in order, as far as the memory reaches.
    fn serve_waiting(self: &Arc<Self>) {
        // What nobody takes is dropped without the lock, which its drop needs.
        let mut refused = None;
        loop {
            drop(refused.take());
            let mut state = self.state.lock();
            let Some(first) = state.waiting.first_entry() else {
                return;
            };
            let (share, reader) = (first.get().share, Arc::clone(&first.get().reader));
            let Some(reserved) = self.grant(&mut state, &reader, share) else {
                return;
            };
            let Some((_, first)) = state.waiting.pop_first() else {
                return;
            };
            refused = first.granted.send(reserved).err();
        }
    }
}

impl Reserved {
    /// Ties the reservation to the records that were read, which are let go piece by piece. What was reserved and not
    /// read is free at once; a batch that is larger than what was reserved is counted as what it is.
    #[must_use]
    pub fn hold(self, records: Vec<Bytes>) -> Vec<Bytes> {
        let mut charge = self.charge;
        charge.resize(records.iter().map(Bytes::len).sum());
        let mut held = Vec::with_capacity(records.len());
        charge.hold(records, &mut held);
        held
    }

    /// As [`Reserved::hold`], for records that are shared with the hot tail: only those that are copied count.
    #[must_use]
    pub fn hold_copies(self, records: &[Bytes]) -> Vec<Bytes> {
        let mut charge = self.charge;
        charge.resize(copied_bytes(records));
        let mut held = Vec::with_capacity(records.len());
        for alike in records.chunk_by(|one, next| is_copied(one) == is_copied(next)) {
            if alike.iter().all(is_copied) {
                charge.hold(alike.to_vec(), &mut held);
            } else {
                held.extend_from_slice(alike);
            }
        }
        held
    }
}

/// Whether a piece is so small that an answer copies it instead of sharing it.
#[must_use]
pub fn is_copied(piece: &Bytes) -> bool {
    piece.len() < PIECE_BYTES_MIN
}

/// How many bytes of `records` an answer copies.
#[must_use]
pub fn copied_bytes(records: &[Bytes]) -> usize {
    let copied = records.iter().filter(|piece| is_copied(piece));
    copied.map(Bytes::len).sum()
}

/// Consecutive pieces that are let go together.
#[derive(Default)]
struct Step {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// Small pieces, joined.
    small: BytesMut,
}

impl Step {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if is_copied(&piece) {
            self.small.extend_from_slice(&piece);
        } else {
            self.end_small();
            self.pieces.push(piece);
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }

    fn finish(mut self, charge: &mut Charge, held: &mut Vec<Bytes>) {
        self.end_small();
        let charge = Arc::new(charge.split(self.bytes));
        held.extend(self.pieces.into_iter().map(|records| {
            Bytes::from_owner(Held {
                records,
                _charge: Arc::clone(&charge),
            })
        }));
    }
}

struct Held {
    records: Bytes,
    _charge: Arc<Charge>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

/// Bytes of the memory that are in use, until this is dropped.
#[derive(Debug)]
struct Charge {
    pool: Arc<Pool>,
    reader: Arc<FetchReader>,
    bytes: usize,
}

impl Charge {
    /// Gives the memory of `records` to them.
    fn hold(&mut self, records: Vec<Bytes>, held: &mut Vec<Bytes>) {
        let mut step = Step::default();
        for piece in records {
            step.push(piece);
            if step.bytes >= STEP_BYTES {
                std::mem::take(&mut step).finish(self, held);
            }
        }
        step.finish(self, held);
    }

    fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            self.pool.state.lock().used += more;
            self.reader.held.fetch_add(more, Ordering::Relaxed);
            self.bytes = bytes;
        } else {
            drop(self.split(self.bytes - bytes));
        }
    }

    fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            pool: Arc::clone(&self.pool),
            reader: Arc::clone(&self.reader),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.reader.held.fetch_sub(self.bytes, Ordering::Relaxed);
            self.pool.state.lock().used -= self.bytes;
            self.pool.serve_waiting();
        }
    }
}

/// A place among those who wait. Dropped before it was served, it is kept for the reader's next fetch.
struct Turn<'a> {
    pool: &'a Arc<Pool>,
    reader: &'a Arc<FetchReader>,
    place: u64,
    granted: oneshot::Receiver<Reserved>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let was_waiting = {
            let mut state = self.pool.state.lock();
            let was_waiting = state.waiting.remove(&self.place).is_some();
            if was_waiting {
                state.unserved += 1;
                let mut place = self.reader.place.lock();
                place.unserved += 1;
                place.kept = Some(self.place);
            }
            was_waiting
        };
        if was_waiting {
            // The next one may want less.
            self.pool.serve_waiting();
        }
    }
}

#[cfg(test)]
mod tests;
