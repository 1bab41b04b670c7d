//! Batches of other encoders go through byte by byte; append time is the only thing that a topic changes in them.

use bytes::Bytes;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::messages::ListOffsetsRequest;
use streamhouse_protocol::record_batch::{RecordBatch, TimestampType};

use crate::bench::{Bench, Client};
use crate::configs::set;
use crate::list_offsets::asking;
use crate::records::{NOW_MS, append, batches, bent, fetched, forged, produced, timed_batch};
use crate::topics::{create, create_with};

/// Bytes of a batch that the broker sets: base offset, and behind length the leader epoch. Neither is under the CRC.
const BASE_OFFSET: std::ops::Range<usize> = 0..8;
const LEADER_EPOCH: std::ops::Range<usize> = 12..16;

/// The attribute of a batch that belongs to a transaction.
const TRANSACTIONAL: i16 = 0x10;

macro_rules! foreign {
    ($($name:literal)*) => {
        [$(($name, Bytes::from_static(include_bytes!(concat!(
            "../../../protocol/tests/fixtures/record_batches/", $name, ".batch"
        ))))),*]
    };
}

/// `records` as a producer without transactions sends them. What is recorded lies at some offset of a transaction, and
/// all come from one producer.
fn as_sent(records: &Bytes, producer: i64) -> Bytes {
    let attributes = i16::from_be_bytes([records[21], records[22]]) & !TRANSACTIONAL;
    let sent = bent(records, 0, &0_i64.to_be_bytes());
    let sent = bent(&sent, 43, &producer.to_be_bytes());
    forged(&sent, 21, &attributes.to_be_bytes())
}

/// `records` without what the broker sets.
fn untouched(records: &[u8]) -> Vec<u8> {
    let mut records = records.to_vec();
    records[BASE_OFFSET].fill(0);
    records[LEADER_EPOCH].fill(0);
    records
}

#[tokio::test]
async fn batches_of_other_encoders_come_back_byte_by_byte_from_every_place() {
    let foreign = foreign![
        "java-none" "java-gzip" "java-snappy" "java-lz4" "java-zstd" "python-gzip" "python-snappy"
        "python-snappy-raw" "python-snappy-little-endian" "python-lz4" "python-zstd"
    ];
    for tail_bytes in [0, 1 << 20] {
        let mut wanted = crate::bench::Wanted::default();
        wanted.log.tail_bytes = tail_bytes;
        let bench = Bench::with(wanted).await;
        let mut client = bench.connect();
        create(&mut client, "a", 1).await;
        let mut places = Vec::new();
        for (producer, (what, records)) in (0..).zip(&foreign) {
            let sent = as_sent(records, producer);
            let offset = append(&mut client, "a", 0, &sent).await;
            places.push((*what, offset, sent));
        }
        for is_flushed in [false, true] {
            if is_flushed {
                bench.turning(bench.log.flush()).await.unwrap();
            }
            for (what, offset, records) in &places {
                let data = bench.turning(fetched(&mut client, "a", 0, *offset)).await;
                let found = &batches(&data)[0];
                assert_eq!(found.base_offset(), *offset, "{what}");
                assert!(untouched(found.bytes()) == untouched(records), "{what}");
                found.verify_crc().unwrap();
            }
        }
    }
}

async fn at_time(client: &mut Client, time: i64) -> (i64, i64) {
    let request = asking("a", &[(0, time)]);
    let response = client.call::<ListOffsetsRequest>(7, &request).await;
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

async fn only_batch(client: &mut Client, offset: i64) -> RecordBatch {
    batches(&fetched(client, "a", 0, offset).await).remove(0)
}

#[tokio::test]
async fn append_time_is_stamped_told_and_found_and_may_be_switched() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let configs = [("message.timestamp.type", "LogAppendTime")];
    create_with(&mut client, "a", &configs).await;
    // The producer's own times do not matter, not even those far outside of the window.
    let times = [(5, "x"), (NOW_MS * 2, "y")];
    let compressions = [Compression::None, Compression::Gzip, Compression::Zstd];
    for (compression, offset) in compressions.into_iter().zip([0, 2, 4]) {
        bench.clock.advance(std::time::Duration::from_secs(60));
        let now = NOW_MS + (offset / 2 + 1) * 60_000;
        let answer = produced(&mut client, "a", 0, &timed_batch(&times, compression)).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
        assert_eq!(answer.log_append_time_ms, now);
        let batch = only_batch(&mut client, offset).await;
        assert_eq!(
            batch.attributes().timestamp_type(),
            TimestampType::LogAppendTime
        );
        assert_eq!(batch.max_timestamp().0, now);
        batch.verify_crc().unwrap();
        assert_eq!(at_time(&mut client, now - 1).await, (offset, now));
        assert_eq!(at_time(&mut client, -3).await, (offset, now));
    }
    assert_eq!(at_time(&mut client, NOW_MS + 180_001).await, (-1, -1));
    set(&mut client, "a", "message.timestamp.type", "CreateTime").await;
    let now = NOW_MS + 180_002;
    let records = timed_batch(&[(now, "z")], Compression::Lz4);
    let answer = produced(&mut client, "a", 0, &records).await;
    assert_eq!((answer.base_offset, answer.log_append_time_ms), (6, -1));
    let batch = only_batch(&mut client, 6).await;
    assert_eq!(
        batch.attributes().timestamp_type(),
        TimestampType::CreateTime
    );
    assert_eq!(at_time(&mut client, now).await, (6, now));
    set(&mut client, "a", "message.timestamp.type", "LogAppendTime").await;
    let answer = produced(&mut client, "a", 0, &records).await;
    assert_eq!(answer.log_append_time_ms, NOW_MS + 180_000);
}
