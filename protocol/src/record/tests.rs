//! Tests of `record.rs`: what malformed records do. Round trips are in `record_batch/tests/round_trip.rs`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::compression::{Compression, compress};
use crate::record_batch::tests::{cases, forge_with_records, sample};
use crate::varint::{put_i32, put_i64};

/// The body of a record up to its key.
fn head(offset_delta: i32) -> Vec<u8> {
    let mut body = vec![0];
    put_i64(&mut body, 0);
    put_i32(&mut body, offset_delta);
    body
}

/// The body of a record with these three numbers and nothing else: key length, value length, header count.
fn body(offset_delta: i32, numbers: [i32; 3]) -> Vec<u8> {
    let mut body = head(offset_delta);
    for number in numbers {
        put_i32(&mut body, number);
    }
    body
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    put_i32(&mut record, i32::try_from(body.len()).unwrap());
    record.extend_from_slice(body);
    record
}

/// Reads these record bytes both ways, plain and compressed, and returns the one error that all ways agree on.
fn refusal(count: i32, records: &[u8]) -> RecordError {
    let plain = forge_with_records(&sample(Compression::None), count, records);
    let error = refusal_of(&plain);
    for compression in [Compression::Snappy, Compression::Zstd] {
        let packed = compress(compression, records).unwrap();
        let packed = refusal_of(&forge_with_records(&sample(compression), count, &packed));
        match &packed {
            // What is left of a stream is not known in advance, so the bound is another one.
            RecordError::Count { records, .. } => assert_eq!(*records, count),
            RecordError::UnknownCompression { .. }
            | RecordError::Decompression(_)
            | RecordError::Malformed { .. }
            | RecordError::TrailingBytes { .. } => assert_eq!(packed, error),
        }
    }
    error
}

fn refusal_of(batch: &RecordBatch) -> RecordError {
    let records = Records::unpack(batch, &Limits::DEFAULT).unwrap();
    let mut errors = records.iter().filter_map(Result::err);
    let error = errors
        .next()
        .expect("the records were read without an error");
    assert!(errors.next().is_none(), "the walk goes on behind an error");
    let streamed = batch
        .summarize_records(&Limits::DEFAULT)
        .expect_err("the stream was read");
    match &streamed {
        RecordError::Count { .. } => {}
        RecordError::UnknownCompression { .. }
        | RecordError::Decompression(_)
        | RecordError::Malformed { .. }
        | RecordError::TrailingBytes { .. } => assert_eq!(streamed, error),
    }
    error
}

