//! Opening a WAL: lock, read, replay, and start a new file behind what was valid.
//!
//! Until the new file is durable nothing that recovery read is touched, so an interrupted recovery is simply repeated.
//! The new file's header names how far the log was valid: what lies behind that in older files never comes back. A file
//! that an earlier recovery started and nobody used is left out of the chain and becomes a spare again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Condvar, Mutex};
use streamhouse_runtime::Ambient;

use super::aside::{self, AsideReplay};
use super::chain::{Folder, FoundFile, io_error, read_folder};
use super::files::{Files, LiveFile, SpareFile};
use super::format::{FILE_HEADER_BYTES, FileHeader, POSITION_MAX, Predecessor};
use super::queue::{EntryCount, Gate, Queue};
use super::replay::{POSITION_GAP, Replay, ReplayedFile, replay};
use super::shared::Shared;
use super::upkeep::make_spare;
use super::writer::{Writer, enter_log};
use super::{
    Bytes, LastWritten, Recovery, ReplayVerdict, Replayed, WalDamage, WalDirLock, WalIdentity,
    WalIo, WalOpenError, WalPosition, WalSettings, names,
};

/// Spares that exist when `open` returns, below the cap.
const SPARES_AT_START: u64 = 2;

/// What `open` was called with.
pub(super) struct Opening {
    pub(super) io: Arc<dyn WalIo>,
    pub(super) settings: WalSettings,
    pub(super) identity: WalIdentity,
    pub(super) ambient: Ambient,
}

impl Opening {
    pub(super) fn open(
        self,
        on_record: &mut dyn FnMut(Replayed) -> ReplayVerdict,
    ) -> Result<(Arc<Shared>, Recovery), WalOpenError> {
        if let Some(problem) = self.settings.problem() {
            return Err(WalOpenError::Settings { problem });
        }
        let lock = lock(self.io.as_ref(), &self.settings)?;
        let mut folder = read_folder(self.io.as_ref(), &self.identity)?;
        let (mut aside, mut replayed) = replay_all(
            self.io.as_ref(),
            &mut folder,
            &self.settings,
            &self.identity,
            on_record,
        )?;
        let damage = std::mem::take(&mut aside.damage).into_iter();
        if let Some(damage) = damage.chain(replayed.judge()).next() {
            return Err(damage.into());
        }
        replayed.records += aside.records;
        replayed.payload_bytes += aside.payload_bytes;
        replayed.accepted_loss = replayed.accepted_loss.or(aside.accepted_loss);
        let mut recovery = report(&folder, &replayed);
        let mut files = Files::new(folder.newest_serial + 1);
        self.adopt_spares(&mut folder, &mut files)?;
        let current = self.begin(&folder, &replayed, aside.end, &mut files)?;
        recovery.resumed_at = current.base;
        aside
            .needed
            .into_iter()
            .for_each(|file| files.put_aside(file));
        let note = current_note(&self.settings, &replayed);
        let shared = self.assemble(folder, replayed, files, current, note);
        shared.remove_asides(&aside.unneeded);
        *shared.dir_lock.lock() = Some(lock);
        shared.prepare_spares();
        Ok((shared, recovery))
    }

    /// Opens the spares that earlier runs left; those of another size are removed.
    fn adopt_spares(&self, folder: &mut Folder, files: &mut Files) -> Result<(), WalOpenError> {
        for (_, name, len) in std::mem::take(&mut folder.spares) {
            if len == self.settings.file_bytes {
                let file = self.io.open(&name).map_err(io_error("open", &name))?;
                files.add_spare(SpareFile {
                    name,
                    file,
                    is_filled: true,
                });
            } else {
                self.io.remove(&name).map_err(io_error("remove", &name))?;
            }
        }
        Ok(())
    }

