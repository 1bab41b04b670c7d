//! Hears from other brokers that something changed (`NOTIFY`), on a connection of its own.
//!
//! What was said while there was no connection is lost, so that every new connection wakes whoever watches. The task ends
//! when the store is closed.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use tracing::debug;

use super::pool::Pool;

/// How long to wait before the next try, when there is no connection to be had.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts to listen until the pool is closed.
pub(super) fn start(pool: &Arc<Pool>) {
    let tasks = pool.ambient().tasks.clone();
    let pool = Arc::clone(pool);
    // The handle is not kept: the task ends with the pool.
    tasks.spawn("metadata-postgres-listener", async move {
        let closed = pin!(pool.closed());
        let listening = pin!(listen(&pool));
        // What is dropped here is a connection on which nothing is under way.
        match select(closed, listening).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    });
}

async fn listen(pool: &Arc<Pool>) {
    loop {
        if let Err(reason) = hear(pool).await {
            debug!(reason, "nobody tells of changes for a while");
        }
        pool.ambient().clock.sleep(PAUSE).await;
    }
}

/// Listens until the connection ends.
async fn hear(pool: &Arc<Pool>) -> Result<(), String> {
    let mut session = pool.connect().await.map_err(|error| error.to_string())?;
    let waker: Weak<Pool> = Arc::downgrade(pool);
    let wake = move || {
        if let Some(pool) = waker.upgrade() {
            pool.wake();
        }
    };
    let schema = pool.settings().schema.clone();
    let listening = session.listen(&schema, wake).await;
    listening.map_err(|fault| format!("{fault:?}"))?;
    pool.wake();
    session.ended().await;
    Ok(())
}
