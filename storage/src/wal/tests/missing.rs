//! A log whose newest files are gone, or older than they were, is noticed by what others have recorded of it; and all
//! damage can be had at once, before anything is opened.

use super::damage::{FIRST, accepting, loss, sealed, three_files};
use super::*;

const SECOND: &str = "00000000000000000002.wal";
const THIRD: &str = "00000000000000000003.wal";

fn covered(covered_to: WalPosition) -> WalSettings {
    WalSettings {
        covered_to,
        ..small()
    }
}

fn opened(io: &CrashIo, settings: WalSettings) -> Result<Broker, WalOpenError> {
    try_open(Arc::new(io.clone()), settings, 5)
}

fn damage(io: &CrashIo, settings: &WalSettings) -> Vec<WalDamage> {
    Wal::damage(io, settings, &IDENTITY).unwrap()
}

fn newest(io: &CrashIo) -> u64 {
    crate::wal::names::newest_of(io.names().iter())
}

fn lost(from: WalPosition, to: WalPosition) -> WalLoss {
    WalLoss { from, to }
}

#[test]
fn a_missing_newest_file_is_named_at_every_start_until_it_is_accepted() {
    let (io, locations) = three_files();
    let reached = locations[8].end();
    io.remove(THIRD).unwrap();
    let missing = lost(locations[5].end(), reached);
    for start in 0..3 {
        let refused = opened(&io, covered(reached));
        let Err(WalOpenError::Corrupt { file, lost, reason }) = refused else {
            panic!("start {start}: {refused:?}");
        };
        assert_eq!((file.as_str(), lost), (THIRD, missing), "start {start}");
        assert!(reason.starts_with("it is missing"), "{reason}");
    }
    let accepting = WalSettings {
        accept_loss: vec![missing],
        ..covered(reached)
    };
    let broker = opened(&io, accepting).unwrap();
    assert_eq!(broker.recovery.accepted_loss, Some(missing));
    assert_eq!(broker.replayed.len(), 6);
    let next = broker.append(b"goes on");
    assert!(next.position >= reached);
    broker.write_all();
    drop(broker);
    let broker = opened(&io, covered(reached)).unwrap();
    assert_eq!(broker.recovery.accepted_loss, None, "it has done its work");
    assert_eq!(broker.replayed.len(), 7);
}

