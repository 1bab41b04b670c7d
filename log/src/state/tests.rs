//! The laws of `apply`: cutting does not matter, nothing goes back, duplicates are known.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use streamhouse_protocol::ids::{
    LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};
use streamhouse_storage::wal::{WalLocation, WalPosition};

use super::producer::{Sequenced, following};
use super::{ApplyError, ProducerState, ShardState};
use crate::append::stored::StoredBatch;
use crate::format::entry::{BatchBounds, Entry, Run, RunProducer};
use crate::shard::unrecorded::Unrecorded;

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TopicId(1), PartitionIndex(index))
}

fn batch(base_offset: i64, records: u64, producer: Option<(i64, i16, i32)>) -> Run {
    let row = producer.map(|(id, epoch, first)| RunProducer {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        transactional: false,
        first_sequence: first,
        first_offset: base_offset,
        last_stamp: Timestamp(base_offset),
        last_batches: vec![BatchBounds {
            first_sequence: first,
            last_sequence: first.wrapping_add(i32::try_from(records).unwrap() - 1),
            base_offset,
            timestamp: Timestamp::NONE,
        }],
    });
    Run {
        at: partition(0),
        base_offset,
        records,
        batches: 1,
        bytes: 100,
        append_epoch: LeaderEpoch(1),
        max_timestamp: Timestamp(base_offset),
        crc: 0,
        producers: row.into_iter().collect(),
        points: Vec::new(),
    }
}

/// Batches of a few producers that bump their epochs now and then, with trims and evictions between them.
fn history() -> impl Strategy<Value = Vec<Entry>> {
    vec((0_u8..12, 0_i64..3, 1_u64..5, any::<bool>()), 0..60).prop_map(|steps| {
        let mut next = 0;
        let mut epochs = [0_i16; 3];
        let mut sequences = [0_i32; 3];
        let mut entries = Vec::new();
        for (kind, who, records, bump) in steps {
            let who_index = usize::try_from(who).unwrap();
            match kind {
                0 => entries.push(Entry::Trim {
                    at: partition(0),
                    log_start: next / 2,
                }),
                1 => entries.push(Entry::EvictProducer {
                    at: partition(0),
                    producer: ProducerId(who),
                }),
                2 => {
                    entries.push(Entry::Run(batch(next, records, None)));
                    next += i64::try_from(records).unwrap();
                }
                _ => {
                    if bump && kind == 3 {
                        epochs[who_index] += 1;
                        sequences[who_index] = 0;
                    }
                    let producer = (who, epochs[who_index], sequences[who_index]);
                    entries.push(Entry::Run(batch(next, records, Some(producer))));
                    next += i64::try_from(records).unwrap();
                    sequences[who_index] += i32::try_from(records).unwrap();
                }
            }
        }
        entries
    })
}

fn merged(entries: &[Entry], cuts: &[bool]) -> Vec<Entry> {
    let mut unrecorded = Unrecorded::default();
    for (index, entry) in entries.iter().enumerate() {
        if cuts.get(index).copied().unwrap_or(false) {
            unrecorded.take(None);
        }
        let location = WalLocation {
            position: WalPosition(index as u64 * 1000),
            len: 100,
        };
        let bytes = StoredBatch::from(Bytes::from_static(&[0; 100]));
        unrecorded.push(entry, Timestamp(1), location, Some(&bytes));
    }
    unrecorded
        .take(None)
        .map(|taken| taken.entries)
        .unwrap_or_default()
}

fn applied(entries: &[Entry]) -> ShardState {
    let mut state = ShardState::default();
    for entry in entries {
        state.apply(entry, Timestamp(1)).unwrap();
    }
    state
}

