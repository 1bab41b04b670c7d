//! Laws of the shards shelf.

use super::{House, epoch, lead, manifest, without_object};
use crate::store::{
    CoordinationWrite, GrantOutcome, GrantRequest, GrantRow, Incarnation, Lsn, ShardId,
};

fn ask(life: u128, wal_dir: Option<u128>, shards: &[u32]) -> GrantRequest {
    let shards = shards.iter().map(|shard| ShardId(*shard)).collect();
    GrantRequest {
        incarnation: Incarnation(life),
        wal_dir,
        timeline: 3,
        shards,
    }
}

pub(super) async fn a_grant_raises_the_epoch_and_survives_a_restart(house: House) {
    let store = house.started().await;
    let first = lead(&*store, 10, 2).await;
    assert_eq!(
        (first.epoch, first.incarnation),
        (epoch(1), Some(Incarnation(10)))
    );
    assert_eq!((first.wal_dir, first.wal_since_epoch), (Some(1), epoch(1)));
    let store = house.reopen(store).await;
    assert_eq!(store.read_shard(ShardId(2)).await.unwrap(), Some(first));
    assert_eq!(store.shards().await.unwrap()[2], first);
    let second = lead(&*store, 11, 2).await;
    assert_eq!(
        (second.epoch, second.incarnation),
        (epoch(2), Some(Incarnation(11)))
    );
    assert_eq!(
        store.read_shard(ShardId(1)).await.unwrap().unwrap().epoch,
        epoch(0),
        "others are left alone"
    );
}

pub(super) async fn a_restart_on_the_same_wal_folder_keeps_the_tenure(house: House) {
    let store = house.started().await;
    lead(&*store, 10, 0).await;
    let store = house.reopen(store).await;
    let row = lead(&*store, 11, 0).await;
    assert_eq!((row.epoch, row.wal_since_epoch), (epoch(2), epoch(1)));
}

pub(super) async fn a_shard_of_another_wal_folder_is_not_granted(house: House) {
    let store = house.started().await;
    let held = lead(&*store, 10, 0).await;
    let store = house.reopen(store).await;
    for wal_dir in [Some(2), None] {
        let outcomes = store.grant(ask(11, wal_dir, &[0, 1])).await.unwrap();
        assert_eq!(outcomes[0], GrantOutcome::WalElsewhere { wal_dir: 1 });
        if let GrantOutcome::Granted(row) = outcomes[1] {
            assert_eq!(row.wal_dir, wal_dir);
        } else {
            assert_eq!(
                (wal_dir, outcomes[1]),
                (None, GrantOutcome::WalElsewhere { wal_dir: 2 })
            );
        }
    }
    assert_eq!(store.read_shard(ShardId(0)).await.unwrap(), Some(held));
    assert_eq!(store.grants(ShardId(0)).await.unwrap().len(), 1);
}

pub(super) async fn a_grant_without_a_wal_folder_starts_a_tenure_each_time(house: House) {
    let store = house.started().await;
    for number in 1..=2 {
        let outcomes = store.grant(ask(10, None, &[0])).await.unwrap();
        let GrantOutcome::Granted(row) = outcomes[0] else {
            panic!("not granted: {outcomes:?}")
        };
        assert_eq!(
            (row.epoch, row.wal_since_epoch, row.wal_dir),
            (epoch(number), epoch(number), None)
        );
    }
    let row = lead(&*store, 10, 0).await;
    assert_eq!(
        (row.epoch, row.wal_since_epoch, row.wal_dir),
        (epoch(3), epoch(3), Some(1))
    );
}

pub(super) async fn an_unknown_shard_is_answered_alone(house: House) {
    let store = house.started().await;
    let outcomes = store.grant(ask(10, Some(1), &[9, 0])).await.unwrap();
    assert_eq!(outcomes[0], GrantOutcome::UnknownShard);
    assert!(matches!(outcomes[1], GrantOutcome::Granted(_)));
    assert_eq!(store.read_shard(ShardId(9)).await.unwrap(), None);
    assert_eq!(store.grants(ShardId(9)).await.unwrap(), []);
}

pub(super) async fn grants_remember_where_the_logs_stood(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 1).await;
    store
        .commit(without_object(vec![manifest(&row, 0), manifest(&row, 1)]))
        .await
        .unwrap();
    let (shard, epoch_1, incarnation) = (row.shard, row.epoch, Incarnation(10));
    let write = CoordinationWrite {
        shard,
        epoch: epoch_1,
        incarnation,
        seq: 0,
        changes: Vec::new(),
    };
    store.write_groups(vec![write]).await.unwrap();
    let store = house.reopen(store).await;
    store.grant(ask(11, Some(1), &[1])).await.unwrap();
    let first = GrantRow {
        shard,
        epoch: epoch(1),
        incarnation,
        at_lsn: Lsn(0),
        at_seq: 0,
        timeline: 0,
    };
    let second = GrantRow {
        epoch: epoch(2),
        incarnation: Incarnation(11),
        at_lsn: Lsn(2),
        at_seq: 1,
        timeline: 3,
        ..first
    };
    assert_eq!(store.grants(shard).await.unwrap(), [first, second]);
}
