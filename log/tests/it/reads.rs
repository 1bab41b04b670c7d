//! Reads at any offset, with any budget, on every tier, against brute force.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use streamhouse_log::read::{Isolation, ReadError};
use streamhouse_protocol::record_batch::RecordBatch;
use streamhouse_runtime::Tasks;

use crate::world::{World, address, batch};

/// A batch as a reader must get it.
#[derive(Clone, Debug)]
struct Known {
    base: i64,
    end: i64,
    bytes: usize,
    /// The batch as it was produced.
    produced: Bytes,
}

/// What the broker writes into a batch: base offset and leader epoch.
fn untouched(bytes: &[u8]) -> (&[u8], &[u8]) {
    (&bytes[8..12], &bytes[16..])
}

/// The batches that a read returns: from the one that holds `offset`, within the budget.
fn brute_force(known: &[Known], offset: i64, budget: usize, at_least_one: bool) -> Vec<i64> {
    let mut taken = 0;
    let mut found = Vec::new();
    for batch in known.iter().filter(|batch| batch.end > offset) {
        taken += batch.bytes;
        if taken > budget && !(found.is_empty() && at_least_one) {
            break;
        }
        found.push(batch.base);
    }
    found
}

async fn check(
    world: &World,
    known: &[Known],
    log_start: i64,
    offset: i64,
    budget: usize,
    at_least_one: bool,
) {
    let end = known.last().map_or(0, |batch| batch.end);
    let read = world
        .log()
        .read(
            address(0),
            offset,
            Isolation::ReadUncommitted,
            budget,
            at_least_one,
        )
        .await;
    if offset < log_start || offset > end {
        assert!(
            matches!(read, Err(ReadError::OutOfRange { .. })),
            "{offset} of {log_start}..{end}: {read:?}"
        );
        return;
    }
    let fetched = read.unwrap();
    let next_offset = fetched.next_offset;
    let batches: Vec<RecordBatch> = fetched.into_batches().map(Result::unwrap).collect();
    let bases: Vec<i64> = batches.iter().map(RecordBatch::base_offset).collect();
    // A read fills its budget, wherever the batches lie, and never skips.
    assert_eq!(
        bases,
        brute_force(known, offset, budget, at_least_one),
        "offset {offset}, budget {budget}"
    );
    let last = batches.last().map(RecordBatch::next_offset);
    assert_eq!(next_offset, last.unwrap_or(offset));
    for batch in batches {
        batch.verify_crc().unwrap();
        let same = known.iter().find(|known| known.base == batch.base_offset());
        assert!(untouched(batch.bytes()) == untouched(&same.unwrap().produced));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_read_is_whole_batches_from_the_wanted_one_on_whatever_tier_holds_them(
        batches in vec((1_usize..4, prop_oneof![4 => 1_usize..400, 1 => 20_000_usize..120_000], 0_u8..6), 1..24),
        tail in prop_oneof![Just(0_usize), Just(700), Just(1 << 20)],
        trim in 0_usize..100,
        reads in vec((0_usize..100, prop_oneof![2 => 0_usize..2000, 1 => 0_usize..500_000], any::<bool>()), 30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            world.settings.tail_bytes = tail;
            // The least that checksums allow, and so little memory that blocks are pushed out.
            world.cache.block_bytes = 64 << 10;
            world.cache.get_bytes_max = 128 << 10;
            world.cache.capacity_bytes = 1 << 20;
            world.start().await;
            let mut known = Vec::new();
            for (records, bytes, what) in &batches {
                let value = "x".repeat(*bytes);
                let batch = batch(&vec![value.as_str(); *records]);
                let base = world.append(0, &batch).await.base_offset;
                known.push(Known {
                    base,
                    end: base + i64::try_from(*records).unwrap(),
                    bytes: batch.len(),
                    produced: batch,
                });
                match what {
                    0 => { world.log().flush().await.unwrap(); }
                    1 => { world.restart().await; }
                    _ => {}
                }
            }
            let end = known.last().map_or(0, |batch| batch.end);
            // The log start may lie inside a batch.
            let log_start = i64::try_from(trim).unwrap() * end / 100;
            world.log().delete_records(address(0), Some(log_start)).await.unwrap();
            for (place, budget, at_least_one) in reads {
                let offset = i64::try_from(place).unwrap() * (end + 2) / 100 - 1;
                check(&world, &known, log_start, offset, budget, at_least_one).await;
                // Every boundary, too.
                for batch in &known {
                    check(&world, &known, log_start, batch.base, budget, at_least_one).await;
                }
            }
        });
    }
}

#[test]
fn a_reader_sees_the_same_while_flushes_recycle_and_trims_drop_what_it_reads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        world.settings.tail_bytes = 2000;
        world.settings.flush_bytes = 30_000;
        world.start().await;
        let value = "x".repeat(3000);
        let log = world.log().clone();
        let reader = Tasks::new().spawn("reader", async move {
            let mut offset = 0;
            while offset < 400 {
                match log
                    .read(address(0), offset, Isolation::ReadUncommitted, 20_000, true)
                    .await
                {
                    Ok(fetched) => {
                        for batch in fetched.into_batches() {
                            let batch = batch.unwrap();
                            assert!(
                                batch.base_offset() <= offset,
                                "{} instead of {offset}",
                                batch.base_offset()
                            );
                            offset = batch.next_offset();
                        }
                    }
                    Err(ReadError::OutOfRange { log_start, .. }) => offset = log_start.max(offset),
                    Err(error) => panic!("offset {offset}: {error}"),
                }
                tokio::task::yield_now().await;
            }
        });
        for n in 0..400 {
            world.append(0, &batch(&[&value])).await;
            if n % 7 == 0 {
                world.log().flush().await.unwrap();
            }
            if n % 50 == 49 {
                world
                    .log()
                    .delete_records(address(0), Some(n - 40))
                    .await
                    .unwrap();
            }
        }
        reader.await.unwrap();
    });
}
