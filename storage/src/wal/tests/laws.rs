//! The laws, for every file IO: each test runs on the real file system and on the disk in memory.

use std::io;
use std::sync::Arc;

use super::*;
use crate::wal::SystemIo;

/// A folder that can be opened again and again.
trait Folder {
    fn io(&self) -> Arc<dyn WalIo>;

    fn open(&self) -> Broker {
        try_open(self.io(), small(), 7).unwrap()
    }

    fn open_with(&self, settings: WalSettings) -> Broker {
        try_open(self.io(), settings, 7).unwrap()
    }

    fn log_files(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .io()
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| name.ends_with(".wal") && !name.starts_with("spare"))
            .collect();
        names.sort();
        names
    }
}

struct Memory(CrashIo);

impl Folder for Memory {
    fn io(&self) -> Arc<dyn WalIo> {
        Arc::new(self.0.clone())
    }
}

struct System(tempfile::TempDir);

impl Folder for System {
    fn io(&self) -> Arc<dyn WalIo> {
        Arc::new(SystemIo::open(self.0.path().join("wal")).unwrap())
    }
}

/// Lists the laws once and expands each for every kind of folder.
macro_rules! wal_laws {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name(&super::Memory(super::CrashIo::new())); })*
        }
        mod system {
            $(#[test] fn $name() { super::$name(&super::System(tempfile::tempdir().unwrap())); })*
        }
    };
}

wal_laws![
    records_are_replayed_in_the_order_of_append,
    what_was_only_queued_is_not_replayed,
    opening_again_replays_the_same,
    positions_are_never_given_twice,
    a_record_is_replayed_with_its_class_and_place,
    an_empty_payload_is_a_record,
    the_largest_record_fits_and_one_byte_more_does_not,
    a_read_gives_what_was_appended,
    a_read_of_what_is_not_written_or_not_there_says_so,
    a_pinned_file_is_not_recycled,
    only_whole_files_below_the_position_are_recycled,
    recycling_never_passes_what_is_durable,
    what_a_recycled_file_held_does_not_come_back,
    an_idle_wal_writes_one_seal_and_rests,
    a_full_group_is_written_before_the_next,
    closing_writes_what_is_queued_and_refuses_more,
    the_listener_hears_written_before_durable,
    one_process_per_folder,
    a_foreign_cluster_or_folder_is_refused,
    the_note_is_found_again,
    what_lies_about_in_the_folder_is_left_alone_or_cleaned_up,
];

fn records_are_replayed_in_the_order_of_append(folder: &dyn Folder) {
    let broker = folder.open();
    let written: Vec<Vec<u8>> = (0..60u8).map(|n| vec![n; usize::from(n) * 7]).collect();
    for payload in &written {
        broker.append(payload);
        if payload[..].len().is_multiple_of(3) {
            broker.write_all();
        }
    }
    broker.write_all();
    assert!(
        folder.log_files().len() > 2,
        "the records span several files"
    );
    drop(broker);
    assert_eq!(folder.open().payloads(), written);
}

fn what_was_only_queued_is_not_replayed(folder: &dyn Folder) {
    let broker = folder.open();
    broker.append(b"written");
    broker.write_all();
    broker.append(b"queued");
    drop(broker);
    assert_eq!(folder.open().payloads(), [b"written"]);
}

fn opening_again_replays_the_same(folder: &dyn Folder) {
    let broker = folder.open();
    for n in 0..40u8 {
        broker.append(&[n; 300]);
    }
    broker.write_all();
    drop(broker);
    let first = folder.open();
    let (replayed, end) = (first.replayed.clone(), first.recovery.end);
    assert_eq!(replayed.len(), 40);
    drop(first);
    let second = folder.open();
    assert_eq!(second.replayed, replayed);
    assert_eq!(second.recovery.end, end);
}

