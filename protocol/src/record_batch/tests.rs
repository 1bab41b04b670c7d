//! Tests of `record_batch.rs` and its folder. The helpers also serve the tests of `record.rs`.

mod foreign;
mod round_trip;
mod rules;

use bytes::{Bytes, BytesMut};

use super::stamp::put;
use super::*;
use crate::record::Header;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// How many cases a property tries: the environment may ask for a multiple.
pub(crate) fn cases(count: u32) -> u32 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    count * scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Three records: headers with a repeated key, a null key, a null value.
pub(crate) fn sample(compression: Compression) -> RecordBatch {
    let headers = [
        Header {
            key: b"a",
            value: Some(b"1"),
        },
        Header {
            key: b"a",
            value: Some(b"2"),
        },
        Header {
            key: b"b",
            value: None,
        },
    ];
    let mut builder =
        RecordBatchBuilder::new(compression).producer(ProducerId(7), ProducerEpoch(2), 100);
    let contents = [
        RecordContent {
            timestamp_ms: NOW.0,
            key: Some(b"key"),
            value: Some(b"value"),
            headers: &headers,
            ..RecordContent::default()
        },
        RecordContent {
            timestamp_ms: NOW.0 + 5,
            value: Some(b"x"),
            ..RecordContent::default()
        },
        RecordContent {
            timestamp_ms: NOW.0 + 3,
            key: Some(b""),
            ..RecordContent::default()
        },
    ];
    for content in &contents {
        builder.push(content).unwrap();
    }
    builder.build().unwrap()
}

/// The batch with other bytes at `at` of its header, and a CRC that matches.
pub(crate) fn forge<const SIZE: usize>(
    batch: &RecordBatch,
    at: usize,
    field: [u8; SIZE],
) -> RecordBatch {
    forge_records(batch, at, field, &batch.records_bytes())
}

/// The batch with these record bytes and this records count (and last offset delta), and a CRC that matches.
pub(crate) fn forge_with_records(
    batch: &RecordBatch,
    records_count: i32,
    records: &[u8],
) -> RecordBatch {
    let batch = forge_records(batch, RECORDS_COUNT, records_count.to_be_bytes(), records);
    forge(
        &batch,
        LAST_OFFSET_DELTA,
        records_count.saturating_sub(1).to_be_bytes(),
    )
}

fn forge_records<const SIZE: usize>(
    batch: &RecordBatch,
    at: usize,
    field: [u8; SIZE],
    records: &[u8],
) -> RecordBatch {
    let mut header: [u8; HEADER_SIZE] = batch.field(0);
    let length = i32::try_from(HEADER_SIZE - LENGTH_OVERHEAD + records.len()).unwrap();
    put(&mut header, BATCH_LENGTH, length.to_be_bytes());
    put(&mut header, at, field);
    let crc = crc32c::crc32c(&[&header[ATTRIBUTES..], records].concat());
    put(&mut header, CRC, crc.to_be_bytes());
    RecordBatch {
        bytes: [&header[..], records].concat().into(),
    }
}

#[test]
fn the_header_is_read_field_by_field() {
    let batch = sample(Compression::None);
    assert_eq!(batch.base_offset(), 0);
    assert_eq!(
        (
            batch.last_offset_delta(),
            batch.last_offset(),
            batch.next_offset()
        ),
        (2, 2, 3)
    );
    assert_eq!(batch.partition_leader_epoch(), LeaderEpoch::NONE);
    assert_eq!(batch.base_timestamp(), NOW);
    assert_eq!(batch.max_timestamp(), Timestamp(NOW.0 + 5));
    assert_eq!(
        (batch.producer_id(), batch.producer_epoch()),
        (ProducerId(7), ProducerEpoch(2))
    );
    assert_eq!((batch.base_sequence(), batch.last_sequence()), (100, 102));
    assert_eq!(batch.records_count(), 3);
    assert_eq!(batch.size_bytes(), batch.bytes().len());
    let attributes = batch.attributes();
    assert_eq!(attributes.compression(), Some(Compression::None));
    assert_eq!(attributes.timestamp_type(), TimestampType::CreateTime);
    assert!(!attributes.is_transactional() && !attributes.is_control());
    assert!(!attributes.has_delete_horizon());
    batch.verify_crc().unwrap();
}

#[test]
fn every_truncation_of_a_batch_is_refused() {
    for compression in Compression::ALL {
        let bytes = sample(compression).into_bytes();
        assert_eq!(RecordBatch::parse(Bytes::new()), Err(BatchError::Empty));
        for available in 1..bytes.len() {
            let size = if available > MAGIC {
                bytes.len()
            } else {
                HEADER_SIZE
            };
            assert_eq!(
                RecordBatch::parse(bytes.slice(..available)),
                Err(BatchError::Truncated { size, available })
            );
        }
    }
}

