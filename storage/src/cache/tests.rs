//! The block cache: right bytes or an error, few requests, and old data never pushes out what is shared.

mod damage;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, select};
use proptest::prelude::*;

use super::{BlockCache, BlockCacheSettings, ReadError};
use crate::l0::{HEADER_BYTES, L0Index, L0Writer};
use crate::objects::rig::{Rig, key, pattern, scale, settle};
use crate::objects::{Fault, ObjectClass, ObjectKey};

const TAIL: ObjectClass = ObjectClass::TailRead;
const OLD: ObjectClass = ObjectClass::CatchUpRead;
/// Small blocks keep the tests small: the least that checksums allow.
const BLOCK: u64 = 64 * 1024;

fn settings(blocks: u64) -> BlockCacheSettings {
    BlockCacheSettings {
        // A 16th is for indexes, and every block has some overhead.
        capacity_bytes: (blocks * (BLOCK + 128) * 16).div_ceil(15),
        block_bytes: BLOCK,
        get_bytes_max: 4 * BLOCK,
        read_aheads_max: 2,
    }
}

struct Stored {
    key: ObjectKey,
    bytes: u64,
    index: L0Index,
    /// The object up to the end of its data.
    data: Bytes,
}

impl Stored {
    async fn new(rig: &Rig, seq: u64, data_bytes: usize) -> Self {
        let key = key(seq);
        let writer = rig.truth.writer(&key, ObjectClass::Flush);
        let mut writer = L0Writer::begin(writer, 1, 2).await.expect("begun");
        writer
            .append(pattern(data_bytes, seq + 77))
            .await
            .expect("appended");
        let written = writer.finish(vec![]).await.expect("finished");
        let end = written.index.data_end();
        let data = rig.truth.get_range(&key, 0..end, TAIL).await.expect("read");
        Self {
            key,
            bytes: written.bytes,
            index: written.index,
            data,
        }
    }

    async fn read(
        &self,
        cache: &BlockCache,
        range: Range<u64>,
        class: ObjectClass,
    ) -> Result<(), ReadError> {
        let slices = cache.read(&self.key, range.clone(), class).await?;
        let within = |position: u64| usize::try_from(position).expect("small");
        let expected = &self.data[within(range.start)..within(range.end)];
        assert!(slices.concat() == expected, "{range:?} gave other bytes");
        Ok(())
    }

    fn block(&self, number: u64) -> Range<u64> {
        number * BLOCK..((number + 1) * BLOCK).min(self.index.data_end())
    }
}

fn cache(rig: &Rig, blocks: u64) -> BlockCache {
    BlockCache::new(rig.objects.clone(), rig.ambient.clone(), settings(blocks))
}

#[test]
fn a_read_gives_exactly_the_range_and_the_second_one_costs_nothing() {
    let rig = Rig::new(1);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 300_000).await;
        let cache = cache(&rig, 16);
        let end = stored.index.data_end();
        for range in [
            64..65,
            0..end,
            65_535..65_537,
            end - 1..end,
            end..end,
            131_072..196_608,
        ] {
            stored.read(&cache, range, TAIL).await.expect("read");
        }
        let requests = rig.faults.requests();
        stored.read(&cache, 0..end, TAIL).await.expect("read");
        assert_eq!(rig.faults.requests(), requests);
        let stats = cache.stats();
        assert_eq!((stats.misses, stats.bytes_fetched), (5, end));
        assert!(stats.bytes_held > end && stats.hits > 5, "{stats:?}");
    });
}

#[test]
fn a_range_outside_the_data_is_refused() {
    let rig = Rig::new(2);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 1_000).await;
        let cache = cache(&rig, 16);
        let end = stored.index.data_end();
        let reversed = Range { start: 9, end: 8 };
        for range in [
            0..end + 1,
            end + 1..end + 2,
            u64::MAX - 1..u64::MAX,
            reversed,
        ] {
            let read = cache.read(&stored.key, range.clone(), TAIL).await;
            assert!(
                matches!(read, Err(ReadError::OutOfRange { .. })),
                "{range:?}: {read:?}"
            );
        }
    });
}

#[test]
fn readers_of_one_block_share_one_request() {
    let rig = Rig::new(3);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 60_000).await;
        let cache = cache(&rig, 16);
        let slow = Some(Fault::Delay(Duration::from_millis(500)));
        rig.faults.script([slow, slow]);
        let readers = (0..50)
            .map(|at| stored.read(&cache, at..at + 1_000, if at % 2 == 0 { TAIL } else { OLD }));
        for read in join_all(readers).await {
            read.expect("read");
        }
        assert_eq!(rig.faults.requests(), 1, "the object whole");
        let stats = cache.stats();
        assert_eq!(
            (stats.gets, stats.index_gets, stats.misses, stats.hits),
            (0, 1, 1, 50)
        );
    });
}

