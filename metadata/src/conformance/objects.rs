//! Laws of the objects shelf.

use super::{House, flush, lead, manifest, object, object_id, without_object};
use crate::store::{
    CommitError, ForgetOutcome, ObjectId, ObjectRow, ObjectState, ShardId, TombstoneOutcome,
};

pub(super) async fn a_needed_object_is_never_tombstoned(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 3).await;
    store
        .commit(flush(0, vec![manifest(&row, 0)]))
        .await
        .unwrap();
    assert_eq!(
        store.tombstone(&[object_id(0)], 5).await.unwrap(),
        [TombstoneOutcome::Needed]
    );
    assert_eq!(
        store.forget(&[object_id(0)]).await.unwrap(),
        [ForgetOutcome::NotTombstone]
    );
    let store = house.reopen(store).await;
    assert!(!store.is_tombstone(object_id(0)).await.unwrap());
    let live = ObjectRow {
        id: object_id(0),
        key: Some(object(0).key),
        bytes: 1000,
        state: ObjectState::Live {
            shards: vec![ShardId(3)],
        },
    };
    assert_eq!(store.objects(None, 9).await.unwrap(), [live]);
    let mut releasing = manifest(&row, 1);
    releasing.released.push(object_id(0));
    store.commit(without_object(vec![releasing])).await.unwrap();
    assert_eq!(
        store.tombstone(&[object_id(0)], 6).await.unwrap(),
        [TombstoneOutcome::Tombstoned]
    );
    let store = house.reopen(store).await;
    assert!(store.is_tombstone(object_id(0)).await.unwrap());
    assert_eq!(store.unreferenced(9).await.unwrap(), []);
}

pub(super) async fn an_object_that_was_never_committed_can_be_tombstoned(house: House) {
    let store = house.started().await;
    assert!(!store.is_tombstone(object_id(8)).await.unwrap());
    for at_ms in [5, 6] {
        assert_eq!(
            store.tombstone(&[object_id(8)], at_ms).await.unwrap(),
            [TombstoneOutcome::Tombstoned]
        );
    }
    let store = house.reopen(store).await;
    let row = ObjectRow {
        id: object_id(8),
        key: None,
        bytes: 0,
        state: ObjectState::Tombstone { at_ms: 5 },
    };
    assert_eq!(
        store.tombstones_before(6, 9).await.unwrap(),
        [row],
        "the first time counts"
    );
}

pub(super) async fn tombstones_are_listed_oldest_first(house: House) {
    let store = house.started().await;
    store.tombstone(&[object_id(3)], 10).await.unwrap();
    store
        .tombstone(&[object_id(2), object_id(1)], 20)
        .await
        .unwrap();
    store.tombstone(&[object_id(0)], 30).await.unwrap();
    let store = house.reopen(store).await;
    let seqs = async |before, limit| {
        let rows = store.tombstones_before(before, limit).await.unwrap();
        rows.iter().map(|row| row.id.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(30, 9).await, [3, 1, 2]);
    assert_eq!(seqs(31, 2).await, [3, 1]);
    assert_eq!(seqs(10, 9).await, [0_u64; 0]);
}

pub(super) async fn a_forgotten_id_stays_taken_while_its_writer_holds_a_shard(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let stranger = ObjectId {
        incarnation: 99,
        seq: 0,
        attempt: 0,
    };
    store.tombstone(&[object_id(0), stranger], 5).await.unwrap();
    let outcomes = store
        .forget(&[object_id(0), stranger, object_id(404)])
        .await
        .unwrap();
    assert_eq!(
        outcomes,
        [
            ForgetOutcome::Kept,
            ForgetOutcome::Forgotten,
            ForgetOutcome::Forgotten
        ]
    );
    let store = house.reopen(store).await;
    assert_eq!(
        store.tombstones_before(9, 9).await.unwrap(),
        [],
        "its bytes need not be deleted again"
    );
    assert!(store.is_tombstone(object_id(0)).await.unwrap());
    assert!(!store.is_tombstone(stranger).await.unwrap());
    let late = store
        .commit(flush(0, vec![manifest(&row, 0)]))
        .await
        .unwrap_err();
    assert_eq!(late, CommitError::ObjectExists { id: object_id(0) });
    lead(&*store, 11, 0).await;
    assert_eq!(
        store.objects(None, 9).await.unwrap(),
        [],
        "no shard row names the writer any more"
    );
}

pub(super) async fn objects_are_paged_by_id(house: House) {
    let store = house.started().await;
    let id = |incarnation, seq, attempt| ObjectId {
        incarnation,
        seq,
        attempt,
    };
    let sorted = [
        id(1, 1, 2),
        id(1, 256, 0),
        id(2, 0, 0),
        id(u128::MAX, 0, u32::MAX),
    ];
    store
        .tombstone(&[sorted[3], sorted[1], sorted[0], sorted[2]], 5)
        .await
        .unwrap();
    let store = house.reopen(store).await;
    let mut seen = Vec::new();
    loop {
        let page = store.objects(seen.last().copied(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(seen, sorted);
}
