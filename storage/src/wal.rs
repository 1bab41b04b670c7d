//! The write-ahead log: where a record is safe before it is answered.
//!
//! Producers' batches are appended here, written and fsynced in groups by a thread of their own, and kept until an
//! object holds them. After a crash the log is replayed; while it is kept it can also be read.
//!
//! # The laws
//!
//! 1. **Order.** Records are replayed in the order in which `append` fixed them.
//! 2. **Durable.** Once a listener was told `durable(p)`, every record that ends at or below `p` is replayed by every
//!    later `open`, whatever crashed in between, until `recycle_to` has passed it.
//! 3. **Prefix.** What is replayed of one run of the broker is a prefix of what that run appended. A record is
//!    replayed whole or not at all.
//! 4. **No ghosts.** What is replayed was appended to this WAL, at that position. What a refused append carried, what
//!    an earlier use of a file left behind, and what an earlier recovery dropped never come back.
//! 5. **Repeatable.** Opening again replays the same records, even if the process or the power failed before, inside
//!    or after the recovery, any number of times.
//! 6. **Positions grow.** No position is given twice, not even across a crash that lost its record.
//! 7. **Damage is named.** If bytes of a record that was durable are damaged or missing, `open` fails with the file
//!    and the range; the log never becomes silently shorter. The residue: damage to the *last* group looks like a
//!    torn write until a later record follows it, which is 20 ms later at most, when its seal is written. Damage to a
//!    closing seal loses nothing. A log that ends before `WalSettings::covered_to`, or without the file
//!    `WalSettings::begun_to`, has lost its newest files, and is damaged in the same way.
//! 8. **Recycling.** Only whole files below `recycle_to` go, in order, never one that a read has pinned, never the one
//!    that is being written.
//! 9. **Reads.** `read` gives exactly the payload that was appended at that location, or an error.
//! 10. **Failure is final.** After the first failed write or fsync nothing becomes durable any more, `failed` is called
//!     once, and every append is refused. A failed fsync is never repeated: the second one may lie.
//! 11. **Full is not failure.** At the cap, or without room on the disk for another file, appends are refused before
//!     anything is written, and pass again when room is back. `AppendClass::Other` has a file in reserve, recovery
//!     another.
//! 12. **Rest.** An idle WAL writes one seal and then nothing.
//! 13. **Distrust.** No bytes on disk make this room panic or allocate more than a file's size.
//! 14. **Ownership.** One process per folder; files of another cluster or folder are refused.
//! 15. **Set aside.** Once `set_aside` returned, its records are replayed before the log by every later `open`, at their
//!     positions, until one of them says that all of them are recorded: whatever was recycled meanwhile, and whatever
//!     crashed in between. A record that lies aside and in the log is replayed once.
//!
//! What it does not promise: that records which were only `written` survive a power cut (they survive the death of the
//! process), or that a record that was never reported durable is absent after a crash.

mod error;
mod position;
mod settings;

mod format;
mod io;
mod names;
mod system_io;

mod files;
mod queue;
mod shared;

mod aside;
mod driver;
mod read;
#[cfg(feature = "test-support")]
mod scheduled;
mod upkeep;
mod writer;

mod chain;
mod recovery;
mod replay;
mod scan;

#[cfg(any(test, feature = "test-support"))]
pub mod crash;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, Monotonic};

use driver::Threads;
use queue::Gate;
use shared::Shared;

pub use error::{
    AppendError, NoteTooLong, SetAsideError, WalDamage, WalFailure, WalOpenError, WalReadError,
};
pub use io::{WalDirEntry, WalDirLock, WalFile, WalIo};
pub use position::{AppendClass, WalIdentity, WalLocation, WalLoss, WalPosition};
pub use settings::WalSettings;
pub use system_io::{SystemIo, newest_file};

/// Hears what the WAL thread did. Called on that thread, in order; it must return quickly, because nothing is written
/// meanwhile. It may append, read and recycle, but not drive turns or close the WAL.
pub trait WalListener: Send + Sync {
    /// Every record that ends at or below `up_to` survives the death of this process (but not yet a power cut).
    fn written(&self, up_to: WalPosition);
    /// Every record that ends at or below `up_to` survives a power cut.
    fn durable(&self, up_to: WalPosition);
    /// The WAL failed; called once. Nothing that was not reported durable may ever be acknowledged; the process must end
    /// with [`EXIT_WAL_FAILED`].
    fn failed(&self, error: &WalFailure);
}

/// The exit code of a process whose WAL failed (`EX_IOERR`).
pub const EXIT_WAL_FAILED: i32 = 74;

/// A record that recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Where it lies; [`Wal::read`] gives it again while it is kept.
    pub location: WalLocation,
    /// The class it was appended with.
    pub class: AppendClass,
    /// What was appended: head and body in one.
    pub payload: Bytes,
}

/// What the owner knows about a replayed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayVerdict {
    /// It is needed: it is recorded nowhere else.
    Keep,
    /// It is recorded elsewhere, or belongs to nobody: its file may go when all records before it may.
    Recorded,
}

