//! The operator of a cluster whose shards stopped, since the database lacks what objects hold: stops all brokers, waits until
//! their leases are over, commits again what was lost, and starts them. The command may die on its way, and is given again.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_log::repair::{RepairParts, repair};
use streamhouse_metadata::store::{Incarnation, MetadataStore};
use streamhouse_runtime::{Chance, Clock, Monotonic};

use super::failover::PATIENCE;
use super::membership::LEASE;
use super::{BROKERS, Cluster};
use crate::encounters::Encounter;
use crate::executor::ProcessId;
use crate::machine::Machine;
use crate::network::Network;
use crate::world::Life;

/// The pause before the command is given again.
const AGAIN: Duration = Duration::from_millis(100);

/// How far a repair has come.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Since when a shard has stopped.
    needed_since: Option<Monotonic>,
    /// The command, while it runs.
    tool: Option<Arc<Life>>,
}

impl Repair {
    pub(super) fn is_under_way(&self) -> bool {
        self.tool.is_some()
    }
}

impl Cluster {
    pub(crate) fn is_repairing(&self) -> bool {
        self.inner.lock().repair.is_under_way()
    }

    /// Whether a broker has stopped for what the database lacks.
    pub(crate) fn has_stopped(&self) -> bool {
        self.brokers().iter().any(|broker| {
            let membership = broker.membership.as_ref();
            let regressed = membership.is_some_and(|membership| membership.has_regressed());
            regressed || !broker.log.stopped_shards().is_empty()
        })
    }

    /// Repairs, if it has waited long enough. False if nothing has stopped.
    pub(super) fn look_after_stopped(&self) -> bool {
        if self.is_repairing() {
            return true;
        }
        if !self.has_stopped() {
            self.inner.lock().repair.needed_since = None;
            return false;
        }
        let now = self.world().clock.monotonic();
        let since = *self.inner.lock().repair.needed_since.get_or_insert(now);
        if now - since >= PATIENCE {
            self.begin_repair();
        }
        true
    }

    fn begin_repair(&self) {
        self.world()
            .tell(|| "all brokers are stopped for a repair".to_owned());
        self.inner.lock().repair.needed_since = None;
        // From here on nobody starts a broker.
        self.give_command();
        for seat in 0..BROKERS {
            self.inner.lock().seats[seat].is_off = true;
            self.kill(seat);
        }
    }

    fn give_command(&self) {
        let process = {
            let mut inner = self.inner.lock();
            inner.lives += 1;
            ProcessId(inner.lives)
        };
        let life = Arc::new(Life::on(process, Machine::default()));
        life.opened();
        self.inner.lock().repair.tool = Some(Arc::clone(&life));
        let cluster = self.clone();
        let command = async move {
            let world = cluster.world().clone();
            world.clock.sleep(LEASE).await;
            let ground = &cluster.ground;
            loop {
                let store = ground.database.for_life(&life, &ground.bucket);
                let parts = RepairParts {
                    store: Arc::new(store) as Arc<dyn MetadataStore>,
                    objects: ground.bucket.for_life(&world, &life, &ground.database),
                    incarnation: Incarnation(world.chance.next_u128()),
                };
                let done = repair(&parts).await;
                world.tell(|| format!("repair: {done:?}"));
                if let Ok(repaired) = done {
                    if repaired.records > 0 {
                        world.met(Encounter::Repaired);
                    }
                    return cluster.repaired();
                }
                world.clock.sleep(AGAIN).await;
            }
        };
        self.world()
            .executor
            .spawn(process, "repair", Box::pin(command));
    }

    fn repaired(&self) {
        self.inner.lock().repair.tool = None;
        self.settle_loss();
        for seat in 0..BROKERS {
            self.switch_on(seat);
        }
    }

    /// A command that died is given again.
    pub(super) fn look_after_command(&self) {
        let tool = self.inner.lock().repair.tool.clone();
        let Some(dead) = tool.filter(|tool| tool.death().is_some()) else {
            return;
        };
        self.world().met(Encounter::RepairDied);
        self.world().executor.kill(dead.process);
        self.ground.database.forget_process(dead.process);
        self.give_command();
    }
}
