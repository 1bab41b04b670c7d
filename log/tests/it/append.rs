//! Appending and reading what was appended, on every tier.

use streamhouse_log::append::{Acks, AppendError, validate::Prepared};
use streamhouse_log::read::{Isolation, ReadError};

use crate::world::{World, address, batch, numbered, rules, sequenced};

#[tokio::test]
async fn what_was_appended_is_read_from_the_tail_and_from_objects() {
    let world = World::started().await;
    assert_eq!(world.append(0, &batch(&["a", "b"])).await.base_offset, 0);
    assert_eq!(world.append(0, &batch(&["c"])).await.base_offset, 2);
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b", "c"]));
    let flushed = world.log().flush().await.unwrap();
    assert_eq!((flushed.shards, flushed.runs), (1, 1));
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b", "c"]));
    assert_eq!(world.log().sizes(address(0)).unwrap().wal_bytes, 0);
}

#[tokio::test]
async fn an_evicted_tail_is_read_from_the_wal() {
    let mut world = World::new().await;
    world.settings.tail_bytes = 0;
    world.start().await;
    world.append(1, &batch(&["a"])).await;
    world.append(1, &batch(&["b", "c"])).await;
    assert_eq!(world.log().tail_bytes(), 0);
    assert_eq!(world.values(1, 0).await, numbered(&["a", "b", "c"]));
    assert_eq!(world.values(1, 2).await, vec![(2, "c".to_owned())]);
}

#[tokio::test]
async fn a_read_between_high_watermark_and_end_is_empty_and_above_it_out_of_range() {
    let world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    let read = |offset| {
        world
            .log()
            .read(address(0), offset, Isolation::ReadUncommitted, 1000, true)
    };
    assert!(read(1).await.unwrap().pieces.is_empty());
    let error = read(2).await.unwrap_err();
    assert_eq!(
        error,
        ReadError::OutOfRange {
            offset: 2,
            log_start: 0,
            log_end: 1
        }
    );
    assert!(read(-1).await.is_err());
}

#[tokio::test]
async fn the_first_batch_is_returned_whole_whatever_its_size() {
    let world = World::started().await;
    let large = "x".repeat(50_000);
    world.append(0, &batch(&[&large])).await;
    world.append(0, &batch(&[&large])).await;
    for _ in ["tail", "objects"] {
        let read = |at_least_one| {
            world
                .log()
                .read(address(0), 0, Isolation::ReadUncommitted, 10, at_least_one)
        };
        let fetched = read(true).await.unwrap();
        assert!(fetched.bytes() > 50_000 && fetched.bytes() < 60_000);
        assert!(read(false).await.unwrap().pieces.is_empty());
        world.log().flush().await.unwrap();
        // The tail still holds it; a restart does not.
    }
}

#[tokio::test]
async fn a_duplicate_is_answered_with_the_first_offset() {
    let world = World::started().await;
    let first = sequenced(5, 0, 0, &["a", "b"]);
    let answer = world.append(0, &first).await;
    assert_eq!(world.append(0, &first).await, answer);
    assert_eq!(
        world
            .append(0, &sequenced(5, 0, 2, &["c"]))
            .await
            .base_offset,
        2
    );
    assert_eq!(world.append(0, &first).await, answer);
    assert_eq!(world.values(0, 0).await, numbered(&["a", "b", "c"]));
}

#[tokio::test]
async fn a_duplicate_of_a_staged_batch_joins_it() {
    let world = World::started().await;
    let first = sequenced(5, 0, 0, &["a"]);
    let staged = [
        world.stage(0, &first).unwrap(),
        world.stage(0, &first).unwrap(),
    ];
    for staged in staged {
        assert_eq!(staged.acknowledged().await.unwrap().base_offset, 0);
    }
    assert_eq!(world.values(0, 0).await, numbered(&["a"]));
}

#[tokio::test]
async fn a_gap_an_overlap_and_an_old_epoch_are_refused() {
    let world = World::started().await;
    world.append(0, &sequenced(5, 1, 0, &["a", "b"])).await;
    let refused = |batch| world.stage(0, &batch).unwrap_err();
    assert_eq!(
        refused(sequenced(5, 1, 3, &["c"])),
        AppendError::OutOfOrder {
            found: 3,
            expected: 2
        }
    );
    assert!(matches!(
        refused(sequenced(5, 1, 1, &["b", "c"])),
        AppendError::OutOfOrder { .. }
    ));
    assert!(matches!(
        refused(sequenced(5, 0, 2, &["c"])),
        AppendError::Fenced { .. }
    ));
    assert!(matches!(
        refused(sequenced(5, 2, 2, &["c"])),
        AppendError::OutOfOrder { expected: 0, .. }
    ));
    assert_eq!(
        world
            .append(0, &sequenced(5, 2, 0, &["c"]))
            .await
            .base_offset,
        2
    );
}

#[tokio::test]
async fn five_batches_in_flight_are_ordered_without_waiting() {
    let world = World::started().await;
    let staged: Vec<_> = (0..5)
        .map(|n| world.stage(2, &sequenced(9, 0, n, &["v"])).unwrap())
        .collect();
    for (offset, staged) in staged.into_iter().enumerate() {
        assert_eq!(
            staged.acknowledged().await.unwrap().base_offset,
            i64::try_from(offset).unwrap()
        );
    }
}

#[tokio::test]
async fn fifty_interleaved_producers_make_at_most_two_runs() {
    let world = World::started().await;
    for round in 0..10 {
        let staged: Vec<_> = (0..50)
            .map(|id| world.stage(0, &sequenced(id, 0, round, &["v"])).unwrap())
            .collect();
        for staged in staged {
            staged.acknowledged().await.unwrap();
        }
    }
    assert!(world.log().flush().await.unwrap().runs <= 2);
}

#[tokio::test]
async fn log_append_time_is_stamped_and_answered() {
    let world = World::started().await;
    let rules = streamhouse_log::append::validate::AppendRules {
        stamps_append_time: true,
        ..rules()
    };
    let prepared = Prepared::new(&batch(&["a"]), 0, &rules, 1_234_567).unwrap();
    let staged = world.log().stage(address(0), prepared, Acks::All).unwrap();
    assert_eq!(
        staged.acknowledged().await.unwrap().append_time.0,
        1_234_567
    );
    assert_eq!(world.values(0, 0).await, numbered(&["a"]));
}

#[tokio::test]
async fn acks_1_is_answered_too() {
    let world = World::started().await;
    let prepared = Prepared::new(&batch(&["a"]), 0, &rules(), 1_000_000).unwrap();
    let staged = world
        .log()
        .stage(address(0), prepared, Acks::Leader)
        .unwrap();
    assert_eq!(staged.acknowledged().await.unwrap().base_offset, 0);
}

#[tokio::test]
async fn a_parked_fetch_is_woken_by_enough_bytes() {
    let world = World::started().await;
    let waiter = std::sync::Arc::new(streamhouse_log::read::waiters::Waiter::wanting(100));
    world.log().park(address(0), &waiter).unwrap();
    world.append(0, &batch(&["a"])).await;
    let mut enough = Box::pin(waiter.enough());
    assert!(
        futures::poll!(&mut enough).is_pending(),
        "one small batch is not enough"
    );
    world.append(0, &batch(&["b"])).await;
    enough.await;
}
