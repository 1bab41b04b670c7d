//! Batches that other encoders wrote (`tests/fixtures/record_batches`), read here and written here.

use super::*;
use crate::compression::Limits;
use crate::record::{OffsetAndTimestamp, Records};

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$((
            $name,
            include_bytes!(concat!("../../../tests/fixtures/record_batches/", $name, ".batch")),
        )),*]
    };
}

const COMPRESSED: [(&str, &[u8]); 10] = fixtures![
    "java-gzip",
    "java-snappy",
    "java-lz4",
    "java-zstd",
    "python-gzip",
    "python-snappy",
    "python-snappy-little-endian",
    "python-snappy-raw",
    "python-lz4",
    "python-zstd",
];

const OTHERS: [(&str, &[u8]); 4] = fixtures![
    "java-none",
    "java-append-time-zstd",
    "java-marker-commit",
    "java-marker-abort"
];

fn fixture(name: &str) -> RecordBatch {
    let (_, bytes) = OTHERS
        .into_iter()
        .find(|(other, _)| *other == name)
        .unwrap();
    RecordBatch::parse(Bytes::from_static(bytes)).unwrap()
}

fn batch_of_the_fixtures(compression: Compression, count: usize) -> RecordBatch {
    let value = b"streamhouse ".repeat(6000);
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
    let empty = [Header {
        key: b"",
        value: Some(b""),
    }];
    let record = |delay, key, value, headers| RecordContent {
        timestamp_ms: NOW.0 + delay,
        attributes: 0,
        key,
        value,
        headers,
    };
    let contents = [
        record(0, Some(&b"key-0"[..]), Some(&b"value-0"[..]), &headers[..]),
        record(5, None, Some(b"no key"), &[]),
        record(3, Some(b""), None, &[]),
        record(5, Some(b"key-3"), Some(&value), &empty),
    ];
    let mut builder = RecordBatchBuilder::new(compression)
        .producer(ProducerId(4711), ProducerEpoch(3), i32::MAX - 1)
        .transactional();
    for content in &contents[..count] {
        builder.push(content).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn batches_of_other_encoders_hold_the_records_that_were_put_in() {
    let expected = batch_of_the_fixtures(Compression::None, 4);
    let expected = Records::unpack(&expected, &Limits::DEFAULT).unwrap();
    for (name, bytes) in COMPRESSED {
        let batch = RecordBatch::from_producer(Bytes::from_static(bytes)).unwrap();
        assert!(batch.attributes().is_transactional(), "{name}");
        assert_eq!(batch.producer_id(), ProducerId(4711), "{name}");
        assert_eq!(
            (batch.base_sequence(), batch.last_sequence()),
            (i32::MAX - 1, 1),
            "{name}"
        );
        let records = Records::unpack(&batch, &Limits::DEFAULT).unwrap();
        let records: Vec<_> = records.iter().map(Result::unwrap).collect();
        let expected: Vec<_> = expected.iter().map(Result::unwrap).collect();
        assert_eq!(records, expected, "{name}");
        let found = OffsetAndTimestamp {
            offset: 1,
            timestamp: Timestamp(NOW.0 + 5),
        };
        let summary = batch.summarize_records(&Limits::DEFAULT).unwrap();
        assert_eq!(summary.max_timestamp, Some(found), "{name}");
        assert_eq!(summary.first_null_key, Some(1), "{name}");
    }
}

#[test]
fn an_uncompressed_batch_has_the_bytes_that_the_java_client_writes() {
    let (java, ours) = (
        fixture("java-none"),
        batch_of_the_fixtures(Compression::None, 3),
    );
    assert_eq!(java.bytes(), ours.bytes());
}

#[test]
fn log_append_time_changes_a_batch_as_kafka_does() {
    let java = fixture("java-append-time-zstd");
    let create_time = COMPRESSED
        .iter()
        .find(|(name, _)| *name == "java-zstd")
        .unwrap()
        .1;
    let batch = RecordBatch::parse(Bytes::from_static(create_time)).unwrap();
    let append_time = Timestamp(NOW.0 + 77);
    let stamped = batch.stamp(&Stamp {
        base_offset: 0,
        leader_epoch: LeaderEpoch::NONE,
        append_time: Some(append_time),
    });
    java.verify_crc().unwrap();
    assert_eq!(stamped.max_timestamp(), java.max_timestamp());
    assert_eq!(stamped.attributes(), java.attributes());
    let records = Records::unpack(&java, &Limits::DEFAULT).unwrap();
    assert!(
        records
            .iter()
            .all(|record| record.unwrap().timestamp == append_time)
    );
}

#[test]
fn markers_have_the_bytes_that_kafka_writes() {
    for (name, result) in [
        ("java-marker-commit", TransactionResult::Commit),
        ("java-marker-abort", TransactionResult::Abort),
    ] {
        let marker = Marker {
            producer_id: ProducerId(4711),
            producer_epoch: ProducerEpoch(3),
            result,
            coordinator_epoch: 9,
            timestamp: NOW,
        };
        let java = fixture(name);
        assert_eq!(
            marker.to_batch(1234, LeaderEpoch(6)).unwrap().bytes(),
            java.bytes()
        );
        assert_eq!(Marker::from_batch(&java), Ok(Some(marker)));
    }
}
