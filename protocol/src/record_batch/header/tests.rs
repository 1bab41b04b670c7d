//! The header view agrees with the batch, and takes any bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::BatchHeader;
use crate::record_batch::{BatchError, HEADER_SIZE, RecordBatch};

/// Bytes that often begin like a batch: the length and the magic are what decides.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    let length = prop_oneof![Just(0_i32), 45..190_i32, any::<i32>()];
    let magic = prop_oneof![4 => Just(2_u8), 1 => any::<u8>()];
    (body, length, magic, any::<bool>()).prop_map(|(mut bytes, length, magic, is_exact)| {
        let exact = i32::try_from(bytes.len()).unwrap() - 12;
        let length = if is_exact { exact } else { length };
        if let Some(field) = bytes.get_mut(8..12) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        if let Some(field) = bytes.get_mut(16) {
            *field = magic;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn a_header_agrees_with_the_batch(bytes in bytes()) {
        let header = BatchHeader::parse(&bytes);
        match RecordBatch::parse(Bytes::from(bytes.clone())) {
            Ok(batch) => {
                let header = header.unwrap();
                prop_assert_eq!(header, batch.header());
                prop_assert_eq!(header.size_bytes(), batch.size_bytes());
                prop_assert_eq!(header.base_offset(), batch.base_offset());
                prop_assert_eq!(header.last_offset(), batch.last_offset());
                prop_assert_eq!(header.next_offset(), batch.next_offset());
                prop_assert_eq!(header.partition_leader_epoch(), batch.partition_leader_epoch());
                prop_assert_eq!(header.attributes(), batch.attributes());
                prop_assert_eq!(header.max_timestamp(), batch.max_timestamp());
                prop_assert_eq!(BatchHeader::parse(&bytes[..HEADER_SIZE]), Ok(header));
            }
            Err(BatchError::Truncated { size, .. }) if bytes.len() >= HEADER_SIZE => {
                prop_assert_eq!(header.unwrap().size_bytes(), size);
            }
            Err(BatchError::TrailingBytes { size, .. }) => {
                prop_assert_eq!(header.unwrap().size_bytes(), size);
            }
            Err(BatchError::Empty) => {
                prop_assert_eq!(
                    header,
                    Err(BatchError::Truncated { size: HEADER_SIZE, available: 0 })
                );
            }
            Err(error) => prop_assert_eq!(header, Err(error)),
        }
    }
}
