//! A run of record batches, as Produce requests, Fetch answers and objects hold them.
//!
//! Walking over them gives the bytes back; a batch says the same whole and by its header alone; no flipped bit passes the
//! CRC; the three ways through its records agree; what the broker stamps on it does not change what is in it.

use bytes::Bytes;
use streamhouse_protocol::compression::{Compression, Limits};
use streamhouse_protocol::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};
use streamhouse_protocol::record::{Header, Record, Records};
use streamhouse_protocol::record_batch::{
    BatchHeader, HEADER_SIZE, Marker, RecordBatch, RecordBatchBuilder, RecordContent, Stamp,
    iterate,
};
use streamhouse_runtime::planted;

use crate::corpus;
use crate::draw::Draw;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "record_batches",
    reads: "record batches and the records in them",
    executions: 100_000,
    length_max: 16 << 10,
    // Windows of the decompressors, three times: unpacked whole, summed up, searched.
    memory: Memory {
        per_byte: 64,
        free: 32 << 20,
    },
    words: &[],
    seeds,
    repair: Some(repair),
    check,
};

/// Low, so that an execution stays short.
const LIMITS: Limits = Limits {
    bytes_max: 256 << 10,
    ratio_max: 1000,
    ratio_free_bytes: 64 << 10,
};

/// Where the fields lie that a repair sets.
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const COVERED_AT: usize = 21;

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = corpus::foreign_batches();
    for compression in Compression::ALL {
        seeds.push(built(compression, 3).to_vec());
        seeds.push([built(compression, 1), built(compression, 40)].concat());
    }
    seeds
}

/// A batch with everything that a record can have.
pub(super) fn built(compression: Compression, count: u8) -> Bytes {
    let headers = [
        Header {
            key: b"trace",
            value: Some(b"7f"),
        },
        Header {
            key: b"",
            value: None,
        },
    ];
    let mut builder =
        RecordBatchBuilder::new(compression).producer(ProducerId(4000), ProducerEpoch(1), 17);
    for number in 0..count {
        let key = [b'k', number];
        let record = RecordContent {
            timestamp_ms: 1_700_000_000_000 + i64::from(number % 5),
            key: (!number.is_multiple_of(3)).then_some(&key[..]),
            value: (!number.is_multiple_of(4)).then_some(b"a value of some length"),
            headers: if number.is_multiple_of(2) {
                &headers
            } else {
                &[]
            },
            ..RecordContent::default()
        };
        builder.push(&record).expect("a few records fit");
    }
    builder.build().expect("a few records fit").into_bytes()
}

/// Makes the CRC of every batch true, and the length of the last one in most inputs.
fn repair(bytes: &mut [u8], draw: &mut Draw) {
    repair_batches(bytes, draw.one_in(4));
}

pub(super) fn repair_batches(bytes: &mut [u8], leaves_length: bool) {
    let mut at = 0;
    while let Some(batch) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEADER_SIZE) {
        let claimed = batch[LENGTH_AT..]
            .first_chunk()
            .copied()
            .map_or(0, i32::from_be_bytes);
        let size = usize::try_from(claimed).unwrap_or(0).saturating_add(12);
        let is_inside = (HEADER_SIZE..=batch.len()).contains(&size);
        let size = if is_inside { size } else { batch.len() };
        if !is_inside && !leaves_length {
            let length = u32::try_from(size - 12).unwrap_or(0);
            batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        }
        let crc = crc32c::crc32c(&batch[COVERED_AT..size]);
        batch[CRC_AT..COVERED_AT].copy_from_slice(&crc.to_be_bytes());
        at += size;
    }
}

fn check(input: &[u8]) -> Verdict {
    let run = Bytes::copy_from_slice(input);
    let mut batches = iterate(run.clone());
    let mut verdict = Verdict::Refused;
    let mut walked = 0;
    while let Some(batch) = batches.next() {
        let Ok(batch) = batch else {
            return Verdict::Refused;
        };
        assert_eq!(
            batch.bytes(),
            &run.slice(walked..walked + batch.size_bytes())
        );
        walked += batch.size_bytes();
        assert_eq!(walked + batches.remaining(), run.len());
        if look_at(&batch) == Verdict::Accepted {
            verdict = Verdict::Accepted;
        }
    }
    verdict
}

fn look_at(batch: &RecordBatch) -> Verdict {
    let parsed = RecordBatch::parse(batch.bytes().clone()).expect("a batch of a run is a batch");
    assert_eq!(parsed.bytes(), batch.bytes());
    let header = BatchHeader::parse(&batch.bytes()[..HEADER_SIZE]);
    let header = header.expect("a batch begins with a header");
    assert_eq!(header.size_bytes(), batch.size_bytes());
    assert_eq!(header.base_offset(), batch.base_offset());
    assert_eq!(header.next_offset(), batch.next_offset());
    assert_eq!(header.attributes(), batch.attributes());
    assert_eq!(header.max_timestamp(), batch.max_timestamp());
    let _ = (
        batch.last_sequence(),
        batch.validate_produced(),
        format!("{batch:?}"),
    );
    if batch.verify_crc().is_err() && !planted::bug("batch_crc_not_checked") {
        return Verdict::Refused;
    }
    no_flipped_bit_passes(batch);
    look_at_records(batch)
}

