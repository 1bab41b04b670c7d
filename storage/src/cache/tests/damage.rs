//! Objects that are gone or damaged: read once more, never shown, never skipped.

use super::*;

#[test]
fn wrong_bytes_are_fetched_once_more_and_never_shown() {
    let rig = Rig::new(6);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 3 * 65_536).await;
        for fault in [Fault::WrongBytes, Fault::Truncate] {
            let cache = cache(&rig, 16);
            // The index is cut off once, then the blocks are wrong.
            rig.faults
                .script([Some(Fault::Truncate), None, Some(fault)]);
            let read = stored.read(&cache, 0..3 * BLOCK, TAIL).await;
            read.expect("read at the second try");
            let stats = cache.stats();
            // One flipped bit costs one block, a cut costs all three of the request.
            let again = if fault == Fault::Truncate { 3 } else { 1 };
            assert_eq!(
                (stats.corrupt, stats.index_gets, stats.gets),
                (1 + again, 2, 1 + again)
            );
        }
    });
}

#[test]
fn an_object_that_seems_to_be_gone_once_is_read() {
    let rig = Rig::new(16);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 3 * 65_536).await;
        for script in [
            vec![Some(Fault::NotFound)],
            vec![None, Some(Fault::NotFound)],
        ] {
            let cache = cache(&rig, 16);
            rig.faults.script(script);
            let read = stored.read(&cache, 0..3 * BLOCK, TAIL).await;
            read.expect("read at the second try");
        }
        let counts = rig.objects.counts(TAIL);
        assert_eq!((counts.doubted, counts.condemned), (4, 0));
        // Twice is believed, and not remembered.
        let cache = cache(&rig, 16);
        rig.faults.script([Some(Fault::NotFound); 2]);
        let read = stored.read(&cache, 0..10, TAIL).await;
        assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
        assert_eq!(rig.objects.counts(TAIL).condemned, 1);
        let read = stored.read(&cache, 0..10, TAIL).await;
        read.expect("the store has recovered");
    });
}

#[test]
fn bytes_that_stay_wrong_are_an_error_each_time() {
    let rig = Rig::new(7);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 60_000).await;
        let cache = cache(&rig, 16);
        cache.insert_index(&stored.key, &stored.index);
        for _ in 0..3 {
            rig.faults
                .script([Some(Fault::WrongBytes), Some(Fault::WrongBytes)]);
            let read = stored.read(&cache, 100..200, TAIL).await;
            assert!(
                matches!(read, Err(ReadError::Corrupt { position: 0, .. })),
                "{read:?}"
            );
        }
        assert_eq!((cache.stats().corrupt, cache.stats().gets), (6, 6));
        stored
            .read(&cache, 100..200, TAIL)
            .await
            .expect("the store has recovered");
    });
}

/// Stores the object again with one bit flipped.
async fn damage(rig: &Rig, stored: &Stored, bit: u64) {
    let whole = rig
        .truth
        .get_range(&stored.key, 0..stored.bytes, TAIL)
        .await
        .expect("read");
    let mut whole = whole.to_vec();
    whole[usize::try_from(bit / 8).expect("small")] ^= 1 << (bit % 8);
    rig.truth
        .put(&stored.key, ObjectClass::Flush, vec![whole.into()])
        .await
        .expect("stored");
}

#[test]
fn damage_in_the_store_hides_only_the_64_kib_it_hits() {
    let rig = Rig::new(8);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 4 * 65_536).await;
        damage(&rig, &stored, 8 * 70_000).await;
        let settings = BlockCacheSettings {
            block_bytes: 1 << 20,
            get_bytes_max: 1 << 20,
            ..settings(16)
        };
        let cache = BlockCache::new(rig.objects.clone(), rig.ambient.clone(), settings);
        stored
            .read(&cache, 0..BLOCK, TAIL)
            .await
            .expect("before the damage");
        stored
            .read(&cache, 2 * BLOCK..stored.index.data_end(), TAIL)
            .await
            .expect("behind the damage");
        for range in [0..BLOCK + 1, BLOCK..BLOCK + 1, 2 * BLOCK - 1..2 * BLOCK + 1] {
            let read = stored.read(&cache, range, TAIL).await;
            assert!(
                matches!(
                    read,
                    Err(ReadError::Corrupt {
                        position: BLOCK,
                        ..
                    })
                ),
                "{read:?}"
            );
        }
    });
}

#[test]
fn a_flipped_bit_anywhere_is_never_served() {
    // All bits are tried in the tests of the format; here a sample goes the whole way through the cache.
    for round in 0..300 * scale() {
        let rig = Rig::new(1_000 + round);
        rig.run(async {
            let stored = Stored::new(&rig, 1, 66_000).await;
            let bit = rig.ambient.chance.below(stored.bytes * 8);
            damage(&rig, &stored, bit).await;
            let cache = cache(&rig, 16);
            // `read` compares the bytes: whatever is served is right.
            let first = stored.read(&cache, stored.block(0), TAIL).await;
            let second = stored.read(&cache, stored.block(1), TAIL).await;
            assert!(first.is_err() || second.is_err(), "bit {bit}");
            for failed in [first, second].into_iter().filter_map(Result::err) {
                assert!(
                    matches!(failed, ReadError::Corrupt { .. }),
                    "bit {bit}: {failed:?}"
                );
            }
        });
    }
}

#[test]
fn a_missing_object_and_a_store_that_is_down_are_told_apart() {
    let rig = Rig::new(9);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 60_000).await;
        let cache = cache(&rig, 16);
        rig.faults.set_down(true);
        let read = stored.read(&cache, 0..10, TAIL).await;
        assert!(
            matches!(read, Err(ReadError::Unavailable { .. })),
            "{read:?}"
        );
        rig.faults.set_down(false);
        stored
            .read(&cache, 0..10, TAIL)
            .await
            .expect("an outage is not remembered");
        rig.truth.delete(&stored.key).await.expect("deleted");
        stored
            .read(&cache, 0..10, TAIL)
            .await
            .expect("memory still has it");
        cache.forget(&stored.key, stored.bytes);
        let read = stored.read(&cache, 0..10, TAIL).await;
        assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    });
}
