//! The thread that owns the connection: it takes one piece of work after another and answers each.
//!
//! The queue holds [`QUEUE_MAX`] pieces; when it is full, callers wait. Work that was taken is finished even if nobody
//! waits for the answer any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use streamhouse_runtime::Tasks;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::fault::{Failure, Fallible, commit_failed};
use crate::store::{Outcome, StoreError};

/// How many pieces of work may wait for the thread.
const QUEUE_MAX: usize = 256;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Job {
    Run(Work),
    Close(oneshot::Sender<()>),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Worker {
    queue: mpsc::Sender<Job>,
    /// Set by the thread before it lets the queue go: what is left in the queue then was never begun.
    closed: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn start(connection: Connection, tasks: &Tasks) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let closed = Arc::new(AtomicBool::new(false));
        let seen_closed = Arc::clone(&closed);
        // The handle is not kept: the thread ends when the queue does, and a panic in it stops the broker.
        let _ = tasks.thread("metadata-sqlite", move || {
            run(connection, jobs, &seen_closed)
        })?;
        Ok(Self { queue, closed })
    }

    /// Runs `work` in one transaction and commits it, unless `work` fails: then nothing of it happened.
    pub(super) async fn write<T, E, F>(&self, operation: &'static str, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failure<E>> + Send + 'static,
    {
        self.ask(operation, Outcome::MayHaveHappened, move |connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(|error| Failure::<E>::from(error).explain(operation))?;
            let answer = work(&transaction).map_err(|failure| failure.explain(operation))?;
            transaction
                .commit()
                .map_err(|error| commit_failed(operation, &error))?;
            Ok(answer)
        })
        .await
    }

    /// Runs `work` on one state of the data.
    pub(super) async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Fallible<T> + Send + 'static,
    {
        self.ask(operation, Outcome::DidNotHappen, move |connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Deferred)
                .map_err(|error| Failure::<StoreError>::from(error).explain(operation))?;
            work(&transaction).map_err(|fault| fault.explain(operation))
        })
        .await
    }

    /// Lets the thread finish what it was given and close the file.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Job::Close(done)).await.is_ok() {
            // An error says that another close came first; the file is closed all the same.
            let _ = closed.await;
        }
    }

    async fn ask<T, E, F>(
        &self,
        operation: &'static str,
        unanswered: Outcome,
        work: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // An error says that the caller went away; the work is done all the same.
            let _ = answer.send(work(connection));
        });
        if self.queue.send(Job::Run(work)).await.is_err() {
            return Err(unavailable(operation, Outcome::DidNotHappen).into());
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) if self.closed.load(Ordering::Acquire) => {
                Err(unavailable(operation, Outcome::DidNotHappen).into())
            }
            Err(_) => Err(unavailable(operation, unanswered).into()),
        }
    }
}

fn unavailable(operation: &'static str, outcome: Outcome) -> StoreError {
    StoreError::Unavailable {
        operation,
        outcome,
        reason: "it was closed".to_owned(),
    }
}

fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>, closed: &AtomicBool) {
    let mut closing = None;
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Run(work) => work(&mut connection),
            Job::Close(done) => {
                closing = Some(done);
                break;
            }
        }
        if !settle(&connection) {
            break;
        }
    }
    if let Err((_, error)) = connection.close() {
        warn!(%error, "the metadata database was not closed cleanly; its journal is read at the next start");
    }
    closed.store(true, Ordering::Release);
    drop(jobs);
    if let Some(done) = closing {
        // An error says that the closer went away.
        let _ = done.send(());
    }
}

/// Makes sure that no transaction is left open; what could not be rolled back must not be built upon.
fn settle(connection: &Connection) -> bool {
    if connection.is_autocommit() {
        return true;
    }
    match connection.execute_batch("ROLLBACK") {
        Ok(()) => true,
        Err(error) => {
            error!(%error, "a transaction of the metadata database cannot be rolled back; the database is closed");
            false
        }
    }
}

#[cfg(test)]
mod tests;
