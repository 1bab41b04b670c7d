//! Laws of the groups shelf.

use bytes::Bytes;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId};

use super::{House, epoch, lead};
use crate::store::CoordinationOutcome::{Committed, Refused};
use crate::store::{
    Coordination, CoordinationWrite, GroupChange, GroupRow, Incarnation, OffsetRow, ShardGroups,
    ShardId, ShardRow,
};

fn group(id: &str, blob: &'static [u8]) -> GroupRow {
    GroupRow {
        group: id.into(),
        blob: Bytes::from_static(blob),
    }
}

fn offset(id: &str, partition: i32, offset: i64) -> OffsetRow {
    OffsetRow {
        group: id.into(),
        topic: TopicId(7),
        partition: PartitionIndex(partition),
        offset,
        leader_epoch: LeaderEpoch::NONE,
        metadata: "é\0".to_owned(),
        commit_ms: -1,
        expire_ms: (partition > 0).then_some(i64::MAX),
    }
}

fn write(row: &ShardRow, seq: u64, changes: Vec<GroupChange>) -> CoordinationWrite {
    CoordinationWrite {
        shard: row.shard,
        epoch: row.epoch,
        incarnation: row.incarnation.unwrap(),
        seq,
        changes,
    }
}

pub(super) async fn groups_and_offsets_are_loaded_as_they_were_written(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 2).await;
    let changes = vec![
        GroupChange::PutOffset(offset("b", 1, 5)),
        GroupChange::PutOffset(offset("b", 0, i64::MAX)),
        GroupChange::PutOffset(offset("", 0, 0)),
        GroupChange::PutGroup(group("b", b"blob")),
        GroupChange::PutGroup(group("a", b"old")),
        GroupChange::PutGroup(group("a", b"")),
        GroupChange::PutOffset(offset("b", 1, 6)),
    ];
    assert_eq!(
        store
            .write_groups(vec![write(&row, 0, changes)])
            .await
            .unwrap(),
        [Committed { seq: 1 }]
    );
    let store = house.reopen(store).await;
    let expected = ShardGroups {
        seq: 1,
        groups: vec![group("a", b""), group("b", b"blob")],
        offsets: vec![
            offset("", 0, 0),
            offset("b", 0, i64::MAX),
            offset("b", 1, 6),
        ],
    };
    assert_eq!(store.load_groups(ShardId(2)).await.unwrap(), expected);
    assert_eq!(
        store.load_groups(ShardId(1)).await.unwrap(),
        ShardGroups::default()
    );
    assert_eq!(
        store.load_groups(ShardId(9)).await.unwrap(),
        ShardGroups::default()
    );
    assert_eq!(store.coordination_seq(ShardId(2)).await.unwrap(), Some(1));
    assert_eq!(store.coordination_seq(ShardId(9)).await.unwrap(), None);
}

pub(super) async fn a_write_names_the_seq_before_it(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let put = |to| vec![GroupChange::PutOffset(offset("g", 0, to))];
    assert_eq!(
        store
            .write_groups(vec![write(&row, 0, put(1))])
            .await
            .unwrap(),
        [Committed { seq: 1 }]
    );
    let store = house.reopen(store).await;
    // A stalled statement of the same life must not move an offset back later.
    assert_eq!(
        store
            .write_groups(vec![write(&row, 0, put(2))])
            .await
            .unwrap(),
        [Refused]
    );
    assert_eq!(
        store
            .write_groups(vec![write(&row, 2, put(3))])
            .await
            .unwrap(),
        [Refused]
    );
    assert_eq!(
        store.load_groups(ShardId(0)).await.unwrap().offsets,
        [offset("g", 0, 1)]
    );
    let both = vec![write(&row, 1, put(4)), write(&row, 2, put(5))];
    assert_eq!(
        store.write_groups(both).await.unwrap(),
        [Committed { seq: 2 }, Committed { seq: 3 }]
    );
    assert_eq!(
        store.load_groups(ShardId(0)).await.unwrap().offsets,
        [offset("g", 0, 5)]
    );
}

