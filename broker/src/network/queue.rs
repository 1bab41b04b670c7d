//! A queue between two parts of one connection's task.
//!
//! Its bound is the connection's count of requests in flight: whoever pushes holds a ticket for what it pushes. Unlike
//! a channel it takes no memory while it is empty, which is what an idle connection consists of.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Slots that an empty queue keeps.
const SLOTS_KEPT: usize = 4;

#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Held for a few instructions only, never across an await.
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
    is_abandoned: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let state = State {
            items: VecDeque::new(),
            is_closed: false,
            is_abandoned: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Appends `item`; drops it if the other side has left.
    pub(super) fn push(&self, item: T) {
        let mut state = self.state.lock();
        if !state.is_abandoned {
            state.items.push_back(item);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The next item; `None` when the queue is closed and empty. Cancel-safe. One task waits at a time.
    pub(super) async fn pop(&self) -> Option<T> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(item) = state.items.pop_front() {
                    if state.items.is_empty() {
                        state.items.shrink_to(SLOTS_KEPT);
                    }
                    return Some(item);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Nothing more will be pushed.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Nothing more will be popped: what is inside and what comes is dropped.
    pub(super) fn abandon(&self) {
        let items = {
            let mut state = self.state.lock();
            state.is_abandoned = true;
            std::mem::take(&mut state.items)
        };
        // Dropped outside the lock: an item's own drop may count something.
        drop(items);
    }
}
