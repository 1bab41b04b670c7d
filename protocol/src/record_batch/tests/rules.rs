//! Which produced batches are refused, and why.

use super::*;

/// Every rule, with a batch that breaks only it.
fn broken_batches() -> Vec<(RecordBatch, ProducedBatchError)> {
    let good = sample(Compression::Gzip);
    let attributes = good.attributes().0;
    let with = |flag: i16| forge(&good, ATTRIBUTES, (attributes | flag).to_be_bytes());
    let without_producer = forge(&good, PRODUCER_ID, (-1_i64).to_be_bytes());
    let transactional = (attributes | Attributes::TRANSACTIONAL).to_be_bytes();
    vec![
        (
            forge(&good, BASE_OFFSET, 1_i64.to_be_bytes()),
            ProducedBatchError::BaseOffset { base_offset: 1 },
        ),
        (
            forge(&good, RECORDS_COUNT, 0_i32.to_be_bytes()),
            ProducedBatchError::RecordsCount { records_count: 0 },
        ),
        (
            forge(&good, RECORDS_COUNT, (-1_i32).to_be_bytes()),
            ProducedBatchError::RecordsCount { records_count: -1 },
        ),
        (
            forge(&good, LAST_OFFSET_DELTA, 3_i32.to_be_bytes()),
            ProducedBatchError::LastOffsetDelta {
                last_offset_delta: 3,
                records_count: 3,
            },
        ),
        (
            forge(&good, LAST_OFFSET_DELTA, (-1_i32).to_be_bytes()),
            ProducedBatchError::LastOffsetDelta {
                last_offset_delta: -1,
                records_count: 3,
            },
        ),
        (with(Attributes::CONTROL), ProducedBatchError::Control),
        (
            forge(&good, BASE_SEQUENCE, NO_SEQUENCE.to_be_bytes()),
            ProducedBatchError::Sequence { base_sequence: -1 },
        ),
        (
            forge(&good, PRODUCER_EPOCH, (-1_i16).to_be_bytes()),
            ProducedBatchError::ProducerEpoch { producer_epoch: -1 },
        ),
        (
            forge(&without_producer, ATTRIBUTES, transactional),
            ProducedBatchError::TransactionWithoutProducer,
        ),
        (with(0x06), ProducedBatchError::Compression { id: 7 }),
        (
            with(Attributes::LOG_APPEND_TIME),
            ProducedBatchError::TimestampType,
        ),
    ]
}

#[test]
fn a_batch_that_breaks_one_rule_is_refused_for_it() {
    for (batch, expected) in broken_batches() {
        assert_eq!(
            RecordBatch::from_producer(batch.into_bytes()),
            Err(expected)
        );
    }
}

#[test]
fn good_batches_pass() {
    for compression in Compression::ALL {
        let batch = sample(compression);
        assert_eq!(
            RecordBatch::from_producer(batch.bytes().clone()),
            Ok(batch.clone())
        );
        let anonymous = forge(&batch, PRODUCER_ID, (-1_i64).to_be_bytes());
        let anonymous = forge(&anonymous, BASE_SEQUENCE, NO_SEQUENCE.to_be_bytes());
        anonymous.validate_produced().unwrap();
        let attributes = batch.attributes().0 | Attributes::TRANSACTIONAL;
        forge(&batch, ATTRIBUTES, attributes.to_be_bytes())
            .validate_produced()
            .unwrap();
    }
}

#[test]
fn bytes_that_are_not_one_batch_of_magic_2_are_refused() {
    let check = |bytes: Vec<u8>, expected| {
        let refused = RecordBatch::from_producer(bytes.into());
        assert_eq!(refused, Err(ProducedBatchError::Batch(expected)));
    };
    let good = sample(Compression::Lz4).into_bytes();
    let size = good.len();
    check(Vec::new(), BatchError::Empty);
    check(
        good[..30].to_vec(),
        BatchError::Truncated {
            size,
            available: 30,
        },
    );
    check(
        [&good[..], &good[..]].concat(),
        BatchError::TrailingBytes { size, extra: size },
    );
    check(
        [&good[..], &[0]].concat(),
        BatchError::TrailingBytes { size, extra: 1 },
    );
    for magic in [0, 1, 3, -1] {
        let mut bytes = good.to_vec();
        bytes[MAGIC] = i8::to_be_bytes(magic)[0];
        check(bytes, BatchError::Magic { magic });
    }
    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = good.to_vec();
        bytes[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
        check(bytes, BatchError::Length { length });
    }
    let mut bytes = good.to_vec();
    bytes[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&i32::MAX.to_be_bytes());
    let claimed = LENGTH_OVERHEAD + usize::try_from(i32::MAX).unwrap();
    check(
        bytes,
        BatchError::Truncated {
            size: claimed,
            available: size,
        },
    );
}

#[test]
fn a_base_offset_is_judged_before_the_crc_and_the_crc_before_the_count() {
    let good = sample(Compression::None);
    let mut bytes = forge(&good, RECORDS_COUNT, 0_i32.to_be_bytes())
        .into_bytes()
        .to_vec();
    bytes[CRC] ^= 1;
    let refused = RecordBatch::from_producer(bytes.clone().into());
    assert!(matches!(refused, Err(ProducedBatchError::Crc(_))));
    bytes[7] = 1;
    let refused = RecordBatch::from_producer(bytes.into());
    assert_eq!(
        refused,
        Err(ProducedBatchError::BaseOffset { base_offset: 1 })
    );
}
