//! What a real server does beside the laws: locks that others hold, connections that break, warnings at COMMIT, schemas
//! of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId};
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};
use tokio_postgres::{Client, NoTls};

use super::server::{self, Server};
use super::{PostgresSettings, PostgresStore};
use crate::store::CommitOutcome::{Committed, Refused};
use crate::store::{
    Class, ClusterShelf, Commit, CommitName, CoordinationOutcome, CoordinationWrite, Durability,
    GrantOutcome, GrantRequest, GroupChange, GroupShelf, Incarnation, Lsn, ManifestCommit,
    ManifestShelf, MetadataStore, NewCluster, NewObject, ObjectId, ObjectShelf, ObjectState,
    OffsetRow, Outcome, ShardId, ShardRow, ShardShelf, TombstoneOutcome,
};

#[cfg(feature = "planted-bugs")]
mod bugs;
mod failover;
mod faults;
mod opening;

/// How often a test looks for something that must come, before it says that it does not.
const LOOKS_MAX: usize = 200_000;

fn ambient() -> Ambient {
    Ambient {
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        chance: Arc::new(SeededChance::new(1)),
        tasks: Tasks::new(),
    }
}

/// Settings for a schema of its own.
pub(crate) fn settings(server: &Server) -> PostgresSettings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    PostgresSettings {
        schema: format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        connections: 4,
        ..PostgresSettings::new(server.url())
    }
}

/// A store, and a connection beside it that plays the other broker or the operator.
struct Scene {
    settings: PostgresSettings,
    store: PostgresStore,
    other: Client,
}

impl Scene {
    async fn new(server: &Server) -> Self {
        Self::with(settings(server)).await
    }

    async fn with(settings: PostgresSettings) -> Self {
        let store = PostgresStore::open(settings.clone(), ambient())
            .await
            .unwrap();
        store
            .initialise(NewCluster {
                cluster_id: 1,
                shards: 4,
                durability: Durability::Shared,
            })
            .await
            .unwrap();
        let other = connect(&settings).await;
        Self {
            settings,
            store,
            other,
        }
    }

    async fn lead(&self, life: u128) -> Vec<ShardRow> {
        let request = GrantRequest::own(Incarnation(life), None, (0..4).map(ShardId));
        let outcomes = self.store.grant(request).await.unwrap();
        outcomes
            .into_iter()
            .map(|outcome| {
                let GrantOutcome::Granted(row) = outcome else {
                    panic!("not granted: {outcome:?}");
                };
                row
            })
            .collect()
    }

    async fn run(&self, sql: &str) {
        self.other.batch_execute(sql).await.unwrap();
    }

    /// Looks until a backend of the store waits for a lock of [`Scene::other`], and returns its process id.
    async fn until_blocked(&self) -> i32 {
        self.until(
            "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))",
        )
        .await
    }

    /// Looks until there is a row, and returns its number.
    async fn until(&self, sql: &str) -> i32 {
        for _ in 0..LOOKS_MAX {
            if let Some(row) = self.other.query(sql, &[]).await.unwrap().first() {
                return row.get(0);
            }
        }
        panic!("it never came: {sql}");
    }
}

/// A connection in the schema of `settings`, which never waits for replicas itself.
async fn connect(settings: &PostgresSettings) -> Client {
    let (client, connection) = tokio_postgres::connect(&settings.url, NoTls).await.unwrap();
    Tasks::new().spawn("other", async move {
        // Its end is seen by whoever uses the client.
        let _ = connection.await;
    });
    client
        .batch_execute(&format!(
            "SET search_path = {}; SET synchronous_commit = local",
            settings.schema
        ))
        .await
        .unwrap();
    client
}

fn manifest(row: &ShardRow, lsn: u64) -> ManifestCommit {
    ManifestCommit {
        shard: row.shard,
        epoch: row.epoch,
        incarnation: row.incarnation.unwrap(),
        lsn: Lsn(lsn),
        body: Bytes::from(format!("manifest {lsn} of shard {}", row.shard)),
        wal_end: None,
        released: Vec::new(),
        clears_wal_dir: false,
    }
}

fn name(row: &ShardRow, lsn: u64) -> CommitName {
    CommitName {
        shard: row.shard,
        lsn: Lsn(lsn),
        epoch: row.epoch,
        incarnation: row.incarnation.unwrap(),
    }
}

fn object(seq: u64) -> ObjectId {
    ObjectId {
        incarnation: 10,
        seq,
        attempt: 0,
    }
}

/// One manifest of each shard, in one object.
fn flush(rows: &[ShardRow], lsn: u64) -> Commit {
    Commit {
        object: Some(NewObject {
            id: object(lsn),
            key: format!("objects/{lsn}"),
            bytes: 1,
        }),
        manifests: rows.iter().map(|row| manifest(row, lsn)).collect(),
    }
}