    /// Starts the new file and makes it durable.
    fn begin(
        &self,
        folder: &Folder,
        replayed: &Replay,
        aside_end: u64,
        files: &mut Files,
    ) -> Result<Arc<LiveFile>, WalOpenError> {
        let predecessor = used_files(replayed).last().map(|file| Predecessor {
            number: file.found.number,
            salt: file.header.salt,
            end: WalPosition(file.end),
        });
        // The newest file has the highest base of all, used or not. What follows lies behind a loss that was accepted:
        // accepting that once more never passes over anything of it.
        let bases = replayed.files.iter().map(|file| file.header.base.0);
        let lost_to = replayed.accepted_loss.map_or(0, |lost| lost.to.0);
        let highest = bases.fold(replayed.end.max(aside_end).max(lost_to), u64::max);
        let base = match folder.newest_number {
            0 if highest == 0 => 0,
            _ => highest.saturating_add(POSITION_GAP),
        };
        if base > POSITION_MAX {
            // A header that says so would not be read by the next start.
            let spent = std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the positions in the log leave no room for others",
            );
            return Err(io_error("go on behind", "the newest file")(spent));
        }
        let header = FileHeader {
            number: folder.newest_number.max(self.settings.begun_to) + 1,
            salt: self.ambient.chance.next_u64(),
            base: WalPosition(base),
            file_bytes: self.settings.file_bytes,
            identity: self.identity,
            predecessor,
            note: current_note(&self.settings, replayed).to_vec(),
        };
        let spare = match files.take_spare() {
            Some(spare) => spare,
            None => self.make_first(files.take_serial())?,
        };
        let name = names::log_file(header.number);
        enter_log(self.io.as_ref(), spare, &header).map_err(io_error("begin", &name))
    }

    /// A file for the very first start: reserved but not filled, because readiness waits for it.
    fn make_first(&self, serial: u64) -> Result<SpareFile, WalOpenError> {
        let name = names::unfinished_file(serial);
        let file = self.io.create(&name).map_err(io_error("create", &name))?;
        file.reserve(self.settings.file_bytes)
            .map_err(io_error("reserve", &name))?;
        Ok(SpareFile {
            name,
            file,
            is_filled: false,
        })
    }

    fn assemble(
        self,
        folder: Folder,
        replayed: Replay,
        mut files: Files,
        current: Arc<LiveFile>,
        note: Bytes,
    ) -> Arc<Shared> {
        let base = current.base.0;
        let mut entries = EntryCount::new(self.settings.entries_max);
        replayed.run_ends.iter().for_each(|end| entries.push(*end));
        let (mut bytes, mut count) = (0, 1);
        for dead in folder.dead {
            files.add_retired(without_records(dead, WalPosition(0)));
            count += 1;
        }
        let last_used = replayed.files.iter().rposition(|file| file.records > 0);
        for (place, file) in replayed.files.into_iter().enumerate() {
            let live = Arc::new(LiveFile {
                number: file.found.number,
                name: file.found.name,
                base: file.header.base,
                salt: file.header.salt,
                file_bytes: file.found.len,
                file: file.found.file,
            });
            count += 1;
            if last_used.is_none_or(|last| place > last) {
                files.add_retired(live);
            } else {
                bytes += file.end - file.header.base.0;
                files.add_closed(live, WalPosition(file.end));
            }
        }
        for (found, lost) in replayed.unreadable {
            // It keeps its place in the order of recycling.
            count += 1;
            files.add_closed(without_records(found, lost.from), lost.to);
        }
        files.begin(Arc::clone(&current), current.base);
        let room_in_file = self.settings.file_bytes - FILE_HEADER_BYTES;
        let queue = Queue {
            gate: Gate::Open,
            pending: Default::default(),
            next: base,
            room_in_file,
            files: count,
            spares: files.spare_count() as u64,
            bytes,
            queued_bytes: 0,
            entries,
            disk_full: false,
            is_parked: false,
        };
        let shared = Arc::new(Shared {
            io: self.io,
            settings: self.settings,
            identity: self.identity,
            ambient: self.ambient,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            files: Mutex::new(files),
            writer: Mutex::new(Writer::new(current)),
            written: AtomicU64::new(base),
            durable: AtomicU64::new(base),
            recycled: AtomicU64::new(0),
            is_written_to: AtomicBool::new(false),
            note: Mutex::new(note),
            failure: Mutex::default(),
            upkeep: Mutex::default(),
            upkeep_due: Condvar::new(),
            dir_lock: Mutex::new(None),
        });
        shared.recycle_to(WalPosition(replayed.recorded_to));
        shared
    }
}

impl Shared {
    /// Removes files whose records are all recorded elsewhere. What cannot be removed now is tried at the next start.
    fn remove_asides(&self, names: &[String]) {
        let removed = names.iter().try_for_each(|name| self.io.remove(name));
        if !names.is_empty()
            && let Err(error) = removed.and_then(|()| self.io.sync_dir())
        {
            tracing::warn!(%error, "cannot remove WAL files with records that were set aside; the next start tries again");
        }
    }

