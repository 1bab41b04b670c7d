//! What the appending threads, the WAL thread, the upkeep thread and readers share.
//!
//! Locks, in the order in which they may be taken: `writer` (held over the IO of one turn; only who drives the turn
//! takes it), then `files` or `queue` (never both, never over IO).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use streamhouse_runtime::Ambient;

use super::files::{Files, LiveFile};
use super::queue::{Gate, Queue};
use super::writer::Writer;
use super::{
    WalDirLock, WalFailure, WalIdentity, WalIo, WalLocation, WalPosition, WalReadError,
    WalSettings, WalUsage,
};

/// How long the WAL waits before it asks a full disk for room again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One opened WAL.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) io: Arc<dyn WalIo>,
    pub(super) settings: WalSettings,
    pub(super) identity: WalIdentity,
    pub(super) ambient: Ambient,
    pub(super) queue: Mutex<Queue>,
    /// Wakes the WAL thread; goes with `queue`.
    pub(super) work: Condvar,
    pub(super) files: Mutex<Files>,
    pub(super) writer: Mutex<Writer>,
    pub(super) written: AtomicU64,
    pub(super) durable: AtomicU64,
    pub(super) recycled: AtomicU64,
    /// Whether a group was written that no seal follows yet: the log does not rest.
    pub(super) is_written_to: AtomicBool,
    /// What the next file header carries.
    pub(super) note: Mutex<Bytes>,
    pub(super) failure: Mutex<Failure>,
    pub(super) upkeep: Mutex<UpkeepSignal>,
    /// Wakes the upkeep thread; goes with `upkeep`.
    pub(super) upkeep_due: Condvar,
    /// Released when the WAL is closed.
    pub(super) dir_lock: Mutex<Option<Box<dyn WalDirLock>>>,
}

/// Whether the WAL failed, and whether its listener heard of it.
#[derive(Debug, Default)]
pub(super) struct Failure {
    pub(super) first: Option<WalFailure>,
    pub(super) is_told: bool,
}

/// What the upkeep thread waits for.
#[derive(Debug, Default)]
pub(super) struct UpkeepSignal {
    pub(super) is_due: bool,
    pub(super) must_stop: bool,
}

impl Shared {
    pub(super) fn written_to(&self) -> WalPosition {
        WalPosition(self.written.load(Ordering::Acquire))
    }

    pub(super) fn durable_to(&self) -> WalPosition {
        WalPosition(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn recycled_to(&self) -> WalPosition {
        WalPosition(self.recycled.load(Ordering::Acquire))
    }

    pub(super) fn usage(&self) -> WalUsage {
        let spare_files = self.files.lock().spare_count() as u64;
        let queue = self.queue.lock();
        WalUsage {
            bytes: queue.bytes,
            cap_bytes: self.settings.cap_bytes,
            files: queue.files,
            spare_files,
            entries: queue.entries.total,
            entries_max: self.settings.entries_max,
            disk_full: queue.disk_full,
        }
    }

    pub(super) fn recycle_to(&self, position: WalPosition) {
        // What is not durable yet cannot be needed no more: a caller's mistake must not retire the file in use.
        let position = position.min(self.durable_to());
        if self.recycled.fetch_max(position.0, Ordering::AcqRel) >= position.0 {
            return;
        }
        self.queue.lock().entries.forget_below(position.0);
        if self.files.lock().retire_below(position) {
            self.wake_upkeep();
        }
    }

    pub(super) fn wake_upkeep(&self) {
        self.upkeep.lock().is_due = true;
        self.upkeep_due.notify_one();
    }

    /// Ends all writing because of `source`. The listener hears of it in the turn that follows or is under way.
    pub(super) fn fail(&self, operation: &'static str, file: &str, source: io::Error) {
        let failure = WalFailure {
            operation,
            file: file.to_owned(),
            durable_to: self.durable_to(),
            written_to: self.written_to(),
            source: Arc::new(source),
        };
        tracing::error!(%failure, "the WAL failed; nothing more will be acknowledged");
        self.failure.lock().first.get_or_insert(failure);
        self.shut(Gate::Closed);
    }

    /// Refuses appends from now on. With [`Gate::Closed`] what is queued is dropped.
    pub(super) fn shut(&self, gate: Gate) {
        let mut queue = self.queue.lock();
        if queue.gate != Gate::Closed {
            queue.gate = gate;
        }
        let dropped = if gate == Gate::Closed {
            std::mem::take(&mut queue.pending)
        } else {
            Default::default()
        };
        drop(queue);
        drop(dropped);
        self.work.notify_all();
    }

    /// Pins the file in which `position` lies.
    pub(super) fn pin(self: &Arc<Self>, position: WalPosition) -> Result<Pin, WalReadError> {
        if position >= self.written_to() {
            return Err(WalReadError::NotWritten(position));
        }
        let live = self
            .files
            .lock()
            .pin(position)
            .ok_or(WalReadError::Recycled(position))?;
        Ok(Pin {
            live: Some(live),
            shared: Arc::clone(self),
        })
    }
}

impl Shared {
    /// How many of `locations`, which lie one behind the other, lie in the pinned file: at least the first, for which it
    /// was pinned.
    pub(super) fn count_in(&self, pin: &Pin, locations: &[WalLocation]) -> usize {
        let files = self.files.lock();
        let written_to = self.written_to();
        let is_in = |location: &&WalLocation| {
            location.position < written_to
                && files
                    .pin(location.position)
                    .is_some_and(|live| std::ptr::eq(Arc::as_ptr(&live), pin.file()))
        };
        let more = locations.iter().skip(1).take_while(is_in);
        1 + more.count()
    }
}

/// Keeps a file from being recycled while it lives.
#[derive(Debug)]
pub(super) struct Pin {
    live: Option<Arc<LiveFile>>,
    shared: Arc<Shared>,
}

impl Pin {
    pub(super) fn file(&self) -> &LiveFile {
        self.live.as_deref().expect("only drop takes the file out")
    }

    /// No record is larger than a file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.shared.settings.file_bytes
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        drop(self.live.take());
        // Whoever retired the file may have found it pinned; look again.
        let has_retired = self.shared.files.lock().has_retired();
        if has_retired {
            self.shared.wake_upkeep();
        }
    }
}
