//! What benchmark batches are like.

use streamhouse_protocol::compression::Compression;
use streamhouse_runtime::SeededChance;

use super::{BatchShape, batch};

fn shape(record_bytes: usize, batch_bytes: usize) -> BatchShape {
    BatchShape {
        record_bytes,
        batch_bytes,
        compression: Compression::None,
    }
}

#[test]
fn a_batch_is_about_as_large_as_was_asked_for() {
    for (record_bytes, batch_bytes) in [(100, 16_384), (1024, 16_384), (10, 1000)] {
        let shape = shape(record_bytes, batch_bytes);
        let values = shape.values(&SeededChance::new(1));
        assert!(values.iter().all(|value| value.len() == record_bytes));
        let batch = batch(shape.builder(), &values, 5).unwrap();
        let size = batch.size_bytes();
        assert!(
            size <= batch_bytes && size * 10 >= batch_bytes * 8,
            "{record_bytes}: {size}"
        );
        assert_eq!(
            batch.records_count(),
            i32::try_from(shape.records()).unwrap()
        );
    }
}

#[test]
fn a_batch_has_at_least_one_record_and_batches_differ() {
    let one = shape(1000, 1);
    assert_eq!(one.records(), 1);
    let chance = SeededChance::new(2);
    assert_ne!(one.values(&chance), one.values(&chance));
}
