//! Damage to bytes that were acknowledged is named; the log never becomes silently shorter.

use streamhouse_runtime::Chance;

use super::workload::chance;
use super::*;
use crate::wal::format::{FileHeader, Predecessor};

pub(super) const FIRST: &str = "00000000000000000001.wal";

/// A folder with one used file of five acknowledged, sealed records; with where they lie.
pub(super) fn sealed() -> (CrashIo, Vec<WalLocation>) {
    let io = CrashIo::new();
    let broker = open(&io);
    let mut locations: Vec<WalLocation> = Vec::new();
    for n in 0..5u8 {
        locations.push(broker.append(&vec![n; 40 + 31 * usize::from(n)]));
        if n % 2 == 1 {
            broker.write_all();
        }
    }
    broker.seal();
    drop(broker);
    (io.after_kill(), locations)
}

/// A folder with three used files of three records each, the last group sealed.
pub(super) fn three_files() -> (CrashIo, Vec<WalLocation>) {
    let io = CrashIo::new();
    let broker = open(&io);
    let locations = (0..9u8).map(|n| broker.append(&[n; 1200])).collect();
    broker.seal();
    drop(broker);
    (io.after_kill(), locations)
}

fn opened(io: &CrashIo) -> Result<Broker, WalOpenError> {
    try_open(Arc::new(io.clone()), small(), 5)
}

/// The loss that `open` names; panics if it opens or fails otherwise.
pub(super) fn loss(io: &CrashIo) -> (String, WalLoss) {
    match opened(io) {
        Err(WalOpenError::Corrupt { file, lost, .. }) => (file, lost),
        other => panic!("expected damage to be named, not {other:?}"),
    }
}

pub(super) fn accepting(io: &CrashIo, lost: WalLoss) -> Result<Broker, WalOpenError> {
    let settings = WalSettings {
        accept_loss: vec![lost],
        ..small()
    };
    try_open(Arc::new(io.clone()), settings, 5)
}

fn offset(location: WalLocation) -> usize {
    4096 + usize::try_from(location.position.0).unwrap()
}

#[test]
fn every_flipped_bit_of_the_acknowledged_area_is_named() {
    let (io, locations) = sealed();
    let acknowledged = offset(*locations.last().unwrap()) + 40 + 164 + 4;
    assert_eq!(
        4096 + usize::try_from(locations[4].end().0).unwrap(),
        acknowledged
    );
    for bit in 0..acknowledged * 8 {
        let damaged = io.after_kill();
        damaged.flip_bit(FIRST, bit);
        let (file, lost) = loss(&damaged);
        assert_eq!(file, FIRST);
        if bit >= 4096 * 8 {
            let hit = locations.iter().find(|location| {
                bit / 8 >= offset(**location)
                    && bit / 8 < 4096 + usize::try_from(location.end().0).unwrap()
            });
            assert!(
                lost.from <= hit.unwrap().position && hit.unwrap().end() <= lost.to,
                "bit {bit}"
            );
        }
    }
}

#[test]
fn flipped_bits_behind_the_acknowledged_area_lose_nothing() {
    let (io, locations) = sealed();
    let from = 4096 + usize::try_from(locations[4].end().0).unwrap();
    for bit in from * 8..(from + 200) * 8 {
        let damaged = io.after_kill();
        damaged.flip_bit(FIRST, bit);
        assert_eq!(opened(&damaged).unwrap().replayed.len(), 5, "bit {bit}");
    }
}