/// What the newest file of a folder says of the life that began it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWritten {
    /// The incarnation; none in a fresh folder.
    pub incarnation: Option<u128>,
    /// The note; empty if there was none.
    pub note: Bytes,
}

/// What `open` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that were replayed.
    pub records: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Files that hold them.
    pub files: u64,
    /// Where the valid log ends; zero in a fresh folder.
    pub end: WalPosition,
    /// Where the next record will start; everything that is appended from now on is at or behind it.
    pub resumed_at: WalPosition,
    /// Whole records found behind the end that were never durable and were dropped.
    pub dropped_records: u64,
    /// The incarnation that wrote last; none in a fresh folder.
    pub last_incarnation: Option<u128>,
    /// The note in the newest file header; empty if there was none.
    pub note: Bytes,
    /// The damage that `WalSettings::accept_loss` allowed to pass over.
    pub accepted_loss: Option<WalLoss>,
}

/// How full the WAL is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalUsage {
    /// Bytes of records (with headers) in files that are not recycled yet, and in the queue.
    pub bytes: u64,
    /// The cap on bytes.
    pub cap_bytes: u64,
    /// Files that hold records and are not recycled yet.
    pub files: u64,
    /// Spare files that are ready.
    pub spare_files: u64,
    /// Records of class Run at or behind the recycled position.
    pub entries: u64,
    /// The cap on them.
    pub entries_max: u64,
    /// Whether the last attempt to make a file found no room on the disk.
    pub disk_full: bool,
}

/// What one turn of the WAL did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A group was written and synced; more may be queued.
    Wrote {
        /// Its records, a seal included.
        records: usize,
    },
    /// There is nothing to write.
    Idle {
        /// When the next turn has a seal to write, if nothing is appended before.
        until: Option<Monotonic>,
    },
    /// The WAL is closed or failed; no turn will write again.
    Stopped,
}

/// The write-ahead log of one broker.
pub struct Wal {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = self.usage();
        f.debug_struct("Wal")
            .field("usage", &usage)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Locks the folder, replays every valid record in order, and starts a new file behind them. When it returns, the
    /// new file is durable and names how far the log was valid, so that a later recovery comes to the same result.
    /// What `replay` was told is void if this fails.
    pub fn open(
        io: Arc<dyn WalIo>,
        settings: WalSettings,
        identity: WalIdentity,
        ambient: Ambient,
        replay: &mut dyn FnMut(Replayed) -> ReplayVerdict,
    ) -> Result<(Self, Recovery), WalOpenError> {
        let opening = recovery::Opening {
            io,
            settings,
            identity,
            ambient,
        };
        let (shared, recovery) = opening.open(replay)?;
        Ok((
            Self {
                shared,
                threads: Mutex::default(),
            },
            recovery,
        ))
    }

    /// Looks at the newest file's header before the WAL is opened: whether the metadata store is the one that the last
    /// writer knew is asked before anything changes.
    ///
    /// # Errors
    /// As [`Wal::open`]; nothing was changed.
    pub fn last_written(
        io: &dyn WalIo,
        settings: &WalSettings,
        identity: &WalIdentity,
    ) -> Result<LastWritten, WalOpenError> {
        recovery::last_written(io, settings, identity)
    }

    /// Looks for all damage that [`Wal::open`] would name one after the other, whatever `settings.accept_loss` says; empty if
    /// there is none. Reads everything, as an opening does, and changes no record and no file that holds any.
    ///
    /// # Errors
    /// As [`Wal::open`], but never [`WalOpenError::Corrupt`].
    pub fn damage(
        io: &dyn WalIo,
        settings: &WalSettings,
        identity: &WalIdentity,
    ) -> Result<Vec<WalDamage>, WalOpenError> {
        recovery::damage(io, settings, identity)
    }

    /// Starts the WAL thread and the upkeep thread (spare files, recycling). Call once; a second call does nothing.
    pub fn start(&self, listener: Arc<dyn WalListener>) -> std::io::Result<()> {
        let mut threads = self.threads.lock();
        if threads.are_started() {
            Ok(())
        } else {
            threads.start(&self.shared, listener)
        }
    }

    /// Fixes the place of a record in the log and queues it. Never waits for the disk. The payload is `head` followed
    /// by `body`. On an error nothing was and nothing will be written.
    pub fn append(
        &self,
        class: AppendClass,
        head: Bytes,
        body: Bytes,
    ) -> Result<WalLocation, AppendError> {
        // Before the lock: appending threads share the cost of the checksums.
        let payload_crc = format::payload_crc(&head, &body);
        let mut queue = self.shared.queue.lock();
        let admitted = queue.admit(&self.shared.settings, class, head, body, payload_crc);
        let wakes = admitted.is_ok() && queue.is_parked;
        drop(queue);
        if wakes {
            self.shared.work.notify_one();
        }
        admitted
    }

    /// Whether a record of class [`AppendClass::Run`] with `payload_bytes` would not be refused as [`AppendError::Full`]
    /// now, or would be so whatever is recycled, because the disk is full.
    #[must_use]
    pub fn has_room(&self, payload_bytes: u64) -> bool {
        let queue = self.shared.queue.lock();
        queue.would_decide(&self.shared.settings, payload_bytes)
    }

