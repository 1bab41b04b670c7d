//! What was read ahead and waits for its reader: counted, so that reading ahead for many never pushes out blocks that
//! nobody has read yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

/// A block as the cache keeps it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    bytes: Bytes,
    /// Set if it was read ahead.
    unread: Option<Arc<Unread>>,
}

/// Counts the bytes of blocks that were read ahead, until they are read or leave the cache; or until as many bytes came
/// after them as the cache holds: their reader went away, and a cache that was not full yet may keep them for long.
#[derive(Debug)]
pub(super) struct Ahead {
    bytes: Arc<AtomicU64>,
    /// Bytes that are being loaded.
    claimed: Arc<AtomicU64>,
    bytes_max: u64,
    /// After how many bytes nobody waits any more.
    forget_after: u64,
    line: Mutex<Line>,
}

/// Guards nothing but itself; held for a few steps.
#[derive(Debug, Default)]
struct Line {
    /// Bytes of all blocks that ever came.
    came: u64,
    /// What was read ahead, oldest first, and how many bytes had come then. No longer than what comes in `forget_after`.
    waiting: VecDeque<(u64, Weak<Unread>)>,
}

/// Room for what one read-ahead loads.
#[derive(Debug)]
pub(super) struct Claim {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Unread {
    all: Arc<AtomicU64>,
    bytes: u64,
    is_counted: AtomicBool,
}

impl Ahead {
    pub(super) fn new(bytes_max: u64, forget_after: u64) -> Self {
        Self {
            bytes: Arc::default(),
            claimed: Arc::default(),
            bytes_max,
            forget_after,
            line: Mutex::default(),
        }
    }

    /// How many bytes more may be read ahead.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max
            .saturating_sub(self.bytes.load(Ordering::Relaxed))
            .saturating_sub(self.claimed.load(Ordering::Relaxed))
    }

    /// Takes room for a read-ahead that begins, until the claim is dropped. Two that ask at once may pass the bound by one.
    pub(super) fn claim(&self, bytes: u64) -> Claim {
        self.claimed.fetch_add(bytes, Ordering::Relaxed);
        Claim {
            all: Arc::clone(&self.claimed),
            bytes,
        }
    }

    pub(super) fn keep(&self, bytes: Bytes, is_ahead: bool) -> Kept {
        let length = bytes.len() as u64;
        let unread = is_ahead.then(|| {
            self.bytes.fetch_add(length, Ordering::Relaxed);
            Arc::new(Unread {
                all: Arc::clone(&self.bytes),
                bytes: length,
                is_counted: AtomicBool::new(true),
            })
        });
        let mut line = self.line.lock();
        line.came = line.came.saturating_add(length);
        let came = line.came;
        if let Some(unread) = &unread {
            line.waiting.push_back((came, Arc::downgrade(unread)));
        }
        let is_old = |then: u64| came - then >= self.forget_after;
        while let Some((_, left)) = line.waiting.pop_front_if(|(then, _)| is_old(*then)) {
            if let Some(left) = left.upgrade() {
                left.settle();
            }
        }
        drop(line);
        Kept { bytes, unread }
    }
}

impl Kept {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Its bytes, for a reader, or for a read-ahead that found it there.
    pub(super) fn read(self, is_ahead: bool) -> Bytes {
        if let Some(unread) = self.unread.filter(|_| !is_ahead) {
            unread.settle();
        }
        self.bytes
    }
}

impl Unread {
    fn settle(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            self.all.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.settle();
    }
}