fn positions_are_never_given_twice(folder: &dyn Folder) {
    let broker = folder.open();
    broker.append(b"kept");
    broker.write_all();
    let lost = broker.append(b"lost with the queue");
    drop(broker);
    let broker = folder.open();
    assert!(broker.recovery.resumed_at > lost.position);
    assert!(broker.append(b"next").position >= broker.recovery.resumed_at);
    drop(broker);
    let broker = folder.open();
    let third = broker.append(b"after an unused file");
    assert!(third.position > lost.end());
}

fn a_record_is_replayed_with_its_class_and_place(folder: &dyn Folder) {
    let broker = folder.open();
    let run = broker.append(b"run");
    let wal = &broker.wal;
    let other = wal
        .append(
            AppendClass::Other,
            Bytes::from_static(b"head"),
            Bytes::from_static(b"body"),
        )
        .unwrap();
    assert_eq!(run.end(), other.position, "neighbours");
    broker.write_all();
    drop(broker);
    let again = folder.open();
    let expected = [
        Replayed {
            location: run,
            class: AppendClass::Run,
            payload: Bytes::from_static(b"run"),
        },
        Replayed {
            location: other,
            class: AppendClass::Other,
            payload: Bytes::from_static(b"headbody"),
        },
    ];
    assert_eq!(again.replayed, expected);
    assert_eq!(again.wal.read_now(other).unwrap(), "headbody");
}

fn an_empty_payload_is_a_record(folder: &dyn Folder) {
    let broker = folder.open();
    let location = broker.append(b"");
    broker.write_all();
    assert_eq!(broker.wal.read_now(location).unwrap(), "");
    drop(broker);
    assert_eq!(folder.open().payloads(), [b""]);
}

fn the_largest_record_fits_and_one_byte_more_does_not(folder: &dyn Folder) {
    let broker = folder.open();
    let max = usize::try_from(small().payload_bytes_max()).unwrap();
    assert_eq!(
        broker.try_append(&vec![1; max + 1]),
        Err(AppendError::TooLarge)
    );
    let largest = vec![2; max];
    broker.append(&largest);
    broker.seal();
    broker.append(b"next");
    broker.write_all();
    drop(broker);
    assert_eq!(folder.open().payloads(), [largest.as_slice(), b"next"]);
}

fn a_read_gives_what_was_appended(folder: &dyn Folder) {
    let broker = folder.open();
    let locations: Vec<WalLocation> = (0..40u8).map(|n| broker.append(&[n; 200])).collect();
    broker.write_all();
    for (n, location) in (0..40u8).zip(&locations) {
        assert_eq!(broker.wal.read_now(*location).unwrap(), vec![n; 200]);
    }
    drop(broker);
    let broker = folder.open();
    for (n, location) in (0..40u8).zip(&locations) {
        assert_eq!(
            broker.wal.read_now(*location).unwrap(),
            vec![n; 200],
            "after a restart"
        );
    }
}

fn a_read_of_what_is_not_written_or_not_there_says_so(folder: &dyn Folder) {
    let broker = folder.open();
    let location = broker.append(b"0123456789");
    assert!(matches!(
        broker.wal.read_now(location),
        Err(WalReadError::NotWritten(_))
    ));
    broker.write_all();
    let shorter = WalLocation { len: 9, ..location };
    assert!(matches!(
        broker.wal.read_now(shorter),
        Err(WalReadError::Corrupt(_))
    ));
    let longer = WalLocation {
        len: u32::MAX,
        ..location
    };
    assert!(matches!(
        broker.wal.read_now(longer),
        Err(WalReadError::Corrupt(_))
    ));
    let inside = WalLocation {
        position: WalPosition(location.position.0 + 8),
        len: 2,
    };
    assert!(matches!(
        broker.wal.read_now(inside),
        Err(WalReadError::Corrupt(_))
    ));
    let beyond = WalLocation {
        position: location.end(),
        len: 1,
    };
    assert!(matches!(
        broker.wal.read_now(beyond),
        Err(WalReadError::NotWritten(_))
    ));
}

