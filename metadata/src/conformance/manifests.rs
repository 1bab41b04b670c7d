//! Laws of the manifests shelf.

use streamhouse_protocol::ids::LeaderEpoch;

use super::{House, epoch, flush, lead, manifest, object, object_id, without_object};
use crate::store::CommitOutcome::{Committed, Refused};
use crate::store::{
    CheckpointError, CheckpointRow, Class, CommitError, CommitName, GrantOutcome, GrantRequest,
    Incarnation, Lsn, ManifestCommit, ManifestRow, MetadataStore, ObjectId, ObjectState,
    SetCheckpoint, ShardId, ShardRow, WalEnd,
};

async fn lsns(store: &dyn MetadataStore, shard: u32) -> Vec<u64> {
    let rows = store
        .manifests(ShardId(shard), Lsn(0), usize::MAX)
        .await
        .unwrap();
    rows.iter().map(|row| row.lsn.0).collect()
}

async fn row_of(store: &dyn MetadataStore, shard: u32) -> ShardRow {
    store.read_shard(ShardId(shard)).await.unwrap().unwrap()
}

async fn needed_by(store: &dyn MetadataStore, id: ObjectId) -> Option<Vec<u32>> {
    let rows = store.objects(None, usize::MAX).await.unwrap();
    let row = rows.into_iter().find(|row| row.id == id)?;
    match row.state {
        ObjectState::Live { shards } => Some(shards.iter().map(|shard| shard.0).collect()),
        ObjectState::Tombstone { .. } | ObjectState::Deleted => None,
    }
}

fn checkpoint(row: &ShardRow, seq: u64, lsn: u64, prune_below: u64) -> SetCheckpoint {
    SetCheckpoint {
        shard: row.shard,
        epoch: row.epoch,
        incarnation: row.incarnation.unwrap(),
        checkpoint: CheckpointRow {
            object: object_id(seq),
            lsn: Lsn(lsn),
            bytes: 77,
            state_hash: u64::MAX - seq,
        },
        key: object(seq).key,
        prune_below: Lsn(prune_below),
    }
}

pub(super) async fn manifests_are_read_back_in_order(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    for lsn in 0..3 {
        assert_eq!(
            store
                .commit(flush(lsn, vec![manifest(&row, lsn)]))
                .await
                .unwrap(),
            [Committed]
        );
    }
    let store = house.reopen(store).await;
    let rows = store.manifests(ShardId(0), Lsn(1), 1).await.unwrap();
    let body = manifest(&row, 1).body;
    assert_eq!(
        rows,
        [ManifestRow {
            lsn: Lsn(1),
            epoch: epoch(1),
            incarnation: Incarnation(10),
            body
        }]
    );
    assert_eq!(lsns(&*store, 0).await, [0, 1, 2]);
    assert_eq!(
        store.manifests(ShardId(0), Lsn(u64::MAX), 9).await.unwrap(),
        []
    );
    assert_eq!(store.manifests(ShardId(9), Lsn(0), 9).await.unwrap(), []);
    let after = row_of(&*store, 0).await;
    assert_eq!((after.first_lsn, after.next_lsn), (Lsn(0), Lsn(3)));
}

pub(super) async fn a_commit_of_a_fenced_writer_is_refused_alone(house: House) {
    let store = house.started().await;
    let (kept, lost) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    let store = house.reopen(store).await;
    lead(&*store, 11, 1).await;
    let request = flush(0, vec![manifest(&lost, 0), manifest(&kept, 0)]);
    assert_eq!(store.commit(request).await.unwrap(), [Refused, Committed]);
    let store = house.reopen(store).await;
    assert_eq!(lsns(&*store, 0).await, [0]);
    assert_eq!(lsns(&*store, 1).await, [0_u64; 0]);
    assert_eq!(
        needed_by(&*store, object_id(0)).await,
        Some(vec![0]),
        "exactly the winners need it"
    );
    // The same epoch under another life is another grant, as after a database lost its newest writes.
    let mut twin = manifest(&kept, 1);
    twin.incarnation = Incarnation(99);
    assert_eq!(
        store.commit(without_object(vec![twin])).await.unwrap(),
        [Refused]
    );
    let mut unknown = manifest(&kept, 0);
    unknown.shard = ShardId(9);
    assert_eq!(
        store.commit(without_object(vec![unknown])).await.unwrap(),
        [Refused]
    );
}

