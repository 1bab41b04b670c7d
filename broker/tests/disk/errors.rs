//! Errors of writes and syncs: after the first one in the WAL the broker ends with exit code 74 and acknowledges
//! nothing more.
//!
//! The power is cut after each error: what the broker acknowledged although its sync had failed would be gone.

use std::ops::Range;
use std::sync::atomic::Ordering;

use streamhouse_runtime::{Chance, SeededChance};

use crate::broker::{BUSY, Broker};
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::load::produce;
use crate::power::expect_nothing;
use crate::strace::Tracer;
use crate::wire::Connection;
use crate::{capabilities, say, scaled, strace};

/// Errors of the default run.
const ERRORS: u64 = 60;

/// `EX_IOERR`: the WAL could not be made durable.
const WAL_FAILED: i32 = 74;

/// A broker that is not hurt by an error goes on for so many acknowledgements.
const ACKS_MAX: u64 = 600;

/// The thread that writes the WAL.
const WAL: &str = "wal";

/// How the names of files end that have no part in the log yet, open or in quotes.
const UNFINISHED: [&str; 2] = [".tmp>", ".tmp\""];

/// Thread, call, error, and the most calls before it.
const FAULTS: &[(&str, &str, &str, u64)] = &[
    (WAL, "fdatasync", "EIO", 20),
    (WAL, "?pwrite64,?pwritev,?pwritev2", "EIO", 20),
    ("wal-upkeep", "fdatasync", "EIO", 4),
    (WAL, "fdatasync", "ENOSPC", 20),
    (WAL, "?pwrite64,?pwritev,?pwritev2", "ENOSPC", 20),
    ("metadata-sqlite", "fdatasync", "EIO", 10),
    (WAL, "fdatasync", "EINTR", 20),
    (WAL, "?rename,?renameat,?renameat2", "EIO", 1),
    ("wal-upkeep", "fallocate", "ENOSPC", 1),
    ("metadata-sqlite", "pwrite64", "ENOSPC", 10),
];

/// Errors of one disk. Everything is read back after each of them, and a disk fills up.
const ERRORS_PER_DISK: u64 = 10;

#[test]
fn an_error_of_the_disk_ends_the_broker_before_it_promises_anything() {
    if !capabilities::are_there("errors at the n-th write and sync") {
        return;
    }
    let errors = scaled(ERRORS);
    let chance = SeededChance::new(6);
    let (mut struck, mut ended) = (0, 0);
    for first in (0..errors).step_by(usize::try_from(ERRORS_PER_DISK).unwrap()) {
        let of_disk = first..errors.min(first + ERRORS_PER_DISK);
        let (more_struck, more_ended) = on_one_disk(of_disk, &chance);
        struck += more_struck;
        ended += more_ended;
    }
    say(&format!(
        "errors: {struck} of {errors}; the broker ended after {ended}"
    ));
    // Six rows of ten are of the log. Fewer, and one of them names a call that the log does not make any more.
    assert!(ended * 2 > errors, "the broker ended only {ended} times");
}

/// How many of these errors happened, and after how many the broker ended.
fn on_one_disk(errors: Range<u64>, chance: &SeededChance) -> (u64, u64) {
    let mut disk = Disk::ext4(1024);
    let broker = Broker::start(&disk.data(), BUSY, &[], disk.scratch()).unwrap();
    let mut ledger = Ledger::open(&broker);
    broker.stop();
    let (mut struck, mut ended) = (0, 0);
    for error in errors {
        let row = usize::try_from(error).unwrap() % FAULTS.len();
        let (thread, calls, errno, most) = FAULTS[row];
        // Once, as a disk does that says so and then lies, or from then on; each row both ways.
        let is_lasting = (error + error / 10).is_multiple_of(2);
        let from_then_on = if is_lasting { "+" } else { "" };
        let when = format!("{}{from_then_on}", 1 + chance.below(most));
        let what = format!("error {error}: {errno} at call {when} of {calls} in {thread}");
        let broker = Broker::start(&disk.data(), BUSY, &[], disk.scratch()).unwrap();
        let fault = format!("error={errno}:when={when}");
        let tracer = Tracer::attach(&broker, thread, calls, &fault, disk.scratch());
        let must_end = || {
            thread == WAL
                && strace::struck(disk.scratch())
                    .iter()
                    .any(|call| hits_log(call))
        };
        let code = produce_through(broker, &mut ledger, &disk, must_end);
        drop(tracer);
        struck += u64::from(!strace::struck(disk.scratch()).is_empty());
        ended += u64::from(code.is_some());
        if must_end() {
            let calls = strace::struck(disk.scratch());
            assert_eq!(code, Some(WAL_FAILED), "{what}: {calls:?}");
        }
        disk.mount_again();
        let again = Broker::start(&disk.data(), BUSY, &[], disk.scratch())
            .unwrap_or_else(|ended| panic!("after {what}: {ended:?}"));
        expect_nothing(&what, &ledger.audit(&again));
        again.stop();
    }
    (struck, ended)
}

/// Whether a call was one for the log itself. The thread also makes spare files in haste; one that cannot be made is
/// thrown away, and the broker goes on.
fn hits_log(call: &str) -> bool {
    !UNFINISHED.iter().any(|end| call.contains(end))
}

/// Lets producers work until the broker ends or has lived through it, and cuts the power. Gives the exit code of a
/// broker that ended by itself.
fn produce_through(
    mut broker: Broker,
    ledger: &mut Ledger,
    disk: &Disk,
    must_end: impl FnOnce() -> bool,
) -> Option<i32> {
    produce(ledger, &broker, ACKS_MAX, |must_stop| {
        must_stop.store(true, Ordering::Relaxed);
    });
    let ends = must_end() || Connection::open(broker.port).is_err();
    let code = if ends {
        broker.wait().code()
    } else {
        broker.kill();
        None
    };
    disk.cut_power();
    code
}