#[test]
fn missing_neighbours_come_in_one_bounded_request() {
    let rig = Rig::new(4);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 10 * 65_536 - 64).await;
        let cache = cache(&rig, 16);
        cache.insert_index(&stored.key, &stored.index);
        stored
            .read(&cache, 0..10 * BLOCK, TAIL)
            .await
            .expect("read");
        assert_eq!(cache.stats().gets, 3, "four, four and two blocks");

        cache.forget(&stored.key, stored.bytes);
        cache.insert_index(&stored.key, &stored.index);
        stored
            .read(&cache, stored.block(1), TAIL)
            .await
            .expect("read");
        stored.read(&cache, 0..4 * BLOCK, TAIL).await.expect("read");
        assert_eq!(
            cache.stats().gets - 3,
            3,
            "a block that is there parts the others"
        );
        assert_eq!(cache.stats().index_gets, 0, "the index was seeded");
    });
}

#[test]
fn readers_of_overlapping_ranges_end_and_fetch_nothing_twice() {
    for seed in 0..20 * scale() {
        let rig = Rig::new(seed);
        rig.run(async {
            let stored = Stored::new(&rig, 1, 20 * 65_536).await;
            let cache = cache(&rig, 64);
            let slow = Some(Fault::Delay(Duration::from_millis(300)));
            rig.faults.script(std::iter::repeat_n(slow, 200));
            let end = stored.index.data_end();
            let readers = (0..30).map(|_| {
                let start = rig.ambient.chance.below(end);
                let length = rig.ambient.chance.below(end - start) + 1;
                stored.read(&cache, start..start + length, TAIL)
            });
            for read in join_all(readers).await {
                read.expect("read");
            }
            let stats = cache.stats();
            assert!(stats.bytes_fetched <= end, "{stats:?}");
        });
    }
}

#[test]
fn a_reader_that_goes_away_leaves_the_block_to_the_next() {
    let rig = Rig::new(5);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 60_000).await;
        let cache = cache(&rig, 16);
        cache.insert_index(&stored.key, &stored.index);
        rig.faults
            .script([Some(Fault::Delay(Duration::from_millis(1_500)))]);
        let leaves = Box::pin(async {
            let first = Box::pin(stored.read(&cache, 0..10, TAIL));
            let bored = rig.ambient.clock.sleep(Duration::from_millis(300));
            assert!(matches!(
                select(first, bored).await,
                futures::future::Either::Right(_)
            ));
        });
        let ((), second) = futures::future::join(leaves, stored.read(&cache, 0..10, TAIL)).await;
        second.expect("read");
        assert_eq!(cache.stats().gets, 2);
    });
}

#[test]
fn readers_of_old_data_do_not_push_out_what_others_share() {
    let rig = Rig::new(10);
    rig.run(async {
        let shared = Stored::new(&rig, 1, 32 * 65_536).await;
        let old = Stored::new(&rig, 2, 640 * 65_536).await;
        let cache = cache(&rig, 64);
        for _ in 0..3 {
            shared
                .read(&cache, 0..32 * BLOCK, TAIL)
                .await
                .expect("read");
        }
        // Ten times the cache, every block in several steps, as fetches do it.
        for step in 0..640 * 4 {
            let start = step * BLOCK / 4;
            old.read(&cache, start..start + BLOCK / 4, OLD)
                .await
                .expect("read");
        }
        let before = cache.stats();
        shared
            .read(&cache, 0..32 * BLOCK, TAIL)
            .await
            .expect("read");
        let after = cache.stats();
        assert!(
            after.misses - before.misses <= 2,
            "{} blocks were lost",
            after.misses - before.misses
        );
    });
}

#[test]
fn several_readers_of_old_data_fetch_no_block_twice() {
    let rig = Rig::new(11);
    rig.run(async {
        let shared = Stored::new(&rig, 1, 64 * 65_536).await;
        let mut olds = Vec::new();
        for seq in 2..10 {
            olds.push(Stored::new(&rig, seq, 40 * 65_536 - 64).await);
        }
        let cache = cache(&rig, 64);
        for _ in 0..3 {
            shared
                .read(&cache, 0..64 * BLOCK, TAIL)
                .await
                .expect("read");
        }
        let before = cache.stats();
        for step in 0..40 * 4 {
            for old in &olds {
                let start = step * BLOCK / 4;
                old.read(&cache, start..start + BLOCK / 4, OLD)
                    .await
                    .expect("read");
            }
        }
        assert_eq!(cache.stats().misses - before.misses, 8 * 40);
    });
}