pub(super) async fn a_manifest_that_is_not_next_is_refused(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    store
        .commit(flush(0, vec![manifest(&row, 0)]))
        .await
        .unwrap();
    let store = house.reopen(store).await;
    assert_eq!(
        store
            .commit(flush(0, vec![manifest(&row, 0)]))
            .await
            .unwrap(),
        [Refused],
        "committed before"
    );
    assert_eq!(
        store
            .commit(flush(1, vec![manifest(&row, 2)]))
            .await
            .unwrap(),
        [Refused],
        "leaves a gap"
    );
    assert_eq!(row_of(&*store, 0).await.next_lsn, Lsn(1));
    assert_eq!(needed_by(&*store, object_id(1)).await, None);
}

pub(super) async fn manifests_of_one_shard_win_or_lose_together(house: House) {
    let store = house.started().await;
    let (a, b) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    let request = flush(
        0,
        vec![
            manifest(&a, 0),
            manifest(&b, 5),
            manifest(&a, 1),
            manifest(&b, 6),
        ],
    );
    assert_eq!(
        store.commit(request).await.unwrap(),
        [Committed, Refused, Committed, Refused]
    );
    let store = house.reopen(store).await;
    assert_eq!(lsns(&*store, 0).await, [0, 1]);
    assert_eq!(lsns(&*store, 1).await, [0_u64; 0]);
}

pub(super) async fn manifests_that_do_not_follow_each_other_are_a_bug(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let mut other_epoch = manifest(&row, 1);
    other_epoch.epoch = LeaderEpoch(7);
    for second in [manifest(&row, 0), manifest(&row, 2), other_epoch] {
        let error = store
            .commit(flush(0, vec![manifest(&row, 0), second]))
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Bug);
    }
    let store = house.reopen(store).await;
    assert_eq!(row_of(&*store, 0).await.next_lsn, Lsn(0));
    assert_eq!(store.objects(None, 9).await.unwrap(), []);
}

pub(super) async fn an_object_id_is_committed_once(house: House) {
    let store = house.started().await;
    let (a, b) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    store.commit(flush(0, vec![manifest(&a, 0)])).await.unwrap();
    let store = house.reopen(store).await;
    let error = store
        .commit(flush(0, vec![manifest(&b, 0)]))
        .await
        .unwrap_err();
    assert_eq!(error, CommitError::ObjectExists { id: object_id(0) });
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(row_of(&*store, 1).await.next_lsn, Lsn(0));
}

pub(super) async fn a_tombstone_makes_a_commit_fail_whole(house: House) {
    let store = house.started().await;
    let (a, b) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    store.tombstone(&[object_id(0)], 5).await.unwrap();
    let store = house.reopen(store).await;
    let manifests = vec![manifest(&a, 0), manifest(&b, 0)];
    let error = store.commit(flush(0, manifests.clone())).await.unwrap_err();
    assert_eq!(error, CommitError::ObjectExists { id: object_id(0) });
    let store = house.reopen(store).await;
    assert_eq!(
        (row_of(&*store, 0).await, row_of(&*store, 1).await),
        (a, b),
        "nothing happened"
    );
    assert_eq!(
        store.commit(flush(1, manifests)).await.unwrap(),
        [Committed, Committed],
        "under another id"
    );
}

