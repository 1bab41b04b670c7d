//! The order of commits with `shared` durability: flushes are uploaded side by side, and each waits until those before it
//! in its shards have ended.
//!
//! Invariants: the manifests of a shard are committed in the order of their numbers; a manifest whose predecessor was not
//! committed never is. Of a flush that holds several shards, a shard whose predecessor failed drops out, the others go on.

use super::pace::Backlog;
use super::shared::SharedFlush;
use super::write::{Sealed, SealedPart};
use crate::Log;
use crate::shard::Inner;
use streamhouse_runtime::planted;

/// What a flush that is uploaded does about one of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Commit: everything before it is recorded.
    Now,
    /// Wait for those before it.
    Later,
    /// Drop it: one before it failed, or the shard is led no more.
    Never,
}

impl Log {
    /// Waits until every flush before this one has ended in its shards, and keeps the parts that may be committed.
    pub(crate) async fn wait_for_turn(&self, flush: &SharedFlush, sealed: &mut Sealed) {
        loop {
            // Before the look: an end in between is not missed.
            let settled = flush.settled.notified();
            let mut waits = false;
            sealed.parts.retain(|part| {
                let turn = self.turn_of(part);
                waits |= turn == Turn::Later;
                turn != Turn::Never
            });
            if !waits {
                break;
            }
            settled.await;
        }
        for part in &mut sealed.parts {
            self.release(part);
        }
    }

    fn turn_of(&self, part: &SealedPart) -> Turn {
        let inner = self.shard_of(part.commit.shard).lock();
        if !inner.is_led_under(part.commit.epoch, part.commit.incarnation) {
            return Turn::Never;
        }
        match inner.place_in_flight(part.ticket) {
            Some(0) => Turn::Now,
            Some(_) => Turn::Later,
            None if planted::bug("void_flush_committed") => Turn::Now,
            None => Turn::Never,
        }
    }
}

impl Inner {
    /// How many flushes of the shard that are on their way come before this one; `None` if it is not among them.
    pub(crate) fn place_in_flight(&self, ticket: u64) -> Option<usize> {
        self.in_flight.iter().position(|it| it.ticket == ticket)
    }

    /// A flush has ended. If it recorded nothing here, what it took, and what those behind it took, waits again.
    pub(crate) fn leave_flight(&mut self, ticket: u64) -> Backlog {
        let mut waits = Backlog::default();
        if let Some(place) = self.place_in_flight(ticket) {
            for void in self.in_flight.drain(place..) {
                waits.add(void.taken);
            }
        }
        self.queued.add(waits);
        waits
    }
}
