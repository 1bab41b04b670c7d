//! What benchmark batches are like.

use streamhouse_protocol::compression::Compression;
use streamhouse_runtime::SeededChance;

use super::BatchShape;

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
        let batch = shape(record_bytes, batch_bytes)
            .batch(&SeededChance::new(1), 5)
            .unwrap();
        let size = batch.size_bytes();
        assert!(
            size <= batch_bytes && size * 10 >= batch_bytes * 8,
            "{record_bytes}: {size}"
        );
        assert_eq!(
            batch.records_count(),
            i32::try_from(shape(record_bytes, batch_bytes).records()).unwrap()
        );
    }
}

#[test]
fn a_batch_has_at_least_one_record_and_batches_differ() {
    let one = shape(1000, 1);
    assert_eq!(one.records(), 1);
    let chance = SeededChance::new(2);
    assert_ne!(
        one.batch(&chance, 0).unwrap(),
        one.batch(&chance, 0).unwrap()
    );
}
