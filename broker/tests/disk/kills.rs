//! `kill -9` at the n-th system call of each kind, also while the broker starts and recovers.

use std::ops::Range;
use std::os::unix::process::ExitStatusExt;

use streamhouse_runtime::{Chance, SeededChance};

use crate::broker::{BUSY, Broker, EndedAtStart};
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::load::produce;
use crate::power::expect_nothing;
use crate::{capabilities, say, scaled, strace};

/// Kills of the default run.
const KILLS: u64 = 60;

const SIGKILL: i32 = 9;

/// If the call does not come often enough, the process is killed after so many acknowledgements.
const ACKS_MAX: u64 = 300;

/// Calls, and the most of them that one thread is let do. A question mark: not every machine has the call.
const CALLS: &[(&str, u64)] = &[
    ("?pwrite64,?pwritev,?pwritev2", 200),
    ("fdatasync", 100),
    ("write", 60),
    ("?sendto,?sendmsg,?writev", 60),
    ("?rename,?renameat,?renameat2", 6),
    ("fallocate", 4),
    ("fsync", 12),
    ("?unlink,?unlinkat,?ftruncate", 6),
];

/// Kills on one disk. Everything is read back after each of them, and a disk fills up.
const KILLS_PER_DISK: u64 = 20;

#[test]
fn a_kill_at_any_system_call_loses_and_doubles_nothing() {
    if !capabilities::are_there("kill -9 at the n-th system call") {
        return;
    }
    let kills = scaled(KILLS);
    let chance = SeededChance::new(5);
    let (mut struck, mut at_start) = (0, 0);
    for first in (0..kills).step_by(usize::try_from(KILLS_PER_DISK).unwrap()) {
        let of_disk = first..kills.min(first + KILLS_PER_DISK);
        let (more_struck, more_at_start) = on_one_disk(of_disk, &chance);
        struck += more_struck;
        at_start += more_at_start;
    }
    say(&format!(
        "kills: {struck} at their call ({at_start} of them at the start), {} later",
        kills - struck
    ));
    assert!(
        struck * 3 > kills,
        "only {struck} kills came at their system call"
    );
}

/// How many of these kills came at their system call, and how many of those while the broker started.
fn on_one_disk(kills: Range<u64>, chance: &SeededChance) -> (u64, u64) {
    let disk = Disk::ext4(1024);
    let broker = Broker::start(&disk.data(), BUSY, &[], disk.scratch()).unwrap();
    let mut ledger = Ledger::open(&broker);
    broker.stop();
    let (mut struck, mut at_start) = (0, 0);
    for kill in kills {
        let of_calls = usize::try_from(kill).unwrap() % CALLS.len();
        let (calls, most) = CALLS[of_calls];
        // Every other one early: while the broker starts and recovers.
        let most = most / (1 + 7 * (kill / 8 % 2)) + 1;
        let when = 1 + chance.below(most);
        let what = format!("kill {kill}, at call {when} of {calls}");
        let under = strace::around(calls, &format!("signal=KILL:when={when}"), disk.scratch());
        match Broker::start(&disk.data(), BUSY, &under, disk.scratch()) {
            Ok(broker) => {
                struck += u64::from(produce_until_killed(broker, &mut ledger, &what));
            }
            Err(ended) => {
                expect_killed(&ended, &what);
                at_start += 1;
                struck += 1;
            }
        }
        let again = Broker::start(&disk.data(), BUSY, &[], disk.scratch())
            .unwrap_or_else(|ended| panic!("after {what}: {ended:?}"));
        expect_nothing(&what, &ledger.audit(&again));
        again.stop();
    }
    (struck, at_start)
}

/// Whether the kill came at the system call.
fn produce_until_killed(mut broker: Broker, ledger: &mut Ledger, what: &str) -> bool {
    let pid = broker.pid();
    let acknowledged = produce(ledger, &broker, ACKS_MAX, |_| {
        // It may be dead already; it is our child until it was waited for.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    });
    let status = broker.wait();
    assert_eq!(status.signal(), Some(SIGKILL), "{what}: {status}");
    acknowledged < ACKS_MAX
}

fn expect_killed(ended: &EndedAtStart, what: &str) {
    assert_eq!(ended.status.signal(), Some(SIGKILL), "{what}: {ended:?}");
}