#[test]
fn an_older_copy_of_the_newest_file_is_named() {
    let (io, locations) = sealed();
    let mut older = io.contents(FIRST);
    let at = 4096 + usize::try_from(locations[3].position.0).unwrap();
    older[at..].fill(0);
    io.set_contents(FIRST, older);
    assert_eq!(opened(&io, small()).unwrap().replayed.len(), 3);
    let (io, _) = sealed();
    let mut older = io.contents(FIRST);
    older[at..].fill(0);
    io.set_contents(FIRST, older);
    let refused = opened(&io, covered(locations[4].end()));
    let Err(WalOpenError::Corrupt { file, lost, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(file, FIRST);
    assert!(lost.from <= locations[3].position && lost.to == locations[4].end());
}

#[test]
fn a_folder_without_any_file_is_named_if_it_held_something() {
    let io = CrashIo::new();
    let reached = WalPosition(5 << 40);
    let all = lost(WalPosition(0), reached);
    assert_eq!(damage(&io, &covered(reached))[0].lost, all);
    assert!(opened(&io, covered(reached)).is_err());
    let accepting = WalSettings {
        accept_loss: vec![all],
        ..covered(reached)
    };
    let broker = opened(&io, accepting).unwrap();
    assert!(broker.append(b"x").position >= reached);
    broker.write_all();
    drop(broker);
    assert_eq!(opened(&io, covered(reached)).unwrap().replayed.len(), 1);
}

/// Nothing of it may have been recorded anywhere: that it was begun is enough.
#[test]
fn a_missing_file_that_was_begun_is_named_and_its_number_not_given_again() {
    let begun = |begun_to| WalSettings {
        begun_to,
        ..small()
    };
    for removed in [&[THIRD][..], &[SECOND, THIRD], &[FIRST, SECOND, THIRD]] {
        let (io, locations) = three_files();
        assert_eq!(newest(&io), 3);
        assert_eq!(
            opened(&io.after_kill(), begun(3)).unwrap().replayed.len(),
            9
        );
        for name in removed {
            io.remove(name).unwrap();
        }
        let lost = damage(&io, &begun(3))[0].lost;
        let kept = 9 - 3 * removed.len();
        assert!(lost.from <= locations[kept].position && locations[8].end() < lost.to);
        for _ in 0..2 {
            let refused = opened(&io, begun(3));
            assert!(
                matches!(&refused, Err(WalOpenError::Corrupt { file, .. }) if file == THIRD),
                "{refused:?}"
            );
        }
        let accepting = WalSettings {
            accept_loss: vec![lost],
            ..begun(3)
        };
        let broker = opened(&io, accepting).unwrap();
        assert_eq!(broker.replayed.len(), kept);
        assert!(broker.append(b"goes on").position >= lost.to);
        broker.write_all();
        drop(broker);
        assert_eq!(newest(&io), 4, "no second file has a number");
        let again = opened(&io, begun(4)).unwrap();
        assert_eq!(again.recovery.accepted_loss, None);
        assert_eq!(again.replayed.len(), kept + 1);
    }
}

#[test]
fn restarts_never_lack_the_file_that_was_begun() {
    let io = CrashIo::new();
    let mut begun_to = 0;
    for life in 0..8u8 {
        let settings = WalSettings {
            begun_to,
            ..small()
        };
        let broker = opened(&io, settings).unwrap();
        begun_to = newest(&io);
        if life % 3 == 1 {
            let last = broker.append(&[life; 900]);
            broker.seal();
            broker.wal.recycle_to(last.end());
        }
        broker.keep_up();
        drop(broker);
        assert!(newest(&io) >= begun_to);
    }
}

/// What others recorded may include the closing seal, and damage to that loses nothing.
#[test]
fn a_seal_that_is_gone_is_not_missed() {
    let (io, locations) = sealed();
    let end = locations[4].end();
    let durable = WalPosition(end.0 + 40);
    assert_eq!(
        opened(&io.after_kill(), covered(durable))
            .unwrap()
            .replayed
            .len(),
        5
    );
    io.flip_bit(FIRST, (4096 + usize::try_from(end.0).unwrap() + 9) * 8);
    assert_eq!(opened(&io, covered(durable)).unwrap().replayed.len(), 5);
}

#[test]
fn damage_in_the_middle_and_a_missing_newest_file_are_one_range() {
    let (io, locations) = three_files();
    io.flip_bit(FIRST, (4096 + 50) * 8);
    io.remove(THIRD).unwrap();
    let reached = locations[8].end();
    let found = damage(&io, &covered(reached));
    let [only] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(only.file, FIRST);
    assert_eq!(only.lost, lost(locations[0].position, reached));
    let accepting = WalSettings {
        accept_loss: vec![only.lost],
        ..covered(reached)
    };
    for _ in 0..3 {
        assert_eq!(opened(&io, accepting.clone()).unwrap().replayed.len(), 5);
    }
}

#[test]
fn damage_is_told_whatever_is_accepted_and_nothing_is_changed() {
    let (io, _) = three_files();
    assert_eq!(damage(&io, &small()), []);
    io.flip_bit(SECOND, (4096 + 50) * 8);
    let before: Vec<Vec<u8>> = io.names().iter().map(|name| io.contents(name)).collect();
    let (file, lost) = loss(&io);
    let accepting_it = WalSettings {
        accept_loss: vec![lost],
        ..small()
    };
    for settings in [small(), accepting_it] {
        let found = damage(&io, &settings);
        assert_eq!((found.len(), found[0].lost), (1, lost));
        assert_eq!(found[0].file, file);
    }
    let after: Vec<Vec<u8>> = io.names().iter().map(|name| io.contents(name)).collect();
    assert_eq!(before, after);
    drop(accepting(&io, lost).unwrap());
    assert_eq!(
        damage(&io, &small())[0].lost,
        lost,
        "as long as the file is there"
    );
}

/// Each has a range of its own: both must be acceptable at once, or the broker would never start again.
#[test]
fn damage_to_what_was_set_aside_and_to_the_log_are_accepted_together() {
    let io = CrashIo::new();
    let broker = open(&io);
    let records: Vec<WalLocation> = (0..5u8).map(|n| broker.append(&[n; 300])).collect();
    broker.seal();
    let own = [
        (records[0], AppendClass::Run),
        (records[1], AppendClass::Run),
    ];
    let aside = broker.wal.set_aside(3, &own).unwrap();
    drop(broker);
    io.flip_bit(&aside, 100 * 8);
    io.flip_bit(
        FIRST,
        (4096 + usize::try_from(records[3].position.0).unwrap() + 50) * 8,
    );
    let found = damage(&io, &small());
    let files: Vec<&str> = found.iter().map(|damage| damage.file.as_str()).collect();
    assert_eq!(files, [aside.as_str(), FIRST]);
    let all: Vec<WalLoss> = found.iter().map(|damage| damage.lost).collect();
    for one in &all {
        let one = WalSettings {
            accept_loss: vec![*one],
            ..small()
        };
        assert!(opened(&io, one).is_err());
    }
    let both = WalSettings {
        accept_loss: all,
        ..small()
    };
    assert_eq!(opened(&io, both.clone()).unwrap().replayed.len(), 4);
    // Nothing of that file can be read: it went, and the log's damage is the only one left.
    assert_eq!(damage(&io, &small()).len(), 1);
    assert_eq!(opened(&io, both).unwrap().replayed.len(), 4);
}