pub(super) async fn a_commit_without_a_winner_leaves_no_object(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let fenced = lead(&*store, 11, 0).await;
    assert_eq!(
        store
            .commit(flush(0, vec![manifest(&row, 0)]))
            .await
            .unwrap(),
        [Refused]
    );
    assert_eq!(store.commit(flush(0, Vec::new())).await.unwrap(), []);
    assert_eq!(store.objects(None, 9).await.unwrap(), []);
    store
        .commit(flush(0, vec![manifest(&fenced, 0)]))
        .await
        .unwrap();
    // Whoever asks again for a commit that happened must learn that, not that the object is in the way.
    assert_eq!(
        store
            .commit(flush(0, vec![manifest(&fenced, 0)]))
            .await
            .unwrap(),
        [Refused]
    );
}

pub(super) async fn the_last_wal_end_of_a_commit_holds(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let end = |position| Some(WalEnd { dir: 1, position });
    let (mut first, mut second, third) = (manifest(&row, 0), manifest(&row, 1), manifest(&row, 2));
    first.wal_end = end(10);
    second.wal_end = end(20);
    store
        .commit(without_object(vec![first, second, third]))
        .await
        .unwrap();
    let store = house.reopen(store).await;
    assert_eq!(row_of(&*store, 0).await.wal_end, end(20));
    store
        .commit(without_object(vec![manifest(&row, 3)]))
        .await
        .unwrap();
    assert_eq!(
        row_of(&*store, 0).await.wal_end,
        end(20),
        "no wal_end leaves it as it is"
    );
}

pub(super) async fn a_released_object_is_needed_no_more(house: House) {
    let store = house.started().await;
    let (a, b) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    store
        .commit(flush(0, vec![manifest(&a, 0), manifest(&b, 0)]))
        .await
        .unwrap();
    let releasing = |row: &ShardRow, lsn| {
        let mut manifest = manifest(row, lsn);
        manifest.released = vec![object_id(0), object_id(404)];
        manifest
    };
    assert_eq!(
        store
            .commit(without_object(vec![releasing(&a, 7)]))
            .await
            .unwrap(),
        [Refused]
    );
    assert_eq!(
        needed_by(&*store, object_id(0)).await,
        Some(vec![0, 1]),
        "a refused manifest releases nothing"
    );
    store
        .commit(without_object(vec![releasing(&a, 1)]))
        .await
        .unwrap();
    let store = house.reopen(store).await;
    assert_eq!(needed_by(&*store, object_id(0)).await, Some(vec![1]));
    assert_eq!(store.unreferenced(9).await.unwrap(), []);
    store
        .commit(without_object(vec![releasing(&b, 1)]))
        .await
        .unwrap();
    assert_eq!(store.unreferenced(9).await.unwrap(), [object_id(0)]);
}

pub(super) async fn a_checkpoint_points_prunes_and_releases_the_one_before(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    for lsn in 0..4 {
        store
            .commit(flush(lsn, vec![manifest(&row, lsn)]))
            .await
            .unwrap();
    }
    let first = checkpoint(&row, 100, 3, 2);
    store.set_checkpoint(first.clone()).await.unwrap();
    let store = house.reopen(store).await;
    let after = row_of(&*store, 0).await;
    assert_eq!(
        (after.checkpoint, after.first_lsn, after.next_lsn),
        (Some(first.checkpoint), Lsn(2), Lsn(4))
    );
    assert_eq!(lsns(&*store, 0).await, [2, 3]);
    assert_eq!(needed_by(&*store, object_id(100)).await, Some(vec![0]));

    let second = checkpoint(&row, 101, 4, 4);
    store.set_checkpoint(second.clone()).await.unwrap();
    let after = row_of(&*store, 0).await;
    assert_eq!(
        (after.checkpoint, after.first_lsn),
        (Some(second.checkpoint), Lsn(4))
    );
    assert_eq!(lsns(&*store, 0).await, [0_u64; 0]);
    assert_eq!(store.unreferenced(9).await.unwrap(), [object_id(100)]);
    assert_eq!(
        store
            .commit(flush(4, vec![manifest(&row, 4)]))
            .await
            .unwrap(),
        [Committed]
    );
}

