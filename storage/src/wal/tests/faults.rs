//! Faults of the disk while the broker lives: after the first one that matters, nothing is acknowledged any more.

use super::workload::{Life, chance};
use super::*;
use crate::wal::crash::{CrashStyle, IoCall, IoFault};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Lives with a fault at the `n`-th call; returns false when the life has fewer calls.
fn live_with_fault(case: u64, n: u64, fault: IoFault) -> bool {
    let chance = chance(5, case);
    let io = CrashIo::new();
    let (mut life, broker) = Life::begin(&io, case);
    io.plan_fault(None, n, fault);
    life.live(&io, &broker, 60, &chance);
    if io.fault_is_pending() {
        return false;
    }
    if broker.heard.failures() > 0 {
        check_that_failure_is_final(&broker);
    }
    drop(broker);
    let history = io.history();
    for style in CrashStyle::ALL {
        let state = history.crash_at(history.len(), style, &chance);
        let again = try_open(Arc::new(state), small(), 3).unwrap();
        life.judge(usize::MAX, &again.replayed)
            .unwrap_or_else(|error| panic!("case {case}, {fault:?} at {n}, {style:?}: {error}"));
    }
    true
}

fn check_that_failure_is_final(broker: &Broker) {
    let events = broker.heard.events.lock().clone();
    let failed = events
        .iter()
        .position(|event| matches!(event, Event::Failed(_)))
        .unwrap();
    assert_eq!(
        failed,
        events.len() - 1,
        "nothing is heard after the failure"
    );
    assert_eq!(broker.try_append(b"late"), Err(AppendError::Closed));
    let durable = broker.wal.durable_to();
    assert_eq!(broker.wal.turn(broker.heard.as_ref()), Turn::Stopped);
    assert!(!broker.wal.upkeep());
    assert_eq!(broker.wal.durable_to(), durable);
    assert_eq!(broker.heard.failures(), 1);
}

#[test]
fn a_fault_at_any_call_loses_nothing_that_was_durable() {
    let faults = [
        IoFault::Once(EIO),
        IoFault::Once(ENOSPC),
        IoFault::From(EIO),
        IoFault::From(ENOSPC),
        IoFault::Short,
    ];
    for case in 0..scale() as u64 {
        for fault in faults {
            let mut n = 1;
            while live_with_fault(case, n, fault) {
                n += 1;
            }
            assert!(n > 20, "a life makes more than {n} calls");
        }
    }
}

#[test]
fn a_failed_sync_is_final_even_if_the_next_one_would_succeed() {
    let io = CrashIo::new();
    let broker = open(&io);
    let first = broker.append(b"first").end();
    broker.write_all();
    broker.append(b"second");
    io.plan_fault(Some(IoCall::Sync), 1, IoFault::Once(EIO));
    broker.write_all();
    let events = broker.heard.events.lock().clone();
    assert_eq!(events.last(), Some(&Event::Failed("sync")));
    assert_eq!(broker.wal.durable_to(), first);
    check_that_failure_is_final(&broker);
}

#[test]
fn a_short_write_is_continued() {
    let io = CrashIo::new();
    let broker = open(&io);
    io.plan_fault(Some(IoCall::Write), 1, IoFault::Short);
    broker.append(&[9; 700]);
    broker.write_all();
    assert!(!io.fault_is_pending());
    drop(broker);
    assert_eq!(open(&io).payloads(), [&[9; 700]]);
}

#[test]
fn a_disk_that_is_full_refuses_appends_and_recovers_without_a_restart() {
    let io = CrashIo::new();
    let broker = open(&io);
    io.plan_fault(Some(IoCall::Reserve), 1, IoFault::From(ENOSPC));
    let mut taken = Vec::new();
    while let Ok(location) = broker.try_append(&[1; 1200]) {
        taken.push(location);
        broker.write_all();
    }
    assert_eq!(
        taken.len(),
        3,
        "the file in use, and not the two reserved ones"
    );
    assert_eq!(broker.heard.failures(), 0);
    assert!(broker.wal.usage().disk_full);
    let trim = broker
        .wal
        .append(AppendClass::Other, Bytes::new(), Bytes::from(vec![2; 1200]));
    assert!(trim.is_ok(), "what frees space has its file");
    broker.write_all();
    io.clear_fault();
    broker.keep_up();
    assert!(!broker.wal.usage().disk_full);
    assert!(broker.try_append(&[1; 1200]).is_ok());
}

#[test]
fn a_fault_during_open_is_reported_and_a_later_open_succeeds() {
    let io = CrashIo::new();
    let broker = open(&io);
    for n in 0..9u8 {
        broker.append(&[n; 1200]);
    }
    broker.write_all();
    drop(broker);
    let mut n = 1;
    loop {
        let copy = io.after_kill();
        copy.plan_fault(None, n, IoFault::Once(EIO));
        let opened = try_open(Arc::new(copy.clone()), small(), n);
        if copy.fault_is_pending() {
            break;
        }
        assert!(
            matches!(&opened, Ok(_) | Err(WalOpenError::Io { .. })),
            "{opened:?}"
        );
        drop(opened);
        assert_eq!(open(&copy).replayed.len(), 9, "after a fault at call {n}");
        n += 1;
    }
    assert!(n > 8, "an open makes more than {n} calls");
}