#[test]
fn every_single_bit_flip_is_caught_except_in_what_the_broker_sets() {
    for compression in Compression::ALL {
        let bytes = sample(compression).into_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = BytesMut::from(&bytes[..]);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = RecordBatch::parse(flipped.freeze());
            let is_set_by_broker = matches!(bit / 8, 0..8 | 12..16);
            let passes = parsed.is_ok_and(|batch| batch.verify_crc().is_ok());
            assert_eq!(passes, is_set_by_broker, "{compression}, bit {bit}");
        }
    }
}

#[test]
fn no_header_can_make_an_accessor_overflow() {
    let batch = sample(Compression::None);
    let extreme = forge(&batch, LAST_OFFSET_DELTA, i32::MAX.to_be_bytes());
    let extreme = forge(&extreme, BASE_OFFSET, i64::MAX.to_be_bytes());
    let extreme = forge(&extreme, BASE_SEQUENCE, i32::MAX.to_be_bytes());
    assert_eq!(
        (extreme.last_offset(), extreme.next_offset()),
        (i64::MAX, i64::MAX)
    );
    assert_eq!(extreme.last_sequence(), i32::MAX - 1);
    let extreme = forge(&extreme, LAST_OFFSET_DELTA, i32::MIN.to_be_bytes());
    let extreme = forge(&extreme, BASE_OFFSET, i64::MIN.to_be_bytes());
    assert_eq!(
        (extreme.last_offset(), extreme.next_offset()),
        (i64::MIN, i64::MIN + 1)
    );
    assert_eq!(extreme.last_sequence(), i32::MAX);
}

#[test]
fn sequence_numbers_wrap_from_the_largest_to_zero() {
    let check = |sequence, steps, expect| assert_eq!(sequence_after(sequence, steps), expect);
    check(0, 0, 0);
    check(i32::MAX - 1, 1, i32::MAX);
    check(i32::MAX, 1, 0);
    check(i32::MAX - 2, 5, 2);
    check(i32::MAX, i32::MAX, i32::MAX - 1);
    check(5, -1, 5);
    let batch = forge(
        &sample(Compression::None),
        BASE_SEQUENCE,
        (i32::MAX - 1).to_be_bytes(),
    );
    assert_eq!(batch.last_sequence(), 0);
    let batch = forge(&batch, BASE_SEQUENCE, NO_SEQUENCE.to_be_bytes());
    assert_eq!(batch.last_sequence(), NO_SEQUENCE);
}

#[test]
fn a_run_gives_whole_batches_and_says_what_is_left() {
    let batches = Compression::ALL.map(sample);
    let mut run = BytesMut::new();
    let mut ends = vec![0];
    for batch in &batches {
        run.extend_from_slice(batch.bytes());
        ends.push(run.len());
    }
    let run = run.freeze();
    for cut in 0..=run.len() {
        let mut iterator = iterate(run.slice(..cut));
        let whole: Vec<_> = iterator.by_ref().map(Result::unwrap).collect();
        let expected = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(whole, batches[..expected]);
        assert_eq!(iterator.remaining(), cut - ends[expected]);
        assert!(iterator.next().is_none());
    }
}

#[test]
fn a_run_stops_at_bytes_that_begin_no_batch() {
    let batch = sample(Compression::None);
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    bytes.extend_from_slice(&[0; 17]);
    let mut run = iterate(bytes.freeze());
    assert_eq!(run.next(), Some(Ok(batch)));
    assert_eq!(run.next(), Some(Err(BatchError::Magic { magic: 0 })));
    assert_eq!(run.next(), None);
    assert_eq!(run.remaining(), 17);
}

#[test]
fn a_stamp_changes_what_the_broker_sets_and_nothing_else() {
    let stamp = Stamp {
        base_offset: 1 << 40,
        leader_epoch: LeaderEpoch(12),
        append_time: None,
    };
    for compression in Compression::ALL {
        let batch = sample(compression);
        let stamped = batch.stamped(&stamp);
        assert_eq!(
            stamped.records.as_ptr(),
            batch.bytes()[HEADER_SIZE..].as_ptr()
        );
        assert_eq!(stamped.size_bytes(), batch.size_bytes());
        let whole = stamped.to_batch();
        whole.verify_crc().unwrap();
        assert_eq!(
            (whole.base_offset(), whole.last_offset()),
            (1 << 40, (1 << 40) + 2)
        );
        assert_eq!(whole.partition_leader_epoch(), LeaderEpoch(12));
        assert_eq!(whole.bytes()[MAGIC..], batch.bytes()[MAGIC..]);
        assert_eq!(whole.bytes()[8..12], batch.bytes()[8..12]);
        assert_eq!(batch.stamp(&stamp), whole);
    }
}

