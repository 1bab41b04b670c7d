//! Disks that lie. One fails a sync and then says that all is well, as disks with a write cache and thin volumes do: a
//! broker that believed the second sync would lose records. One only lies: nobody can keep a promise on it, but the
//! loss must be found.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::broker::Broker;
use crate::disk::{Filler, Mount, make_ext4};
use crate::history::Breach;
use crate::ledger::Ledger;
use crate::load::produce;
use crate::power::expect_nothing;
use crate::{capabilities, say, scaled};

/// Disks that are tried until one lies.
const DISKS_MAX: u64 = 20;

const OUTER_MIB: u64 = 96;
const INNER_MIB: u64 = 64;

/// Nothing leaves the WAL, and spare files are reserved, not filled: they have holes in the outer file system.
const SPARSE: &[&str] = &[
    "wal.file_bytes=4MiB",
    "wal.max_bytes=64MiB",
    "wal.pool_files=2",
    "log.flush_bytes=1GiB",
    "log.flush_interval=1h",
    "metadata.shards=4",
];

/// `EX_IOERR`: the WAL could not be made durable.
const WAL_FAILED: i32 = 74;

/// `EX_DATAERR`: the data folder is damaged.
const DAMAGED: i32 = 65;

/// An ext4 without a journal on a sparse file, which lies on another file system. When that one is full, what the inner
/// one writes to new places fails or vanishes.
#[derive(Debug)]
struct ThinDisk {
    inner: Option<Mount>,
    image: PathBuf,
    outer: Mount,
    scratch: TempDir,
}

impl ThinDisk {
    fn on(outer: impl FnOnce(&Path) -> Result<Mount, String>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let outer = outer(scratch.path()).unwrap();
        let image = outer.point().join("image");
        make_ext4(&image, INNER_MIB, &["-O", "^has_journal"]).unwrap();
        let inner = Mount::image(&image, &scratch.path().join("inner")).unwrap();
        Self {
            inner: Some(inner),
            image,
            outer,
            scratch,
        }
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("inner").join("data")
    }

    /// Forgets what is cached of the inner file system.
    fn mount_again(&mut self) {
        self.inner.take().unwrap().unmount().unwrap();
        let point = self.scratch.path().join("inner");
        self.inner = Some(Mount::image(&self.image, &point).unwrap());
    }
}

#[test]
fn a_sync_that_fails_once_and_then_lies_costs_nothing() {
    if !capabilities::are_there("a sync that fails once and then lies") {
        return;
    }
    for _ in 0..scaled(1) {
        let mut disk = ThinDisk::on(|scratch| {
            let image = scratch.join("image");
            make_ext4(&image, OUTER_MIB, &[])?;
            Mount::image(&image, &scratch.join("outer"))
        });
        let (mut broker, mut ledger) = started(&disk);
        broker.kill();
        // The file that the next start begins has room on the inner disk and, but for its header, none on the outer
        // one.
        let scratch = disk.scratch.path();
        let mut broker = Broker::start(&disk.data(), SPARSE, &[], scratch).unwrap();
        let filler = Filler::fill(disk.outer.point());
        produce(&mut ledger, &broker, u64::MAX, |_| {});
        let status = broker.wait();
        assert_eq!(status.code(), Some(WAL_FAILED), "{}", broker.last_words());
        drop(filler);
        disk.mount_again();
        let again = Broker::start(&disk.data(), SPARSE, &[], disk.scratch.path()).unwrap();
        expect_nothing("after a failed sync", &ledger.audit(&again));
        again.stop();
    }
}

/// A write that would fill a hole is cut short and still succeeds, if it began outside of the hole. Whether one does is
/// up to how the kernel cuts writes, so more than one disk may be needed.
#[test]
fn the_loss_of_a_disk_that_only_lies_is_found() {
    if !capabilities::are_there("a disk that lies") {
        return;
    }
    for _ in 0..scaled(1) {
        let disks = (1..=DISKS_MAX).find(|_| a_lie_is_found());
        let disks = disks.expect("no disk lied, or no loss was found");
        say(&format!("a disk that lies: found on disk {disks}"));
    }
}

/// Whether a disk that lied was found out. It never leads to records that nobody sent.
fn a_lie_is_found() -> bool {
    let mut disk = ThinDisk::on(|scratch| Mount::memory(OUTER_MIB, &scratch.join("outer")));
    let (mut broker, mut ledger) = started(&disk);
    let filler = Filler::fill(disk.outer.point());
    produce(&mut ledger, &broker, 50, |must_stop| {
        must_stop.store(true, Ordering::Relaxed);
    });
    broker.kill();
    drop(filler);
    disk.mount_again();
    match Broker::start(&disk.data(), SPARSE, &[], disk.scratch.path()) {
        Ok(again) => {
            let violations = ledger.audit(&again);
            let mut wrong = violations
                .iter()
                .filter(|found| found.breach == Breach::Changed);
            assert!(wrong.next().is_none(), "served as records: {violations:?}");
            !violations.is_empty()
        }
        // A broker that sees the loss by itself and refuses to serve is as good.
        Err(ended) => {
            assert_eq!(ended.status.code(), Some(DAMAGED), "{}", ended.words);
            true
        }
    }
}

/// A broker that has acknowledged some batches while the disk was sound.
fn started(disk: &ThinDisk) -> (Broker, Ledger) {
    let scratch = disk.scratch.path();
    let broker = Broker::start(&disk.data(), SPARSE, &[], scratch).unwrap();
    let mut ledger = Ledger::open(&broker);
    produce(&mut ledger, &broker, 20, |must_stop| {
        must_stop.store(true, Ordering::Relaxed);
    });
    (broker, ledger)
}