    /// How full the WAL is.
    #[must_use]
    pub fn usage(&self) -> WalUsage {
        self.shared.usage()
    }

    /// Everything that ends at or below this survives a power cut.
    #[must_use]
    pub fn durable_to(&self) -> WalPosition {
        self.shared.durable_to()
    }

    /// Everything that ends at or below this survives the death of the process, and can be read.
    #[must_use]
    pub fn written_to(&self) -> WalPosition {
        self.shared.written_to()
    }

    /// Everything below this may be gone.
    #[must_use]
    pub fn recycled_to(&self) -> WalPosition {
        self.shared.recycled_to()
    }

    /// Reads a record on the blocking pool. Its file is pinned by this call, not by the first poll, so that it can be
    /// called in the step that resolved the location and awaited later.
    pub fn read(
        &self,
        location: WalLocation,
    ) -> impl Future<Output = Result<Bytes, WalReadError>> + Send + 'static + use<> {
        let pinned = self.shared.pin(location.position);
        let tasks = self.shared.ambient.tasks.clone();
        async move {
            let pin = pinned?;
            let reading = tasks.blocking(move || read::read_one(&pin, location));
            reading
                .await
                .unwrap_or_else(|_| Err(read::stopped(location)))
        }
    }

    /// Reads a record on the calling thread.
    pub fn read_now(&self, location: WalLocation) -> Result<Bytes, WalReadError> {
        read::read_one(&self.shared.pin(location.position)?, location)
    }

    /// Reads records on the calling thread, in the order of `locations`. Those that lie one behind the other cost one
    /// read together and share its memory.
    pub fn read_all(&self, locations: &[WalLocation]) -> Result<Vec<Bytes>, WalReadError> {
        let mut out = Vec::with_capacity(locations.len());
        let mut rest = locations;
        while let Some(first) = rest.first() {
            let pin = self.shared.pin(first.position)?;
            let adjacent = &rest[..read::span_len(rest)];
            let count = self.shared.count_in(&pin, adjacent);
            read::read_pinned(&pin, &adjacent[..count], &mut out)?;
            rest = &rest[count..];
        }
        Ok(out)
    }

    /// Says that every record that ends at or below `position` is recorded elsewhere. Never goes back, and never passes
    /// what is durable. Files are recycled by upkeep when no read has pinned them.
    pub fn recycle_to(&self, position: WalPosition) {
        self.shared.recycle_to(position);
    }

    /// Copies records into a file of `owner` alone, in place of the one that it had, and returns its name. When it returns,
    /// the copy is durable: [`Wal::recycle_to`] may pass these records, they are replayed first by every start, and can be
    /// read. The owner names all its records that are recorded nowhere else, those that were set aside before included.
    /// Waits for the disk; one call at a time for an owner.
    ///
    /// # Errors
    /// See [`SetAsideError`]; the log keeps the records.
    pub fn set_aside(
        &self,
        owner: u32,
        records: &[(WalLocation, AppendClass)],
    ) -> Result<String, SetAsideError> {
        self.shared.set_aside(owner, records)
    }

    /// Sets what the headers of files started from now on carry (what the broker last saw of the metadata store).
    pub fn set_note(&self, note: Bytes) -> Result<(), NoteTooLong> {
        if note.len() > format::NOTE_BYTES_MAX {
            return Err(NoteTooLong {
                len: note.len(),
                max: format::NOTE_BYTES_MAX,
            });
        }
        *self.shared.note.lock() = note;
        Ok(())
    }

    /// Writes and syncs one group, or the seal if it is due. The WAL thread does nothing else; a simulation calls it
    /// instead of [`Wal::start`].
    pub fn turn(&self, listener: &dyn WalListener) -> Turn {
        self.shared.turn(listener)
    }

    /// Does one piece of upkeep (recycle a file, make a spare); false if there is none to do now. The upkeep thread does
    /// nothing else; a simulation calls it instead of [`Wal::start`].
    pub fn upkeep(&self) -> bool {
        self.shared.upkeep()
    }

    /// Refuses further appends, writes what is queued and a last seal, and stops the threads. Safe to call again.
    pub fn close(&self) {
        self.shared.shut(Gate::Closing);
        let mut threads = self.threads.lock();
        if threads.are_started() {
            threads.join();
        } else {
            while self.shared.turn(&Unheard) != Turn::Stopped {}
        }
        drop(threads);
        self.shared.dir_lock.lock().take();
    }
}

impl Drop for Wal {
    /// Stops without writing what is queued, as a crash would: [`Wal::close`] is the orderly way.
    fn drop(&mut self) {
        self.shared.shut(Gate::Closed);
        self.shared.stop_upkeep();
        self.threads.lock().join();
        self.shared.dir_lock.lock().take();
    }
}

/// Nobody waits for a WAL that was never started.
struct Unheard;

impl WalListener for Unheard {
    fn written(&self, _up_to: WalPosition) {}
    fn durable(&self, _up_to: WalPosition) {}
    fn failed(&self, _error: &WalFailure) {}
}