async fn lsns(store: &PostgresStore, shard: u32) -> Vec<u64> {
    let rows = store.manifests(ShardId(shard), Lsn(0), 100).await.unwrap();
    rows.iter().map(|row| row.lsn.0).collect()
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_waited_for_no_longer_than_the_lock_limit() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        lock_limit: Duration::from_millis(50),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    scene
        .run("BEGIN; SELECT 1 FROM shards WHERE shard = 2 FOR UPDATE")
        .await;
    let error = scene.store.commit(flush(&rows, 0)).await.unwrap_err();
    assert_eq!(
        (error.class(), error.outcome()),
        (Class::Unavailable, Outcome::DidNotHappen),
        "{error}"
    );
    scene.run("ROLLBACK").await;
    assert_eq!(lsns(&scene.store, 0).await, [0_u64; 0]);
    let outcomes = scene.store.commit(flush(&rows, 0)).await.unwrap();
    assert_eq!(outcomes, [Committed; 4]);
}

#[tokio::test]
async fn a_commit_judges_a_fence_by_what_it_finds_after_the_wait() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        lock_limit: Duration::from_secs(60),
        statement_limit: Duration::from_secs(60),
        request_limit: Duration::from_secs(90),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    // A takeover of shard 1 that is not committed when the commit of the earlier holder begins, and a checkpoint of
    // shard 2, which is no reason to refuse.
    scene
        .run(
            "BEGIN; UPDATE shards SET epoch = epoch + 1, incarnation = '\\x0b' WHERE shard = 1;
             UPDATE shards SET first_lsn = 0, checkpoint_bytes = 7 WHERE shard = 2",
        )
        .await;
    let committing = {
        let (store, commit) = (scene.store.clone(), flush(&rows, 0));
        async move { store.commit(commit).await.unwrap() }
    };
    let taking = async {
        scene.until_blocked().await;
        scene.run("COMMIT").await;
    };
    let (outcomes, ()) = tokio::join!(committing, taking);
    assert_eq!(outcomes, [Committed, Refused, Committed, Committed]);
    assert_eq!(lsns(&scene.store, 1).await, [0_u64; 0]);
    assert_eq!(lsns(&scene.store, 2).await, [0]);
    let row = "SELECT next_lsn, checkpoint_bytes FROM shards WHERE shard = 2";
    let row = scene.other.query_one(row, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 7));
}

#[tokio::test]
async fn shards_that_release_one_object_at_the_same_time_all_release_it() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        lock_limit: Duration::from_secs(60),
        statement_limit: Duration::from_secs(60),
        request_limit: Duration::from_secs(90),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    scene.store.commit(flush(&rows, 0)).await.unwrap();
    // Another broker takes shard 0 out; here 1 and 3 leave in one commit, which waits for it.
    scene
        .run("BEGIN; UPDATE objects SET live_shards = array_remove(live_shards, 0)")
        .await;
    let mut leaving = vec![manifest(&rows[1], 1), manifest(&rows[3], 1)];
    for manifest in &mut leaving {
        manifest.released = vec![object(0)];
    }
    let commit = Commit {
        object: None,
        manifests: leaving,
    };
    let taking = async {
        scene.until_blocked().await;
        scene.run("COMMIT").await;
    };
    let (outcomes, ()) = tokio::join!(scene.store.commit(commit), taking);
    assert_eq!(outcomes.unwrap(), [Committed; 2]);
    let objects = scene.store.objects(None, 10).await.unwrap();
    let live = ObjectState::Live {
        shards: vec![ShardId(2)],
    };
    assert_eq!(objects[0].state, live);
}

#[tokio::test]
async fn an_unknown_outcome_is_not_resolved_before_the_commit_is_over() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        lock_limit: Duration::from_millis(50),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    scene
        .run("BEGIN; UPDATE shards SET next_lsn = 1 WHERE shard = 0")
        .await;
    // The commit is under way: no answer is better than the old one.
    let names = vec![name(&rows[0], 0)];
    let error = scene.store.resolve(names.clone()).await.unwrap_err();
    assert_eq!(
        (error.class(), error.outcome()),
        (Class::Unavailable, Outcome::DidNotHappen)
    );
    scene.run("COMMIT").await;
    let resolved = scene.store.resolve(names).await.unwrap();
    assert_eq!(resolved[0].row.unwrap().next_lsn, Lsn(1));
    let outcomes = scene.store.commit(flush(&rows[..1], 0)).await.unwrap();
    assert_eq!(outcomes, [Refused]);
}

