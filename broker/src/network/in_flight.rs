//! How much of one connection is under way: requests, their bytes, parked requests, unread answers; and whether it
//! ends.

use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_runtime::Monotonic;
use tokio::sync::Notify;

use super::closing::CloseReason;
use super::limits::Limits;

/// The counters of one connection. Its reader waits here before it reads on, and its stage before it starts a request.
#[derive(Debug)]
pub(super) struct InFlight {
    limits: Limits,
    /// Held for a few instructions only, never across an await.
    counts: Mutex<Counts>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    requests: usize,
    request_bytes: usize,
    parked: usize,
    answer_bytes: usize,
    was_active: bool,
    muted_until: Option<Monotonic>,
    end: Option<CloseReason>,
}

impl InFlight {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counts: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Completes when one more request may be read, and counts it until the ticket is dropped.
    pub(super) async fn admit_request(self: &Arc<Self>) -> Ticket {
        self.when(|counts, limits| {
            let admits = counts.requests < limits.requests_in_flight_max
                && counts.request_bytes < limits.request_bytes_in_flight_max;
            if admits {
                counts.requests += 1;
            }
            admits
        })
        .await;
        self.ticket(Counted::Request)
    }

    /// Counts `bytes` of a request until the ticket is dropped.
    pub(super) fn hold_bytes(self: &Arc<Self>, bytes: usize) -> Ticket {
        self.counts.lock().request_bytes += bytes;
        self.ticket(Counted::RequestBytes(bytes))
    }

    /// Completes when the reader of the answers has caught up far enough for another request to start.
    pub(super) async fn admit_start(&self) {
        self.when(|counts, limits| {
            counts.answer_bytes < limits.answer_bytes_waiting_max || counts.end.is_some()
        })
        .await;
    }

    /// Completes when one more request may park, and counts it until the ticket is dropped.
    pub(super) async fn admit_parked(self: &Arc<Self>) -> Ticket {
        self.when(|counts, limits| {
            let admits = counts.parked < limits.parked_max.max(1);
            if admits {
                counts.parked += 1;
            }
            admits
        })
        .await;
        self.ticket(Counted::Parked)
    }

    /// Counts `bytes` of a complete answer until the ticket is dropped.
    pub(super) fn hold_answer(self: &Arc<Self>, bytes: usize) -> Ticket {
        self.counts.lock().answer_bytes += bytes;
        self.ticket(Counted::AnswerBytes(bytes))
    }

    /// No further request of this connection starts before `until` (KIP-219).
    pub(super) fn mute(&self, until: Monotonic) {
        let mut counts = self.counts.lock();
        counts.muted_until = counts.muted_until.max(Some(until));
    }

    /// Until when no request starts.
    pub(super) fn muted_until(&self) -> Option<Monotonic> {
        self.counts.lock().muted_until
    }

    /// Whether a request is under way, or was since the last call.
    pub(super) fn take_activity(&self) -> bool {
        let mut counts = self.counts.lock();
        std::mem::take(&mut counts.was_active) || counts.requests > 0
    }

    /// The connection reads nothing more. The first reason stays.
    pub(super) fn end(&self, reason: CloseReason) {
        self.change(|counts| {
            counts.end.get_or_insert(reason);
        });
    }

    /// Completes when [`InFlight::end`] was called.
    pub(super) async fn ended(&self) {
        self.when(|counts, _| counts.end.is_some()).await;
    }

    /// Why the connection reads nothing more.
    pub(super) fn end_reason(&self) -> Option<CloseReason> {
        self.counts.lock().end.clone()
    }

    fn ticket(self: &Arc<Self>, counted: Counted) -> Ticket {
        Ticket {
            in_flight: Arc::clone(self),
            counted,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
        self.changed.notify_waiters();
    }

    /// Waits until `admits` says yes. Cancel-safe: nothing is counted before it says so.
    async fn when(&self, admits: impl Fn(&mut Counts, &Limits) -> bool) {
        loop {
            if admits(&mut self.counts.lock(), &self.limits) {
                return;
            }
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the second look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            if admits(&mut self.counts.lock(), &self.limits) {
                return;
            }
            changed.await;
        }
    }
}

/// Something that is counted until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    in_flight: Arc<InFlight>,
    counted: Counted,
}

#[derive(Clone, Copy, Debug)]
enum Counted {
    /// A request that is read and not yet answered.
    Request,
    /// Bytes of a request that are still referred to.
    RequestBytes(usize),
    /// A request that is parked.
    Parked,
    /// Bytes of an answer that is not yet written.
    AnswerBytes(usize),
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.change(|counts| match self.counted {
            Counted::Request => {
                counts.requests -= 1;
                counts.was_active = true;
            }
            Counted::RequestBytes(bytes) => counts.request_bytes -= bytes,
            Counted::Parked => counts.parked -= 1,
            Counted::AnswerBytes(bytes) => counts.answer_bytes -= bytes,
        });
    }
}
