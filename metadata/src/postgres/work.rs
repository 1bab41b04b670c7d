//! How a request of a shelf becomes statements: one statement, a transaction, a read, or reads of one state.
//!
//! Writes run in tasks of their own, so that a caller who goes away never stops one half-way: no COMMIT is cancelled. A
//! request that takes longer than its limit is answered as unknown once its commit was sent, and its connection is
//! thrown away, since an answer may still be on its way.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use streamhouse_runtime::deadline;
use tokio::sync::oneshot;

use super::PostgresStore;
use super::fault::{Failure, Fallible, Fault, Phase};
use super::pool::{Checkout, LaneOf, Pool};
use super::session::Session;
use crate::store::{Outcome, StoreError};

/// How the statements of a request belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// Each for itself; one of them may commit by [`Session::commit_by`].
    None,
    /// A transaction that is committed when the work succeeds.
    Transaction,
    /// Reads of one state of the data.
    Snapshot,
}

impl Frame {
    const fn begin(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Transaction => Some("BEGIN"),
            Self::Snapshot => Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }
}

/// What a piece of work is given: connections, how its statements belong together, and how long it may take.
#[derive(Clone, Copy, Debug)]
struct Terms {
    operation: &'static str,
    lane: LaneOf,
    frame: Frame,
    limit: Duration,
}

/// How long a heartbeat may take: another one must have time to renew the same lease over another connection.
pub(super) fn heartbeat_limit(lease: Duration) -> Duration {
    (lease / 2).max(HEARTBEAT_MIN)
}

/// The least that a heartbeat is given, for leases that are meant to be over at once.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

impl PostgresStore {
    fn terms(&self, operation: &'static str, frame: Frame) -> Terms {
        Terms {
            operation,
            lane: LaneOf::Requests,
            frame,
            limit: self.pool.settings().request_limit,
        }
    }

