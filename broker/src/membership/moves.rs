//! Loading a shard that was granted, and handing one over.
//!
//! A handover, step by step: nothing new is accepted, what was accepted is recorded, this broker serves the shard no more,
//! and only then it asks for the grant of the heir. So no answer of this broker can miss what the heir has written. If the
//! grant fails, this broker takes the shard back under another epoch.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use metrics::counter;
use streamhouse_coordinator::service::Grant;
use streamhouse_log::leading::Drained;
use streamhouse_metadata::{
    AskedShard, GrantOutcome, GrantRequest, Incarnation, Outcome, ShardId, ShardRow,
};
use streamhouse_runtime::deadline;

use super::LifeOver;
use super::shards::{Serving, Shards};

/// How long a shard may take to record what was accepted before it stays after all.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The pause before a request for a grant whose outcome is unknown is repeated.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Shards {
    /// Loads a shard beside everything else.
    pub(super) fn begin_load(self: &Arc<Self>, row: ShardRow) {
        {
            let mut own = self.own.lock();
            if own.is_leaving || !own.busy.insert(row.shard) {
                return;
            }
        }
        let shards = Arc::clone(self);
        self.life.ambient.tasks.spawn("shard-load", async move {
            shards.life.while_alive(shards.load(&row)).await;
            shards.finish(row.shard);
        });
    }

    fn finish(&self, shard: ShardId) {
        {
            let mut own = self.own.lock();
            own.busy.remove(&shard);
            own.moving.take_if(|moving| *moving == shard);
        }
        self.publish();
        self.done
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn load(&self, row: &ShardRow) {
        // Nobody closes it.
        let _permit = self.loads.acquire().await;
        let began = self.life.ambient.clock.monotonic();
        let grant = Grant {
            shard: row.shard,
            epoch: row.epoch,
            incarnation: self.life.incarnation,
        };
        let (shard, epoch) = (row.shard.0, row.epoch.0);
        // The groups come last: they are never loaded over groups that serve, since the log is led already then.
        let reason = match self.rooms.log.lead(row).await {
            Ok(()) => match self.rooms.groups.load(grant).await {
                Ok(()) => {
                    self.serve(row);
                    let seconds = (self.life.ambient.clock.monotonic() - began).as_secs_f64();
                    return tracing::debug!(shard, epoch, seconds, "leads the shard");
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            shard,
            epoch,
            reason,
            "the shard is not loaded yet; it is tried again"
        );
        // Not before the next heartbeat: a store that fails at once would be asked without end.
        let pause = self.life.settings.heartbeat_interval;
        self.life.ambient.clock.sleep(pause).await;
    }

    /// The shard is loaded.
    fn serve(&self, row: &ShardRow) {
        self.note_row(*row);
        let mut own = self.own.lock();
        if own.is_leaving {
            drop(own);
            self.rooms.log.cede(row.shard, row.epoch);
            return self.rooms.groups.unload(row.shard);
        }
        let serving = Serving {
            epoch: row.epoch,
            since: self.life.ambient.clock.monotonic(),
        };
        own.serving.insert(row.shard, serving);
    }

    /// Hands a shard over beside everything else.
    pub(super) fn begin_handover(self: &Arc<Self>, row: ShardRow, heir: Incarnation) {
        {
            let mut own = self.own.lock();
            if own.is_leaving || own.moving.is_some() || !own.busy.insert(row.shard) {
                return;
            }
            own.moving = Some(row.shard);
        }
        let shards = Arc::clone(self);
        self.life.ambient.tasks.spawn("shard-handover", async move {
            shards.life.while_alive(shards.hand_over(&row, heir)).await;
            shards.finish(row.shard);
        });
    }

    async fn hand_over(&self, row: &ShardRow, heir: Incarnation) {
        let clock = &*self.life.ambient.clock;
        let (shard, began) = (row.shard, clock.monotonic());
        let drained = deadline(clock, began + DRAIN_MAX, self.drain(shard)).await;
        if drained.flatten().is_none() {
            return self.stay(row);
        }
        self.own.lock().serving.remove(&shard);
        self.publish();
        self.rooms.log.cede(shard, row.epoch);
        let Some(outcome) = self.ask_for(row, heir).await else {
            return;
        };
        match outcome {
            GrantOutcome::Granted(granted) => {
                self.note_row(granted);
                let seconds = (clock.monotonic() - began).as_secs_f64();
                counter!("streamhouse_membership_handovers_total").increment(1);
                tracing::info!(shard = shard.0, epoch = granted.epoch.0, to = %heir, seconds, "handed the shard over");
            }
            // A request before this one came through, or the shard was taken: the next look tells who leads.
            GrantOutcome::Changed { .. } => {}
            GrantOutcome::Dead { incarnation } if incarnation == self.life.incarnation => {
                self.life.end(LifeOver::Dead);
            }
            GrantOutcome::Dead { .. }
            | GrantOutcome::Held { .. }
            | GrantOutcome::WalElsewhere { .. }
            | GrantOutcome::UnknownShard => {
                tracing::warn!(
                    shard = shard.0,
                    ?outcome,
                    "the shard was not handed over; it is taken back"
                );
            }
        }
        // If it is still this broker's, it is led again under another epoch: this one came to its end.
        self.own.lock().doubtful.insert(shard, row.epoch);
    }

    /// Asks for the grant of the heir until the answer is a clear one; none if the request certainly did nothing.
    async fn ask_for(&self, row: &ShardRow, heir: Incarnation) -> Option<GrantOutcome> {
        let me = self.life.incarnation;
        let asked = AskedShard {
            shard: row.shard,
            expecting: Some((row.epoch, Some(me))),
        };
        let request = GrantRequest {
            incarnation: heir,
            by: me,
            wal_dir: None,
            shards: vec![asked],
        };
        loop {
            match self.life.store.grant(request.clone()).await {
                Ok(outcomes) => return outcomes.into_iter().next(),
                Err(error) => {
                    tracing::warn!(shard = row.shard.0, %error, "the shard may not be handed over");
                    if error.outcome() == Outcome::DidNotHappen {
                        self.own.lock().doubtful.insert(row.shard, row.epoch);
                        return None;
                    }
                }
            }
            self.life.ambient.clock.sleep(ASK_AGAIN).await;
        }
    }

    /// Accepts nothing new in a shard and waits until what was accepted is recorded; its groups are let go. None if the
    /// shard has stopped, or is not led.
    pub(super) async fn drain(&self, shard: ShardId) -> Option<Drained> {
        let (drained, ()) = join(self.rooms.log.drain(shard), self.rooms.groups.drain(shard)).await;
        drained
    }

    /// A shard that was to be handed over stays, for as long as one that just came.
    fn stay(&self, row: &ShardRow) {
        tracing::warn!(
            shard = row.shard.0,
            "what was accepted is not recorded in time; the shard stays where it is"
        );
        self.rooms.log.resume(Drained {
            shard: row.shard,
            epoch: row.epoch,
            incarnation: self.life.incarnation,
        });
        self.rooms.groups.resume(row.shard);
        let mut own = self.own.lock();
        if self.rooms.groups.serves(row.shard) {
            let since = self.life.ambient.clock.monotonic();
            let serving = own.serving.get_mut(&row.shard);
            serving
                .into_iter()
                .for_each(|serving| serving.since = since);
        } else {
            // Its groups were let go already: the next look loads them again.
            own.serving.remove(&row.shard);
        }
    }
}
