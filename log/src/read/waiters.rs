//! Parked fetches: woken by the append that gives them enough to read, not by a timer.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// One parked fetch, registered at each of its partitions.
#[derive(Debug)]
pub struct Waiter {
    /// Bytes that are still missing to the fetch's `min_bytes`.
    missing: AtomicI64,
    enough: Notify,
}

impl Waiter {
    /// A fetch that wants `bytes` more than it found.
    #[must_use]
    pub fn wanting(bytes: i64) -> Self {
        Self {
            missing: AtomicI64::new(bytes),
            enough: Notify::new(),
        }
    }

    /// Completes when that many bytes were published in its partitions since it was registered.
    pub async fn enough(&self) {
        while self.missing.load(Ordering::Acquire) > 0 {
            self.enough.notified().await;
        }
    }

    pub(crate) fn arrived(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Saturates far below overflow: once the count is reached further bytes change nothing.
        let before = self
            .missing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |missing| {
                Some(missing.saturating_sub(bytes))
            });
        if before.is_ok_and(|missing| missing > 0 && missing <= bytes) {
            self.enough.notify_one();
        }
    }
}