    /// Runs `work` in a transaction and commits it, unless `work` fails: then nothing of it happened.
    pub(super) async fn write<T, E, W>(&self, operation: &'static str, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Result<T, Failure<E>>> + Send + 'static,
    {
        let terms = self.terms(operation, Frame::Transaction);
        self.in_a_task(terms, work).await
    }

    /// Runs `work`, which commits by one statement ([`Session::commit_by`]).
    pub(super) async fn one_statement<T, E, W>(
        &self,
        operation: &'static str,
        work: W,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Result<T, Failure<E>>> + Send + 'static,
    {
        self.in_a_task(self.terms(operation, Frame::None), work)
            .await
    }

    /// As [`PostgresStore::one_statement`], on the connection for heartbeats, within `limit`.
    pub(super) async fn beat<T, E, W>(
        &self,
        operation: &'static str,
        limit: Duration,
        work: W,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Result<T, Failure<E>>> + Send + 'static,
    {
        let terms = Terms {
            lane: LaneOf::Heartbeats,
            limit: limit.min(self.pool.settings().request_limit),
            ..self.terms(operation, Frame::None)
        };
        self.in_a_task(terms, work).await
    }

    /// Runs one statement that reads.
    pub(super) async fn read<T, W>(&self, operation: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Fallible<T>> + Send,
    {
        run(&self.pool, self.terms(operation, Frame::None), |session| {
            let read = work(session);
            Box::pin(async move { read.await.map_err(Failure::<StoreError>::Fault) })
        })
        .await
        .map_err(settled)
    }

    /// Runs several statements that read one state of the data.
    pub(super) async fn snapshot<T, W>(
        &self,
        operation: &'static str,
        work: W,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Fallible<T>> + Send,
    {
        let terms = self.terms(operation, Frame::Snapshot);
        run(&self.pool, terms, |session| {
            let read = work(session);
            Box::pin(async move { read.await.map_err(Failure::<StoreError>::Fault) })
        })
        .await
        .map_err(settled)
    }

    async fn in_a_task<T, E, W>(&self, terms: Terms, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Result<T, Failure<E>>> + Send + 'static,
    {
        let pool = Arc::clone(&self.pool);
        let (answer, answered) = oneshot::channel();
        let task = async move {
            // An error says that the caller went away; the work is done all the same.
            let _ = answer.send(run(&pool, terms, work).await);
        };
        // The handle is not kept: the task goes on without it, and a panic in it stops the broker.
        self.pool.ambient().tasks.spawn("metadata-postgres", task);
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Unavailable {
                operation: terms.operation,
                outcome: Outcome::MayHaveHappened,
                reason: "the broker stops".to_owned(),
            }
            .into()),
        }
    }
}

/// A read changes nothing, however it failed.
pub(super) fn settled(error: StoreError) -> StoreError {
    let outcome = Outcome::DidNotHappen;
    match error {
        StoreError::Unavailable {
            operation, reason, ..
        } => StoreError::Unavailable {
            operation,
            outcome,
            reason,
        },
        StoreError::Corrupt {
            operation, reason, ..
        } => StoreError::Corrupt {
            operation,
            outcome,
            reason,
        },
        StoreError::Bug { operation, reason } => StoreError::Bug { operation, reason },
    }
}

/// Takes a connection, does the work within the limit, and gives the connection back if it is clean.
async fn run<T, E, W>(pool: &Pool, terms: Terms, work: W) -> Result<T, E>
where
    E: From<StoreError>,
    W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Result<T, Failure<E>>>,
{
    let Terms {
        operation, frame, ..
    } = terms;
    let clock = &*pool.ambient().clock;
    let asked = clock.monotonic();
    let mut checkout = pool.take(terms.lane, operation, terms.limit).await?;
    let begun = match terms.lane {
        // The wait for a connection has limits of its own.
        LaneOf::Requests => clock.monotonic(),
        // Late is too late, whatever took so long.
        LaneOf::Heartbeats => asked,
    };
    let limit = begun + terms.limit;
    let framed = framed(checkout.session(), frame, work);
    match deadline(clock, limit, framed).await {
        Some(Ok(done)) if checkout.session().timeline() >= pool.timeline() => {
            pool.give_back(checkout);
            Ok(done)
        }
        Some(Ok(_)) => {
            // What the server said is of a history that is over, and may be lost with it.
            let phase = checkout.session().phase();
            checkout.throw_away();
            let replaced = "the database was replaced by another primary meanwhile".to_owned();
            Err(Failure::Fault(Fault::Unavailable(replaced)).explain(operation, phase))
        }
        Some(Err(failure)) => {
            let phase = checkout.session().phase();
            let is_intact = match &failure {
                Failure::Refused(_) => true,
                Failure::Fault(fault) => fault.leaves_connection(),
            };
            clean(pool, checkout, frame, is_intact).await;
            Err(failure.explain(operation, phase))
        }
        None => {
            let phase = checkout.session().phase();
            checkout.throw_away();
            let silence = format!("the database did not answer within {:?}", terms.limit);
            Err(Failure::Fault(Fault::Unavailable(silence)).explain(operation, phase))
        }
    }
}

async fn framed<T, E, W>(session: &mut Session, frame: Frame, work: W) -> Result<T, Failure<E>>
where
    W: for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, Result<T, Failure<E>>>,
{
    let Some(begin) = frame.begin() else {
        return work(session).await;
    };
    session.begin(begin).await?;
    let done = work(session).await?;
    session.commit().await?;
    Ok(done)
}

/// After a failure: undoes what was begun and keeps the connection, or closes it if that is not certain to work.
async fn clean(pool: &Pool, mut checkout: Checkout, frame: Frame, is_intact: bool) {
    if !is_intact {
        checkout.throw_away();
        return;
    }
    let is_open = frame.begin().is_some() && checkout.session().phase() == Phase::Before;
    if is_open {
        let clock = &*pool.ambient().clock;
        let limit = clock.monotonic() + pool.settings().request_limit;
        let undone = deadline(clock, limit, checkout.session().roll_back()).await;
        if !matches!(undone, Some(Ok(()))) {
            checkout.throw_away();
            return;
        }
    }
    pool.give_back(checkout);
}
