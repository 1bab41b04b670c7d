//! Which entries a flush takes, where readers find batches, and what is left when a manifest names the first of them.

use bytes::Bytes;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId, TopicPartition};

use super::*;

const AT: TopicPartition = TopicPartition::new(TopicId(7), PartitionIndex(0));

fn batch(base_offset: i64, records: u64, bytes: u32) -> Entry {
    Entry::Run(Run {
        at: AT,
        base_offset,
        records,
        batches: 1,
        bytes: u64::from(bytes),
        append_epoch: LeaderEpoch(3),
        max_timestamp: Timestamp(base_offset),
        crc: 0,
        producers: Vec::new(),
        points: Vec::new(),
    })
}

/// Entries with places one behind the other, as the WAL of a single partition gives them.
struct Filled {
    unrecorded: Unrecorded,
    places: Vec<WalLocation>,
}

impl Filled {
    fn new() -> Self {
        Self {
            unrecorded: Unrecorded::default(),
            places: Vec::new(),
        }
    }

    fn push(&mut self, entry: &Entry) {
        let bytes = match entry {
            Entry::Run(run) => usize::try_from(run.bytes).unwrap(),
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => 0,
        };
        let location = WalLocation {
            position: self
                .places
                .last()
                .map_or(WalPosition(64), |last| last.end()),
            len: u32::try_from(HEAD_BYTES + bytes).unwrap(),
        };
        self.places.push(location);
        let stamp = Timestamp(i64::try_from(self.places.len()).unwrap());
        let batch = StoredBatch::from(Bytes::from(vec![1; bytes]));
        self.unrecorded.push(entry, stamp, location, Some(&batch));
    }

    /// Ten batches of ten records and 100 bytes.
    fn ten() -> Self {
        let mut filled = Self::new();
        for number in 0..10 {
            filled.push(&batch(number * 10, 10, 100));
        }
        filled
    }
}

#[test]
fn consecutive_batches_become_one_run() {
    let mut filled = Filled::ten();
    let taken = filled.unrecorded.take(None).unwrap();
    let [Entry::Run(run)] = &taken.entries[..] else {
        panic!("one run, not {:?}", taken.entries);
    };
    assert_eq!((run.base_offset, run.records, run.batches), (0, 100, 10));
    assert_eq!((run.bytes, taken.bytes(), taken.batches), (1000, 1000, 10));
    assert_eq!(run.crc, crc32c::crc32c(&[1; 1000]));
    assert_eq!(taken.stamp, Timestamp(10));
    assert_eq!(taken.wal_end, filled.places[9].end());
}

#[test]
fn what_comes_after_a_flush_has_taken_joins_another_run() {
    let mut filled = Filled::ten();
    let taken = filled.unrecorded.take(None).unwrap();
    filled.push(&batch(100, 10, 100));
    assert_eq!(filled.unrecorded.runs().count(), 2);
    filled
        .unrecorded
        .recorded(taken.entries.len(), taken.batches);
    let left = filled.unrecorded.take(None).unwrap();
    assert_eq!(
        left.entries,
        vec![{
            let Entry::Run(mut run) = batch(100, 10, 100) else {
                unreachable!()
            };
            run.crc = crc32c::crc32c(&[1; 100]);
            Entry::Run(run)
        }]
    );
    assert_eq!(filled.unrecorded.bytes(), 100);
    assert_eq!(
        filled.unrecorded.first_position(),
        Some(filled.places[10].position)
    );
}

#[test]
fn a_flush_that_failed_is_taken_again_with_what_came_since() {
    let mut filled = Filled::ten();
    filled.unrecorded.take(None).unwrap();
    filled.push(&batch(100, 10, 100));
    let taken = filled.unrecorded.take(None).unwrap();
    assert_eq!(taken.entries.len(), 2);
    assert_eq!(taken.batches, 11);
    filled.unrecorded.recorded(2, 11);
    assert!(filled.unrecorded.is_empty());
    assert_eq!(filled.unrecorded.bytes(), 0);
    assert!(filled.unrecorded.take(None).is_none());
}

#[test]
fn a_run_begun_after_everything_was_recorded_does_not_join_what_is_gone() {
    let mut filled = Filled::ten();
    filled.unrecorded.recorded(1, 10);
    filled.push(&batch(100, 10, 100));
    let taken = filled.unrecorded.take(None).unwrap();
    assert_eq!((taken.entries.len(), taken.batches), (1, 1));
}

#[test]
fn no_run_spans_two_windows_so_that_a_flush_may_stop_between_any_two() {
    let window = FlushWindow::of(300);
    let filled = || {
        let mut filled = Filled::new();
        filled.unrecorded = Unrecorded::in_windows(window);
        for number in 0..10 {
            filled.push(&batch(number * 10, 10, 100));
        }
        filled
    };
    let places = filled().places;
    let mut cuts = vec![window.end_of_next(WalPosition(0))];
    while cuts.last().is_some_and(|cut| *cut < places[9].position) {
        cuts.extend(cuts.last().map(|cut| WalPosition(cut.0 + 300)));
    }
    assert!(cuts.len() > 3, "several windows: {cuts:?}");
    for cut in cuts {
        let mut filled = filled();
        let below = places.iter().filter(|place| place.position < cut).count();
        let taken = filled.unrecorded.take(Some(cut)).unwrap();
        assert_eq!(taken.batches, below, "{cut:?}");
        assert_eq!(taken.bytes(), 100 * below as u64);
        assert_eq!(taken.wal_records(), below);
        assert_eq!(taken.wal_end, places[below - 1].end());
        filled
            .unrecorded
            .recorded(taken.entries.len(), taken.batches);
        let left = filled.unrecorded.take(None);
        assert_eq!(left.map_or(0, |left| left.batches), 10 - below);
    }
}

#[test]
fn entries_between_batches_keep_their_order() {
    let trim = Entry::Trim {
        at: AT,
        log_start: 5,
    };
    let mut filled = Filled::new();
    filled.push(&batch(0, 10, 100));
    filled.push(&trim);
    filled.push(&batch(10, 10, 100));
    let kinds: Vec<bool> = filled
        .unrecorded
        .take(None)
        .unwrap()
        .entries
        .iter()
        .map(|entry| *entry == trim)
        .collect();
    assert_eq!(kinds, [false, true, false]);
}

#[test]
fn a_reader_finds_the_batch_that_holds_its_offset() {
    let filled = Filled::ten();
    for offset in 0..100 {
        let first = filled.unrecorded.places_from(offset).next().unwrap();
        assert!((first.base_offset..first.next_offset()).contains(&offset));
        assert_eq!(first.bytes(), 100);
    }
    assert!(filled.unrecorded.places_from(100).next().is_none());
}

#[test]
fn every_record_is_listed_once_with_its_class() {
    let mut filled = Filled::ten();
    filled.push(&Entry::Trim {
        at: AT,
        log_start: 5,
    });
    let mut listed: Vec<_> = filled.unrecorded.records().collect();
    listed.sort_by_key(|(location, _)| location.position);
    let places: Vec<_> = listed.iter().map(|(location, _)| *location).collect();
    assert_eq!(places, filled.places);
    let others = listed
        .iter()
        .filter(|(_, class)| *class == AppendClass::Other);
    assert_eq!(others.count(), 1);
}
