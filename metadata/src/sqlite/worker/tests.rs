//! The thread of the database: rollback, full disks, closing, callers that go away.

use std::path::Path;

use rusqlite::Connection;
use streamhouse_runtime::Tasks;

use super::Worker;
use crate::sqlite::fault::Failure;
use crate::sqlite::open::connect;
use crate::store::{Class, Outcome, StoreError};

fn worker(folder: &Path) -> Worker {
    Worker::start(connect(&folder.join("metadata.db")).unwrap(), &Tasks::new()).unwrap()
}

async fn insert(worker: &Worker, revision: i64) -> Result<(), StoreError> {
    worker
        .write("insert a row", move |transaction| {
            transaction.execute("INSERT INTO cluster_revision VALUES (?1, 0, 0)", [revision])?;
            Ok(())
        })
        .await
}

async fn rows(worker: &Worker) -> i64 {
    let count = "SELECT count(*) FROM cluster_revision";
    worker
        .read("count rows", move |on| {
            Ok(on.query_row(count, [], |row| row.get(0))?)
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn work_that_fails_leaves_no_trace_and_the_next_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    insert(&worker, 1).await.unwrap();
    let failed: Result<(), StoreError> = worker
        .write("insert rows", |transaction| {
            transaction.execute("INSERT INTO cluster_revision VALUES (2, 0, 0)", [])?;
            transaction.execute("INSERT INTO cluster_revision VALUES (1, 0, 0)", [])?;
            Ok(())
        })
        .await;
    let error = failed.unwrap_err();
    assert_eq!(
        (error.class(), error.outcome()),
        (Class::Bug, Outcome::DidNotHappen)
    );
    assert_eq!(rows(&worker).await, 1);
    insert(&worker, 2).await.unwrap();
    assert_eq!(rows(&worker).await, 2);
}

#[tokio::test]
async fn a_refused_write_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let bug = StoreError::Bug {
        operation: "insert a row",
        reason: "for this test".to_owned(),
    };
    let refused = bug.clone();
    let answer: Result<(), StoreError> = worker
        .write("insert a row", move |transaction| {
            transaction.execute("INSERT INTO cluster_revision VALUES (1, 0, 0)", [])?;
            Err(Failure::Refused(refused))
        })
        .await;
    assert_eq!(answer, Err(bug));
    assert_eq!(rows(&worker).await, 0);
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.db");
    let connection = connect(&path).unwrap();
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update_and_check(None, "max_page_count", pages + 1, |_| Ok(()))
        .unwrap();
    let worker = Worker::start(connection, &Tasks::new()).unwrap();
    insert(&worker, 1).await.unwrap();
    let full: Result<(), StoreError> = worker
        .write("insert a body", |transaction| {
            let sql = "INSERT INTO manifests (shard, lsn, epoch, incarnation, body) VALUES (0, 0, 0, x'', zeroblob(?1))";
            transaction.execute(sql, [1_000_000])?;
            Ok(())
        })
        .await;
    let error = full.unwrap_err();
    assert_eq!(
        (error.class(), error.outcome()),
        (Class::Unavailable, Outcome::DidNotHappen)
    );
    insert(&worker, 2).await.unwrap();
    assert_eq!(rows(&worker).await, 2);
    worker.close().await;
    let reopened: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM cluster_revision", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(reopened, 2);
}

#[tokio::test]
async fn work_behind_a_close_did_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let (_, late) = tokio::join!(worker.close(), insert(&worker, 1));
    let error = late.unwrap_err();
    assert_eq!(
        (error.class(), error.outcome()),
        (Class::Unavailable, Outcome::DidNotHappen)
    );
    let after = insert(&worker, 1).await.unwrap_err();
    assert_eq!(after.outcome(), Outcome::DidNotHappen);
}

#[tokio::test]
async fn work_goes_on_when_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    {
        let dropped = std::pin::pin!(insert(&worker, 1));
        // Polled once, the work is in the queue; then the caller goes away.
        let waiting = poll_once(dropped).await;
        assert!(waiting.is_none_or(|done| done.is_ok()));
    }
    assert_eq!(rows(&worker).await, 1);
}

/// Polls a future once.
async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
