//! The file of records that were set aside, beside a file of the log.
//!
//! The same must hold as for the log: what is replayed was written, opening again replays the same, and the log goes on.

use bytes::Bytes;
use streamhouse_storage::wal::crash::CrashIo;
use streamhouse_storage::wal::{AppendClass, Replayed};

use super::wal::{FILE, goes_on, open, open_or_accept, repair_file, sound_record, write_all};
use crate::draw::Draw;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "wal_aside",
    reads: "records that were set aside",
    executions: 30_000,
    length_max: 3 * FILE,
    memory: Memory {
        per_byte: 32,
        free: 2 << 20,
    },
    words: &[],
    seeds,
    repair: Some(repair),
    check,
};

const NAME: &str = "aside-0000000003.wal";
const LOG: &str = "00000000000000000001.wal";

/// An input is a file of the log and the file of the records that were set aside.
fn seeds() -> Vec<Vec<u8>> {
    let seed = |sizes: &[usize], aside: usize| {
        let io = CrashIo::new();
        let opened = open(&io, 1, None).expect("an empty folder can be opened");
        let mut records = Vec::new();
        for size in sizes {
            let body = Bytes::from(vec![b'x'; *size]);
            let location = opened.wal.append(AppendClass::Run, Bytes::new(), body);
            records.push((location.expect("there is room"), AppendClass::Run));
        }
        write_all(&opened.wal);
        opened
            .wal
            .set_aside(3, &records[..aside])
            .expect("there is room");
        [io.contents(LOG), io.contents(NAME)].concat()
    };
    vec![
        seed(&[5, 60, 7], 2),
        seed(&[100, 0, 900, 1], 4),
        seed(&[16], 1),
    ]
}

fn repair(bytes: &mut [u8], draw: &mut Draw) {
    let (log, aside) = bytes.split_at_mut_checked(FILE).unwrap_or_default();
    repair_file(log, draw);
    repair_file(aside, draw);
    // How many bytes of records the note of the file promises.
    if aside.len() >= 4096 && draw.one_in(2) {
        let length = u64::try_from(aside.len()).unwrap_or(0).saturating_sub(4096);
        aside[124..132].copy_from_slice(&length.to_le_bytes());
        repair_file(aside, draw);
    }
}

fn check(input: &[u8]) -> Verdict {
    let (log, aside) = input.split_at(input.len().min(FILE));
    let io = CrashIo::new();
    io.set_contents(LOG, log.to_vec());
    io.set_contents(NAME, aside.to_vec());
    let Some((opened, accepted)) = open_or_accept(&io) else {
        return Verdict::Refused;
    };
    for record in &opened.replayed {
        let is_there = stands_in(log, record) || stands_in(aside, record);
        assert!(
            is_there,
            "{:?} was replayed and stands in no file",
            record.location
        );
    }
    let mut positions: Vec<_> = opened
        .replayed
        .iter()
        .map(|record| record.location.position)
        .collect();
    positions.sort_unstable();
    let is_once = positions.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(is_once, "a record was replayed twice");
    goes_on(&io, opened, accepted);
    Verdict::Accepted
}

fn stands_in(file: &[u8], record: &Replayed) -> bool {
    let position = record.location.position.0;
    let mut places = (4096..file.len()).step_by(8);
    places.any(|at| {
        sound_record(file, at, position).is_some_and(|(payload, _)| payload == record.payload)
    })
}
