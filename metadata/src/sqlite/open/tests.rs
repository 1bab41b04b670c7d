//! Opening: what is refused, with which words, and that what is refused is left as it was.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use super::{APPLICATION_ID, OpenError, connect};
use crate::sqlite::SqliteStore;
use crate::store::{Class, ClusterShelf, Durability, MetadataStore, NewCluster};

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("metadata.db")
    }
}

fn ambient() -> Ambient {
    Ambient {
        clock: Arc::new(ManualClock::new(0)),
        chance: Arc::new(SeededChance::new(1)),
        tasks: Tasks::new(),
    }
}

#[test]
fn every_commit_is_fsynced_and_the_journal_is_a_write_ahead_log() {
    let folder = Folder::new();
    let connection = connect(&folder.file()).unwrap();
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(pragma("synchronous"), 2);
    assert_eq!(pragma("fullfsync"), 1);
    assert_eq!(pragma("application_id"), i64::from(APPLICATION_ID));
    let journal: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");
}

#[test]
fn the_first_schema_has_every_table_that_formats_depend_on() {
    let folder = Folder::new();
    let connection = connect(&folder.file()).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected = [
        "broker_configs",
        "brokers",
        "cluster",
        "cluster_revision",
        "grants",
        "group_offsets",
        "groups",
        "manifests",
        "marker_outbox",
        "objects",
        "partitions",
        "pending_offsets",
        "refinery_schema_history",
        "shard_coordination",
        "shards",
        "topic_configs",
        "topic_tombstone_shards",
        "topic_tombstones",
        "topics",
        "transactions",
    ];
    assert_eq!(tables, expected);
}

#[test]
fn a_file_that_is_open_elsewhere_is_locked() {
    let folder = Folder::new();
    let first = connect(&folder.file()).unwrap();
    let error = connect(&folder.file()).unwrap_err();
    assert!(
        matches!(&error, OpenError::Locked { path } if *path == folder.file()),
        "{error}"
    );
    assert!(error.to_string().contains("stop that process"), "{error}");
    drop(first);
    connect(&folder.file()).unwrap();
}

#[tokio::test]
async fn a_closed_store_lets_go_of_the_file_and_an_open_one_does_not() {
    let folder = Folder::new();
    let store = SqliteStore::open(&folder.file(), ambient()).unwrap();
    let new = NewCluster {
        cluster_id: 1,
        shards: 1,
        durability: Durability::Local,
    };
    store.initialise(new).await.unwrap();
    assert!(matches!(
        SqliteStore::open(&folder.file(), ambient()),
        Err(OpenError::Locked { .. })
    ));
    store.close().await;
    let store = SqliteStore::open(&folder.file(), ambient()).unwrap();
    assert_eq!(store.cluster().await.unwrap().unwrap().cluster_id, 1);
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let connection = connect(&folder.file()).unwrap();
    connection
        .execute_batch(
            "INSERT INTO refinery_schema_history SELECT 9, name, applied_on, checksum FROM refinery_schema_history LIMIT 1",
        )
        .unwrap();
    drop(connection);
    let error = connect(&folder.file()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 9,
                known: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("start the version that wrote it"),
        "{error}"
    );
}

#[test]
fn a_file_of_the_first_schema_is_brought_up_to_date_with_what_it_holds() {
    let folder = Folder::new();
    let mut old = Connection::open(folder.file()).unwrap();
    let first = super::embedded::migrations::runner().set_target(refinery::Target::Version(1));
    first.run(&mut old).unwrap();
    old.execute_batch(
        "INSERT INTO brokers (incarnation, broker_id, host, port, rack, registered_ms) VALUES (x'07', 1, 'h', 9092, 'a', 5)",
    )
    .unwrap();
    old.pragma_update(None, "application_id", super::APPLICATION_ID)
        .unwrap();
    drop(old);
    let connection = connect(&folder.file()).unwrap();
    let row = connection.query_row(
        "SELECT broker_id, endpoints, rack FROM brokers",
        [],
        |row| {
            Ok((
                row.get::<_, i32>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        },
    );
    assert_eq!(
        row.unwrap(),
        (1, "PLAINTEXT://h:9092".to_owned(), "a".to_owned())
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let text = "this is not a database, and somebody may want to keep it\n".repeat(100);
    std::fs::write(folder.file(), &text).unwrap();
    let error = connect(&folder.file()).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
}

#[test]
fn a_database_of_somebody_else_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    Connection::open(folder.file())
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x INTEGER)")
        .unwrap();
    let before = std::fs::read(folder.file()).unwrap();
    let error = connect(&folder.file()).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    assert_eq!(std::fs::read(folder.file()).unwrap(), before);
}

#[test]
fn a_changed_schema_history_is_damage() {
    let folder = Folder::new();
    let connection = connect(&folder.file()).unwrap();
    connection
        .execute_batch("UPDATE refinery_schema_history SET checksum = '1'")
        .unwrap();
    drop(connection);
    let error = connect(&folder.file()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(error.class(), Class::Corrupt);
}

#[test]
fn a_folder_that_is_not_there_is_unwritable() {
    let folder = Folder::new();
    let error = connect(&folder.folder.path().join("none").join("metadata.db")).unwrap_err();
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error}");
    assert!(
        error.to_string().contains("check that its folder exists"),
        "{error}"
    );
}

#[test]
fn a_path_that_is_a_folder_is_unwritable() {
    let folder = Folder::new();
    let error = connect(folder.folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error}");
}

#[test]
fn a_file_that_was_cut_short_is_not_taken_for_an_empty_one() {
    let folder = Folder::new();
    drop(connect(&folder.file()).unwrap());
    let bytes = std::fs::read(folder.file()).unwrap();
    std::fs::write(folder.file(), &bytes[..bytes.len() / 2]).unwrap();
    let opened = SqliteStore::open(&folder.file(), ambient());
    assert!(
        matches!(opened, Err(OpenError::Damaged { .. })),
        "{opened:?}"
    );
}