fn a_pinned_file_is_not_recycled(folder: &dyn Folder) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let broker = folder.open();
    let first = broker.append(&[1; 3000]);
    let second = broker.append(&[2; 3000]);
    broker.write_all();
    let reading = broker.wal.read(first);
    broker.wal.recycle_to(second.position);
    assert!(matches!(
        broker.wal.read_now(first),
        Err(WalReadError::Recycled(_))
    ));
    broker.keep_up();
    assert_eq!(folder.log_files().len(), 2, "the pinned file stays");
    assert_eq!(runtime.block_on(reading).unwrap(), vec![1; 3000]);
    broker.keep_up();
    assert_eq!(folder.log_files().len(), 1);
}

fn only_whole_files_below_the_position_are_recycled(folder: &dyn Folder) {
    let broker = folder.open();
    let locations: Vec<WalLocation> = (0..12u8).map(|n| broker.append(&[n; 1200])).collect();
    broker.write_all();
    assert_eq!(folder.log_files().len(), 4, "three records in a file");
    broker.wal.recycle_to(locations[5].position);
    broker.keep_up();
    assert_eq!(
        folder.log_files().len(),
        3,
        "the second file is needed for its last record"
    );
    broker.wal.recycle_to(locations[5].end());
    broker.keep_up();
    assert_eq!(folder.log_files().len(), 2);
    broker.wal.recycle_to(locations[11].end());
    broker.keep_up();
    assert_eq!(
        folder.log_files().len(),
        1,
        "the file that is written stays"
    );
    drop(broker);
    let again = folder.open();
    assert_eq!(
        again.replayed.first().map(|record| record.payload[0]),
        Some(9)
    );
}

fn recycling_never_passes_what_is_durable(folder: &dyn Folder) {
    let broker = folder.open();
    let first = broker.append(&[1; 3000]);
    broker.write_all();
    broker.append(&[2; 3000]);
    broker.wal.recycle_to(WalPosition(u64::MAX));
    assert_eq!(broker.wal.recycled_to(), first.end());
    broker.write_all();
    broker.keep_up();
    drop(broker);
    assert_eq!(folder.open().payloads().last(), Some(&[2; 3000].as_slice()));
}

fn what_a_recycled_file_held_does_not_come_back(folder: &dyn Folder) {
    let broker = folder.open();
    for round in 0..30u8 {
        let location = broker.append(&[round; 1900]);
        broker.write_all();
        broker.wal.recycle_to(location.position);
        broker.keep_up();
    }
    assert!(
        folder.log_files().last().unwrap().ends_with("015.wal"),
        "two records in a file"
    );
    drop(broker);
    let again = folder.open();
    assert_eq!(again.payloads(), [&[28; 1900], &[29; 1900]]);
    assert_eq!(again.recovery.dropped_records, 0);
}

fn an_idle_wal_writes_one_seal_and_rests(folder: &dyn Folder) {
    let broker = folder.open();
    assert_eq!(
        broker.wal.turn(broker.heard.as_ref()),
        Turn::Idle { until: None }
    );
    broker.append(b"x");
    broker.write_all();
    assert!(matches!(
        broker.wal.turn(broker.heard.as_ref()),
        Turn::Idle { until: Some(_) }
    ));
    broker.clock.advance(Duration::from_millis(20));
    assert_eq!(
        broker.wal.turn(broker.heard.as_ref()),
        Turn::Wrote { records: 1 }
    );
    broker.clock.advance(Duration::from_secs(3600));
    assert_eq!(
        broker.wal.turn(broker.heard.as_ref()),
        Turn::Idle { until: None }
    );
    drop(broker);
    let again = folder.open();
    assert_eq!(again.payloads(), [b"x"], "a seal is not a record");
    again.clock.advance(Duration::from_secs(3600));
    assert_eq!(
        again.wal.turn(again.heard.as_ref()),
        Turn::Idle { until: None }
    );
}