pub(super) async fn a_checkpoint_of_a_fenced_writer_is_refused(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    store
        .commit(flush(0, vec![manifest(&row, 0)]))
        .await
        .unwrap();
    let store = house.reopen(store).await;
    let holder = lead(&*store, 11, 0).await;
    let error = store
        .set_checkpoint(checkpoint(&row, 100, 1, 1))
        .await
        .unwrap_err();
    assert_eq!(error, CheckpointError::Fenced { shard: ShardId(0) });
    assert_eq!(error.class(), Class::Fenced);
    assert_eq!(row_of(&*store, 0).await, holder);
    assert_eq!(lsns(&*store, 0).await, [0]);
    assert_eq!(needed_by(&*store, object_id(100)).await, None);
    let taken = store
        .set_checkpoint(checkpoint(&holder, 0, 1, 1))
        .await
        .unwrap_err();
    assert_eq!(taken, CheckpointError::ObjectExists { id: object_id(0) });
    assert_eq!(lsns(&*store, 0).await, [0], "nothing happened");
}

pub(super) async fn a_checkpoint_outside_of_the_log_is_a_bug(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    store
        .commit(without_object(
            (0..4).map(|lsn| manifest(&row, lsn)).collect(),
        ))
        .await
        .unwrap();
    store
        .set_checkpoint(checkpoint(&row, 100, 2, 0))
        .await
        .unwrap();
    for wrong in [
        checkpoint(&row, 101, 5, 0),
        checkpoint(&row, 101, 1, 0),
        checkpoint(&row, 101, 3, 4),
    ] {
        assert_eq!(
            store.set_checkpoint(wrong).await.unwrap_err().class(),
            Class::Bug
        );
    }
    let store = house.reopen(store).await;
    assert_eq!(lsns(&*store, 0).await, [0, 1, 2, 3]);
}

pub(super) async fn setting_the_same_checkpoint_again_only_prunes(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    store
        .commit(without_object(
            (0..4).map(|lsn| manifest(&row, lsn)).collect(),
        ))
        .await
        .unwrap();
    store
        .set_checkpoint(checkpoint(&row, 100, 4, 1))
        .await
        .unwrap();
    let store = house.reopen(store).await;
    store
        .set_checkpoint(checkpoint(&row, 100, 4, 3))
        .await
        .unwrap();
    assert_eq!(lsns(&*store, 0).await, [3]);
    assert_eq!(store.unreferenced(9).await.unwrap(), []);
    store
        .set_checkpoint(checkpoint(&row, 100, 4, 0))
        .await
        .unwrap();
    assert_eq!(
        row_of(&*store, 0).await.first_lsn,
        Lsn(3),
        "what was pruned stays pruned"
    );
}

pub(super) async fn a_checkpoint_prunes_the_grants_that_it_passed(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    store
        .commit(without_object(vec![manifest(&row, 0)]))
        .await
        .unwrap();
    lead(&*store, 11, 0).await;
    let row = lead(&*store, 12, 0).await;
    store
        .commit(without_object(vec![manifest(&row, 1)]))
        .await
        .unwrap();
    let epochs = async |store: &dyn MetadataStore| {
        let grants = store.grants(ShardId(0)).await.unwrap();
        grants.iter().map(|grant| grant.epoch.0).collect::<Vec<_>>()
    };
    store
        .set_checkpoint(checkpoint(&row, 100, 1, 1))
        .await
        .unwrap();
    assert_eq!(epochs(&*store).await, [2, 3]);
    store
        .set_checkpoint(checkpoint(&row, 101, 2, 2))
        .await
        .unwrap();
    let store = house.reopen(store).await;
    assert_eq!(epochs(&*store).await, [3], "the one that holds stays");
}

fn name(manifest: &ManifestCommit) -> CommitName {
    CommitName {
        shard: manifest.shard,
        lsn: manifest.lsn,
        epoch: manifest.epoch,
        incarnation: manifest.incarnation,
    }
}

