//! Registering a life, and keeping it alive.
//!
//! A heartbeat that fails is tried again soon. When the lease is over by our own clock, nothing that needs it is answered; the
//! next heartbeat that comes through revives it, unless somebody has declared this life dead.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use streamhouse_metadata::{HeartbeatError, Incarnation, Outcome, RegisterError, StoreError};
use streamhouse_runtime::{Monotonic, deadline};

use super::endpoints::row;
use super::{JoinError, Life, LifeOver};

/// The longest pause before a failed heartbeat is tried again.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

impl Life {
    /// Registers; waits for the end of the lease of an earlier life that was killed.
    pub(super) async fn register(&self) -> Result<(), JoinError> {
        let mut twin: Option<(Incarnation, i64)> = None;
        loop {
            let row = row(&self.own, self.incarnation);
            let registered = self.store.register_broker(row, self.settings.lease).await;
            let (incarnation, until_ms, left_ms) = match registered {
                Ok(()) => return Ok(()),
                Err(RegisterError::Twin {
                    incarnation,
                    until_ms,
                    now_ms,
                    ..
                }) => (incarnation, until_ms, until_ms.saturating_sub(now_ms)),
                Err(error @ (RegisterError::Dead { .. } | RegisterError::Store(_))) => {
                    return Err(JoinError::Register(error));
                }
            };
            // Only who lives renews a lease.
            if twin.is_some_and(|first| first != (incarnation, until_ms)) {
                return Err(JoinError::Twin {
                    broker: self.own.broker,
                    incarnation,
                });
            }
            if twin.replace((incarnation, until_ms)).is_none() {
                tracing::info!(
                    broker = self.own.broker.0, %incarnation, left_ms,
                    "another process has this broker's number; waiting whether its lease ends"
                );
            }
            let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0) + 1);
            let pause = left.min(self.settings.heartbeat_interval);
            self.ambient.clock.sleep(pause).await;
        }
    }

    /// The first heartbeat: a broker that has started may wait for its lease. A database that does not answer at this moment is
    /// asked again, for as long as a lease lasts.
    pub(super) async fn first_beat(&self) -> Result<(), HeartbeatError> {
        let clock = &*self.ambient.clock;
        let until = clock.monotonic() + self.settings.lease;
        loop {
            match self.beat_once().await {
                Err(HeartbeatError::Store(error)) if clock.monotonic() < until => {
                    tracing::warn!(%error, "the first heartbeat failed; it is tried again");
                    let pause = self.settings.heartbeat_interval.min(RETRY_PAUSE_MAX);
                    clock.sleep(pause).await;
                }
                done => return done,
            }
        }
    }

    /// Renews the lease until the life ends.
    pub(super) async fn keep_alive(self: Arc<Self>) {
        let mut failing_since: Option<Monotonic> = None;
        let mut pause = self.settings.heartbeat_interval;
        loop {
            let sleep = self.ambient.clock.sleep(pause);
            if self.while_alive(sleep).await.is_none() {
                return;
            }
            let sent = self.ambient.clock.monotonic();
            let Some(beaten) = self.while_alive(self.beat_once()).await else {
                return;
            };
            let after = match beaten {
                Ok(()) => {
                    if let Some(since) = failing_since.take() {
                        let seconds = (sent - since).as_secs_f64();
                        tracing::info!(seconds, "heartbeats come through again");
                    }
                    self.settings.heartbeat_interval
                }
                Err(error) => {
                    counter!("streamhouse_membership_heartbeats_failed_total").increment(1);
                    self.judge(&error);
                    if failing_since.is_none() && !self.is_over() {
                        tracing::warn!(%error, "a heartbeat failed; the lease ends if none comes through");
                        failing_since = Some(sent);
                    }
                    self.settings.heartbeat_interval.min(RETRY_PAUSE_MAX)
                }
            };
            // Counted from when it was sent: a slow answer does not make the next one late.
            pause = sent + after - self.ambient.clock.monotonic();
        }
    }

    /// What a failed heartbeat says about this life.
    fn judge(&self, error: &HeartbeatError) {
        if self.regression().is_some() {
            // Nothing is served any more; the lease is kept as long as possible, so that nobody goes on from what is lost.
            return;
        }
        match error {
            HeartbeatError::Dead { .. } => self.end(LifeOver::Dead),
            HeartbeatError::Unknown { .. } if !self.lease.holds() => self.end(LifeOver::Forgotten),
            HeartbeatError::Unknown { .. } | HeartbeatError::Store(_) => {}
        }
    }

    /// One heartbeat.
    pub(super) async fn beat_once(&self) -> Result<(), HeartbeatError> {
        let clock = &*self.ambient.clock;
        let lease = self.settings.lease;
        let sent = clock.monotonic();
        let beaten = self.store.heartbeat(self.incarnation, lease);
        // A heartbeat may be repeated, so it may be dropped: one that takes longer renews nothing.
        let Some(beaten) = deadline(clock, sent + lease, beaten).await else {
            return Err(StoreError::Unavailable {
                operation: "renew a lease",
                outcome: Outcome::MayHaveHappened,
                reason: "there was no answer for as long as the lease lasts".to_owned(),
            }
            .into());
        };
        let beat = beaten?;
        let span = u64::try_from(beat.until_ms.saturating_sub(beat.now_ms)).unwrap_or(0);
        if !self.lease.holds() {
            // Others may have been cut off as well, and look expired although they live.
            self.state.lock().in_touch_since = Some(sent);
        }
        self.lease
            .renew(sent, Duration::from_millis(span).min(lease));
        self.beat.send_replace(Some(beat));
        Ok(())
    }

    /// Tells the others that this life is over, until they know.
    pub(super) async fn say_goodbye(&self) {
        while let Err(error) = self.store.leave(self.incarnation).await {
            tracing::warn!(%error, "the others do not know yet that this broker leaves");
            self.ambient.clock.sleep(RETRY_PAUSE_MAX).await;
        }
    }
}