    /// Sees to the two spares that must exist from the start; more of them are upkeep's work. Without room for them the
    /// broker starts all the same: what frees space must be able to run.
    fn prepare_spares(&self) {
        while self.queue.lock().spares < SPARES_AT_START && self.is_short_of_spares() {
            let retired = self.files.lock().take_unpinned();
            let is_made = match retired {
                Some(retired) => self.recycle(retired),
                None => make_spare(self, false).is_ok(),
            };
            if !is_made {
                break;
            }
        }
    }
}

fn lock(io: &dyn WalIo, settings: &WalSettings) -> Result<Box<dyn WalDirLock>, WalOpenError> {
    io.lock().map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let dir = settings.dir.display().to_string();
            WalOpenError::Locked { dir }
        } else {
            io_error("lock", "the folder")(error)
        }
    })
}

/// Replays what was set aside, and then the log.
fn replay_all(
    io: &dyn WalIo,
    folder: &mut Folder,
    settings: &WalSettings,
    identity: &WalIdentity,
    on_record: &mut dyn FnMut(Replayed) -> ReplayVerdict,
) -> Result<(AsideReplay, Replay), WalOpenError> {
    let accept = &settings.accept_loss;
    let asides = std::mem::take(&mut folder.asides);
    let mut aside = aside::replay(io, asides, identity, accept, on_record)?;
    let mut begun = Replay::new(accept.clone());
    begun.pass_over(std::mem::take(&mut aside.positions));
    let mut replayed = replay(folder, begun, on_record)?;
    replayed.lacks_files(settings, folder.newest_number);
    Ok((aside, replayed))
}

/// See [`super::Wal::damage`].
pub(super) fn damage(
    io: &dyn WalIo,
    settings: &WalSettings,
    identity: &WalIdentity,
) -> Result<Vec<WalDamage>, WalOpenError> {
    let _lock = lock(io, settings)?;
    let mut folder = read_folder(io, identity)?;
    let nothing_accepted = WalSettings {
        accept_loss: Vec::new(),
        ..settings.clone()
    };
    let on_record = &mut |_| ReplayVerdict::Keep;
    let (aside, mut replayed) =
        replay_all(io, &mut folder, &nothing_accepted, identity, on_record)?;
    Ok(aside.damage.into_iter().chain(replayed.judge()).collect())
}

/// See [`super::Wal::last_written`].
pub(super) fn last_written(
    io: &dyn WalIo,
    settings: &WalSettings,
    identity: &WalIdentity,
) -> Result<LastWritten, WalOpenError> {
    let _lock = lock(io, settings)?;
    let folder = read_folder(io, identity)?;
    let newest = folder.chain.last().and_then(|file| file.header.as_ref());
    Ok(
        newest.map_or_else(LastWritten::default, |header| LastWritten {
            incarnation: Some(header.identity.incarnation),
            note: Bytes::from(header.note.clone()),
        }),
    )
}

/// A file from which nothing can be read: no record has salt zero and its place.
fn without_records(found: FoundFile, base: WalPosition) -> Arc<LiveFile> {
    Arc::new(LiveFile {
        number: found.number,
        name: found.name,
        base,
        salt: 0,
        file_bytes: found.len,
        file: found.file,
    })
}

/// The files in which recovery found records.
fn used_files(replayed: &Replay) -> impl Iterator<Item = &ReplayedFile> {
    replayed.files.iter().filter(|file| file.records > 0)
}

/// What headers carry from now on: what the owner gave, else what the newest file carries.
fn current_note(settings: &WalSettings, replayed: &Replay) -> Bytes {
    let given = settings.note.clone();
    given.unwrap_or_else(|| Bytes::from(note_of(replayed)))
}

fn note_of(replayed: &Replay) -> Vec<u8> {
    replayed
        .files
        .last()
        .map(|file| file.header.note.clone())
        .unwrap_or_default()
}

fn report(folder: &Folder, replayed: &Replay) -> Recovery {
    let newest = replayed.files.last();
    let end = used_files(replayed).map(|file| file.end).max().unwrap_or(0);
    if replayed.dropped_records > 0 {
        tracing::info!(
            records = replayed.dropped_records,
            end,
            "dropped whole records behind a torn write; none of them was acknowledged as durable"
        );
    }
    Recovery {
        records: replayed.records,
        payload_bytes: replayed.payload_bytes,
        files: (replayed.files.len() + folder.dead.len()) as u64,
        end: WalPosition(end),
        resumed_at: WalPosition(0),
        dropped_records: replayed.dropped_records,
        last_incarnation: newest.map(|file| file.header.identity.incarnation),
        note: Bytes::from(note_of(replayed)),
        accepted_loss: replayed.accepted_loss,
    }
}
