//! The two threads: one drives turns, one drives upkeep. A simulation drives both itself and starts neither.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use streamhouse_runtime::Monotonic;

use super::queue::Gate;
use super::shared::{RETRY_AFTER, Shared};
use super::{Turn, WalListener};

/// The threads of a started WAL.
#[derive(Debug, Default)]
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts both.
    pub(super) fn start(
        &mut self,
        shared: &Arc<Shared>,
        listener: Arc<dyn WalListener>,
    ) -> std::io::Result<()> {
        let tasks = &shared.ambient.tasks;
        #[cfg(feature = "test-support")]
        if tasks.is_scheduled() {
            let turns = super::scheduled::drive(Arc::clone(shared), listener);
            drop(tasks.spawn("wal", turns));
            return Ok(());
        }
        let (writing, keeping) = (Arc::clone(shared), Arc::clone(shared));
        self.handles
            .push(tasks.thread("wal", move || writing.drive(listener.as_ref()))?);
        self.handles
            .push(tasks.thread("wal-upkeep", move || keeping.drive_upkeep())?);
        Ok(())
    }

    pub(super) fn are_started(&self) -> bool {
        !self.handles.is_empty()
    }

    /// Waits for both to end, unless called on one of them.
    pub(super) fn join(&mut self) {
        let own = std::thread::current().id();
        for handle in self
            .handles
            .drain(..)
            .filter(|handle| handle.thread().id() != own)
        {
            // A thread that panicked has already told its supervisor.
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn drive(&self, listener: &dyn WalListener) {
        loop {
            match self.turn(listener) {
                Turn::Wrote { .. } => {}
                Turn::Idle { until } => self.park(until),
                Turn::Stopped => break,
            }
        }
        // Upkeep has nothing left to keep.
        self.stop_upkeep();
    }

    /// Waits until something is queued, the WAL is shut, or `until`.
    fn park(&self, until: Option<Monotonic>) {
        let mut queue = self.queue.lock();
        if !queue.pending.is_empty() || queue.gate != Gate::Open {
            return;
        }
        queue.is_parked = true;
        match until {
            None => self.work.wait(&mut queue),
            Some(until) => {
                let left = until - self.ambient.clock.monotonic();
                let _ = self.work.wait_for(&mut queue, left);
            }
        }
        queue.is_parked = false;
    }

    /// Lets the disk rest for a while, unless the WAL stops.
    pub(super) fn rest(&self, pause: Duration) {
        let mut signal = self.upkeep.lock();
        if !pause.is_zero() && !signal.must_stop {
            let _ = self.upkeep_due.wait_for(&mut signal, pause);
        }
    }

    pub(super) fn stop_upkeep(&self) {
        self.upkeep.lock().must_stop = true;
        self.upkeep_due.notify_all();
    }

    fn drive_upkeep(&self) {
        loop {
            while self.upkeep() {}
            let mut signal = self.upkeep.lock();
            if signal.must_stop {
                break;
            }
            if !signal.is_due {
                // On a full disk, or with a file that is pinned or cannot be renamed, trying again is all there is.
                if self.lacks_spares() {
                    let _ = self.upkeep_due.wait_for(&mut signal, RETRY_AFTER);
                } else {
                    self.upkeep_due.wait(&mut signal);
                }
            }
            signal.is_due = false;
        }
    }
}
