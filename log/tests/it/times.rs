//! Offsets by time: by record, in every tier, against brute force.

use proptest::collection::vec;
use proptest::prelude::*;
use streamhouse_log::read::Isolation;
use streamhouse_log::read::times::TimedOffset;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::Timestamp;

use crate::world::{World, address, timed_batch};

fn brute_force(records: &[(i64, i64)], wanted: i64) -> Option<TimedOffset> {
    let found = records.iter().find(|(_, timestamp)| *timestamp >= wanted)?;
    Some(TimedOffset {
        offset: found.0,
        timestamp: Timestamp(found.1),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_first_record_at_a_time_is_found_on_every_tier(
        batches in vec((vec(-1_i64..40, 1..6), any::<bool>(), 0..5_usize), 1..10),
        trim in 0_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::started().await;
            let mut records = Vec::new();
            for (times, flush, codec) in &batches {
                let contents: Vec<_> = times.iter().map(|time| (*time, "v")).collect();
                let appended = world.append(0, &timed_batch(&contents, Compression::ALL[*codec])).await;
                records.extend(times.iter().zip(appended.base_offset..).map(|(time, offset)| (offset, *time)));
                if *flush {
                    world.log().flush().await.unwrap();
                }
            }
            let log_start = i64::try_from(trim.min(records.len())).unwrap();
            world.log().delete_records(address(0), Some(log_start)).await.unwrap();
            records.retain(|(offset, _)| *offset >= log_start);
            for tier in ["tail", "WAL and objects"] {
                for wanted in 0..41 {
                    let found = world.log().first_at_or_after(address(0), Timestamp(wanted), Isolation::ReadUncommitted).await.unwrap();
                    assert_eq!(found, brute_force(&records, wanted), "{tier}, wanted {wanted}, records {records:?}");
                }
                let largest = records.iter().map(|(_, time)| *time).max();
                let found = world.log().max_timestamp(address(0), Isolation::ReadUncommitted).await.unwrap();
                assert_eq!(found, largest.and_then(|largest| brute_force(&records, largest)), "{tier}");
                world.restart().await;
            }
        });
    }
}
