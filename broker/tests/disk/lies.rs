//! Disks that lie. One fails a sync and then says that all is well, as disks with a write cache and thin volumes do: a broker
//! that believed the second sync would lose records. One only lies: nobody can keep a promise on it, but the loss must be
//! found.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::broker::Broker;
use crate::disk::{Filler, Mount, make_ext4};
use crate::full::NO_FLUSH;
use crate::history::Breach;
use crate::ledger::Ledger;
use crate::load::produce;
use crate::power::expect_nothing;
use crate::{capabilities, say, scaled};

const OUTER_MIB: u64 = 96;
const INNER_MIB: u64 = 64;

/// `EX_IOERR`: the WAL could not be made durable.
const WAL_FAILED: i32 = 74;

/// `EX_DATAERR`: the data folder is damaged.
const DAMAGED: i32 = 65;

/// An ext4 without a journal on a sparse file, which lies on another file system. When that one is full, what the inner one
/// writes to new places fails or vanishes.
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
        let filler = Filler::fill(disk.outer.point());
        produce(&mut ledger, &broker, u64::MAX, |_| {});
        let status = broker.wait();
        assert_eq!(status.code(), Some(WAL_FAILED), "{}", broker.last_words());
        drop(filler);
        disk.mount_again();
        let again = Broker::start(&disk.data(), NO_FLUSH, &[], disk.scratch.path()).unwrap();
        expect_nothing("after a failed sync", &ledger.audit(&again));
        again.stop();
    }
}

#[test]
fn the_loss_of_a_disk_that_only_lies_is_found() {
    if !capabilities::are_there("a disk that lies") {
        return;
    }
    for _ in 0..scaled(1) {
        let mut disk = ThinDisk::on(|scratch| Mount::memory(OUTER_MIB, &scratch.join("outer")));
        let (mut broker, mut ledger) = started(&disk);
        let filler = Filler::fill(disk.outer.point());
        let acknowledged = produce(&mut ledger, &broker, 50, |must_stop| {
            must_stop.store(true, Ordering::Relaxed);
        });
        broker.kill();
        drop(filler);
        disk.mount_again();
        match Broker::start(&disk.data(), NO_FLUSH, &[], disk.scratch.path()) {
            Ok(again) => {
                let violations = ledger.audit(&again);
                say(&format!(
                    "a disk that lies: {acknowledged} batches acknowledged on it, {} violations found",
                    violations.len()
                ));
                assert!(
                    !violations.is_empty(),
                    "the disk lied and nothing is missing"
                );
                let changed = violations
                    .iter()
                    .find(|found| found.breach == Breach::Changed);
                assert!(changed.is_none(), "served as a record: {changed:?}");
            }
            Err(ended) => {
                assert_eq!(ended.status.code(), Some(DAMAGED), "{}", ended.words);
                say(&format!("a disk that lies: {}", ended.words));
            }
        }
    }
}

/// A broker that has acknowledged some batches while the disk was sound.
fn started(disk: &ThinDisk) -> (Broker, Ledger) {
    let scratch = disk.scratch.path();
    let broker = Broker::start(&disk.data(), NO_FLUSH, &[], scratch).unwrap();
    let mut ledger = Ledger::open(&broker);
    produce(&mut ledger, &broker, 20, |must_stop| {
        must_stop.store(true, Ordering::Relaxed);
    });
    (broker, ledger)
}
