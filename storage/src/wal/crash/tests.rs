//! The disk in memory keeps what was synced, and forgets the rest in every way it promises.

use streamhouse_runtime::SeededChance;

use super::*;
use crate::wal::WalIo;

/// A synced file of `old` sectors, overwritten with `new` ones that are not synced.
fn overwritten(sectors: usize) -> CrashIo {
    let io = CrashIo::new();
    let file = io.create("a").unwrap();
    file.reserve(sectors as u64 * 512).unwrap();
    file.write_at(0, &vec![b'o'; sectors * 512]).unwrap();
    file.sync_data().unwrap();
    io.sync_dir().unwrap();
    file.write_at(0, &vec![b'n'; sectors * 512]).unwrap();
    io
}

#[test]
fn what_was_synced_is_in_every_state() {
    let io = overwritten(4);
    let history = io.history();
    let chance = SeededChance::new(1);
    for style in CrashStyle::ALL {
        for moment in 5..=history.len() {
            let left = history.crash_at(moment, style, &chance).contents("a");
            assert_eq!(left.len(), 2048, "{style:?} at {moment}");
            assert!(left.iter().all(|byte| *byte == b'o' || *byte == b'n'));
        }
    }
}

#[test]
fn sectors_survive_one_by_one_and_never_in_part() {
    let history = overwritten(3).history();
    let chance = SeededChance::new(2);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let left = history
            .crash_at(history.len(), CrashStyle::Sectors, &chance)
            .contents("a");
        let sectors: Vec<u8> = left.chunks(512).map(|sector| sector[0]).collect();
        assert!(
            left.chunks(512)
                .all(|sector| sector.iter().all(|byte| *byte == sector[0]))
        );
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 8, "every subset of three sectors shows up");
}

#[test]
fn a_torn_write_ends_at_any_byte() {
    let history = overwritten(1).history();
    let chance = SeededChance::new(3);
    let lens: std::collections::BTreeSet<usize> = (0..3000)
        .map(|_| {
            let left = history
                .crash_at(history.len(), CrashStyle::Torn, &chance)
                .contents("a");
            left.iter().filter(|byte| **byte == b'n').count()
        })
        .collect();
    assert!(
        lens.len() > 400,
        "only {} lengths of a torn write",
        lens.len()
    );
}

#[test]
fn a_name_that_was_not_synced_may_be_lost_or_kept() {
    let io = CrashIo::new();
    io.create("a").unwrap();
    io.sync_dir().unwrap();
    io.rename("a", "b").unwrap();
    let history = io.history();
    let chance = SeededChance::new(4);
    let seen: std::collections::BTreeSet<Vec<String>> = (0..50)
        .map(|_| {
            history
                .crash_at(history.len(), CrashStyle::Sectors, &chance)
                .names()
        })
        .collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        history.crash_at(3, CrashStyle::Forget, &chance).names(),
        ["a"]
    );
    assert_eq!(
        history.crash_at(3, CrashStyle::Kill, &chance).names(),
        ["b"]
    );
}

#[test]
fn a_disk_that_ignores_syncs_keeps_nothing() {
    let io = CrashIo::new();
    io.ignore_syncs();
    let file = io.create("a").unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    io.sync_dir().unwrap();
    let history = io.history();
    let left = history.crash_at(history.len(), CrashStyle::Forget, &SeededChance::new(5));
    assert!(left.names().is_empty());
}

#[test]
fn planned_faults_strike_at_their_call_and_only_there() {
    let io = CrashIo::new();
    let file = io.create("a").unwrap();
    io.plan_fault(Some(IoCall::Write), 2, IoFault::Short);
    assert_eq!(file.write_at(0, b"1234").unwrap(), 4);
    assert_eq!(file.write_at(0, b"5678").unwrap(), 2);
    assert_eq!(io.contents("a"), b"5634");
    io.plan_fault(None, 1, IoFault::Once(28));
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(28));
    file.sync_data().unwrap();
    io.plan_fault(None, 1, IoFault::Kill);
    assert!(file.write_at(0, b"abcd").is_err());
    assert!(
        file.read_at(0, &mut [0; 4]).is_err(),
        "a dead process reads nothing"
    );
    assert_eq!(io.after_kill().contents("a"), b"ab34");
}
