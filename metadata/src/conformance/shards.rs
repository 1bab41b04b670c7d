//! Laws of the shards shelf.

use std::time::Duration;

use super::brokers::{LEASE, broker, register};
use super::{House, epoch, lead, manifest, without_object};
use crate::store::CommitOutcome::{Committed, Refused};
use crate::store::{
    AskedShard, CoordinationWrite, GrantOutcome, GrantRequest, GrantRow, HeartbeatError,
    Incarnation, Lsn, MetadataStore, ShardId, ShardRow,
};

fn ask(life: u128, wal_dir: Option<u128>, shards: &[u32]) -> GrantRequest {
    let shards = shards.iter().map(|shard| ShardId(*shard));
    GrantRequest::own(Incarnation(life), wal_dir, shards)
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
        timeline: store.timeline(),
    };
    let second = GrantRow {
        epoch: epoch(2),
        incarnation: Incarnation(11),
        at_lsn: Lsn(2),
        at_seq: 1,
        ..first
    };
    assert_eq!(store.grants(shard).await.unwrap(), [first, second]);
}

/// Grants shard 0 to a life without a WAL folder.
async fn take(store: &dyn MetadataStore, life: u128) -> GrantOutcome {
    store.grant(ask(life, None, &[0])).await.unwrap()[0]
}

fn row(outcome: GrantOutcome) -> ShardRow {
    let GrantOutcome::Granted(row) = outcome else {
        panic!("not granted: {outcome:?}")
    };
    row
}

pub(super) async fn a_shard_is_not_taken_from_a_living_broker(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    register(&*store, broker(1, 11), LEASE).await;
    let held = row(take(&*store, 10).await);
    let store = house.reopen(store).await;
    let refused = store.grant(ask(11, None, &[0, 1])).await.unwrap();
    assert!(
        matches!(refused[0], GrantOutcome::Held { by, .. } if by == Incarnation(10)),
        "{refused:?}"
    );
    row(refused[1]);
    let store = house.reopen(store).await;
    assert_eq!(store.read_shard(ShardId(0)).await.unwrap(), Some(held));
    let commit = without_object(vec![manifest(&held, 0)]);
    assert_eq!(store.commit(commit).await.unwrap(), [Committed]);
    row(take(&*store, 10).await);
    store.heartbeat(Incarnation(10), LEASE).await.unwrap();
}

pub(super) async fn a_shard_is_taken_when_the_lease_is_over(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), Duration::ZERO).await;
    register(&*store, broker(1, 11), LEASE).await;
    let before = row(take(&*store, 10).await);
    let store = house.reopen(store).await;
    let after = row(take(&*store, 11).await);
    assert_eq!((before.epoch, after.epoch), (epoch(1), epoch(2)));
    let store = house.reopen(store).await;
    let late = without_object(vec![manifest(&before, 0)]);
    assert_eq!(store.commit(late).await.unwrap(), [Refused]);
    assert_eq!(
        store.heartbeat(Incarnation(10), LEASE).await.unwrap_err(),
        HeartbeatError::Dead {
            incarnation: Incarnation(10)
        },
        "the grant declared it dead"
    );
}

fn expecting(mut request: GrantRequest, row: &ShardRow) -> GrantRequest {
    request.shards = vec![AskedShard {
        shard: row.shard,
        expecting: Some((row.epoch, row.incarnation)),
    }];
    request
}

pub(super) async fn a_holder_hands_its_shard_over(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    register(&*store, broker(1, 11), LEASE).await;
    let held = row(take(&*store, 10).await);
    let mut handover = expecting(ask(11, None, &[]), &held);
    handover.by = Incarnation(12);
    let refused = store.grant(handover.clone()).await.unwrap()[0];
    assert!(matches!(refused, GrantOutcome::Held { .. }), "{refused:?}");
    handover.by = Incarnation(10);
    let store = house.reopen(store).await;
    let given = row(store.grant(handover.clone()).await.unwrap()[0]);
    assert_eq!(given.incarnation, Some(Incarnation(11)));
    // As after an unknown outcome: it happened, and is not done again.
    assert_eq!(
        store.grant(handover).await.unwrap(),
        [GrantOutcome::Changed {
            epoch: epoch(2),
            incarnation: Some(Incarnation(11))
        }]
    );
    let store = house.reopen(store).await;
    store.heartbeat(Incarnation(10), LEASE).await.unwrap();
    let commit = without_object(vec![manifest(&held, 0), manifest(&held, 1)]);
    assert_eq!(store.commit(commit).await.unwrap(), [Refused, Refused]);
}

pub(super) async fn of_two_takers_one_wins(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), Duration::ZERO).await;
    let seen = row(take(&*store, 10).await);
    let unled = store.read_shard(ShardId(1)).await.unwrap().unwrap();
    let first = expecting(ask(11, None, &[]), &seen);
    let second = expecting(ask(12, None, &[]), &seen);
    row(store.grant(first).await.unwrap()[0]);
    let store = house.reopen(store).await;
    let lost = GrantOutcome::Changed {
        epoch: epoch(2),
        incarnation: Some(Incarnation(11)),
    };
    assert_eq!(store.grant(second).await.unwrap(), [lost]);
    assert_eq!(store.grants(ShardId(0)).await.unwrap().len(), 2);
    let first = expecting(ask(11, None, &[]), &unled);
    row(store.grant(first.clone()).await.unwrap()[0]);
    let again = store.grant(first).await.unwrap()[0];
    assert!(matches!(again, GrantOutcome::Changed { .. }), "{again:?}");
}

pub(super) async fn a_dead_life_is_granted_nothing(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    store.leave(Incarnation(10)).await.unwrap();
    let store = house.reopen(store).await;
    let dead = GrantOutcome::Dead {
        incarnation: Incarnation(10),
    };
    let outcomes = store.grant(ask(10, None, &[0, 1])).await.unwrap();
    assert_eq!(outcomes, [dead, dead]);
    let mut given = ask(10, None, &[0]);
    given.by = Incarnation(11);
    assert_eq!(store.grant(given).await.unwrap(), [dead]);
    assert_eq!(store.grants(ShardId(0)).await.unwrap(), []);
}

pub(super) async fn the_lock_of_the_wal_folder_beats_a_lease(house: House) {
    let store = house.started().await;
    register(&*store, broker(0, 10), LEASE).await;
    lead(&*store, 10, 0).await;
    let store = house.reopen(store).await;
    for wal_dir in [None, Some(2)] {
        assert_eq!(
            store.grant(ask(11, wal_dir, &[0])).await.unwrap(),
            [GrantOutcome::WalElsewhere { wal_dir: 1 }]
        );
    }
    let again = lead(&*store, 11, 0).await;
    assert_eq!((again.epoch, again.wal_since_epoch), (epoch(2), epoch(1)));
    let error = store.heartbeat(Incarnation(10), LEASE).await.unwrap_err();
    assert!(matches!(error, HeartbeatError::Dead { .. }), "{error:?}");
}
