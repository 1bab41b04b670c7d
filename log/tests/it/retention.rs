//! What leaves: trims, retention, idle producers, deleted topics, and the objects nobody needs.

use std::collections::BTreeMap;
use std::time::Duration;

use streamhouse_log::append::AppendError;
use streamhouse_log::read::{Isolation, ReadError};
use streamhouse_log::retention::{Retention, TrimError};
use streamhouse_metadata::store::{ObjectShelf, TopicShelf};
use streamhouse_protocol::compression::Compression;

use crate::world::{TOPIC, World, address, batch, sequenced, timed_batch};

#[tokio::test]
async fn records_are_deleted_up_to_an_offset_and_stay_deleted() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a", "b", "c"])).await;
    assert_eq!(
        world
            .log()
            .delete_records(address(0), Some(2))
            .await
            .unwrap(),
        2
    );
    let below = world
        .log()
        .read(address(0), 1, Isolation::ReadUncommitted, 1000, true)
        .await
        .unwrap_err();
    assert!(matches!(below, ReadError::OutOfRange { log_start: 2, .. }));
    assert_eq!(world.values(0, 2).await, vec![(2, "c".to_owned())]);
    world.restart().await;
    assert_eq!(world.log().offsets(address(0)).unwrap().log_start, 2);
    world.log().flush().await.unwrap();
    world.restart().await;
    assert_eq!(world.log().offsets(address(0)).unwrap().log_start, 2);
    assert_eq!(
        world
            .log()
            .delete_records(address(0), Some(1))
            .await
            .unwrap(),
        2,
        "it never goes back"
    );
    assert_eq!(
        world.log().delete_records(address(0), None).await.unwrap(),
        3
    );
    let beyond = world
        .log()
        .delete_records(address(0), Some(4))
        .await
        .unwrap_err();
    assert!(matches!(
        beyond,
        TrimError::Read(ReadError::OutOfRange { .. })
    ));
}

#[tokio::test]
async fn retention_by_size_lets_objects_go_after_the_grace() {
    let world = World::started().await;
    let value = "x".repeat(1000);
    for _ in 0..5 {
        world.append(0, &batch(&[&value])).await;
        world.log().flush().await.unwrap();
    }
    let rules = BTreeMap::from([(
        TOPIC,
        Retention {
            ms: None,
            bytes: Some(2000),
        },
    )]);
    assert_eq!(world.log().apply_retention(&rules), 1);
    let settled = world
        .log()
        .delete_records(address(0), Some(0))
        .await
        .unwrap();
    assert!(settled <= 3);
    world.append(0, &batch(&["last"])).await;
    let log_start = world.log().offsets(address(0)).unwrap().log_start;
    assert_eq!(
        log_start, 3,
        "two runs of a little over 1000 bytes are enough"
    );
    world.log().flush().await.unwrap();
    let swept = world.log().sweep().await.unwrap();
    assert_eq!((swept.tombstoned, swept.deleted), (3, 0));
    world.clock.advance(Duration::from_secs(301));
    assert_eq!(world.log().sweep().await.unwrap().deleted, 3);
    assert_eq!(world.store.unreferenced(10).await.unwrap(), Vec::new());
    assert_eq!(world.values(0, 3).await.len(), 3);
}

#[tokio::test]
async fn retention_by_time_looks_at_the_records_time() {
    let world = World::started().await;
    world
        .append(0, &timed_batch(&[(100, "old")], Compression::None))
        .await;
    world.log().flush().await.unwrap();
    world
        .append(0, &timed_batch(&[(999_000, "new")], Compression::None))
        .await;
    world.log().flush().await.unwrap();
    let rules = BTreeMap::from([(
        TOPIC,
        Retention {
            ms: Some(10_000),
            bytes: None,
        },
    )]);
    assert_eq!(world.log().apply_retention(&rules), 1);
    world.append(0, &batch(&["behind"])).await;
    assert_eq!(world.log().offsets(address(0)).unwrap().log_start, 1);
    assert_eq!(
        world.log().apply_retention(&BTreeMap::new()),
        0,
        "a topic without rules keeps everything"
    );
}

#[tokio::test]
async fn an_idle_producer_is_forgotten_whatever_timestamps_its_records_carry() {
    let mut world = World::started().await;
    world.append(0, &sequenced(5, 0, 0, &["a"])).await;
    assert_eq!(
        world.log().evict_producers(60_000),
        0,
        "it wrote just now, although its records say 1970"
    );
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.log().evict_producers(60_000), 1);
    // Behind the eviction any sequence is accepted.
    assert_eq!(
        world
            .append(0, &sequenced(5, 0, 7, &["b"]))
            .await
            .base_offset,
        1
    );
    world.restart().await;
    assert_eq!(
        world
            .append(0, &sequenced(5, 0, 7, &["b"]))
            .await
            .base_offset,
        1,
        "and the replay agrees"
    );
}

#[tokio::test]
async fn a_deleted_topic_takes_nothing_and_leaves_nothing() {
    let mut world = World::started().await;
    world.append(0, &batch(&["a"])).await;
    world.append(1, &batch(&["b"])).await;
    world.log().flush().await.unwrap();
    world.append(2, &batch(&["c"])).await;
    world.store.delete_topic(TOPIC).await.unwrap();
    world
        .log()
        .drop_topic(&[address(0), address(1), address(2)])
        .await
        .unwrap();
    assert_eq!(
        world.stage(0, &batch(&["late"])).unwrap_err(),
        AppendError::UnknownPartition
    );
    assert_eq!(
        world.log().offsets(address(0)).unwrap_err(),
        ReadError::UnknownPartition
    );
    world.log().settle_tombstones().await.unwrap();
    assert_eq!(
        world.store.topics().await.unwrap().tombstones.len(),
        1,
        "the drops are not recorded yet"
    );
    world.restart().await;
    world.log().flush().await.unwrap();
    world.log().settle_tombstones().await.unwrap();
    assert_eq!(world.store.topics().await.unwrap().tombstones.len(), 0);
    assert_eq!(
        world.log().sweep().await.unwrap().tombstoned,
        2,
        "the object of the first two, and that of the third, whose records were gone when it was written"
    );
    world.restart().await;
}

#[tokio::test]
async fn records_without_timestamps_age_from_when_they_were_written() {
    let mut world = World::started().await;
    let timeless = timed_batch(&[(-1, "old")], Compression::None);
    world.append(0, &timeless).await;
    world.log().flush().await.unwrap();
    world.clock.advance(Duration::from_secs(100));
    world.append(0, &timeless).await;
    world.log().flush().await.unwrap();
    world.log().checkpoint_all().await.unwrap();
    world.restart().await;
    let rule = |ms| {
        let retention = Retention {
            ms: Some(ms),
            bytes: None,
        };
        BTreeMap::from([(TOPIC, retention)])
    };
    assert_eq!(world.log().apply_retention(&rule(100_000)), 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.log().apply_retention(&rule(100_000)), 1);
    world.append(0, &batch(&["last"])).await;
    let log_start = world.log().offsets(address(0)).unwrap().log_start;
    assert_eq!(log_start, 1, "the first one is older, the second is not");
}
