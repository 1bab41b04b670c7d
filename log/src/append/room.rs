//! Slowing producers down before they are refused: while there is no room in the WAL (`local`) or in memory (`shared`), a connection waits with what it would stage.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

use crate::Log;
use crate::format::wal_record::HEAD_BYTES;

/// How often a full WAL is looked at. Room comes in whole files, every time a flush has recorded what they hold.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Log {
    /// Returns when a batch of `bytes` would be taken, or at `until`: then it may be refused with
    /// [`Full`](super::AppendError::Full). A disk that is full is not waited for.
    pub async fn room(&self, bytes: usize, until: Monotonic) {
        let payload = bytes.saturating_add(HEAD_BYTES) as u64;
        while !self.journal.has_room(payload) {
            let now = self.ambient.clock.monotonic();
            if now >= until {
                return;
            }
            self.ambient.clock.sleep(LOOK_AGAIN.min(until - now)).await;
        }
    }
}
