//! Commits whose outcome the database does not tell: nothing is lost, nothing is doubled, and no shard stops.

use crate::doubtful::Doubt;
use crate::model::check_shelves;
use crate::world::{World, batch, numbered, sequenced};

/// Flushes through `doubts` until it succeeds, and looks at what clients see, before and after a restart.
async fn survives(doubts: &[Doubt]) {
    let mut world = World::started().await;
    world.append(0, &sequenced(1, 0, 0, &["a", "b"])).await;
    world.append(1, &batch(&["x"])).await;
    world.store.script(doubts.iter().copied());
    let mut flushes = 0;
    while world.log().flush().await.is_err() {
        flushes += 1;
        assert!(flushes < 30, "{doubts:?} never ends");
        world.append(1, &batch(&["more"])).await;
    }
    assert_eq!(world.log().stopped_shards(), Vec::new(), "{doubts:?}");
    world.log().flush().await.unwrap();
    assert_eq!(
        world.values(0, 0).await,
        numbered(&["a", "b"]),
        "{doubts:?}"
    );
    let before = world.values(1, 0).await;
    world.restart().await;
    assert_eq!(
        world.values(0, 0).await,
        numbered(&["a", "b"]),
        "{doubts:?}"
    );
    assert_eq!(world.values(1, 0).await, before, "{doubts:?}");
    assert_eq!(
        world
            .append(0, &sequenced(1, 0, 0, &["a", "b"]))
            .await
            .base_offset,
        0
    );
    check_shelves(&world).await.unwrap();
}

#[tokio::test]
async fn a_commit_with_an_unknown_outcome_is_resolved() {
    for doubt in [
        Doubt::Refused,
        Doubt::Before,
        Doubt::After,
        Doubt::Late,
        Doubt::AfterAndBlind,
        // It looked as if only some shards had won: the others stopped for a grant that was their own.
        Doubt::BetweenReads,
    ] {
        survives(&[doubt]).await;
    }
}

#[tokio::test]
async fn a_store_that_never_answers_for_a_while_is_waited_for() {
    for doubt in [Doubt::Before, Doubt::Late, Doubt::AfterAndBlind] {
        survives(&[doubt; 12]).await;
        survives(&[Doubt::Before, doubt, Doubt::After]).await;
    }
}

#[tokio::test]
async fn a_flush_that_is_given_up_in_the_middle_of_its_commit_is_finished_by_the_next() {
    let world = World::started().await;
    for step in 0..40 {
        world.append(0, &batch(&["v"])).await;
        let mut flush = Box::pin(world.log().flush());
        for _ in 0..step {
            if futures::poll!(&mut flush).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(flush);
        world.append(1, &batch(&["w"])).await;
        world.log().flush().await.unwrap();
    }
    assert_eq!(world.values(0, 0).await.len(), 40);
    assert_eq!(world.values(1, 0).await.len(), 40);
    assert_eq!(world.log().stopped_shards(), Vec::new());
}