proptest! {
    #[test]
    fn the_state_is_the_same_however_batches_are_cut_into_runs(entries in history(), cuts in vec(any::<bool>(), 60)) {
        let one_by_one = applied(&entries);
        let joined = merged(&entries, &cuts);
        prop_assert!(joined.len() <= entries.len());
        prop_assert_eq!(applied(&joined), one_by_one);
    }

    #[test]
    fn the_log_start_never_goes_back(entries in history()) {
        let mut state = ShardState::default();
        let mut before = 0;
        for entry in &entries {
            state.apply(entry, Timestamp(1)).unwrap();
            let now = state.partitions.get(&partition(0)).map_or(0, |partition| partition.log_start);
            prop_assert!(now >= before);
            before = now;
        }
    }

    #[test]
    fn the_last_five_batches_are_known_as_duplicates_and_no_other(count in 1_usize..12) {
        let mut state: Option<ProducerState> = None;
        let rows: Vec<RunProducer> = (0..count)
            .map(|n| batch(i64::try_from(n * 3).unwrap(), 3, Some((9, 0, i32::try_from(n * 3).unwrap()))).producers.remove(0))
            .collect();
        for row in &rows {
            match &mut state {
                None => state = Some(ProducerState::of(row)),
                Some(known) => known.append(row),
            }
        }
        let state = state.unwrap();
        for (n, row) in rows.iter().enumerate() {
            let bounds = row.last_batches[0];
            let judged = state.judge(ProducerEpoch(0), bounds.first_sequence, bounds.last_sequence);
            if n + 5 >= count {
                prop_assert_eq!(judged, Sequenced::Duplicate(bounds));
            } else {
                let is_refused = matches!(judged, Sequenced::OutOfOrder { .. });
                prop_assert!(is_refused);
            }
        }
    }
}

#[test]
fn fifty_interleaved_producers_join_into_one_run() {
    let entries: Vec<Entry> = (0..500_i32)
        .map(|n| Entry::Run(batch(i64::from(n), 1, Some((i64::from(n % 50), 0, n / 50)))))
        .collect();
    assert_eq!(merged(&entries, &[]).len(), 1);
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    let mut state = applied(&[Entry::Run(batch(0, 3, None))]);
    let before = state.clone();
    let error = state
        .apply(&Entry::Run(batch(4, 1, None)), Timestamp(2))
        .unwrap_err();
    assert_eq!(
        error,
        ApplyError::Gap {
            at: partition(0),
            expected: 3,
            found: 4
        }
    );
    assert_eq!(state, before);
}

#[test]
fn a_trim_behind_the_end_is_refused() {
    let mut state = applied(&[Entry::Run(batch(0, 3, None))]);
    assert!(
        state
            .apply(
                &Entry::Trim {
                    at: partition(0),
                    log_start: 4
                },
                Timestamp(2)
            )
            .is_err()
    );
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(following(i32::MAX), 0);
    let row = RunProducer {
        last_batches: vec![BatchBounds {
            first_sequence: i32::MAX - 1,
            last_sequence: i32::MAX,
            base_offset: 0,
            timestamp: Timestamp::NONE,
        }],
        ..batch(0, 2, Some((1, 0, i32::MAX - 1))).producers.remove(0)
    };
    let state = ProducerState::of(&row);
    assert_eq!(state.judge(ProducerEpoch(0), 0, 3), Sequenced::Next);
    assert_eq!(
        state.judge(ProducerEpoch(0), 1, 3),
        Sequenced::OutOfOrder { expected: 0 }
    );
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() {
    let state = ProducerState::of(&batch(0, 2, Some((1, 4, 0))).producers.remove(0));
    assert_eq!(
        state.judge(ProducerEpoch(3), 2, 2),
        Sequenced::Fenced {
            current: ProducerEpoch(4)
        }
    );
    assert_eq!(
        state.judge(ProducerEpoch(5), 2, 2),
        Sequenced::OutOfOrder { expected: 0 }
    );
    assert_eq!(state.judge(ProducerEpoch(5), 0, 2), Sequenced::Next);
}

#[test]
fn an_epoch_ends_where_the_next_begins_and_unknown_ones_have_no_end() {
    let mut first = batch(0, 3, None);
    first.append_epoch = LeaderEpoch(2);
    let mut second = batch(3, 2, None);
    second.append_epoch = LeaderEpoch(5);
    let state = applied(&[Entry::Run(first), Entry::Run(second)]);
    let partition = &state.partitions[&partition(0)];
    assert_eq!(partition.epoch_end(LeaderEpoch(1)), None);
    assert_eq!(
        partition.epoch_end(LeaderEpoch(2)),
        Some((LeaderEpoch(2), 3))
    );
    assert_eq!(
        partition.epoch_end(LeaderEpoch(4)),
        Some((LeaderEpoch(2), 3))
    );
    assert_eq!(
        partition.epoch_end(LeaderEpoch(9)),
        Some((LeaderEpoch(5), 5))
    );
}
