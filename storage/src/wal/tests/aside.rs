//! Records that were set aside: the log goes on without them, and no crash loses or doubles one.

use std::collections::BTreeMap;

use streamhouse_runtime::Chance;

use super::workload::chance;
use super::*;
use crate::wal::crash::{CrashStyle, IoCall, IoFault};

type Record = (WalLocation, AppendClass);

/// Appends records whose first byte is their owner, until the log has `files` files.
fn fill(broker: &Broker, owners: u8, count: usize, len: usize) -> Vec<(u8, Record)> {
    let mut records = Vec::new();
    for n in 0..count {
        let owner = u8::try_from(n).unwrap() % owners;
        let mut payload = vec![u8::try_from(n).unwrap(); len];
        payload[0] = owner;
        records.push((owner, (broker.append(&payload), AppendClass::Run)));
    }
    broker.write_all();
    records
}

fn of(owner: u8, records: &[(u8, Record)]) -> Vec<Record> {
    let own = records.iter().filter(|(whose, _)| *whose == owner);
    own.map(|(_, record)| *record).collect()
}

/// Says that the log needs nothing, and lets it recycle.
fn recycle_all(broker: &Broker) {
    broker.wal.recycle_to(broker.wal.durable_to());
    broker.keep_up();
}

fn owners(broker: &Broker) -> Vec<u8> {
    broker.payloads().iter().map(|bytes| bytes[0]).collect()
}

#[test]
fn what_was_set_aside_outlives_the_log_and_is_replayed_first_and_read() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 3, 24, 1200);
    let aside = of(1, &records);
    let name = broker.wal.set_aside(1, &aside).unwrap();
    assert_eq!(name, "aside-0000000001.wal");
    recycle_all(&broker);
    assert_eq!(
        broker.wal.read_now(aside[0].0).unwrap()[..2],
        [1, 1],
        "the log's file is gone"
    );
    broker.append(&[9; 100]);
    broker.write_all();
    let before = broker.replayed.len();
    assert_eq!(before, 0);
    drop(broker);
    let broker = open(&io);
    let replayed: Vec<Record> = broker.replayed[..8]
        .iter()
        .map(|record| (record.location, record.class))
        .collect();
    assert_eq!(replayed, aside);
    assert_eq!(broker.replayed.last().unwrap().payload[0], 9);
    assert_eq!(broker.recovery.records, broker.replayed.len() as u64);
    for record in &broker.replayed {
        assert_eq!(
            broker.wal.read_now(record.location).unwrap(),
            record.payload
        );
    }
}

#[test]
fn a_record_that_lies_aside_and_in_the_log_is_replayed_once() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 2, 6, 500);
    broker.wal.set_aside(0, &of(0, &records)).unwrap();
    drop(broker);
    let broker = open(&io);
    assert_eq!(owners(&broker), [0, 0, 0, 1, 1, 1]);
    assert_eq!(
        broker.wal.usage().entries,
        3,
        "what lies aside does not fill the log"
    );
}

#[test]
fn setting_aside_again_adds_and_what_is_there_is_not_written_again() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 1, 4, 500);
    broker.wal.set_aside(7, &of(0, &records)[..2]).unwrap();
    broker.wal.set_aside(7, &of(0, &records)).unwrap();
    let moment = io.moment();
    broker.wal.set_aside(7, &of(0, &records)[1..]).unwrap();
    assert_eq!(io.moment(), moment, "nothing is left to copy");
    drop(broker);
    let broker = open(&io);
    // Out of the file, while the log is empty.
    recycle_all(&broker);
    broker.append(&[8; 600]);
    broker.write_all();
    let more = (broker.append(&[5; 40]), AppendClass::Other);
    broker.write_all();
    let mut all = of(0, &records);
    all.push(more);
    broker.wal.set_aside(7, &all).unwrap();
    recycle_all(&broker);
    drop(broker);
    let broker = open(&io);
    let found: Vec<Record> = broker
        .replayed
        .iter()
        .map(|record| (record.location, record.class))
        .take(5)
        .collect();
    all[4].1 = AppendClass::Other;
    assert_eq!(found, all);
}

