//! The lease of this broker, as it knows it: until when nobody else may lead what it leads.
//!
//! The database decides when a lease is over, by its own clock. The holder counts the same span by its monotonic clock, from
//! before it sent the heartbeat, so that its lease is over for itself before it is over for others, whatever the wall
//! clocks say. Writes are fenced and need no lease. Reads are not: an answer that states the end of a log, a committed offset
//! or an assignment goes out only if the lease still holds after the answer was built. A heartbeat that comes through later
//! is as good: who may take a shard of a life whose lease is over declares that life dead first.
//!
//! Invariant: a lease that was lost never holds again.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_runtime::{Clock, Monotonic, deadline};
use tokio::sync::watch;

/// The lease of one life of this broker. Clones share it.
#[derive(Clone, Debug)]
pub struct Lease {
    clock: Arc<dyn Clock>,
    known: Arc<watch::Sender<Known>>,
    /// How long an answer waits for the next heartbeat.
    patience: Duration,
}

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The lock of the data folder is the lease.
    ForEver,
    /// It holds before this moment.
    Until(Monotonic),
    /// This life was declared dead, or has ended by itself.
    Lost,
}

/// The lease does not hold, so that nobody knows whether the answer is still true: another broker may lead by now. The
/// connection closes, and the client asks who does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease of this broker is over; another one may lead its partitions")]
pub struct NotHeld;

impl Lease {
    /// The lease of a broker that is alone on its data folder: it holds until the process ends.
    #[must_use]
    pub fn for_ever(clock: Arc<dyn Clock>) -> Self {
        Self::knowing(clock, Known::ForEver, Duration::ZERO)
    }

    /// A lease that does not hold before the first heartbeat. An answer waits up to `patience` for its renewal.
    #[must_use]
    pub fn not_yet(clock: Arc<dyn Clock>, patience: Duration) -> Self {
        Self::knowing(clock, Known::Until(Monotonic(Duration::ZERO)), patience)
    }

    fn knowing(clock: Arc<dyn Clock>, known: Known, patience: Duration) -> Self {
        Self {
            clock,
            known: Arc::new(watch::Sender::new(known)),
            patience,
        }
    }

    /// A heartbeat that was sent at `sent` or later came through, and the lease lasts for `span` from then on.
    pub fn renew(&self, sent: Monotonic, span: Duration) {
        let renewed = sent + span;
        self.known.send_if_modified(|known| match known {
            Known::Until(until) if renewed > *until => {
                *until = renewed;
                true
            }
            Known::ForEver | Known::Until(_) | Known::Lost => false,
        });
    }

    /// The lease is over for good.
    pub fn lose(&self) {
        self.known.send_if_modified(|known| {
            let is_news = *known != Known::Lost;
            *known = Known::Lost;
            is_news
        });
    }

    /// Whether it holds now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holds_as(*self.known.borrow())
    }

    fn holds_as(&self, known: Known) -> bool {
        match known {
            Known::ForEver => true,
            Known::Until(until) => self.clock.monotonic() < until,
            Known::Lost => false,
        }
    }

    /// Whether it is over for good.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.known.borrow() == Known::Lost
    }

    /// How long it holds from now on without a heartbeat; none if it holds for ever.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        match *self.known.borrow() {
            Known::ForEver => None,
            Known::Until(until) => Some(until - self.clock.monotonic()),
            Known::Lost => Some(Duration::ZERO),
        }
    }

    /// Completes when the lease holds, now or by a heartbeat that comes soon enough.
    ///
    /// # Errors
    /// It is lost, or was not renewed in time.
    pub async fn confirmed(&self) -> Result<(), NotHeld> {
        if self.holds() {
            return Ok(());
        }
        let mut news = self.known.subscribe();
        let until = self.clock.monotonic() + self.patience;
        let decided = async {
            // An error says that nobody renews it any more.
            let _ = news
                .wait_for(|known| *known == Known::Lost || self.holds_as(*known))
                .await;
        };
        // Who gives up loses nothing but a look.
        let _ = deadline(&*self.clock, until, decided).await;
        if self.holds() { Ok(()) } else { Err(NotHeld) }
    }
}

#[cfg(test)]
mod tests;
