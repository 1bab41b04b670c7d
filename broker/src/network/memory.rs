//! The memory that incoming requests may take: three pools, so that nobody starves or deadlocks.
//!
//! - *produce*: Produce frames up to 1 MiB. When producers are held back, nobody else is.
//! - *large*: every longer frame, first come first served.
//! - *other*: every other frame, so that heartbeats pass when producers wait.
//!
//! A frame pays for the bytes of its body before they are read, in growing steps up to its declared length: what is
//! allocated is always paid for, and a peer that announces a frame and sends nothing holds one small step and not the
//! frame. Since steps could otherwise deadlock (every frame half read, none complete), one frame of each pool, the
//! first that waits, may go beyond the pool: used memory is at most the pool and one frame.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_config::ByteSize;
use streamhouse_config::listener::ListenerSettings;
use tokio::sync::oneshot;

/// The longest Produce frame, in bytes, that the produce pool takes.
pub const PRODUCE_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// The pools of one broker.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    produce: Arc<MemoryPool>,
    large: Arc<MemoryPool>,
    other: Arc<MemoryPool>,
}

impl RequestMemory {
    /// Pools of these sizes, in bytes.
    #[must_use]
    pub fn new(produce_bytes: usize, large_bytes: usize, other_bytes: usize) -> Self {
        Self {
            produce: MemoryPool::new(produce_bytes),
            large: MemoryPool::new(large_bytes),
            other: MemoryPool::new(other_bytes),
        }
    }

    /// Pools as `settings` size them.
    #[must_use]
    pub fn of(settings: &ListenerSettings) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        Self::new(
            bytes(settings.produce_request_memory),
            bytes(settings.large_request_memory),
            bytes(settings.small_request_memory),
        )
    }

    /// The pool that a frame of `frame_bytes` belongs to.
    #[must_use]
    pub fn pool_of(&self, is_produce: bool, frame_bytes: usize) -> &Arc<MemoryPool> {
        if frame_bytes > PRODUCE_FRAME_BYTES_MAX {
            &self.large
        } else if is_produce {
            &self.produce
        } else {
            &self.other
        }
    }

    /// Bytes in use in all pools.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.produce.used_bytes() + self.large.used_bytes() + self.other.used_bytes()
    }
}

/// A number of bytes that frames share. Waiting frames are served first come first served.
#[derive(Debug)]
pub struct MemoryPool {
    capacity: usize,
    /// Held for a few instructions only, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Bounded by the number of connections: each reads one frame at a time.
    waiting: VecDeque<Waiter>,
    /// The frame that may go beyond the capacity, so that it completes.
    finisher: Option<u64>,
    next_frame: u64,
}

#[derive(Debug)]
struct Waiter {
    frame: u64,
    bytes: usize,
    granted: oneshot::Sender<()>,
}

impl MemoryPool {
    /// A pool of `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            state: Mutex::default(),
        })
    }

    /// An empty reservation of one frame.
    #[must_use]
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        let mut state = self.state.lock();
        state.next_frame += 1;
        Reservation {
            frame: state.next_frame,
            held: 0,
            pool: Arc::clone(self),
        }
    }

    /// Whether a frame waits for memory.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Bytes in use.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.state.lock().used
    }

    /// Serves waiters in order as far as the memory reaches.
    fn serve_waiting(&self, state: &mut State) {
        while let Some(first) = state.waiting.front() {
            let fits = state.used + first.bytes <= self.capacity;
            if !fits {
                if state.finisher.is_some_and(|frame| frame != first.frame) {
                    return;
                }
                state.finisher = Some(first.frame);
            }
            let Some(first) = state.waiting.pop_front() else {
                return;
            };
            // A send fails when the waiter is gone; then its bytes are nobody's.
            if first.granted.send(()).is_ok() {
                state.used += first.bytes;
            } else if state.finisher == Some(first.frame) {
                state.finisher = None;
            }
        }
    }

    fn give_back(&self, frame: u64, bytes: usize, is_done: bool) {
        let mut state = self.state.lock();
        state.used -= bytes;
        if is_done && state.finisher == Some(frame) {
            state.finisher = None;
        }
        self.serve_waiting(&mut state);
    }
}

/// What one frame holds of a pool. Dropping it gives everything back.
#[derive(Debug)]
pub struct Reservation {
    frame: u64,
    held: usize,
    pool: Arc<MemoryPool>,
}

impl Reservation {
    /// Takes `bytes` more; waits its turn while the pool is empty. Safe to drop while it waits.
    pub async fn grow(&mut self, bytes: usize) {
        let granted = {
            let mut state = self.pool.state.lock();
            let fits = state.waiting.is_empty() && state.used + bytes <= self.pool.capacity;
            if fits || state.finisher == Some(self.frame) {
                state.used += bytes;
                self.held += bytes;
                return;
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push_back(Waiter {
                frame: self.frame,
                bytes,
                granted: grant,
            });
            self.pool.serve_waiting(&mut state);
            granted
        };
        let mut turn = Turn {
            reservation: self,
            bytes,
            granted,
            is_taken: false,
        };
        // The sender leaves the queue only by granting, so an error cannot come.
        turn.is_taken = (&mut turn.granted).await.is_ok();
    }

    /// Bytes held.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held
    }

    /// Whether another frame waits for the same pool.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.pool.is_contended()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.give_back(self.frame, self.held, true);
    }
}

/// A place in the queue. Dropped while waiting, it leaves the queue or gives back what it was just granted.
struct Turn<'a> {
    reservation: &'a mut Reservation,
    bytes: usize,
    granted: oneshot::Receiver<()>,
    is_taken: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_taken {
            self.reservation.held += self.bytes;
            return;
        }
        let frame = self.reservation.frame;
        let pool = &self.reservation.pool;
        let was_waiting = {
            let mut state = pool.state.lock();
            let before = state.waiting.len();
            state.waiting.retain(|waiter| waiter.frame != frame);
            state.waiting.len() < before
        };
        if !was_waiting {
            pool.give_back(frame, self.bytes, false);
        }
    }
}

#[cfg(test)]
mod tests;
