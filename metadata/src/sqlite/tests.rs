//! What a crash leaves: images of the files of a store that was never closed, whole and cut short.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use super::SqliteStore;
use crate::store::{
    ClusterShelf, Commit, Durability, GrantOutcome, GrantRequest, Incarnation, Lsn, ManifestCommit,
    ManifestShelf, NewCluster, NewObject, ObjectId, ObjectShelf, ShardId, ShardRow, ShardShelf,
};

const MANIFESTS: u64 = 12;

/// How many places the journal is cut at.
const CUTS: usize = 40;

fn open(folder: &Path) -> SqliteStore {
    let (clock, chance) = (
        Arc::new(ManualClock::new(0)),
        Arc::new(SeededChance::new(1)),
    );
    let ambient = Ambient {
        clock,
        chance,
        tasks: Tasks::new(),
    };
    SqliteStore::open(&folder.join("metadata.db"), ambient).unwrap()
}

/// The files of an open store, copied as a crash of the process would leave them, the journal up to `cut`.
fn crash(folder: &Path, cut: Option<usize>) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("metadata.db"), image.path().join("metadata.db")).unwrap();
    let journal = std::fs::read(folder.join("metadata.db-wal")).unwrap();
    let end = cut.unwrap_or(journal.len());
    std::fs::write(image.path().join("metadata.db-wal"), &journal[..end]).unwrap();
    image
}

async fn lead(store: &SqliteStore) -> ShardRow {
    store
        .initialise(NewCluster {
            cluster_id: 1,
            shards: 1,
            durability: Durability::Local,
        })
        .await
        .unwrap();
    let request = GrantRequest::own(Incarnation(10), Some(1), [ShardId(0)]);
    match store.grant(request).await.unwrap()[..] {
        [GrantOutcome::Granted(row)] => row,
        ref other => panic!("the shard was not granted: {other:?}"),
    }
}

async fn flush(store: &SqliteStore, row: &ShardRow, lsn: u64) {
    let id = ObjectId {
        incarnation: 10,
        seq: lsn,
        attempt: 0,
    };
    let manifest = ManifestCommit {
        shard: row.shard,
        epoch: row.epoch,
        incarnation: Incarnation(10),
        lsn: Lsn(lsn),
        body: Bytes::from(vec![u8::try_from(lsn).unwrap(); 3000]),
        wal_end: None,
        released: Vec::new(),
        clears_wal_dir: false,
    };
    let object = Some(NewObject {
        id,
        key: format!("objects/{lsn}"),
        bytes: 1,
    });
    store
        .commit(Commit {
            object,
            manifests: vec![manifest],
        })
        .await
        .unwrap();
}

/// How many flushes the store knows; panics if it knows any of them in part.
async fn flushes(store: &SqliteStore) -> u64 {
    let Some(row) = store.read_shard(ShardId(0)).await.unwrap() else {
        return 0;
    };
    let manifests = store
        .manifests(ShardId(0), Lsn(0), usize::MAX)
        .await
        .unwrap();
    let lsns: Vec<u64> = manifests.iter().map(|manifest| manifest.lsn.0).collect();
    assert_eq!(lsns, (0..row.next_lsn.0).collect::<Vec<_>>());
    let seqs: Vec<u64> = store
        .objects(None, usize::MAX)
        .await
        .unwrap()
        .iter()
        .map(|object| object.id.seq)
        .collect();
    assert_eq!(
        seqs, lsns,
        "an object has a row exactly if its manifest has"
    );
    row.next_lsn.0
}

#[tokio::test]
async fn what_was_answered_survives_a_crash_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let row = lead(&store).await;
    for lsn in 0..MANIFESTS {
        flush(&store, &row, lsn).await;
        let image = crash(folder.path(), None);
        assert_eq!(flushes(&open(image.path())).await, lsn + 1);
    }
}

#[tokio::test]
async fn a_journal_that_was_cut_anywhere_holds_whole_flushes_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let row = lead(&store).await;
    for lsn in 0..MANIFESTS {
        flush(&store, &row, lsn).await;
    }
    let length = std::fs::read(folder.path().join("metadata.db-wal"))
        .unwrap()
        .len();
    let mut before = 0;
    for cut in (0..=CUTS).map(|part| length * part / CUTS) {
        let image = crash(folder.path(), Some(cut));
        let known = flushes(&open(image.path())).await;
        assert!(known >= before, "a longer journal knows no less");
        before = known;
    }
    assert_eq!(before, MANIFESTS);
}