#[test]
fn what_is_read_ahead_for_many_is_still_there_when_they_come() {
    let rig = Rig::new(14);
    rig.run(async {
        let mut olds = Vec::new();
        for seq in 0..8 {
            olds.push(Stored::new(&rig, seq, 24 * 65_536 - 64).await);
        }
        let cache = cache(&rig, 64);
        for step in 0..24 {
            for old in &olds {
                old.read(&cache, old.block(step), OLD).await.expect("read");
                let behind = (step + 1) * BLOCK..old.index.data_end();
                cache.read_ahead(&old.key, behind, OLD);
                settle().await;
            }
        }
        let stats = cache.stats();
        assert_eq!(stats.misses, 8 * 24, "no block was fetched twice");
        assert!(stats.read_aheads > 8, "{stats:?}");
    });
}

#[test]
fn blocks_that_were_read_ahead_for_nobody_do_not_end_read_ahead_for_ever() {
    let rig = Rig::new(15);
    rig.run(async {
        let left = Stored::new(&rig, 1, 40 * 65_536).await;
        let old = Stored::new(&rig, 2, 200 * 65_536).await;
        let cache = cache(&rig, 32);
        let read_ahead = |number| cache.read_ahead(&left.key, left.block(number), OLD);
        for number in 0..4 {
            read_ahead(number);
            settle().await;
        }
        read_ahead(9);
        settle().await;
        assert_eq!(cache.stats().misses, 4, "half of what cold blocks have");
        for number in 0..200 {
            old.read(&cache, old.block(number), OLD)
                .await
                .expect("read");
        }
        read_ahead(9);
        settle().await;
        assert_eq!(cache.stats().misses, 205, "nobody waits for them any more");
    });
}

#[test]
fn memory_stays_below_the_capacity() {
    let rig = Rig::new(12);
    rig.run(async {
        let cache = cache(&rig, 20);
        for seq in 0..10 {
            let stored = Stored::new(&rig, seq, 10 * 65_536).await;
            for class in [TAIL, TAIL, OLD] {
                stored
                    .read(&cache, HEADER_BYTES..stored.index.data_end(), class)
                    .await
                    .expect("read");
                assert!(cache.stats().bytes_held <= settings(20).capacity_bytes);
            }
        }
        assert!(
            cache.stats().bytes_held > settings(20).capacity_bytes / 2,
            "the cache is used"
        );
    });
}

#[test]
fn a_read_ahead_saves_the_next_reader_the_wait_and_is_bounded() {
    let rig = Rig::new(13);
    rig.run(async {
        let stored = Stored::new(&rig, 1, 20 * 65_536 - 64).await;
        let cache = cache(&rig, 32);
        cache.read_ahead(&stored.key, 0..u64::MAX, OLD);
        settle().await;
        assert_eq!(
            (cache.stats().misses, cache.stats().gets),
            (4, 1),
            "one request's worth"
        );
        stored.read(&cache, 0..4 * BLOCK, OLD).await.expect("read");
        assert_eq!(cache.stats().misses, 4);

        cache.read_ahead(&stored.key, 0..4 * BLOCK, OLD);
        assert_eq!(cache.stats().read_aheads, 1, "nothing is missing");
        let slow = Some(Fault::Delay(Duration::from_millis(100)));
        rig.faults.script([slow; 2]);
        for number in [8, 12, 16] {
            cache.read_ahead(&stored.key, stored.block(number), OLD);
        }
        assert_eq!(cache.stats().read_aheads, 3, "the third at once is dropped");
        // Behind the end, and of nothing: no harm.
        cache.read_ahead(&stored.key, 1 << 40..1 << 41, OLD);
        cache.read_ahead(&stored.key, 5..5, OLD);
        stored
            .read(&cache, 8 * BLOCK..9 * BLOCK, OLD)
            .await
            .expect("read");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48 * u32::try_from(scale()).unwrap_or(u32::MAX)))]

    #[test]
    fn whatever_fails_a_read_gives_the_right_bytes_or_an_error(
        seed: u64,
        per_mille in 0..500_u64,
        sizes in prop::collection::vec(1..400_000_usize, 1..4),
        reads in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 1..40),
        blocks in 2..12_u64,
    ) {
        let rig = Rig::new(seed);
        rig.run(async {
            let mut all = Vec::new();
            for (seq, size) in (0..).zip(sizes) {
                all.push(Stored::new(&rig, seq, size).await);
            }
            let cache = cache(&rig, blocks);
            rig.faults.draw(per_mille);
            let mut readers = Vec::new();
            for (number, (start, length, is_old)) in reads.into_iter().enumerate() {
                let stored = &all[number % all.len()];
                let end = stored.index.data_end();
                let start = start % end;
                let range = start..start + length % (end - start + 1);
                readers.push(stored.read(&cache, range, if is_old { OLD } else { TAIL }));
            }
            let outcomes = join_all(readers).await;
            if per_mille == 0 {
                assert!(outcomes.iter().all(Result::is_ok));
            }
            // Nothing wrong stayed behind.
            rig.faults.draw(0);
            for stored in &all {
                stored.read(&cache, 0..stored.index.data_end(), TAIL).await.expect("read");
            }
        });
    }
}
