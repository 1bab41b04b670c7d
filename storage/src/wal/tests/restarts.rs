//! Restarts: files are used again, verdicts free files, threads come and go.

use std::sync::atomic::{AtomicU64, Ordering};

use streamhouse_runtime::{OsChance, SystemClock};

use super::*;

fn log_files(io: &CrashIo) -> usize {
    io.names()
        .iter()
        .filter(|name| !name.starts_with("spare"))
        .count()
}

#[test]
fn a_restart_loop_without_appends_does_not_grow_the_folder() {
    let io = CrashIo::new();
    let broker = open(&io);
    broker.append(b"x");
    broker.write_all();
    drop(broker);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        let broker = open(&io);
        assert_eq!(broker.payloads(), [b"x"]);
        broker.keep_up();
        drop(broker);
        sizes.push((io.names().len(), log_files(&io)));
    }
    assert_eq!(sizes[1..], vec![sizes[0]; 9]);
    assert_eq!(sizes[0].1, 2);
}

/// A folder restored from a backup gives positions again that a lost future had given; only the salt tells the spare's
/// old records from those of the present.
#[test]
fn a_spare_with_records_at_the_very_same_positions_brings_none_back() {
    let past = CrashIo::new();
    let broker = open(&past);
    broker.keep_up();
    drop(broker);
    let live = |io: &CrashIo, seed: u64, lens: &[usize]| {
        let broker = try_open(Arc::new(io.clone()), small(), seed).unwrap();
        for len in lens {
            broker.append(&vec![1; *len]);
        }
        broker.write_all();
    };
    let future = past.after_kill();
    live(&future, 1, &[3000, 1000, 1000]);
    let logs = |io: &CrashIo| -> Vec<String> {
        io.names()
            .into_iter()
            .filter(|name| !name.starts_with("spare"))
            .collect()
    };
    let ghosts = future.contents(logs(&future).last().unwrap());
    for spare in past.names().iter().filter(|name| name.starts_with("spare")) {
        past.set_contents(spare, ghosts.clone());
    }
    live(&past, 2, &[3000, 1000]);
    assert_eq!(
        open(&past).replayed.len(),
        2,
        "the third record is of another time"
    );

    let restored = CrashIo::new();
    open(&restored);
    let ghosts = restored.after_kill();
    live(&ghosts, 1, &[50]);
    let ghosts = ghosts.contents(logs(&ghosts).last().unwrap());
    for spare in restored
        .names()
        .iter()
        .filter(|name| name.starts_with("spare"))
    {
        restored.set_contents(spare, ghosts.clone());
    }
    live(&restored, 2, &[]);
    assert_eq!(
        open(&restored).replayed.len(),
        0,
        "nor does recovery's own file hold any"
    );
}

#[test]
fn files_whose_records_are_all_recorded_go_at_the_next_start() {
    let io = CrashIo::new();
    let broker = open(&io);
    let locations: Vec<WalLocation> = (0..9u8).map(|n| broker.append(&[n; 1200])).collect();
    broker.write_all();
    drop(broker);
    let (ambient, _) = ambient(1);
    let recorded_to = locations[4].position;
    let (wal, _) = Wal::open(
        Arc::new(io.clone()),
        small(),
        IDENTITY,
        ambient,
        &mut |record| {
            if record.location.position < recorded_to {
                ReplayVerdict::Recorded
            } else {
                ReplayVerdict::Keep
            }
        },
    )
    .unwrap();
    assert_eq!(wal.usage().entries, 5);
    while wal.upkeep() {}
    assert!(matches!(
        wal.read_now(locations[2]),
        Err(WalReadError::Recycled(_))
    ));
    assert_eq!(wal.read_now(locations[3]).unwrap(), vec![3; 1200]);
    drop(wal);
    assert_eq!(
        open(&io).replayed.first().map(|record| record.payload[0]),
        Some(3)
    );
}

#[test]
fn files_of_another_size_are_read_and_not_used_again() {
    let io = CrashIo::new();
    let broker = open(&io);
    for n in 0..6u8 {
        broker.append(&[n; 1200]);
    }
    broker.write_all();
    drop(broker);
    let settings = WalSettings {
        pool_files: 6,
        file_bytes: 2 * FILE,
        cap_bytes: 16 * FILE,
        ..small()
    };
    let broker = try_open(Arc::new(io.clone()), settings, 9).unwrap();
    assert_eq!(broker.replayed.len(), 6);
    let end = broker.append(&[9; 9000]).end();
    broker.write_all();
    broker.wal.recycle_to(end);
    broker.keep_up();
    let lens: Vec<usize> = io
        .names()
        .iter()
        .map(|name| io.contents(name).len())
        .collect();
    assert!(lens.iter().all(|len| *len == 16384), "{lens:?}");
}