pub(super) async fn an_unknown_commit_is_resolved_by_its_name(house: House) {
    let store = house.started().await;
    let (row, other) = (lead(&*store, 10, 0).await, lead(&*store, 10, 1).await);
    let commit = without_object(vec![manifest(&row, 0)]);
    store.commit(commit).await.unwrap();
    let store = house.reopen(store).await;
    let mut foreign = name(&manifest(&row, 0));
    foreign.incarnation = Incarnation(99);
    let mut nowhere = foreign;
    nowhere.shard = ShardId(9);
    let names = vec![
        name(&manifest(&other, 0)),
        name(&manifest(&row, 0)),
        foreign,
        name(&manifest(&row, 1)),
        nowhere,
    ];
    let resolved = store.resolve(names.clone()).await.unwrap();
    let happened: Vec<bool> = names
        .iter()
        .zip(&resolved)
        .map(|(name, each)| each.happened(name))
        .collect();
    assert_eq!(happened, [false, true, false, false, false]);
    let by = Some((epoch(1), Incarnation(10)));
    let committed_by: Vec<_> = resolved.iter().map(|each| each.committed_by).collect();
    assert_eq!(committed_by, [None, by, by, None, None]);
    for (name, each) in names.iter().zip(&resolved) {
        assert_eq!(each.row, store.read_shard(name.shard).await.unwrap());
    }
    assert_eq!(store.resolve(Vec::new()).await.unwrap(), []);
}

pub(super) async fn a_pruned_manifest_is_resolved_by_the_row(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let commit = without_object(vec![manifest(&row, 0), manifest(&row, 1)]);
    store.commit(commit).await.unwrap();
    let set = store.set_checkpoint(checkpoint(&row, 0, 1, 1)).await;
    set.unwrap();
    let store = house.reopen(store).await;
    let names = vec![name(&manifest(&row, 0)), name(&manifest(&row, 1))];
    let resolved = store.resolve(names.clone()).await.unwrap();
    assert_eq!(resolved[0].committed_by, None);
    assert_eq!(resolved[0].row.unwrap().first_lsn, Lsn(1));
    assert!(resolved[1].happened(&names[1]));
}

/// The last manifest of a drain.
fn drained(row: &ShardRow, lsn: u64) -> ManifestCommit {
    ManifestCommit {
        wal_end: Some(WalEnd {
            dir: 1,
            position: 7,
        }),
        clears_wal_dir: true,
        ..manifest(row, lsn)
    }
}

pub(super) async fn a_drained_shard_lets_its_wal_folder_go(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let mut fenced = drained(&row, 0);
    fenced.epoch = LeaderEpoch(7);
    let commit = without_object(vec![fenced]);
    assert_eq!(store.commit(commit).await.unwrap(), [Refused]);
    assert_eq!(row_of(&*store, 0).await.wal_dir, Some(1));
    let commit = without_object(vec![manifest(&row, 0), drained(&row, 1)]);
    assert_eq!(store.commit(commit).await.unwrap(), [Committed, Committed]);
    let store = house.reopen(store).await;
    let after = row_of(&*store, 0).await;
    assert_eq!(
        (after.wal_dir, after.wal_end),
        (None, drained(&row, 1).wal_end)
    );
    let elsewhere = GrantRequest::own(Incarnation(11), Some(2), [ShardId(0)]);
    let granted = store.grant(elsewhere).await.unwrap()[0];
    let GrantOutcome::Granted(after) = granted else {
        panic!("not granted: {granted:?}")
    };
    assert_eq!((after.wal_dir, after.wal_since_epoch), (Some(2), epoch(2)));
}

pub(super) async fn only_the_end_of_a_drain_lets_the_wal_folder_go(house: House) {
    let store = house.started().await;
    let row = lead(&*store, 10, 0).await;
    let mut endless = drained(&row, 0);
    endless.wal_end = None;
    for manifests in [
        vec![endless],
        vec![drained(&row, 0), manifest(&row, 1)],
        vec![drained(&row, 0), drained(&row, 1)],
    ] {
        let error = store.commit(without_object(manifests)).await.unwrap_err();
        assert_eq!(error.class(), Class::Bug);
    }
    assert_eq!(row_of(&*store, 0).await.next_lsn, Lsn(0));
}
