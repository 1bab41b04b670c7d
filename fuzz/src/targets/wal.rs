//! The files of the write-ahead log, as a start finds them.
//!
//! What is replayed was written: every record stands in a file with a CRC that is true, and none is missing between two of a
//! file. Opening again replays the same, every record can be read, what is appended then is there after the next start, and
//! a loss that was named can be accepted, at every start with the same value, and no wider one.

use std::sync::Arc;

use bytes::Bytes;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};
use streamhouse_storage::wal::crash::CrashIo;
use streamhouse_storage::wal::{
    AppendClass, ReplayVerdict, Replayed, Turn, Wal, WalFailure, WalIdentity, WalListener, WalLoss,
    WalOpenError, WalPosition, WalSettings,
};

use crate::draw::Draw;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "wal",
    reads: "the files of the write-ahead log",
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

/// Bytes of a file: the smallest that the log takes.
pub(super) const FILE: usize = 8192;
const HEADER: usize = 4096;
const RECORD_HEADER: usize = 40;

fn settings(accept_loss: Option<WalLoss>) -> WalSettings {
    WalSettings {
        file_bytes: 8192,
        cap_bytes: 8 * 8192,
        entries_max: 1000,
        pool_files: 2,
        accept_loss: accept_loss.into_iter().collect(),
        ..WalSettings::new("wal")
    }
}

/// A log that was opened, and what it replayed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) wal: Wal,
    pub(super) replayed: Vec<Replayed>,
}

pub(super) fn open(
    io: &CrashIo,
    incarnation: u64,
    accept_loss: Option<WalLoss>,
) -> Result<Opened, WalOpenError> {
    let ambient = Ambient {
        clock: Arc::new(ManualClock::new(0)),
        chance: Arc::new(SeededChance::new(incarnation)),
        tasks: Tasks::new(),
    };
    let identity = WalIdentity {
        cluster: 1,
        dir: 2,
        incarnation: u128::from(incarnation),
    };
    let mut replayed = Vec::new();
    let (wal, _) = Wal::open(
        Arc::new(io.clone()),
        settings(accept_loss),
        identity,
        ambient,
        &mut |record| {
            replayed.push(record);
            ReplayVerdict::Keep
        },
    )?;
    Ok(Opened { wal, replayed })
}

struct Unheard;

impl WalListener for Unheard {
    fn written(&self, _up_to: WalPosition) {}
    fn durable(&self, _up_to: WalPosition) {}
    fn failed(&self, error: &WalFailure) {
        panic!("a disk in memory does not fail: {error:?}");
    }
}

pub(super) fn write_all(wal: &Wal) {
    while let Turn::Wrote { .. } = wal.turn(&Unheard) {}
}

/// Logs of one and of two files, with records of several sizes, written in groups, and after a restart.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (lives, sizes) in [
        (1, &[10_usize, 0, 300][..]),
        (1, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (2, &[100, 8]),
        (1, &[1900, 1900, 500, 20]),
        (2, &[1500, 1500, 40]),
    ] {
        let io = CrashIo::new();
        for life in 0..lives {
            let opened = open(&io, life + 1, None).expect("an empty folder can be opened");
            for (number, size) in sizes.iter().enumerate() {
                let class = if number % 3 == 2 {
                    AppendClass::Other
                } else {
                    AppendClass::Run
                };
                let body = Bytes::from(vec![b'a' + u8::try_from(number).unwrap_or(0); *size]);
                opened
                    .wal
                    .append(class, Bytes::from_static(b"head"), body)
                    .expect("there is room");
                if number % 2 == 0 {
                    write_all(&opened.wal);
                }
            }
            write_all(&opened.wal);
            if life > 0 {
                opened.wal.close();
            }
        }
        let names = io.names().into_iter();
        let logs = names
            .filter(|name| name.starts_with('0'))
            .map(|name| io.contents(&name));
        seeds.push(logs.take(3).collect::<Vec<_>>().concat());
    }
    seeds
}