#[test]
fn spares_that_a_full_disk_cannot_hold_do_not_prevent_a_start() {
    let io = CrashIo::new();
    io.set_room(Some(FILE));
    let broker = open(&io);
    broker.append(&[1; 2000]);
    broker.write_all();
    assert!(broker.wal.usage().disk_full);
    assert_eq!(broker.try_append(&[1; 2500]), Err(AppendError::Full));
    assert_eq!(
        broker.try_append(&[1; 100]).map(|_| ()),
        Ok(()),
        "the file in use has room"
    );
    io.set_room(None);
    broker.keep_up();
    assert!(!broker.wal.usage().disk_full);
    broker.append(&[1; 2500]);
    broker.write_all();
    drop(broker);
    assert_eq!(open(&io).replayed.len(), 3);
}

#[test]
fn a_setting_that_makes_no_sense_is_named() {
    for settings in [
        WalSettings {
            file_bytes: 4096,
            ..small()
        },
        WalSettings {
            file_bytes: 10_000,
            ..small()
        },
        WalSettings {
            file_bytes: 1 << 32,
            cap_bytes: 1 << 33,
            ..small()
        },
        WalSettings {
            cap_bytes: FILE - 1,
            ..small()
        },
        WalSettings {
            pool_files: 1,
            ..small()
        },
        WalSettings {
            group_records_max: 0,
            ..small()
        },
    ] {
        let opened = try_open(Arc::new(CrashIo::new()), settings, 1);
        assert!(matches!(opened, Err(WalOpenError::Settings { .. })));
    }
    assert_eq!(WalSettings::new("x").problem(), None);
}

/// Waits for a position to become durable.
#[derive(Default)]
struct Gate {
    durable: Mutex<u64>,
    moved: parking_lot::Condvar,
    groups: AtomicU64,
}

impl WalListener for Gate {
    fn written(&self, _: WalPosition) {}

    fn durable(&self, up_to: WalPosition) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        *self.durable.lock() = up_to.0;
        self.moved.notify_all();
    }

    fn failed(&self, error: &WalFailure) {
        panic!("{error}");
    }
}

impl Gate {
    fn wait_for(&self, end: WalPosition) {
        let mut durable = self.durable.lock();
        while *durable < end.0 {
            self.moved.wait(&mut durable);
        }
    }
}

#[test]
fn appends_of_many_threads_are_acknowledged_and_replayed_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let real = Ambient {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(OsChance),
        tasks: tasks.clone(),
    };
    let settings = WalSettings {
        file_bytes: 1 << 16,
        cap_bytes: 1 << 24,
        ..WalSettings::new(dir.path())
    };
    let io = Arc::new(crate::wal::SystemIo::open(dir.path()).unwrap());
    let (wal, _) = Wal::open(io, settings.clone(), IDENTITY, real.clone(), &mut |_| {
        ReplayVerdict::Keep
    })
    .unwrap();
    let (wal, gate) = (Arc::new(wal), Arc::new(Gate::default()));
    wal.start(Arc::clone(&gate) as Arc<dyn WalListener>)
        .unwrap();
    let workers: Vec<_> = (0..4u8)
        .map(|worker| {
            let (wal, gate) = (Arc::clone(&wal), Arc::clone(&gate));
            let run = move || {
                for n in 0..200u8 {
                    let body = Bytes::from(vec![n; 500]);
                    let head = Bytes::from(vec![worker]);
                    let location = loop {
                        match wal.append(AppendClass::Run, head.clone(), body.clone()) {
                            Ok(location) => break location,
                            Err(AppendError::Full) => std::thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    };
                    if n % 8 == 0 {
                        gate.wait_for(location.end());
                        assert_eq!(wal.read_now(location).unwrap()[..2], [worker, n]);
                    }
                }
            };
            tasks.thread("appender", run).unwrap()
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    wal.close();
    assert!(!tasks.has_failed());
    assert!(gate.groups.load(Ordering::Relaxed) <= 801);
    drop(wal);
    let io = Arc::new(crate::wal::SystemIo::open(dir.path()).unwrap());
    let mut next = [0u8; 4];
    let (_, recovery) = Wal::open(io, settings, IDENTITY, real, &mut |record| {
        let worker = usize::from(record.payload[0]);
        assert_eq!(
            record.payload[1], next[worker],
            "each thread's records in its order"
        );
        next[worker] += 1;
        ReplayVerdict::Keep
    })
    .unwrap();
    assert_eq!((recovery.records, next), (800, [200; 4]));
}

#[test]
fn dropping_a_started_wal_stops_its_threads_and_frees_the_folder() {
    let io = CrashIo::new();
    let broker = open(&io);
    broker
        .wal
        .start(Arc::clone(&broker.heard) as Arc<dyn WalListener>)
        .unwrap();
    drop(broker);
    open(&io);
}