fn a_full_group_is_written_before_the_next(folder: &dyn Folder) {
    let settings = WalSettings {
        group_records_max: 4,
        group_bytes_max: 100,
        ..small()
    };
    let broker = folder.open_with(settings);
    for _ in 0..6 {
        broker.append(b"x");
    }
    broker.append(&[0; 98]);
    broker.append(&[0; 98]);
    broker.append(&[0; 500]);
    let mut groups = Vec::new();
    while let Turn::Wrote { records } = broker.wal.turn(broker.heard.as_ref()) {
        groups.push(records);
    }
    assert_eq!(groups, [4, 3, 2], "by count, by bytes, and never split");
}

fn closing_writes_what_is_queued_and_refuses_more(folder: &dyn Folder) {
    let broker = folder.open();
    broker.append(b"queued");
    broker.wal.close();
    assert_eq!(broker.try_append(b"late"), Err(AppendError::Closed));
    broker.wal.close();
    let again = folder.open();
    assert_eq!(
        again.payloads(),
        [b"queued"],
        "and the folder is free before the drop"
    );
}

fn the_listener_hears_written_before_durable(folder: &dyn Folder) {
    let broker = folder.open();
    let end = broker.append(b"a").end();
    broker.write_all();
    let events = broker.heard.events.lock().clone();
    assert_eq!(events, [Event::Written(end), Event::Durable(end)]);
    assert_eq!(broker.wal.durable_to(), end);
}

fn one_process_per_folder(folder: &dyn Folder) {
    let first = folder.open();
    let second = try_open(folder.io(), small(), 7);
    assert!(matches!(second, Err(WalOpenError::Locked { .. })));
    drop(first);
    folder.open();
}

fn a_foreign_cluster_or_folder_is_refused(folder: &dyn Folder) {
    drop(folder.open());
    for (cluster, dir, which) in [(0xc2, 0xd1, "cluster"), (0xc1, 0xd2, "folder")] {
        let identity = WalIdentity {
            cluster,
            dir,
            incarnation: 2,
        };
        let (ambient, _) = ambient(1);
        let opened = Wal::open(folder.io(), small(), identity, ambient, &mut |_| {
            ReplayVerdict::Keep
        });
        assert!(matches!(opened, Err(WalOpenError::Foreign { what, .. }) if what == which));
    }
    assert_eq!(folder.open().recovery.last_incarnation, Some(1));
}

fn the_note_is_found_again(folder: &dyn Folder) {
    let broker = folder.open();
    assert_eq!(broker.recovery.note, "");
    let long = Bytes::from(vec![0; 2049]);
    assert_eq!(
        broker.wal.set_note(long),
        Err(NoteTooLong {
            len: 2049,
            max: 2048
        })
    );
    broker
        .wal
        .set_note(Bytes::from_static(b"timeline 3"))
        .unwrap();
    broker.append(&[1; 3000]);
    broker.append(&[2; 3000]);
    broker.write_all();
    drop(broker);
    assert_eq!(folder.open().recovery.note, "timeline 3");
    assert_eq!(
        folder.open().recovery.note,
        "timeline 3",
        "and it is handed on"
    );
}

fn what_lies_about_in_the_folder_is_left_alone_or_cleaned_up(folder: &dyn Folder) {
    let io = folder.io();
    for name in [
        "notes.txt",
        "1.wal",
        "00000000000000000000.wal",
        "99999999999999999999.wal",
    ] {
        io.create(name).unwrap();
    }
    io.create("spare-00000000000000000009.tmp").unwrap();
    io.create("spare-00000000000000000004.wal").unwrap();
    let broker = folder.open();
    broker.append(b"x");
    broker.write_all();
    let kind = |name: &str| io.open(name).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(kind("notes.txt"), Ok(()));
    assert_eq!(kind("99999999999999999999.wal"), Ok(()));
    assert_eq!(
        kind("spare-00000000000000000009.tmp"),
        Err(io::ErrorKind::NotFound)
    );
    assert_eq!(
        kind("spare-00000000000000000004.wal"),
        Err(io::ErrorKind::NotFound),
        "wrong size"
    );
}
