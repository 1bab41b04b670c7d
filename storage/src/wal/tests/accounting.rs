//! Limits: the cap, the reserve, the count of entries, the queue.

use super::*;

/// Fills the WAL with runs until it refuses one; returns their locations.
fn fill(broker: &Broker) -> Vec<WalLocation> {
    let mut locations = Vec::new();
    loop {
        broker.keep_up();
        match broker.try_append(&[7; 1200]) {
            Ok(location) => locations.push(location),
            Err(AppendError::Full) => return locations,
            Err(error) => panic!("{error}"),
        }
        broker.write_all();
    }
}

fn append_other(broker: &Broker, len: usize) -> Result<WalLocation, AppendError> {
    broker
        .wal
        .append(AppendClass::Other, Bytes::new(), Bytes::from(vec![8; len]))
}

#[test]
fn the_cap_refuses_runs_and_the_reserve_takes_what_frees_space() {
    let io = CrashIo::new();
    let broker = open(&io);
    let runs = fill(&broker);
    assert_eq!(runs.len(), 8 * 3, "three records in each of eight files");
    assert_eq!(broker.wal.usage().files, 8);
    assert_eq!(io.names().len(), 10, "two files beyond the cap");
    let mut trims = 0;
    while append_other(&broker, 1000).is_ok() {
        broker.write_all();
        broker.keep_up();
        trims += 1;
    }
    assert_eq!(trims, 3, "one file in reserve");
    assert_eq!(
        broker.try_append(b""),
        Err(AppendError::Full),
        "no run in the reserve"
    );
    drop(broker);
    let broker = open(&io);
    assert_eq!(broker.replayed.len(), 27, "recovery has a file of its own");
    broker.keep_up();
    assert_eq!(
        io.names().len(),
        11,
        "the reserve and the recovery's file are in use, one spare"
    );
    assert_eq!(broker.try_append(b""), Err(AppendError::Full));
    assert!(append_other(&broker, 1000).is_ok());
    broker.write_all();
    broker.wal.recycle_to(runs[11].end());
    broker.keep_up();
    broker.append(&[1; 1200]);
    broker.write_all();
    assert_eq!(broker.wal.usage().files, 6, "four files are free again");
    assert_eq!(
        broker.wal.usage().spare_files,
        4,
        "what was written once is kept, up to two files beyond the cap"
    );
}

#[test]
fn a_small_cap_never_uses_more_disk_than_promised() {
    let io = CrashIo::new();
    let broker = open(&io);
    for round in 0..200u64 {
        let taken = broker.try_append(&[1; 1200]);
        broker.write_all();
        if round % 7 == 6 {
            broker.wal.recycle_to(broker.wal.durable_to());
        }
        broker.keep_up();
        assert!(io.names().len() <= 10, "{:?} {taken:?}", io.names());
    }
}

#[test]
fn the_count_of_entries_is_bounded_and_falls_with_recycling() {
    let io = CrashIo::new();
    let settings = WalSettings {
        entries_max: 5,
        ..small()
    };
    let broker = try_open(Arc::new(io.clone()), settings.clone(), 1).unwrap();
    let locations: Vec<WalLocation> = (0..5u8).map(|n| broker.append(&[n])).collect();
    assert_eq!(broker.try_append(b"6"), Err(AppendError::Full));
    assert!(append_other(&broker, 1).is_ok(), "only runs are counted");
    broker.write_all();
    broker.wal.recycle_to(locations[1].end());
    assert_eq!(broker.wal.usage().entries, 3);
    broker.append(b"6");
    broker.write_all();
    drop(broker);
    let broker = try_open(Arc::new(io), settings, 1).unwrap();
    assert_eq!(
        broker.wal.usage().entries,
        6,
        "every record that replay kept counts"
    );
    assert_eq!(broker.try_append(b"7"), Err(AppendError::Full));
}

#[test]
fn the_queue_is_bounded_for_runs() {
    let settings = WalSettings {
        queue_bytes_max: 100,
        ..small()
    };
    let broker = try_open(Arc::new(CrashIo::new()), settings, 1).unwrap();
    broker.append(&[0; 200]);
    assert_eq!(broker.try_append(&[0; 1]), Err(AppendError::Full));
    assert!(append_other(&broker, 10).is_ok());
    broker.write_all();
    broker.append(&[0; 60]);
    broker.append(&[0; 40]);
    assert_eq!(broker.try_append(&[0; 1]), Err(AppendError::Full));
}

#[test]
fn usage_counts_bytes_from_append_to_recycling() {
    let io = CrashIo::new();
    let broker = open(&io);
    let first = broker.append(&[0; 3000]);
    let second = broker.append(&[0; 3000]);
    let record = 40 + 3000;
    assert_eq!(broker.wal.usage().bytes, 2 * record);
    broker.write_all();
    broker.wal.recycle_to(second.position);
    broker.keep_up();
    assert_eq!(broker.wal.usage().bytes, record);
    drop(broker);
    assert_eq!(open(&io).wal.usage().bytes, record);
    assert_eq!(first.end(), second.position);
}

#[test]
fn spares_are_filled_only_while_the_log_rests() {
    let settings = WalSettings {
        pool_files: 6,
        ..small()
    };
    let open = || try_open(Arc::new(CrashIo::new()), settings.clone(), 7).unwrap();
    let filled = |broker: &Broker| {
        broker.keep_up();
        let mut files = broker.wal.shared.files.lock();
        let spares = std::iter::from_fn(|| files.take_spare());
        spares.filter(|spare| spare.is_filled).count()
    };
    let at_rest = open();
    assert!(filled(&at_rest) > 0);
    let written_to = open();
    written_to.append(b"a");
    written_to.write_all();
    assert_eq!(filled(&written_to), 0, "zeros beside a load");
    let sealed = open();
    sealed.append(b"a");
    sealed.write_all();
    sealed.seal();
    assert!(filled(&sealed) > 0);
}