#[test]
fn a_stamp_copies_only_bytes_that_somebody_else_holds() {
    let stamp = Stamp {
        base_offset: 9,
        leader_epoch: LeaderEpoch(1),
        append_time: None,
    };
    let batch = sample(Compression::None);
    let address = batch.bytes().as_ptr();
    let stamped = batch.stamp(&stamp);
    assert_eq!(stamped.bytes().as_ptr(), address);
    let other = stamped.clone();
    let again = stamped.stamp(&Stamp {
        base_offset: 10,
        ..stamp
    });
    assert_ne!(again.bytes().as_ptr(), address);
    assert_eq!((other.base_offset(), again.base_offset()), (9, 10));
}

#[test]
fn log_append_time_gets_a_new_crc_and_leaves_compressed_records_alone() {
    let append_time = Timestamp(NOW.0 + 1_000_000);
    let stamp = Stamp {
        base_offset: 50,
        leader_epoch: LeaderEpoch(3),
        append_time: Some(append_time),
    };
    for compression in Compression::ALL {
        let batch = sample(compression);
        for stamped in [
            batch.stamped(&stamp).to_batch(),
            batch.clone().stamp(&stamp),
        ] {
            stamped.verify_crc().unwrap();
            assert_ne!(stamped.crc(), batch.crc());
            assert_eq!(
                stamped.attributes().timestamp_type(),
                TimestampType::LogAppendTime
            );
            assert_eq!(stamped.attributes().compression(), Some(compression));
            assert_eq!(stamped.max_timestamp(), append_time);
            assert_eq!(stamped.base_timestamp(), batch.base_timestamp());
            assert_eq!(stamped.records_bytes(), batch.records_bytes());
        }
    }
}

#[test]
fn a_marker_reads_back_and_data_is_no_marker() {
    for result in [TransactionResult::Abort, TransactionResult::Commit] {
        let marker = Marker {
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(1),
            result,
            coordinator_epoch: 21,
            timestamp: NOW,
        };
        let batch = marker.to_batch(77, LeaderEpoch(4)).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(batch.attributes().0, 0x30);
        assert_eq!((batch.base_offset(), batch.next_offset()), (77, 78));
        assert_eq!(Marker::from_batch(&batch), Ok(Some(marker)));
    }
    assert_eq!(Marker::from_batch(&sample(Compression::Zstd)), Ok(None));
}

#[test]
fn a_marker_whose_key_or_value_is_too_short_is_refused() {
    let content = RecordContent {
        key: Some(b"abc"),
        value: Some(b""),
        ..RecordContent::default()
    };
    let mut builder = RecordBatchBuilder::new(Compression::None)
        .transactional()
        .control();
    assert_eq!(
        Marker::from_batch(&builder.clone().build().unwrap()),
        Err(MarkerError::Empty)
    );
    builder.push(&content).unwrap();
    assert_eq!(
        Marker::from_batch(&builder.build().unwrap()),
        Err(MarkerError::Short)
    );
    let mut builder = RecordBatchBuilder::new(Compression::None)
        .transactional()
        .control();
    builder
        .push(&RecordContent {
            key: Some(&[0; 4]),
            ..RecordContent::default()
        })
        .unwrap();
    assert_eq!(
        Marker::from_batch(&builder.build().unwrap()),
        Err(MarkerError::Short)
    );
}

#[test]
fn a_builder_refuses_offsets_that_do_not_rise_and_stays_as_it_was() {
    let content = RecordContent::default();
    let mut builder = RecordBatchBuilder::new(Compression::None);
    builder.push_at(5, &content).unwrap();
    let before = (builder.records_count(), builder.records_bytes());
    for delta in [5, 0, -1] {
        assert!(matches!(
            builder.push_at(delta, &content),
            Err(BuildError::OffsetDelta { last: 5, .. })
        ));
    }
    let far = RecordContent {
        timestamp_ms: i64::MIN,
        ..content
    };
    let mut other = RecordBatchBuilder::new(Compression::None);
    other
        .push(&RecordContent {
            timestamp_ms: i64::MAX,
            ..content
        })
        .unwrap();
    assert!(matches!(other.push(&far), Err(BuildError::Timestamp)));
    assert_eq!((builder.records_count(), builder.records_bytes()), before);
    assert_eq!(builder.build().unwrap().last_offset_delta(), 5);
}