#[test]
fn a_file_goes_at_the_start_that_finds_all_of_it_recorded() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 2, 6, 500);
    broker.wal.set_aside(0, &of(0, &records)).unwrap();
    broker.wal.set_aside(1, &of(1, &records)).unwrap();
    drop(broker);
    let (ambient, _) = ambient(3);
    let reopened = Wal::open(
        Arc::new(io.clone()),
        small(),
        IDENTITY,
        ambient,
        &mut |record| match record.payload[0] {
            0 => ReplayVerdict::Recorded,
            _ => ReplayVerdict::Keep,
        },
    );
    drop(reopened.unwrap());
    let asides = |io: &CrashIo| -> Vec<String> {
        let names = io.names().into_iter();
        names.filter(|name| name.starts_with("aside")).collect()
    };
    assert_eq!(asides(&io), ["aside-0000000001.wal"]);
    let names = asides(
        &io.history()
            .crash_at(io.moment(), CrashStyle::Forget, &chance(1, 1)),
    );
    assert_eq!(names, ["aside-0000000001.wal"], "the removal is durable");
}

#[test]
fn damage_to_what_was_set_aside_is_named_and_can_be_accepted() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 1, 3, 500);
    let name = broker.wal.set_aside(4, &of(0, &records)).unwrap();
    drop(broker);
    let whole = io.contents(&name);
    for at in [4096 + 600, 100] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        io.set_contents(&name, bytes);
        let refused = try_open(Arc::new(io.clone()), small(), 1);
        let Err(WalOpenError::Corrupt { file, lost, .. }) = refused else {
            panic!("the damage at {at} was not seen: {refused:?}");
        };
        assert_eq!(file, name);
        let accepting = WalSettings {
            accept_loss: vec![lost],
            ..small()
        };
        // Its own copy of the log: the lost ones are still there.
        let copy = io.after_kill();
        let broker = try_open(Arc::new(copy), accepting, 1).unwrap();
        assert_eq!(broker.replayed.len(), 3);
        assert_eq!(broker.recovery.accepted_loss, Some(lost));
    }
    io.set_contents(&name, whole[..whole.len() - 8].to_vec());
    let cut = try_open(Arc::new(io), small(), 1);
    assert!(matches!(cut, Err(WalOpenError::Corrupt { .. })));
}

#[test]
fn a_failure_leaves_the_records_in_the_log_and_the_next_attempt_passes() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 2, 8, 900);
    let own = of(0, &records);
    for call in [
        IoCall::Create,
        IoCall::Reserve,
        IoCall::Write,
        IoCall::Sync,
        IoCall::Rename,
        IoCall::SyncDir,
    ] {
        io.plan_fault(Some(call), 1, IoFault::Once(5));
        let failed = broker.wal.set_aside(0, &own);
        assert!(
            matches!(failed, Err(SetAsideError::Io { .. })),
            "{call:?}: {failed:?}"
        );
        let survivor = open(&io.after_kill());
        assert_eq!(survivor.replayed.len(), 8, "{call:?}");
    }
    io.set_room(Some(FILE));
    assert!(broker.wal.set_aside(0, &own).is_err(), "the disk is full");
    io.set_room(None);
    broker.wal.set_aside(0, &own).unwrap();
    broker.wal.close();
    let more = fill_none(&records);
    assert!(matches!(
        broker.wal.set_aside(1, &more),
        Err(SetAsideError::Closed)
    ));
}

fn fill_none(records: &[(u8, Record)]) -> Vec<Record> {
    of(1, records)
}

/// What a recovery finds, by position; an error if anything came twice.
fn found(io: &CrashIo, seed: u64) -> Result<BTreeMap<u64, Bytes>, String> {
    let broker =
        try_open(Arc::new(io.after_kill()), small(), seed).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for record in &broker.replayed {
        let read = broker.wal.read_now(record.location);
        if read.as_ref().ok() != Some(&record.payload) {
            return Err(format!("{:?} cannot be read: {read:?}", record.location));
        }
        let position = record.location.position.0;
        if found.insert(position, record.payload.clone()).is_some() {
            return Err(format!("position {position} came twice"));
        }
    }
    Ok(found)
}

/// Sets the records of owners 0 and 1 aside, one after the other, and lets the log recycle everything.
fn set_all_aside(broker: &Broker, records: &[(u8, Record)]) -> bool {
    for owner in [0, 1] {
        if broker
            .wal
            .set_aside(u32::from(owner), &of(owner, records))
            .is_err()
        {
            return false;
        }
    }
    recycle_all(broker);
    true
}

fn replayed_by_owner(broker: &Broker) -> Vec<(u8, Record)> {
    let records = broker.replayed.iter();
    records
        .map(|record| (record.payload[0], (record.location, record.class)))
        .collect()
}