pub(super) async fn a_grant_fences_the_coordinator_before(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let store = house.reopen(store).await;
    let holder = lead(&*store, 11, 0).await;
    let put = || vec![GroupChange::PutGroup(group("g", b"x"))];
    let mut twin = write(&holder, 0, put());
    twin.incarnation = Incarnation(12);
    let outcomes = store
        .write_groups(vec![write(&row, 0, put()), twin])
        .await
        .unwrap();
    assert_eq!(outcomes, [Refused, Refused]);
    assert_eq!(
        store.load_groups(ShardId(0)).await.unwrap(),
        ShardGroups::default()
    );
    assert_eq!(
        store
            .write_groups(vec![write(&holder, 0, put())])
            .await
            .unwrap(),
        [Committed { seq: 1 }]
    );
}

pub(super) async fn writes_of_one_batch_do_not_disturb_each_other(house: House) {
    let store = house.started().await;
    let (lost, kept) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    lead(&*store, 11, 0).await;
    let mut unknown = kept;
    unknown.shard = ShardId(9);
    let put = || vec![GroupChange::PutGroup(group("g", b"x"))];
    let batch = vec![
        write(&lost, 0, put()),
        write(&unknown, 0, put()),
        write(&kept, 0, put()),
    ];
    assert_eq!(
        store.write_groups(batch).await.unwrap(),
        [Refused, Refused, Committed { seq: 1 }]
    );
    let store = house.reopen(store).await;
    assert_eq!(store.load_groups(ShardId(0)).await.unwrap().groups, []);
    assert_eq!(
        store.load_groups(ShardId(1)).await.unwrap().groups,
        [group("g", b"x")]
    );
}

pub(super) async fn what_was_removed_stays_removed(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let changes = vec![
        GroupChange::PutGroup(group("g", b"x")),
        GroupChange::PutOffset(offset("g", 0, 1)),
        GroupChange::PutOffset(offset("g", 1, 1)),
    ];
    store
        .write_groups(vec![write(&row, 0, changes)])
        .await
        .unwrap();
    let remove = || {
        vec![
            GroupChange::DeleteGroup("g".into()),
            GroupChange::DeleteOffset(offset("g", 1, 0).key()),
        ]
    };
    store
        .write_groups(vec![write(&row, 1, remove())])
        .await
        .unwrap();
    let store = house.reopen(store).await;
    let left = ShardGroups {
        seq: 2,
        groups: Vec::new(),
        offsets: vec![offset("g", 0, 1)],
    };
    assert_eq!(
        store.load_groups(ShardId(0)).await.unwrap(),
        left,
        "offsets are removed one by one"
    );
    assert_eq!(
        store
            .write_groups(vec![write(&row, 2, remove())])
            .await
            .unwrap(),
        [Committed { seq: 3 }]
    );
}

pub(super) async fn the_coordination_row_tells_whose_write_it_was(house: House) {
    let store = house.started().await;
    let first = lead(&*store, 10, 0).await;
    store
        .write_groups(vec![write(&first, 0, Vec::new())])
        .await
        .unwrap();
    let store = house.reopen(store).await;
    let unled = Coordination {
        epoch: epoch(0),
        incarnation: None,
        seq: 0,
    };
    let led = Coordination {
        epoch: epoch(1),
        incarnation: Some(Incarnation(10)),
        seq: 1,
    };
    let asked = [ShardId(1), ShardId(9), ShardId(0), ShardId(1)];
    assert_eq!(
        store.coordination(&asked).await.unwrap(),
        [Some(unled), None, Some(led), Some(unled)]
    );
    let second = lead(&*store, 11, 0).await;
    store
        .write_groups(vec![write(&second, 1, Vec::new())])
        .await
        .unwrap();
    let store = house.reopen(store).await;
    let taken = Coordination {
        epoch: epoch(2),
        incarnation: Some(Incarnation(11)),
        seq: 2,
    };
    assert_eq!(
        store.coordination(&[ShardId(0)]).await.unwrap(),
        [Some(taken)]
    );
}
