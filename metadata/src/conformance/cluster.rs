//! Laws of the cluster shelf.

use super::{House, NOW_MS, SHARDS, new_cluster};
use crate::store::{
    Class, Cluster, ConfigTarget, Durability, FEATURE_LEVEL, InitialiseError, NewCluster, Outcome,
    REVISION_AGE_MAX_MS, REVISIONS_KEPT_MIN, Revision, RevisionCheck,
};

pub(super) async fn a_cluster_is_created_once_and_found_again(house: House) {
    let store = house.open().await;
    assert_eq!(store.cluster().await.unwrap(), None);
    let made = store.initialise(new_cluster()).await.unwrap();
    let expected = Cluster {
        cluster_id: 42,
        shards: SHARDS,
        durability: Durability::Local,
        feature_level: FEATURE_LEVEL,
        created_ms: NOW_MS,
    };
    assert_eq!(made, expected);
    let store = house.reopen(store).await;
    let other = NewCluster {
        cluster_id: 43,
        shards: 9,
        durability: Durability::Shared,
    };
    assert_eq!(store.initialise(other).await.unwrap(), expected);
    assert_eq!(store.cluster().await.unwrap(), Some(expected));
    let shards = store.shards().await.unwrap();
    assert_eq!(
        shards.iter().map(|row| row.shard.0).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert!(
        shards
            .iter()
            .all(|row| row.durability == Durability::Local && row.incarnation.is_none())
    );
}

pub(super) async fn a_cluster_has_1_to_4096_shards(house: House) {
    let store = house.open().await;
    for shards in [0, 4097] {
        let error = store
            .initialise(NewCluster {
                shards,
                ..new_cluster()
            })
            .await
            .unwrap_err();
        assert_eq!(error, InitialiseError::ShardCount { shards });
        assert_eq!(
            (error.class(), error.outcome()),
            (Class::Caller, Outcome::DidNotHappen)
        );
    }
    let store = house.reopen(store).await;
    assert_eq!(store.cluster().await.unwrap(), None);
    assert_eq!(
        store
            .initialise(NewCluster {
                shards: 4096,
                ..new_cluster()
            })
            .await
            .unwrap()
            .shards,
        4096
    );
}

pub(super) async fn producer_ids_are_given_out_once_across_restarts(house: House) {
    let store = house.started().await;
    assert_eq!(store.allocate_producer_ids(1000).await.unwrap(), 0..1000);
    assert_eq!(store.allocate_producer_ids(1).await.unwrap(), 1000..1001);
    let store = house.reopen(store).await;
    assert_eq!(store.allocate_producer_ids(5).await.unwrap(), 1001..1006);
}

pub(super) async fn a_block_of_no_producer_ids_is_a_bug(house: House) {
    let store = house.started().await;
    assert_eq!(
        store.allocate_producer_ids(0).await.unwrap_err().class(),
        Class::Bug
    );
    assert_eq!(store.revision().await.unwrap(), Revision::default());
}

pub(super) async fn nothing_is_given_out_before_the_cluster_exists(house: House) {
    let store = house.open().await;
    assert_eq!(
        store.allocate_producer_ids(1).await.unwrap_err().class(),
        Class::Bug
    );
    assert_eq!(store.shards().await.unwrap(), Vec::new());
    assert_eq!(store.revision().await.unwrap(), Revision::default());
}

pub(super) async fn every_write_of_topics_and_producer_ids_makes_one_revision(house: House) {
    let store = house.started().await;
    assert_eq!(store.revision().await.unwrap(), Revision::default());
    store.allocate_producer_ids(1).await.unwrap();
    let first = store.revision().await.unwrap();
    let second = store
        .set_configs(ConfigTarget::BrokerDefaults, Vec::new())
        .await
        .unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_ne!(first.tag, second.tag);
    let store = house.reopen(store).await;
    assert_eq!(store.revision().await.unwrap(), second);
    assert_eq!(store.revisions_since(0, 10).await.unwrap(), [first, second]);
    assert_eq!(store.revisions_since(0, 1).await.unwrap(), [first]);
    assert_eq!(store.revisions_since(1, 10).await.unwrap(), [second]);
    assert_eq!(store.revisions_since(u64::MAX, 10).await.unwrap(), []);
}

pub(super) async fn a_revision_of_another_history_is_missing(house: House) {
    let store = house.started().await;
    store.allocate_producer_ids(1).await.unwrap();
    let seen = store.revision().await.unwrap();
    let store = house.reopen(store).await;
    let check = async |number, tag| {
        store
            .check_revision(Revision { number, tag })
            .await
            .unwrap()
    };
    assert_eq!(check(seen.number, seen.tag).await, RevisionCheck::Kept);
    assert_eq!(check(0, 0).await, RevisionCheck::Kept);
    assert_eq!(
        check(seen.number, seen.tag ^ 1).await,
        RevisionCheck::Missing
    );
    assert_eq!(
        check(seen.number + 1, seen.tag).await,
        RevisionCheck::Missing
    );
    assert_eq!(check(u64::MAX, seen.tag).await, RevisionCheck::Missing);
}

pub(super) async fn old_revisions_are_pruned_and_the_newest_stay(house: House) {
    let store = house.started().await;
    for _ in 0..REVISIONS_KEPT_MIN + 2 {
        store.allocate_producer_ids(1).await.unwrap();
    }
    let all = usize::try_from(REVISIONS_KEPT_MIN + 2).unwrap();
    assert_eq!(
        store.revisions_since(0, usize::MAX).await.unwrap().len(),
        all
    );
    let first = store.revisions_since(0, 1).await.unwrap()[0];

    let age = u64::try_from(REVISION_AGE_MAX_MS).unwrap();
    house.clock.advance(std::time::Duration::from_millis(age));
    store.allocate_producer_ids(1).await.unwrap();
    assert_eq!(
        store.check_revision(first).await.unwrap(),
        RevisionCheck::Kept,
        "just 7 days old"
    );

    house.clock.advance(std::time::Duration::from_millis(1));
    store.allocate_producer_ids(1).await.unwrap();
    let store = house.reopen(store).await;
    let kept = store.revisions_since(0, usize::MAX).await.unwrap();
    assert_eq!(u64::try_from(kept.len()).unwrap(), REVISIONS_KEPT_MIN);
    assert_eq!(kept[0].number, 5);
    assert_eq!(
        store.check_revision(first).await.unwrap(),
        RevisionCheck::Pruned
    );
}