#[tokio::test]
async fn a_caller_who_goes_away_stops_no_commit() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        lock_limit: Duration::from_secs(60),
        statement_limit: Duration::from_secs(60),
        request_limit: Duration::from_secs(90),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    scene
        .run("BEGIN; SELECT 1 FROM shards WHERE shard = 0 FOR UPDATE")
        .await;
    let committing = Box::pin(scene.store.commit(flush(&rows, 0)));
    let waiting = Box::pin(scene.until_blocked());
    // Drops the commit while it waits for the row.
    drop(futures::future::select(committing, waiting).await);
    scene.run("COMMIT").await;
    scene.store.close().await;
    let store = PostgresStore::open(scene.settings.clone(), ambient())
        .await
        .unwrap();
    assert_eq!(
        lsns(&store, 0).await,
        [0],
        "closing waits for what was accepted"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_during_a_commit_leaves_it_unknown_and_the_next_one_works() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        lock_limit: Duration::from_secs(60),
        statement_limit: Duration::from_secs(60),
        request_limit: Duration::from_secs(90),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    scene
        .run("BEGIN; SELECT 1 FROM shards WHERE shard = 0 FOR UPDATE")
        .await;
    let committing = scene.store.commit(flush(&rows, 0));
    let breaking = async {
        let backend = scene.until_blocked().await;
        scene
            .other
            .execute("SELECT pg_terminate_backend($1)", &[&backend])
            .await
            .unwrap();
    };
    let (committed, ()) = tokio::join!(committing, breaking);
    let error = committed.unwrap_err();
    assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
    scene.run("ROLLBACK").await;
    // The identical commit again: that is how the caller resolves it.
    let outcomes = scene.store.commit(flush(&rows, 0)).await.unwrap();
    assert_eq!(outcomes, [Committed; 4]);
}

#[tokio::test]
async fn a_commit_whose_wait_for_replicas_is_cut_short_is_unknown() {
    // A server of its own: the setting is the whole server's.
    if server::shared().is_none() {
        return;
    }
    let server = Server::start("").unwrap();
    let scene = Scene::new(&server).await;
    let rows = scene.lead(10).await;
    scene
        .run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await;
    scene.run("SELECT pg_reload_conf()").await;
    scene
        .until("SELECT 1 WHERE current_setting('synchronous_standby_names') = 'nobody'")
        .await;
    let committing = scene.store.commit(flush(&rows, 0));
    let cancelling = async {
        let backend = scene
            .until("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            .await;
        scene
            .other
            .execute("SELECT pg_cancel_backend($1)", &[&backend])
            .await
            .unwrap();
    };
    let (committed, ()) = tokio::join!(committing, cancelling);
    let error = committed.unwrap_err();
    assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
    assert!(error.to_string().contains("warning"), "{error}");
    let kept = "SELECT 1 FROM manifests WHERE shard = 0";
    let kept = scene.other.query(kept, &[]).await.unwrap();
    assert_eq!(kept.len(), 1, "it is there, and only perhaps for good");
}

#[tokio::test]
async fn a_tombstone_and_a_commit_of_one_object_never_both_succeed() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::new(server).await;
    let rows = scene.lead(10).await;
    for lsn in 0..20 {
        let (store, id) = (&scene.store, object(lsn));
        let ids = [id];
        let (committed, given_up) =
            tokio::join!(store.commit(flush(&rows, lsn)), store.tombstone(&ids, 1));
        let is_needed = given_up.unwrap() == [TombstoneOutcome::Needed];
        assert_eq!(committed.is_ok(), is_needed);
        if committed.is_err() {
            // The bytes go up again under a new id.
            let again = Commit {
                object: None,
                ..flush(&rows, lsn)
            };
            assert_eq!(store.commit(again).await.unwrap(), [Committed; 4]);
        }
    }
}

#[tokio::test]
async fn names_with_zero_bytes_are_kept() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::new(server).await;
    let rows = scene.lead(10).await;
    let row = OffsetRow {
        group: "a\0b".into(),
        topic: TopicId(1),
        partition: PartitionIndex(0),
        offset: 7,
        leader_epoch: LeaderEpoch::NONE,
        metadata: "\0".to_owned(),
        commit_ms: 1,
        expire_ms: None,
    };
    let write = CoordinationWrite {
        shard: rows[0].shard,
        epoch: rows[0].epoch,
        incarnation: Incarnation(10),
        seq: 0,
        changes: vec![GroupChange::PutOffset(row.clone())],
    };
    let outcomes = scene.store.write_groups(vec![write]).await.unwrap();
    assert_eq!(outcomes, [CoordinationOutcome::Committed { seq: 1 }]);
    let loaded = scene.store.load_groups(rows[0].shard).await.unwrap();
    assert_eq!(loaded.offsets, [row]);
}
