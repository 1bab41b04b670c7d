//! A copy of the database that somebody brought back: the start says so, before anything is given away a second time.

use std::path::PathBuf;
use std::sync::Arc;

use streamhouse_log::open::OpenError;
use streamhouse_log::recovery::RecoverError;
use streamhouse_log::recovery::loss::AcceptedLoss;
use streamhouse_log::recovery::older_database::OlderDatabase;
use streamhouse_metadata::sqlite::SqliteStore;
use streamhouse_metadata::store::MetadataStore;

use crate::world::{World, batch, numbered, set_up};

/// A world over a database in a folder, of which copies can be taken and brought back.
struct Restorable {
    world: World,
    dir: tempfile::TempDir,
}

impl Restorable {
    async fn started() -> Self {
        let mut own = Self {
            world: World::new().await,
            dir: tempfile::tempdir().unwrap(),
        };
        own.open().await;
        set_up(
            own.database(),
            streamhouse_metadata::store::Durability::Local,
        )
        .await;
        own.world.start().await;
        own
    }

    fn database(&self) -> &dyn MetadataStore {
        self.world.database.as_deref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn open(&mut self) {
        let store = SqliteStore::open(&self.path("metadata.db"), self.world.ambient()).unwrap();
        self.world.database = Some(Arc::new(store));
    }

    async fn kill(&mut self) {
        self.world.kill().await;
        if let Some(database) = self.world.database.take() {
            database.close().await;
        }
    }

    async fn start(&mut self) -> Result<(), OpenError> {
        self.open().await;
        self.world.try_start().await.map(|_| ())
    }

    async fn restart(&mut self) {
        self.kill().await;
        self.start().await.unwrap();
    }

    /// Copies the database as it is, while nobody writes: SQLite keeps two files.
    fn copy(&self) {
        self.copy_files("metadata.db", "copy.db");
    }

    async fn bring_back(&mut self) {
        self.kill().await;
        self.copy_files("copy.db", "metadata.db");
    }

    fn copy_files(&self, from: &str, to: &str) {
        for ending in ["", "-wal"] {
            let (from, to) = (format!("{from}{ending}"), format!("{to}{ending}"));
            let _ = std::fs::remove_file(self.path(&to));
            if self.path(&from).exists() {
                std::fs::copy(self.path(&from), self.path(&to)).unwrap();
            }
        }
    }

    async fn write_and_flush(&self, value: &str) {
        self.world.append(0, &batch(&[value])).await;
        self.world.log().flush().await.unwrap();
    }
}

fn older(started: Result<(), OpenError>) -> OlderDatabase {
    match started {
        Err(OpenError::Recover(error @ RecoverError::OlderDatabase(older))) => {
            let text = error.to_string();
            assert!(text.contains("metadata_regression"), "{text}");
            assert!(text.contains("accept-loss --database"), "{text}");
            older
        }
        other => panic!("an older database was not noticed: {other:?}"),
    }
}

#[tokio::test]
async fn a_copy_from_before_the_last_start_is_noticed_with_and_without_records_in_the_wal() {
    for flushes in [false, true] {
        let mut own = Restorable::started().await;
        own.write_and_flush("a").await;
        own.copy();
        own.restart().await;
        own.world.append(0, &batch(&["b"])).await;
        if flushes {
            own.world.log().flush().await.unwrap();
        }
        own.bring_back().await;
        let found = older(own.start().await);
        assert!(
            matches!(
                found,
                OlderDatabase::Fewer {
                    what: "grants of shards",
                    ..
                }
            ),
            "{found:?}"
        );
        // Looking changes nothing: it is noticed again.
        own.kill().await;
        older(own.start().await);
    }
}

/// A database of which a copy was brought back that is three flushes old, without a start between.
async fn copied_in_the_same_life(fill: usize) -> Restorable {
    let mut own = Restorable::started().await;
    own.write_and_flush("a").await;
    own.copy();
    for value in ["b", "c", "d"] {
        own.write_and_flush(&value.repeat(fill)).await;
    }
    own.bring_back().await;
    own
}

#[tokio::test]
async fn a_copy_that_lacks_committed_objects_is_noticed_by_their_names() {
    let mut own = copied_in_the_same_life(1).await;
    let found = older(own.start().await);
    assert!(
        matches!(found, OlderDatabase::Manifest { lsn: 1, .. }),
        "{found:?}"
    );
    own.kill().await;
    // With the copy accepted, the WAL still gives what it holds.
    own.open().await;
    let lost = own.world.accept(AcceptedLoss::Database).await.unwrap();
    assert_eq!(lost, None);
    own.restart().await;
    assert_eq!(own.world.log().stopped_shards(), Vec::new());
    assert_eq!(
        own.world.values(0, 0).await,
        numbered(&["a", "b", "c", "d"])
    );
}

#[tokio::test]
async fn a_copy_that_lacks_what_the_wal_recycled_is_noticed_by_its_note() {
    // Each value nearly fills a file of the WAL, so that files begin and go.
    let mut own = copied_in_the_same_life(900_000).await;
    let found = older(own.start().await);
    assert!(
        matches!(
            found,
            OlderDatabase::Fewer {
                what: "manifests",
                ..
            }
        ),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_database_that_only_went_on_is_no_older_one() {
    let mut own = Restorable::started().await;
    for value in ["a", "b", "c"] {
        own.write_and_flush(value).await;
        own.world.log().checkpoint_all().await.unwrap();
        own.restart().await;
        own.restart().await;
    }
    assert_eq!(own.world.values(0, 0).await, numbered(&["a", "b", "c"]));
}