#[test]
fn killed_at_any_call_of_the_move_twice_in_a_row_every_record_is_there_once() {
    for case in 0..(4 * scale() as u64) {
        let chance = chance(11, case);
        let io = CrashIo::new();
        let broker = open(&io);
        let count = 6 + usize::try_from(chance.below(10)).unwrap();
        let records = fill(&broker, 2, count, 900);
        drop(broker);
        let expected = found(&io, 1).unwrap();
        assert_eq!(expected.len(), count);
        let mut n = 1;
        loop {
            let once = io.after_kill();
            let broker = open(&once);
            once.plan_fault(None, n, IoFault::Kill);
            set_all_aside(&broker, &records);
            if once.fault_is_pending() {
                break;
            }
            drop(broker);
            let history = once.history();
            let style = [CrashStyle::Kill, CrashStyle::Sectors, CrashStyle::Forget]
                [usize::try_from(chance.below(3)).unwrap()];
            let dead = history.crash_at(history.len(), style, &chance);
            let say = format!("case {case}, killed at call {n}, {style:?}");
            assert_eq!(found(&dead, 2).as_ref(), Ok(&expected), "{say}");
            // The next life does it again, and is killed somewhere, too.
            let broker = open(&dead);
            let records = replayed_by_owner(&broker);
            dead.plan_fault(None, 1 + chance.below(25), IoFault::Kill);
            set_all_aside(&broker, &records);
            drop(broker);
            let history = dead.history();
            let twice = history.crash_at(history.len(), style, &chance);
            assert_eq!(found(&twice, 3).as_ref(), Ok(&expected), "{say}, and again");
            n += 1;
        }
        assert!(n > 10, "setting aside makes more than {n} calls");
    }
}

#[test]
fn no_crash_state_after_the_move_loses_what_was_set_aside() {
    for case in 0..(60 * scale() as u64) {
        let chance = chance(12, case);
        let io = CrashIo::new();
        let broker = open(&io);
        let records = fill(&broker, 2, 12, 900);
        let expected = found(&io, 1).unwrap();
        let own = of(0, &records);
        let before = io.moment();
        broker.wal.set_aside(0, &own).unwrap();
        let set_aside = io.moment();
        recycle_all(&broker);
        for n in 0..chance.below(8) {
            broker.append(&vec![77; 100 * usize::try_from(n).unwrap() + 1]);
            broker.write_all();
        }
        let history = io.history();
        for _ in 0..20 {
            let since = if chance.below(2) == 0 {
                before
            } else {
                set_aside
            };
            let moments = (history.len() - since) as u64 + 1;
            let moment = since + usize::try_from(chance.below(moments)).unwrap();
            let style = CrashStyle::ALL[usize::try_from(chance.below(4)).unwrap()];
            let state = history.crash_at(moment, style, &chance);
            let found = found(&state, 5).unwrap();
            for (location, _) in &own {
                let position = location.position.0;
                assert_eq!(
                    found.get(&position),
                    expected.get(&position),
                    "case {case}, {style:?} at {moment}"
                );
            }
        }
    }
}

#[test]
fn a_folder_says_who_wrote_last_and_its_note_without_a_change() {
    let io = CrashIo::new();
    let last = || Wal::last_written(&io, &small(), &IDENTITY).unwrap();
    assert_eq!(last(), LastWritten::default());
    let noted = WalSettings {
        note: Some(Bytes::from_static(b"seen")),
        ..small()
    };
    drop(try_open(Arc::new(io.clone()), noted, 1).unwrap());
    let moment = io.moment();
    let expected = LastWritten {
        incarnation: Some(IDENTITY.incarnation),
        note: Bytes::from_static(b"seen"),
    };
    assert_eq!(last(), expected);
    drop(open(&io));
    assert_eq!(last(), expected, "carried over");
    assert!(io.moment() > moment);
}

/// Found by bending files and making their checksums true again: the start went on behind the record, at a position that
/// the header of the next file could not say, and the start after that found this header damaged.
#[test]
fn a_position_that_no_file_can_follow_is_damage() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records = fill(&broker, 1, 1, 16);
    let name = broker.wal.set_aside(0, &of(0, &records)).unwrap();
    drop(broker);
    let mut file = io.contents(&name);
    let record = &mut file[4096..];
    record[8..16].copy_from_slice(&(u64::MAX - 4096).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[40..]), &record[..36]);
    record[36..40].copy_from_slice(&crc.to_le_bytes());
    io.set_contents(&name, file);
    let refused = try_open(Arc::new(io), small(), 7).map(|_| ());
    assert!(
        matches!(refused, Err(WalOpenError::Corrupt { .. })),
        "{refused:?}"
    );
}