/// What is wrong with this record. Bytes follow it, so that its fields could reach beyond its end.
fn malformed(record: &[u8]) -> MalformedRecordError {
    match refusal(1, &[record, &[0; 300]].concat()) {
        RecordError::Malformed { index: 0, source } => source,
        other @ (RecordError::UnknownCompression { .. }
        | RecordError::Decompression(_)
        | RecordError::Count { .. }
        | RecordError::Malformed { .. }
        | RecordError::TrailingBytes { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn a_count_of_more_records_than_bytes_is_refused_before_any_is_read() {
    let record = with_length(&body(0, [-1, -1, 0]));
    for count in [i32::MAX, 2, -1, i32::MIN] {
        let batch = forge_with_records(&sample(Compression::None), count, &record);
        let expected = RecordError::Count {
            records: count,
            bytes: record.len(),
        };
        assert_eq!(refusal_of(&batch), expected);
    }
    let packed = compress(Compression::Zstd, &record).unwrap();
    let batch = forge_with_records(&sample(Compression::Zstd), i32::MAX, &packed);
    assert!(matches!(
        refusal_of(&batch),
        RecordError::Count {
            records: i32::MAX,
            ..
        }
    ));
}

#[test]
fn lengths_and_counts_beyond_the_record_are_refused() {
    for length in [1, 100, i32::MAX] {
        let check = |record: Vec<u8>, left| {
            let expected = MalformedRecordError::FieldTooLong { length, left };
            assert_eq!(malformed(&with_length(&record)), expected);
        };
        let mut key = head(0);
        put_i32(&mut key, length);
        check(key, 0);
        let mut value = head(0);
        put_i32(&mut value, -1);
        put_i32(&mut value, length);
        check(value, 0);
    }
    for count in [1, i32::MAX, -1] {
        let expected = MalformedRecordError::HeaderCount { count, left: 0 };
        assert_eq!(malformed(&with_length(&body(0, [-1, -1, count]))), expected);
    }
}

#[test]
fn a_header_must_have_a_key_and_end_within_its_record() {
    let header = |numbers: [i32; 2]| {
        let mut record = body(0, [-1, -1, 1]);
        put_i32(&mut record, numbers[0]);
        put_i32(&mut record, numbers[1]);
        with_length(&record)
    };
    assert_eq!(
        malformed(&header([-1, -1])),
        MalformedRecordError::HeaderKey
    );
    let too_long = |length, left| MalformedRecordError::FieldTooLong { length, left };
    assert_eq!(malformed(&header([2, -1])), too_long(2, 1));
    assert_eq!(malformed(&header([0, 1])), too_long(1, 0));
}

#[test]
fn a_record_must_fill_its_length() {
    let mut longer = body(0, [-1, -1, 0]);
    longer.push(0);
    let length = i32::try_from(longer.len()).unwrap();
    assert_eq!(
        malformed(&with_length(&longer)),
        MalformedRecordError::Length { length }
    );
    let mut negative = Vec::new();
    put_i32(&mut negative, -1);
    negative.extend_from_slice(&[0; 8]);
    assert_eq!(
        malformed(&negative),
        MalformedRecordError::Length { length: -1 }
    );
    let mut bomb = Vec::new();
    put_i32(&mut bomb, i32::MAX);
    bomb.extend_from_slice(&[0; 8]);
    let batch = forge_with_records(&sample(Compression::None), 1, &bomb);
    let source = MalformedRecordError::Truncated;
    assert_eq!(
        refusal_of(&batch),
        RecordError::Malformed { index: 0, source }
    );
}

#[test]
fn a_number_that_does_not_end_is_refused() {
    assert!(matches!(
        malformed(&[0xff; 12]),
        MalformedRecordError::Varint(_)
    ));
    let mut timestamp = vec![0];
    timestamp.extend_from_slice(&[0xff; 12]);
    assert!(matches!(
        malformed(&with_length(&timestamp)),
        MalformedRecordError::Varint(_)
    ));
}

#[test]
fn offsets_stay_in_order_and_within_their_batch() {
    let records = |deltas: &[i32]| -> Vec<u8> {
        deltas
            .iter()
            .flat_map(|delta| with_length(&body(*delta, [-1, -1, 0])))
            .collect()
    };
    for (deltas, index) in [(&[0, 0][..], 1), (&[1, 0], 1), (&[0, 2], 1), (&[-1, 0], 0)] {
        let error = refusal(2, &records(deltas));
        let delta = deltas[usize::try_from(index).unwrap()];
        let source = MalformedRecordError::Offset {
            delta,
            last_offset_delta: 1,
        };
        assert_eq!(error, RecordError::Malformed { index, source });
    }
}

#[test]
fn bytes_behind_the_last_record_are_refused() {
    let mut records = with_length(&body(0, [-1, -1, 0]));
    records.push(0);
    assert_eq!(
        refusal(1, &records),
        RecordError::TrailingBytes { records: 1 }
    );
    let empty = forge_with_records(&sample(Compression::None), 0, &[0]);
    assert_eq!(
        refusal_of(&empty),
        RecordError::TrailingBytes { records: 0 }
    );
}

#[test]
fn a_negative_length_is_null_as_in_kafka() {
    let batch = forge_with_records(
        &sample(Compression::None),
        1,
        &with_length(&body(0, [-5, -9, 0])),
    );
    let records = Records::unpack(&batch, &Limits::DEFAULT).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!((record.key, record.value), (None, None));
}

#[test]
fn every_truncation_of_the_records_is_refused() {
    for compression in Compression::ALL {
        let batch = sample(compression);
        let records = batch.records_bytes();
        for cut in 0..records.len() {
            let cut_off = forge_with_records(&batch, batch.records_count(), &records[..cut]);
            let by_stream = cut_off.summarize_records(&Limits::DEFAULT);
            let whole = Records::unpack(&cut_off, &Limits::DEFAULT);
            let in_memory = whole.and_then(|records| {
                records
                    .iter()
                    .try_fold(0, |count, record| record.map(|_| count + 1))
            });
            assert!(by_stream.is_err(), "{compression} {cut}");
            assert!(in_memory.is_err(), "{compression} {cut}");
        }
    }
}

#[test]
fn a_batch_that_names_no_compression_is_not_opened() {
    let batch =
        crate::record_batch::tests::forge(&sample(Compression::None), 21, 0x0005_i16.to_be_bytes());
    let expected = RecordError::UnknownCompression { id: 5 };
    assert_eq!(
        Records::unpack(&batch, &Limits::DEFAULT).unwrap_err(),
        expected
    );
    assert_eq!(batch.summarize_records(&Limits::DEFAULT), Err(expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2_000)))]

    #[test]
    fn any_bytes_read_the_same_in_memory_and_as_a_stream(
        records in vec(prop_oneof![any::<u8>(), 0..4_u8, Just(0x0e), Just(0x01)], 0..80),
        count in 0..6,
    ) {
        let plain = forge_with_records(&sample(Compression::None), count, &records);
        let packed = compress(Compression::Snappy, &records).unwrap();
        let packed = forge_with_records(&sample(Compression::Snappy), count, &packed);
        let unpacked = Records::unpack(&packed, &Limits::DEFAULT).unwrap();
        prop_assert_eq!(unpacked.bytes(), &plain.records_bytes());
        let in_memory: Result<Vec<_>, _> = unpacked.iter().collect();
        prop_assert_eq!(plain.summarize_records(&Limits::DEFAULT).is_ok(), in_memory.is_ok());
        // More records than bytes is only seen at once where the bytes are known.
        let streamed = packed.summarize_records(&Limits::DEFAULT);
        prop_assert_eq!(streamed.is_ok(), in_memory.is_ok());
        if let Ok(records) = in_memory {
            prop_assert_eq!(records.len(), usize::try_from(count).unwrap());
        }
    }
}