/// One bit, at a place that the batch itself chooses.
fn no_flipped_bit_passes(batch: &RecordBatch) {
    let mut bytes = batch.bytes().to_vec();
    let drawn = usize::try_from(batch.crc()).unwrap_or(0);
    let at = COVERED_AT + drawn % (bytes.len() - COVERED_AT);
    bytes[at] ^= 1 << (drawn % 8);
    let flipped = RecordBatch::parse(bytes.into()).expect("the length is the same");
    let passes = flipped.verify_crc().is_ok() || planted::bug("batch_crc_not_checked");
    assert!(!passes, "a flipped bit at byte {at} passes the CRC");
}

fn look_at_records(batch: &RecordBatch) -> Verdict {
    let summary = batch.summarize_records(&LIMITS);
    let unpacked = Records::unpack(batch, &LIMITS);
    let marker = Marker::from_batch(batch);
    let Ok(unpacked) = unpacked else {
        assert!(
            summary.is_err(),
            "what cannot be unpacked was summed up: {summary:?}"
        );
        return Verdict::Refused;
    };
    let records: Result<Vec<Record<'_>>, _> = unpacked.iter().collect();
    let records = match (records, summary) {
        (Err(_), Err(_)) => return Verdict::Refused,
        (Ok(records), Ok(summary)) => {
            let by_time = |record: &Record<'_>| record.timestamp;
            let latest = records.iter().map(by_time).max();
            assert_eq!(summary.max_timestamp.map(|found| found.timestamp), latest);
            assert_eq!(summary.min_timestamp, records.iter().map(by_time).min());
            let no_key = records.iter().position(|record| record.key.is_none());
            assert_eq!(
                summary
                    .first_null_key
                    .map(|index| usize::try_from(index).ok()),
                no_key.map(Some)
            );
            records
        }
        (records, summary) => {
            panic!("read one by one: {records:?}; summed up: {summary:?}");
        }
    };
    assert_eq!(usize::try_from(batch.records_count()), Ok(records.len()));
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].offset < pair[1].offset)
    );
    let range = batch.base_offset()..=batch.last_offset();
    assert!(records.iter().all(|record| range.contains(&record.offset)));
    let headers: usize = records
        .iter()
        .map(|record| record.headers.clone().count())
        .sum();
    let claimed: usize = records.iter().map(|record| record.headers.len()).sum();
    assert_eq!(headers, claimed, "headers that were checked can be read");
    search(batch, &records);
    stamped(batch, &records);
    if let Ok(Some(marker)) = marker {
        let again = marker.to_batch(batch.base_offset(), batch.partition_leader_epoch());
        let again = again.expect("a marker is small");
        assert_eq!(Marker::from_batch(&again), Ok(Some(marker)));
    }
    Verdict::Accepted
}

/// Looking for a time finds what going through the records finds.
fn search(batch: &RecordBatch, records: &[Record<'_>]) {
    let middle = records
        .get(records.len() / 2)
        .map_or(Timestamp(0), |record| record.timestamp);
    let found = batch
        .first_record_at_or_after(middle, &LIMITS)
        .expect("the records were read");
    let expected = records.iter().find(|record| record.timestamp >= middle);
    assert_eq!(
        found.map(|found| (found.offset, found.timestamp)),
        expected.map(|record| (record.offset, record.timestamp))
    );
}

/// What the broker writes into a batch leaves its records alone.
fn stamped(batch: &RecordBatch, records: &[Record<'_>]) {
    for append_time in [None, Some(Timestamp(1_700_000_000_123))] {
        let stamp = Stamp {
            base_offset: 1 << 40,
            leader_epoch: LeaderEpoch(9),
            append_time,
        };
        let stored = batch.copied().stamp(&stamp);
        assert_eq!(stored.bytes(), batch.stamped(&stamp).to_batch().bytes());
        assert_eq!(stored.verify_crc(), Ok(()), "append time {append_time:?}");
        let unpacked = Records::unpack(&stored, &LIMITS).expect("only the header changed");
        for (record, stored) in records.iter().zip(&unpacked) {
            let stored = stored.expect("only the header changed");
            let kept = (stored.key, stored.value, stored.attributes);
            assert_eq!(kept, (record.key, record.value, record.attributes));
            assert_eq!(
                stored.offset - stamp.base_offset,
                record.offset - batch.base_offset()
            );
        }
    }
}
