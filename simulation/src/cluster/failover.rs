//! The database changes its server, with or without a loss, and what the operator of the cluster makes of it.
//!
//! A broker that saw commits which a replica lacks must notice, stop, and commit nothing on top, for as long as it lives; one
//! that has not seen them must find them in the objects before it leads. The operator sees that one has stopped, stops all,
//! and repairs ([`super::repair`]): then every record that was ever acknowledged is back at its offset. What no object holds
//! may be gone: trims, and what groups committed.

use std::collections::BTreeSet;
use std::time::Duration;

use streamhouse_metadata::store::{MetadataStore, ShardId};
use streamhouse_runtime::{Clock, Monotonic};

use super::membership::LEASE;
use super::{BROKERS, Cluster};
use crate::broker::{Broker, address};
use crate::database::{Lost, Replica};
use crate::encounters::Encounter;
use crate::executor::{CLIENTS, ProcessId};
use crate::invariant::Invariant;
use crate::machine::Machine;
use crate::network::Network;

/// How long the operator looks on before the brokers are started anew, or stopped for a repair.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

/// What became of the servers of the database.
#[derive(Debug, Default)]
pub(super) struct Failover {
    unsettled: Option<Unsettled>,
    /// Shards that stopped at a new leader, since objects hold what the database lacks.
    found: BTreeSet<(ProcessId, ShardId)>,
}

/// A loss that somebody may still remember.
#[derive(Debug)]
struct Unsettled {
    lost: Lost,
    /// Lives that there were at that time.
    lives: BTreeSet<ProcessId>,
    /// Who noticed.
    noticed: BTreeSet<(ProcessId, ShardId)>,
    since: Monotonic,
}

/// How the server of the database changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// How far the replica that takes over lags behind; less than the grace of objects that nobody needs.
    pub(crate) lag: Duration,
    /// Brokers that go on talking to the old primary: a bit for each.
    pub(crate) followers: u8,
    /// How long they do.
    pub(crate) split: Duration,
    /// How long nobody answers at all.
    pub(crate) down: Duration,
}

impl Cluster {
    /// Another server takes over: at once one that has everything, or after a while one that does not keep up from now on.
    pub(crate) fn change_server(&self, change: Change) {
        if change.lag.is_zero() {
            return self.fail_over(change, None);
        }
        let replica = self.ground.database.replica();
        self.after(change.lag, move |cluster| {
            let may_take_over = cluster.ground.database.may_take_over(&replica);
            cluster.fail_over(change, may_take_over.then_some(replica));
        });
    }

    fn fail_over(&self, change: Change, replica: Option<Replica>) {
        if self.is_unsettled() || self.is_repairing() {
            return;
        }
        if replica.is_some() {
            let until = self.world().clock.monotonic() + 2 * LEASE;
            self.inner.lock().leases_lost_until = Some(until);
        }
        let world = self.world();
        let database = &self.ground.database;
        let machines = self.machines();
        database.end_split(&machines);
        let follows = |seat: &usize| change.followers & (1 << seat) != 0;
        let followers: Vec<Machine> = (0..BROKERS)
            .filter(follows)
            .map(|seat| machines[seat].clone())
            .collect();
        let lost = database.fail_over(replica, &followers);
        world.tell(|| format!("another server of the database: {change:?}, lost {lost:?}"));
        if !followers.is_empty() {
            world.met(Encounter::SplitBrain);
        }
        if !lost.shards.is_empty() {
            self.lose(lost);
        }
        if !change.down.is_zero() {
            database.set_down(true);
        }
        let (cluster, clock) = (self.clone(), world.clock.clone());
        let ends = async move {
            clock.sleep(change.down).await;
            cluster.ground.database.set_down(false);
            clock.sleep(change.split).await;
            cluster.ground.database.end_split(&machines);
        };
        world
            .executor
            .spawn(CLIENTS, "end of a failover", Box::pin(ends));
    }

    fn lose(&self, lost: Lost) {
        let world = self.world();
        world.met(Encounter::SuffixLost);
        self.set_back(&lost);
        self.groups.lock().doubt();
        let lives = (0..BROKERS).map(|seat| self.life(seat).process);
        let lives = lives.collect();
        self.inner.lock().failover.unsettled = Some(Unsettled {
            lost,
            lives,
            noticed: BTreeSet::new(),
            since: world.clock.monotonic(),
        });
    }

