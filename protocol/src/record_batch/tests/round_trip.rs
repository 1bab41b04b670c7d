//! Properties: what was put into a batch comes out of it, and lookups answer what reading every record would.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::compression::Limits;
use crate::record::{OffsetAndTimestamp, Records};

/// A record that owns its bytes.
#[derive(Clone, Debug)]
struct Owned {
    /// How far its offset lies behind the one before it, minus 1.
    gap: i32,
    timestamp_ms: i64,
    attributes: i8,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn field(size_max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..=size_max),
        (any::<u8>(), 0..=size_max).prop_map(|(byte, size)| vec![byte; size])
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let header = (field(8), option::of(field(8)));
    // Few distinct timestamps, so that equal and falling ones are common; -1 is Kafka's "none".
    let timestamp = prop_oneof![Just(-1), 0..5_i64, (0..5_i64).prop_map(|step| NOW.0 + step)];
    (
        0..3,
        timestamp,
        any::<i8>(),
        option::of(field(40)),
        option::of(field(300)),
        vec(header, 0..4),
    )
        .prop_map(
            |(gap, timestamp_ms, attributes, key, value, headers)| Owned {
                gap,
                timestamp_ms,
                attributes,
                key,
                value,
                headers,
            },
        )
}

fn build(compression: Compression, records: &[Owned]) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new(compression);
    let mut delta = -1;
    for record in records {
        delta += record.gap + 1;
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        let content = RecordContent {
            timestamp_ms: record.timestamp_ms,
            attributes: record.attributes,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        builder.push_at(delta, &content).unwrap();
    }
    builder.build().unwrap()
}

/// What the lookups must answer: offsets and timestamps of all records.
fn places(batch: &RecordBatch) -> Vec<OffsetAndTimestamp> {
    let records = Records::unpack(batch, &Limits::DEFAULT).unwrap();
    let place = |record: crate::record::Record<'_>| OffsetAndTimestamp {
        offset: record.offset,
        timestamp: record.timestamp,
    };
    records
        .iter()
        .map(|record| place(record.unwrap()))
        .collect()
}

fn check_lookups(batch: &RecordBatch, null_key: Option<usize>) -> Result<(), TestCaseError> {
    let limits = Limits::DEFAULT;
    let places = places(batch);
    let max = places.iter().map(|place| place.timestamp).max();
    let first_max = places
        .iter()
        .find(|place| Some(place.timestamp) == max)
        .copied();
    prop_assert_eq!(
        batch.first_record_with_max_timestamp(&limits),
        Ok(first_max)
    );
    let first_null_key = null_key.map(|index| places[index]);
    prop_assert_eq!(
        batch.first_record_with_null_key(&limits),
        Ok(first_null_key)
    );
    for timestamp in [
        -2,
        -1,
        0,
        1,
        3,
        5,
        NOW.0 + 1,
        NOW.0 + 4,
        NOW.0 + 5,
        i64::MAX,
    ] {
        let timestamp = Timestamp(timestamp);
        let expected = places
            .iter()
            .find(|place| place.timestamp >= timestamp)
            .copied();
        prop_assert_eq!(
            batch.first_record_at_or_after(timestamp, &limits),
            Ok(expected)
        );
    }
    let summary = batch.summarize_records(&limits);
    let null_key = null_key.map(|index| i32::try_from(index).unwrap());
    prop_assert_eq!(
        summary.clone().map(|summary| summary.first_null_key),
        Ok(null_key)
    );
    let min = places.iter().map(|place| place.timestamp).min();
    prop_assert_eq!(
        summary.clone().map(|summary| summary.max_timestamp),
        Ok(first_max)
    );
    prop_assert_eq!(summary.map(|summary| summary.min_timestamp), Ok(min));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(200)))]

    #[test]
    fn what_was_built_reads_back(
        compression in select(&Compression::ALL[..]),
        records in vec(record(), 0..30),
        base_offset in 0..1_i64 << 60,
    ) {
        let stamp = Stamp { base_offset, leader_epoch: LeaderEpoch(5), append_time: None };
        let batch = build(compression, &records).stamp(&stamp);
        let batch = RecordBatch::parse(batch.into_bytes()).unwrap();
        batch.verify_crc().unwrap();
        let max = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(-1);
        prop_assert_eq!(batch.max_timestamp(), Timestamp(max));
        let unpacked = Records::unpack(&batch, &Limits::DEFAULT).unwrap();
        let read: Result<Vec<_>, _> = unpacked.iter().collect();
        let read = read.unwrap();
        prop_assert_eq!(read.len(), records.len());
        let mut offset = base_offset - 1;
        for (read, put) in read.into_iter().zip(&records) {
            offset += i64::from(put.gap) + 1;
            prop_assert_eq!(read.offset, offset);
            prop_assert_eq!(read.timestamp, Timestamp(put.timestamp_ms));
            prop_assert_eq!(read.attributes, put.attributes);
            prop_assert_eq!(read.key, put.key.as_deref());
            prop_assert_eq!(read.value, put.value.as_deref());
            prop_assert_eq!(read.headers.len(), put.headers.len());
            for (read, (key, value)) in read.headers.zip(&put.headers) {
                prop_assert_eq!((read.key, read.value), (&key[..], value.as_deref()));
            }
        }
    }

    #[test]
    fn lookups_answer_what_reading_every_record_would(
        compression in select(&Compression::ALL[..]),
        records in vec(record(), 0..30),
        append_time in option::of(0..NOW.0 * 2),
    ) {
        let stamp = Stamp {
            base_offset: 1000,
            leader_epoch: LeaderEpoch(5),
            append_time: append_time.map(Timestamp),
        };
        let batch = build(compression, &records).stamp(&stamp);
        check_lookups(&batch, records.iter().position(|record| record.key.is_none()))?;
    }
}
