//! Work beside the log that no acknowledgement waits for: recycling files and keeping spares filled with zeros.
//!
//! A sync into a file whose blocks were written before is cheaper than one that makes the file system note new blocks;
//! hence recycling instead of deleting, and hence the zeros. Zeros are written only while the log rests: beside a load
//! they would take from the disk what that load needs, as many bytes again as it writes itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::files::{RetiredFile, SpareFile};
use super::io::write_all_at;
use super::queue::Gate;
use super::shared::Shared;
use super::{WalFile, names};

const FILL_BYTES: usize = 1 << 20;
/// Filling rests this many times as long as it kept the disk busy, and at most so long, after each piece.
const FILL_REST: u32 = 3;
const FILL_REST_MAX: Duration = Duration::from_millis(50);
/// The two spares that exist even when the WAL is at its cap.
const SPARES_MIN: u64 = 2;
/// Class Run leaves those two alone; with one more, the next file can begin.
pub(super) const SPARES_WANTED: u64 = SPARES_MIN + 1;

impl Shared {
    /// Does one piece of upkeep; false if nothing is to be done, or nothing can be done now.
    pub(super) fn upkeep(&self) -> bool {
        if self.queue.lock().gate == Gate::Closed {
            return false;
        }
        let retired = self.files.lock().take_unpinned();
        if let Some(retired) = retired {
            return self.recycle(retired);
        }
        if !self.is_short_of_spares() {
            return false;
        }
        make_spare(self, true).is_ok()
    }

    /// How many spares there should be beside `files` files in use: fewer near the cap, so that the folder never holds
    /// more than two files beyond it.
    fn spares_target(&self, files: u64) -> u64 {
        let cap_files = self.settings.cap_files();
        if files > cap_files {
            // The file in reserve is in use; one more for the next recovery.
            SPARES_MIN - 1
        } else {
            // With fewer than the log's next file needs, a disk that was full once would refuse records for ever:
            // no group is written, and only writing one would ask for a spare.
            let wanted = (self.settings.pool_files as u64).max(SPARES_WANTED);
            wanted.min(SPARES_MIN + cap_files - files)
        }
    }

    /// Whether upkeep has work that it could not do.
    pub(super) fn lacks_spares(&self) -> bool {
        let has_retired = self.files.lock().has_retired();
        has_retired || self.is_short_of_spares()
    }

    pub(super) fn is_short_of_spares(&self) -> bool {
        let (spares, files) = {
            let queue = self.queue.lock();
            (queue.spares, queue.files)
        };
        spares < self.spares_target(files)
    }

    /// Makes a file spare, or removes it if its size is not today's or the folder is at its bound. One file at a time, each made to last before the next: a
    /// crash must never leave an older file behind without its successor.
    pub(super) fn recycle(&self, retired: RetiredFile) -> bool {
        let (spares, files_left) = {
            let queue = self.queue.lock();
            (queue.spares, queue.files.saturating_sub(1))
        };
        // Its blocks are written already: as long as the folder stays within its bound, keeping it is cheaper than
        // filling another with zeros when the next burst comes.
        let is_wanted = retired.live.file_bytes == self.settings.file_bytes
            && spares + files_left < SPARES_MIN + self.settings.cap_files();
        let name = retired.live.name.clone();
        let spare_name = names::spare_file(self.files.lock().take_serial());
        let moved = if is_wanted {
            self.io.rename(&name, &spare_name)
        } else {
            self.io.remove(&name)
        };
        if let Err(error) = moved {
            tracing::warn!(file = %name, %error, "cannot recycle a WAL file; trying again later");
            self.files.lock().put_back(retired);
            return false;
        }
        if let Err(error) = self.io.sync_dir() {
            // Whether the file is still there is unknown, and going on could leave a gap in the log.
            self.fail("recycle", &name, error);
            return false;
        }
        if is_wanted {
            let file = Arc::clone(&retired.live.file);
            self.files.lock().add_spare(SpareFile {
                name: spare_name,
                file,
                is_filled: true,
            });
        }
        let mut queue = self.queue.lock();
        queue.files = queue.files.saturating_sub(1);
        queue.bytes = queue.bytes.saturating_sub(retired.bytes);
        queue.spares += u64::from(is_wanted);
        true
    }
}

/// Makes one spare file: filled with zeros if `fill` asks for it and the log rests, or only reserved. A full disk is noted, so that appends are refused in time.
pub(super) fn make_spare(shared: &Shared, fill: bool) -> io::Result<()> {
    let serial = shared.files.lock().take_serial();
    let (unfinished, name) = (names::unfinished_file(serial), names::spare_file(serial));
    match try_make(shared, &unfinished, &name, fill) {
        Ok((file, is_filled)) => {
            shared.files.lock().add_spare(SpareFile {
                name,
                file,
                is_filled,
            });
            let mut queue = shared.queue.lock();
            queue.spares += 1;
            queue.disk_full = false;
            Ok(())
        }
        Err(error) => {
            // What is left of it goes now, or at the next start.
            let _ = shared.io.remove(&unfinished);
            let _ = shared.io.remove(&name);
            let is_full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            let was_full = std::mem::replace(&mut shared.queue.lock().disk_full, is_full);
            if !was_full && error.kind() != io::ErrorKind::Interrupted {
                tracing::warn!(%error, "cannot make a spare WAL file; appends stop when the others are used");
            }
            Err(error)
        }
    }
}

fn try_make(
    shared: &Shared,
    unfinished: &str,
    name: &str,
    fill: bool,
) -> io::Result<(Arc<dyn WalFile>, bool)> {
    let bytes = shared.settings.file_bytes;
    let file = shared.io.create(unfinished)?;
    file.reserve(bytes)?;
    let is_filled = fill && fill_with_zeros(shared, file.as_ref(), bytes)?;
    file.sync_data()?;
    shared.io.rename(unfinished, name)?;
    shared.io.sync_dir()?;
    Ok((file, is_filled))
}

/// False if it ended before the end of the file, because the log is being written.
fn fill_with_zeros(shared: &Shared, file: &dyn WalFile, bytes: u64) -> io::Result<bool> {
    let zeros = vec![0; FILL_BYTES.min(usize::try_from(bytes).unwrap_or(FILL_BYTES))];
    let mut at = 0;
    while at < bytes {
        // A WAL that closes does not wait for spares.
        if shared.queue.lock().gate != Gate::Open {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if shared.is_written_to.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let began = shared.ambient.clock.monotonic();
        let count = usize::try_from(bytes - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        write_all_at(file, at, &zeros[..count])?;
        at += count as u64;
        // In pieces, and most of the time not at all: the log's own syncs, which may begin at any moment, wait for all that
        // the disk has not written yet; nobody waits for a spare.
        file.sync_data()?;
        let busy = shared.ambient.clock.monotonic() - began;
        shared.rest(FILL_REST_MAX.min(busy * FILL_REST));
    }
    Ok(true)
}