/// The files of an input, by the numbers that their headers say.
fn files(input: &[u8]) -> Vec<(String, Vec<u8>)> {
    let numbered = input.chunks(FILE).enumerate().map(|(place, file)| {
        let claimed = file
            .get(16..24)
            .and_then(|bytes| bytes.first_chunk().copied());
        let claimed = claimed.map_or(0, u64::from_le_bytes);
        let place = u64::try_from(place).unwrap_or(0) + 1;
        let number = if (1..100).contains(&claimed) {
            claimed
        } else {
            place
        };
        (format!("{number:020}.wal"), file.to_vec())
    });
    numbered.collect()
}

/// Makes the CRCs of headers and records true.
fn repair(bytes: &mut [u8], draw: &mut Draw) {
    for file in bytes.chunks_mut(FILE) {
        repair_file(file, draw);
    }
}

pub(super) fn repair_file(file: &mut [u8], draw: &mut Draw) {
    if file.len() < HEADER {
        return;
    }
    let (header, mut rest) = file.split_at_mut(HEADER);
    let crc = crc32c::crc32c(&header[..HEADER - 4]);
    header[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
    while rest.len() >= RECORD_HEADER && rest[..8] != [0; 8] {
        let length = rest[24..]
            .first_chunk()
            .copied()
            .map_or(0, u32::from_le_bytes);
        let whole = usize::try_from(length)
            .unwrap_or(0)
            .next_multiple_of(8)
            .saturating_add(RECORD_HEADER);
        if whole > rest.len() {
            break;
        }
        let (record, behind) = rest.split_at_mut(whole);
        if !draw.one_in(16) {
            let crc = crc_of(record);
            record[36..40].copy_from_slice(&crc.to_le_bytes());
        }
        rest = behind;
    }
}

/// The CRC of a record: first over its payload with the padding, then over what stands before the CRC.
fn crc_of(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[RECORD_HEADER..]), &record[..36])
}

/// The record at `at` of a file if it is sound and says that it lies at `position`; and its kind.
pub(super) fn sound_record(file: &[u8], at: usize, position: u64) -> Option<(&[u8], u8)> {
    let rest = file.get(at..)?;
    let field = |at: usize| {
        rest.get(at..)?
            .first_chunk()
            .copied()
            .map(u64::from_le_bytes)
    };
    let length = usize::try_from(u32::from_le_bytes(*rest.get(24..)?.first_chunk()?)).ok()?;
    let record = rest.get(
        ..length
            .checked_next_multiple_of(8)?
            .checked_add(RECORD_HEADER)?,
    )?;
    let crc = u32::from_le_bytes(*record.get(36..)?.first_chunk()?);
    let is_salted = file.get(24..32) == record.get(..8);
    let is_sound = is_salted && field(8)? == position && crc == crc_of(record);
    is_sound.then(|| (&record[RECORD_HEADER..RECORD_HEADER + length], record[28]))
}

fn check(input: &[u8]) -> Verdict {
    let files = files(input);
    let io = CrashIo::new();
    for (name, file) in &files {
        io.set_contents(name, file.clone());
    }
    let (opened, accepted) = match open_or_accept(&io) {
        Some(opened) => opened,
        None => return Verdict::Refused,
    };
    let stored: Vec<&[u8]> = files.iter().map(|(_, file)| &file[..]).collect();
    for record in &opened.replayed {
        let is_there = stored.iter().any(|file| holds(file, record));
        assert!(
            is_there,
            "{:?} was replayed and stands in no file",
            record.location
        );
    }
    if accepted.is_none() {
        for pair in opened.replayed.windows(2) {
            nothing_is_missing(&stored, &pair[0], &pair[1]);
        }
    }
    goes_on(&io, opened, accepted);
    Verdict::Accepted
}