    /// Whether another server of the database has ever taken over.
    pub(crate) fn has_failed_over(&self) -> bool {
        self.ground.database.truth.timeline() > 0
    }

    /// Whether there was a loss, and somebody may still remember what was lost.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.inner.lock().failover.unsettled.is_some()
    }

    /// A life is over, and with it what it knew.
    pub(super) fn gone(&self, process: ProcessId) {
        let is_settled = {
            let mut inner = self.inner.lock();
            let Some(unsettled) = &mut inner.failover.unsettled else {
                return;
            };
            unsettled.lives.remove(&process);
            unsettled.lost.knowing.retain(|(life, _)| *life != process);
            unsettled.lives.is_empty() && !inner.repair.is_under_way()
        };
        if is_settled {
            self.settle_loss();
        }
    }

    fn set_back(&self, lost: &Lost) {
        let mut model = self.model.lock();
        let partitions: Vec<_> = model.partitions.keys().copied().collect();
        for at in partitions {
            if lost.shards.contains(&address(at).shard) {
                model.set_back(at);
            }
        }
    }

    /// Whatever of a loss could be brought back is there again.
    pub(super) fn settle_loss(&self) {
        let unsettled = self.inner.lock().failover.unsettled.take();
        if let Some(unsettled) = unsettled {
            self.set_back(&unsettled.lost);
            self.world().tell(|| "the loss is settled".to_owned());
            self.groups.lock().settle();
        }
    }

    /// The operator looks whether those who saw what is lost have noticed. If nothing can be repaired, all brokers are
    /// started anew.
    pub(crate) fn look_after_loss(&self) {
        self.note_who_noticed();
        if self.look_after_stopped() {
            return;
        }
        let due = {
            let inner = self.inner.lock();
            let Some(unsettled) = &inner.failover.unsettled else {
                return;
            };
            let waited = self.world().clock.monotonic() - unsettled.since;
            unsettled.lost.knowing.is_empty() && waited >= PATIENCE
        };
        if due {
            self.start_all_anew();
        }
    }

    fn note_who_noticed(&self) {
        for broker in self.brokers() {
            self.note_what_was_found(&broker);
            let regressed = broker.membership.as_ref();
            let regressed = regressed.is_some_and(|membership| membership.has_regressed());
            let stopped = broker.log.stopped_shards();
            let mut inner = self.inner.lock();
            let Some(unsettled) = &mut inner.failover.unsettled else {
                return;
            };
            let process = broker.life.process;
            let mut is_news = false;
            for known in &unsettled.lost.knowing {
                let has_stopped = stopped.iter().any(|(shard, reason)| {
                    *shard == known.1 && reason.contains("metadata_regression")
                });
                if known.0 == process && (has_stopped || regressed) {
                    is_news |= unsettled.noticed.insert(*known);
                }
            }
            drop(inner);
            if is_news {
                self.world().met(Encounter::RegressionNoticed);
            }
        }
    }

    fn note_what_was_found(&self, broker: &Broker) {
        for (shard, reason) in broker.log.stopped_shards() {
            let found = (broker.life.process, shard);
            let is_found = reason.contains("holds manifest");
            if is_found && self.inner.lock().failover.found.insert(found) {
                self.world().met(Encounter::FoundInObjects);
            }
        }
    }

    fn start_all_anew(&self) {
        let lives: BTreeSet<ProcessId> = {
            let inner = self.inner.lock();
            let unsettled = inner.failover.unsettled.as_ref();
            unsettled.map_or_else(BTreeSet::new, |unsettled| unsettled.lives.clone())
        };
        for seat in 0..BROKERS {
            if lives.contains(&self.life(seat).process) {
                self.kill(seat);
            }
        }
    }

    /// When everything works again, whoever saw what is lost must have noticed by now.
    pub(crate) fn judge_loss(&self) {
        self.note_who_noticed();
        let unnoticed = {
            let inner = self.inner.lock();
            let unsettled = inner.failover.unsettled.as_ref();
            unsettled.and_then(|unsettled| {
                let mut knowing = unsettled.lost.knowing.iter();
                let unnoticed = |known: &&(ProcessId, ShardId)| !unsettled.noticed.contains(known);
                knowing.find(unnoticed).copied()
            })
        };
        if let Some((process, shard)) = unnoticed {
            let what = format!(
                "the database lost commits of shard {shard}, and broker {} that saw them has not noticed",
                process.0
            );
            self.world().breach(Invariant::Regression, what);
        }
    }
}
