//! The connections to PostgreSQL: a bound on how many there are, and who may use one again.
//!
//! A connection goes back only from its user, and only when the user knows that nothing is under way on it; what is
//! dropped on the way is closed. After a failover the connections of the earlier primary are not used again, and a
//! server on an earlier timeline than one that was seen is refused: it is a primary that was replaced.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, deadline};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::warn;

use super::open::{self, OpenError};
use super::session::Session;
use super::settings::{PostgresSettings, Target};
use super::tls::Connector;
use crate::store::{Outcome, StoreError};

/// Holds the connections and makes more when they are needed.
pub(super) struct Pool {
    target: Target,
    connector: Connector,
    settings: PostgresSettings,
    ambient: Ambient,
    /// For requests.
    requests: Lane,
    /// For heartbeats, so that they never wait behind requests.
    heartbeats: Lane,
    /// Counts what was heard of changes.
    changes: watch::Sender<u64>,
    is_listening: AtomicBool,
    /// Without permits, so that whoever waits for one learns when it is closed.
    open: Semaphore,
    /// The newest timeline that a server was seen on.
    timeline: AtomicU32,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target)
            .field("settings", &self.settings)
            .field("timeline", &self.timeline)
            .finish_non_exhaustive()
    }
}

/// Which connections a piece of work may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneOf {
    Requests,
    Heartbeats,
}

/// A number of connections.
#[derive(Debug)]
struct Lane {
    size: usize,
    /// A permit per connection that may be in use; whoever waits for one waits in line.
    permits: Arc<Semaphore>,
    /// Connections that nobody uses, at most as many as there are permits; the last one back is the first one out.
    idle: Mutex<Vec<Session>>,
}

impl Lane {
    fn new(size: usize) -> Self {
        Self {
            size,
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Waits until no connection is in use, closes all, and lets nobody have one any more.
    async fn close(&self) {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        // An error says that it was closed before.
        let nobody = self.permits.acquire_many(all).await;
        self.permits.close();
        self.idle.lock().clear();
        drop(nobody);
    }

    /// A connection of before, if it still leads to the newest primary.
    fn idle_session(&self, timeline: u32) -> Option<Session> {
        let mut idle = self.idle.lock();
        while let Some(session) = idle.pop() {
            if !session.is_closed() && session.timeline() >= timeline {
                return Some(session);
            }
        }
        None
    }
}

/// A connection in use. Dropping it closes the connection when what is under way on it has ended.
#[derive(Debug)]
pub(super) struct Checkout {
    session: Session,
    lane: LaneOf,
    permit: OwnedSemaphorePermit,
}

impl Checkout {
    pub(super) const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Closes the connection at once.
    pub(super) fn throw_away(self) {
        self.session.throw_away();
    }
}

impl Pool {
    pub(super) fn new(
        target: Target,
        connector: Connector,
        settings: PostgresSettings,
        ambient: Ambient,
    ) -> Self {
        Self {
            requests: Lane::new(settings.connections),
            heartbeats: Lane::new(1),
            changes: watch::Sender::default(),
            is_listening: AtomicBool::new(false),
            open: Semaphore::new(0),
            target,
            connector,
            settings,
            ambient,
            timeline: AtomicU32::new(0),
        }
    }

    pub(super) const fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    pub(super) const fn settings(&self) -> &PostgresSettings {
        &self.settings
    }

    /// The newest timeline that a server was seen on.
    pub(super) fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Acquire)
    }

    const fn lane(&self, lane: LaneOf) -> &Lane {
        match lane {
            LaneOf::Requests => &self.requests,
            LaneOf::Heartbeats => &self.heartbeats,
        }
    }

    /// A connection that nobody else uses, within `limit` and the limits of the settings. Nothing was sent on it for
    /// `operation` if this fails.
    pub(super) async fn take(
        &self,
        of: LaneOf,
        operation: &'static str,
        limit: Duration,
    ) -> Result<Checkout, StoreError> {
        let clock = &*self.ambient.clock;
        let begun = clock.monotonic();
        let waits = self.settings.acquire_limit.min(limit);
        let lane = self.lane(of);
        let waiting = Arc::clone(&lane.permits).acquire_owned();
        let permit = match deadline(clock, begun + waits, waiting).await {
            Some(Ok(permit)) => permit,
            Some(Err(_)) => return Err(unavailable(operation, "it was closed".to_owned())),
            None => {
                return Err(unavailable(
                    operation,
                    format!(
                        "all {} connections to the database were in use for {:?}; raise their number or look for \
                         what blocks the database",
                        lane.size, waits
                    ),
                ));
            }
        };
        let session = match lane.idle_session(self.timeline()) {
            Some(session) => session,
            None => match deadline(clock, begun + limit, Box::pin(self.connect())).await {
                Some(connected) => {
                    connected.map_err(|error| unavailable(operation, error.to_string()))?
                }
                None => {
                    let late = format!("there was no connection to the database within {limit:?}");
                    return Err(unavailable(operation, late));
                }
            },
        };
        Ok(Checkout {
            session,
            lane: of,
            permit,
        })
    }

    /// Takes a connection back on which nothing is under way.
    pub(super) fn give_back(&self, checkout: Checkout) {
        let Checkout {
            mut session,
            lane,
            permit,
        } = checkout;
        session.start();
        if !session.is_closed() {
            self.lane(lane).idle.lock().push(session);
        }
        // After the connection is there: whoever gets the permit finds it.
        drop(permit);
    }

    /// Waits until no connection is in use, closes all, and lets nobody have one any more.
    pub(super) async fn close(&self) {
        self.requests.close().await;
        self.heartbeats.close().await;
        self.open.close();
    }

    /// Completes when the pool is closed.
    pub(super) async fn closed(&self) {
        // It has no permits: the only answer is that it was closed.
        let _ = self.open.acquire().await;
    }

    /// Sees when something changed.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells whoever watches that something may have changed.
    pub(super) fn wake(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether this is the first one who wants to listen.
    pub(super) fn begins_to_listen(&self) -> bool {
        !self.is_listening.swap(true, Ordering::AcqRel)
    }

    /// Remembers the timeline of a server that was seen; the newest one that was seen before.
    pub(super) fn saw(&self, timeline: u32) -> u32 {
        self.timeline.fetch_max(timeline, Ordering::AcqRel)
    }

    /// Makes a connection and compares timelines.
    pub(super) async fn connect(&self) -> Result<Session, OpenError> {
        let session =
            open::connect(&self.target, &self.connector, &self.settings, &self.ambient).await?;
        let found = session.timeline();
        let seen = self.saw(found);
        if found < seen {
            return Err(OpenError::Replaced {
                server: self.target.name.clone(),
                found,
                seen,
            });
        }
        if seen != 0 && found > seen {
            warn!(
                found,
                seen, "the metadata database was replaced by another primary"
            );
            self.wake();
        }
        Ok(session)
    }

    /// Brings the schema up to date, on a connection of its own.
    pub(super) async fn migrate(&self) -> Result<(), OpenError> {
        let session = self.connect().await?;
        open::migrate(session, &self.target, &self.settings, &self.ambient).await
    }
}

fn unavailable(operation: &'static str, reason: String) -> StoreError {
    StoreError::Unavailable {
        operation,
        outcome: Outcome::DidNotHappen,
        reason,
    }
}