/// Opens the log; if it names a loss, accepts that, as an operator would. `None` if it stays refused.
pub(super) fn open_or_accept(io: &CrashIo) -> Option<(Opened, Option<WalLoss>)> {
    let mut accepted = None;
    // Records that were set aside and the log are judged one after the other, and only what was named passes.
    for _ in 0..2 {
        match open(io, 77, accepted) {
            Ok(opened) => return Some((opened, accepted)),
            Err(WalOpenError::Corrupt { lost, .. }) => {
                assert_ne!(accepted, Some(lost), "a loss that is named can be accepted");
                only_what_was_named(io, lost);
                accepted = Some(lost);
            }
            Err(_) => return None,
        }
    }
    None
}

/// Accepting everything is accepting something that nobody named.
fn only_what_was_named(io: &CrashIo, lost: WalLoss) {
    let everything = WalLoss {
        from: WalPosition(0),
        to: WalPosition(u64::MAX),
    };
    if lost != everything {
        let opened = open(io, 77, Some(everything));
        assert!(opened.is_err(), "{everything} was accepted for {lost}");
    }
}

fn offset_of(file: &[u8], position: u64) -> Option<usize> {
    let base = u64::from_le_bytes(*file.get(32..)?.first_chunk()?);
    usize::try_from(position.checked_sub(base)?)
        .ok()?
        .checked_add(HEADER)
}

fn holds(file: &[u8], record: &Replayed) -> bool {
    let position = record.location.position.0;
    let found = offset_of(file, position).and_then(|at| sound_record(file, at, position));
    found.is_some_and(|(payload, kind)| {
        let class = [None, Some(AppendClass::Run), Some(AppendClass::Other)];
        payload == record.payload && class.get(usize::from(kind)) == Some(&Some(record.class))
    })
}

/// Between two records of a file lie seals only.
fn nothing_is_missing(stored: &[&[u8]], first: &Replayed, next: &Replayed) {
    const SEAL: u8 = 3;
    let both = |file: &&&[u8]| holds(file, first) && holds(file, next);
    let Some(file) = stored.iter().find(both) else {
        return;
    };
    let mut position = first.location.end().0;
    while position < next.location.position.0 {
        let seal = offset_of(file, position).and_then(|at| sound_record(file, at, position));
        let (payload, kind) = seal.unwrap_or_default();
        let is_seal = kind == SEAL;
        assert!(
            is_seal,
            "nothing is replayed of {position}, and {:?} is",
            next.location
        );
        let length = RECORD_HEADER + payload.len().next_multiple_of(8);
        position += u64::try_from(length).unwrap_or(u64::MAX);
    }
}

/// Reads, opens again, appends, opens again, each time with the loss that was accepted.
pub(super) fn goes_on(io: &CrashIo, opened: Opened, accepted: Option<WalLoss>) {
    let Opened { wal, replayed } = opened;
    // Under an accepted loss files may lie one over the other, and a position then names bytes of both.
    let read_back = if accepted.is_none() {
        &replayed[..]
    } else {
        &[]
    };
    for record in read_back {
        let read = wal.read_now(record.location);
        assert_eq!(
            read.ok().as_ref(),
            Some(&record.payload),
            "{:?}",
            record.location
        );
    }
    drop(wal);
    let again = open(io, 78, accepted).expect("what was opened can be opened again");
    assert_eq!(
        again.replayed, replayed,
        "another start replays something else"
    );
    let body = Bytes::from_static(b"appended");
    let appended = again
        .wal
        .append(AppendClass::Other, Bytes::new(), body.clone());
    let mut expected = replayed;
    if let Ok(location) = appended {
        write_all(&again.wal);
        expected.push(Replayed {
            location,
            class: AppendClass::Other,
            payload: body,
        });
    }
    drop(again);
    let last = open(io, 79, accepted).expect("what was opened can be opened again");
    assert_eq!(
        last.replayed, expected,
        "what was appended after recovery is not as it was"
    );
}