/// The residue of law 7: until something follows the last group, damage to it looks like a torn write. Nothing before
/// that group is ever lost silently.
#[test]
fn damage_to_the_last_unsealed_group_costs_that_group_at_most() {
    let io = CrashIo::new();
    let broker = open(&io);
    broker.append(&[1; 50]);
    broker.write_all();
    let last = broker.append(&[2; 50]);
    broker.append(&[3; 50]);
    broker.write_all();
    drop(broker);
    let end = 4096 + 3 * 96;
    for bit in 4096 * 8..end * 8 {
        let damaged = io.after_kill();
        damaged.flip_bit(FIRST, bit);
        match opened(&damaged) {
            Ok(broker) => {
                assert!(
                    bit / 8 >= offset(last),
                    "bit {bit} is before the last group"
                );
                assert!(matches!(broker.replayed.len(), 1 | 2));
            }
            Err(WalOpenError::Corrupt { .. }) => assert!(bit / 8 < offset(last)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_is_named() {
    let (io, _) = sealed();
    let whole = io.contents(FIRST);
    for len in 0..whole.len() {
        let damaged = io.after_kill();
        damaged.set_contents(FIRST, whole[..len].to_vec());
        assert_eq!(loss(&damaged).0, FIRST, "cut to {len} bytes");
    }
}

#[test]
fn an_older_file_cut_at_any_byte_is_named_unless_no_record_is_touched() {
    let (io, locations) = three_files();
    let whole = io.contents(FIRST);
    let used = 4096 + usize::try_from(locations[2].end().0).unwrap();
    for len in (0..whole.len()).step_by(if scale() > 1 { 1 } else { 7 }) {
        let damaged = io.after_kill();
        damaged.set_contents(FIRST, whole[..len].to_vec());
        if len >= used {
            assert_eq!(opened(&damaged).unwrap().replayed.len(), 9);
        } else {
            assert_eq!(loss(&damaged).0, FIRST, "cut to {len} bytes");
        }
    }
}

#[test]
fn a_loss_that_is_accepted_costs_only_what_is_damaged() {
    let (io, locations) = sealed();
    for hit in 0..5 {
        let damaged = io.after_kill();
        damaged.flip_bit(FIRST, (offset(locations[hit]) + 45) * 8);
        let (_, lost) = loss(&damaged);
        assert_eq!(
            lost,
            WalLoss {
                from: locations[hit].position,
                to: locations[hit].end()
            }
        );
        let broker = accepting(&damaged, lost).unwrap();
        assert_eq!(broker.recovery.accepted_loss, Some(lost));
        let found: Vec<WalLocation> = broker
            .replayed
            .iter()
            .map(|record| record.location)
            .collect();
        let mut kept = locations.clone();
        kept.remove(hit);
        assert_eq!(found, kept);
        assert!(matches!(
            broker.wal.read_now(locations[hit]),
            Err(WalReadError::Corrupt(_))
        ));
        drop(broker);
        assert_eq!(
            loss(&damaged).1,
            lost,
            "it must be accepted as long as the file is there"
        );
        assert_eq!(accepting(&damaged, lost).unwrap().replayed.len(), 4);
    }
}

/// Files larger than what recovery holds in memory at once: it looks ahead, and comes back.
#[test]
fn damage_in_a_large_file_costs_one_record() {
    let settings = || WalSettings {
        file_bytes: 4 << 20,
        cap_bytes: 8 << 20,
        ..small()
    };
    let io = CrashIo::new();
    let broker = try_open(Arc::new(io.clone()), settings(), 1).unwrap();
    let locations: Vec<WalLocation> = (0..12u8)
        .map(|n| {
            let location = broker.append(&vec![n; 300_000 + usize::from(n)]);
            broker.write_all();
            location
        })
        .collect();
    drop(broker);
    for hit in [0, 3, 10] {
        let damaged = io.after_kill();
        damaged.flip_bit(FIRST, (offset(locations[hit]) + 200_000) * 8);
        let opened = try_open(Arc::new(damaged.clone()), settings(), 1);
        let Err(WalOpenError::Corrupt { lost, .. }) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!(
            (lost.from, lost.to),
            (locations[hit].position, locations[hit].end())
        );
        let accepting = WalSettings {
            accept_loss: vec![lost],
            ..settings()
        };
        let broker = try_open(Arc::new(damaged), accepting, 1).unwrap();
        assert_eq!(broker.replayed.len(), 11);
        assert!(
            broker
                .replayed
                .iter()
                .all(|record| record.payload[0] != hit as u8)
        );
    }
}

#[test]
fn another_loss_than_the_one_that_was_named_is_not_accepted() {
    let (io, locations) = three_files();
    io.flip_bit(FIRST, (offset(locations[0]) + 50) * 8);
    let second = "00000000000000000002.wal";
    io.flip_bit(second, (4096 + 50) * 8);
    let (_, lost) = loss(&io);
    assert_eq!(
        (lost.from, lost.to),
        (locations[0].position, locations[3].end()),
        "all of it"
    );
    for other in [
        WalLoss {
            from: lost.from,
            to: locations[0].end(),
        },
        WalLoss {
            from: lost.from,
            to: WalPosition(u64::MAX),
        },
        WalLoss {
            from: WalPosition(8),
            to: lost.to,
        },
    ] {
        assert!(matches!(
            accepting(&io, other),
            Err(WalOpenError::Corrupt { .. })
        ));
    }
    assert_eq!(accepting(&io, lost).unwrap().replayed.len(), 7);
}

/// Accepts the loss that the next start names, and then starts again and again with the same value: each replays what the
/// first one did, and what was appended in between.
fn accepted_at_every_start(io: &CrashIo) -> WalLoss {
    let (_, lost) = loss(io);
    let first = accepting(io, lost).unwrap();
    assert_eq!(first.recovery.accepted_loss, Some(lost));
    let mut expected = first.replayed.clone();
    drop(first);
    for n in 0..3u8 {
        let broker = accepting(io, lost).unwrap();
        assert_eq!(broker.replayed, expected, "start {n}");
        let location = broker.append(&[n; 60]);
        assert!(location.position >= lost.to);
        broker.write_all();
        drop(broker);
        let again = accepting(io, lost).unwrap();
        let appended = again.replayed.last().unwrap();
        assert_eq!(appended.location, location);
        expected.push(appended.clone());
    }
    lost
}

/// Found by bending files: once another file follows, the wrong length is not looked at, so the range was a smaller one.
#[test]
fn a_loss_that_a_wrong_length_widened_is_accepted_at_every_start() {
    let (io, locations) = sealed();
    io.flip_bit(FIRST, (offset(locations[1]) + 45) * 8);
    let mut cut = io.contents(FIRST);
    cut.truncate(cut.len() - 8);
    io.set_contents(FIRST, cut);
    let lost = accepted_at_every_start(&io);
    assert_eq!(lost.from, locations[1].position);
    assert!(lost.to > locations[4].end());
}

#[test]
fn a_loss_with_a_last_file_of_which_nothing_is_left_is_accepted_at_every_start() {
    for bit in [20 * 8, (4096 + 4) * 8] {
        let (io, locations) = three_files();
        io.flip_bit(FIRST, (offset(locations[0]) + 50) * 8);
        let third = "00000000000000000003.wal";
        io.flip_bit(third, bit);
        if bit > 4096 * 8 {
            let mut cut = io.contents(third);
            cut.truncate(4096 + 1000);
            io.set_contents(third, cut);
        }
        let lost = accepted_at_every_start(&io);
        assert_eq!(lost.from, locations[0].position);
        assert!(lost.to >= locations[8].end());
    }
}

#[test]
fn a_loss_in_two_files_is_accepted_when_one_of_them_was_recycled() {
    let (io, locations) = three_files();
    let second = "00000000000000000002.wal";
    io.flip_bit(FIRST, (offset(locations[0]) + 50) * 8);
    io.flip_bit(second, (4096 + 50) * 8);
    let (_, lost) = loss(&io);
    drop(accepting(&io, lost).unwrap());
    io.remove(FIRST).unwrap();
    let broker = accepting(&io, lost).unwrap();
    assert_eq!(broker.replayed.len(), 5);
    let left = WalLoss {
        from: locations[3].position,
        to: locations[3].end(),
    };
    assert_eq!(broker.recovery.accepted_loss, Some(left));
}

#[test]
fn damage_behind_an_accepted_loss_is_not_accepted_with_it() {
    let (io, locations) = sealed();
    io.flip_bit(FIRST, (offset(locations[1]) + 45) * 8);
    let mut cut = io.contents(FIRST);
    cut.truncate(cut.len() - 8);
    io.set_contents(FIRST, cut);
    let (_, lost) = loss(&io);
    let broker = accepting(&io, lost).unwrap();
    broker.append(&[7; 60]);
    broker.write_all();
    broker.seal();
    drop(broker);
    let second = "00000000000000000002.wal";
    io.flip_bit(second, (4096 + 45) * 8);
    for to in [lost.to, WalPosition(u64::MAX)] {
        let refused = accepting(&io, WalLoss { to, ..lost });
        assert!(matches!(refused, Err(WalOpenError::Corrupt { .. })));
    }
}

#[test]
fn a_missing_file_in_the_middle_is_named() {
    let (io, locations) = three_files();
    io.remove("00000000000000000002.wal").unwrap();
    let (file, lost) = loss(&io);
    assert_eq!(file, "00000000000000000002.wal");
    assert_eq!(
        (lost.from, lost.to),
        (locations[3].position, locations[6].position)
    );
    let broker = accepting(&io, lost).unwrap();
    assert_eq!(broker.replayed.len(), 6);
}

#[test]
fn an_unreadable_header_is_named_with_the_range_of_its_file() {
    for number in 1..=3u64 {
        let (io, locations) = three_files();
        let name = crate::wal::names::log_file(number);
        io.flip_bit(&name, 20 * 8);
        let (file, lost) = loss(&io);
        assert_eq!(file, name);
        let first = usize::try_from(number - 1).unwrap() * 3;
        assert!(lost.from <= locations[first].position && lost.to >= locations[first + 2].end());
        let broker = accepting(&io, lost).unwrap();
        assert_eq!(broker.replayed.len(), 6);
        let next = broker.append(b"goes on");
        assert!(next.position >= lost.to);
        broker.write_all();
        drop(broker);
        assert_eq!(accepting(&io, lost).unwrap().replayed.len(), 7);
    }
}

#[test]
fn damaged_bytes_are_never_read_back() {
    let (io, locations) = sealed();
    let broker = open(&io);
    for bit in offset(locations[2]) * 8..(4096 + usize::try_from(locations[2].end().0).unwrap()) * 8
    {
        io.flip_bit(FIRST, bit);
        let read = broker.wal.read_now(locations[2]);
        assert!(matches!(read, Err(WalReadError::Corrupt(_))), "bit {bit}");
        io.flip_bit(FIRST, bit);
    }
    assert!(broker.wal.read_now(locations[2]).is_ok());
}

#[test]
fn a_file_of_a_newer_format_is_refused() {
    let (io, _) = sealed();
    let mut bytes = io.contents(FIRST);
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    io.set_contents(FIRST, bytes);
    assert!(matches!(
        opened(&io),
        Err(WalOpenError::Newer {
            version: 2,
            newest: 1,
            ..
        })
    ));
}

/// Law 13, for bytes whose checksums are right: whoever wrote them meant harm.
#[test]
fn hostile_headers_and_records_do_not_panic() {
    let chance = chance(9, 0);
    let extremes = [
        0,
        1,
        8,
        4096,
        8192,
        u64::from(u32::MAX),
        u64::MAX / 2,
        u64::MAX - 7,
        u64::MAX,
    ];
    let pick = || extremes[usize::try_from(chance.below(extremes.len() as u64)).unwrap()];
    for case in 0..4000 * scale() {
        let io = CrashIo::new();
        for number in [1, 2, 5, u64::MAX / 2 - 1] {
            if chance.below(2) == 0 {
                continue;
            }
            let header = FileHeader {
                number,
                salt: 3,
                base: WalPosition(pick()),
                file_bytes: pick(),
                identity: IDENTITY,
                predecessor: (chance.below(2) == 0).then(|| Predecessor {
                    number: pick(),
                    salt: 3,
                    end: WalPosition(pick()),
                }),
                note: Vec::new(),
            };
            let mut bytes = header.encode();
            let mut position = header.base.0;
            for _ in 0..chance.below(3) {
                let record = crate::wal::format::RecordHeader {
                    salt: 3,
                    position,
                    synced_upto: pick(),
                    payload_len: 0,
                    kind: crate::wal::format::RecordKind::Run,
                };
                bytes.extend_from_slice(&record.encode(crc32c::crc32c(b"")));
                position = position.wrapping_add(if chance.below(4) == 0 { pick() } else { 40 });
            }
            bytes.resize(8192, 0);
            io.set_contents(&crate::wal::names::log_file(number), bytes);
        }
        let first = opened(&io);
        if let Err(WalOpenError::Corrupt { lost, .. }) = &first {
            drop(accepting(&io, *lost));
        }
        if let Ok(broker) = first {
            let _ = broker.try_append(&[case as u8; 100]);
            broker.write_all();
        }
    }
}

#[test]
fn random_damage_never_panics_and_never_serves_wrong_bytes() {
    let (io, _) = three_files();
    let names = io.names();
    for case in 0..1500 * scale() as u64 {
        let chance = chance(10, case);
        let damaged = io.after_kill();
        for _ in 0..=chance.below(6) {
            let name = &names[usize::try_from(chance.below(names.len() as u64)).unwrap()];
            let mut bytes = damaged.contents(name);
            let at = usize::try_from(chance.below(8192)).unwrap();
            let len = usize::try_from(chance.below(600)).unwrap().min(8192 - at);
            bytes[at..at + len]
                .iter_mut()
                .for_each(|byte| *byte = chance.next_u64() as u8);
            damaged.set_contents(name, bytes);
        }
        let lost = match opened(&damaged) {
            Ok(_) => continue,
            Err(WalOpenError::Corrupt { lost, .. }) => lost,
            Err(other) => panic!("{other}"),
        };
        let Ok(broker) = accepting(&damaged, lost) else {
            panic!("the named loss is acceptable")
        };
        for record in &broker.replayed {
            assert_eq!(record.payload.len(), 1200);
            assert!(record.payload.iter().all(|byte| *byte == record.payload[0]));
        }
    }
}

/// Found by bending headers and making their checksums true again: a position named bytes of two files, and reads looked
/// into the wrong one.
#[test]
fn files_that_overlap_are_damage() {
    let io = CrashIo::new();
    let broker = open(&io);
    broker.append(&[1; 100]);
    broker.write_all();
    drop(broker);
    drop(open(&io));
    let logs: Vec<String> = io
        .names()
        .into_iter()
        .filter(|name| name.starts_with('0'))
        .collect();
    let mut file = io.contents(&logs[0]);
    // It begins behind where the next one says that it ends.
    file[32..40].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    let crc = crc32c::crc32c(&file[..4092]);
    file[4092..4096].copy_from_slice(&crc.to_le_bytes());
    io.set_contents(&logs[0], file);
    let refused = try_open(Arc::new(io), small(), 7).map(|_| ());
    assert!(
        matches!(refused, Err(WalOpenError::Corrupt { .. })),
        "{refused:?}"
    );
}
