//! Lets a history of a cluster happen, and looks for the first thing that is wrong.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use streamhouse_metadata::store::{Durability, ShardId};

use super::disruption::Disruption;
use super::{BROKERS, Cluster};
use crate::audit;
use crate::broker::{Ground, SHARDS, Setup};
use crate::clients::crowd::Crowd;
use crate::clients::{PARTITIONS, RETAINED, Sky, partition};
use crate::database::Database;
use crate::invariant::Invariant;
use crate::machine::Machine;
use crate::model::Model;
use crate::network::Network;
use crate::objects::Bucket;
use crate::plan::{Action, Operation, Upkeep};
use crate::run::lay_ground;
use crate::world::World;

/// The longest that a replica may lag behind, and a lease, and something more: what nobody needs is kept that long.
const GRACE_MIN: Duration = Duration::from_secs(3);

struct Run {
    cluster: Cluster,
    crowd: Crowd,
}

pub(crate) fn live(world: &World, operations: &[Operation]) {
    let machine = Machine::default();
    let database = Database::new(world, &machine);
    let bucket = Bucket::new(world);
    lay_ground(&database, Durability::Shared);
    let mut setup = Setup::drawn(&*world.chance, RETAINED);
    setup.log.object_grace = setup.log.object_grace.max(GRACE_MIN);
    world.tell(|| format!("{setup:?}"));
    let ground = Ground {
        world: world.clone(),
        database,
        bucket,
        setup,
    };
    let model = Arc::new(Mutex::new(Model::default()));
    for number in 0..=u8::try_from(PARTITIONS).unwrap_or(0) {
        let at = partition(number);
        let mut model = model.lock();
        model.partitions.entry(at).or_default().is_retained = at.topic == RETAINED;
    }
    let groups = Arc::default();
    let cluster = Cluster::new(ground, machine, Arc::clone(&model), Arc::clone(&groups));
    let run = Run {
        crowd: Crowd::new(Sky {
            net: Arc::new(cluster.clone()),
            model,
            groups,
        }),
        cluster,
    };
    run.pass(Duration::from_millis(400));
    for operation in operations {
        world.begin_operation(operation.number);
        world.tell(|| format!("# {} {:?}", operation.number, operation.action));
        run.begin(operation.action);
        run.pass(Duration::from_micros(operation.gap_us));
        run.check();
        if world.first_breach().is_some() {
            return;
        }
    }
    world.begin_operation(operations.last().map_or(0, |last| last.number + 1));
    run.end();
}

impl Run {
    fn world(&self) -> &World {
        self.cluster.world()
    }

    fn pass(&self, duration: Duration) {
        self.cluster.run_for(duration);
    }

    fn begin(&self, action: Action) {
        match action {
            Action::Records(records) => self.crowd.records(records),
            Action::Members(members) => self.crowd.members(members),
            Action::Disruption(Disruption::Upkeep { seat, upkeep }) => {
                self.upkeep(usize::from(seat) % BROKERS, upkeep);
            }
            Action::Disruption(disruption) => self.cluster.disrupt(disruption),
            Action::Upkeep(_) | Action::Disturbance(_) => {}
        }
    }

    /// What a broker does by itself, earlier than it would.
    fn upkeep(&self, seat: usize, upkeep: Upkeep) {
        let Some(broker) = self.cluster.broker(seat) else {
            return;
        };
        let lives = (0..BROKERS).map(|seat| self.cluster.life(seat).process);
        let is_anybody_paused = lives
            .into_iter()
            .any(|process| self.world().executor.is_paused(process));
        // What was sent to a broker that stands still may be staged much later.
        let may_evict = !is_anybody_paused && self.crowd.may_evict();
        if upkeep == Upkeep::EvictProducers && !may_evict {
            return;
        }
        let process = broker.life.process;
        let work = async move {
            match upkeep {
                // A failure is no news: it loses nothing, and what it leaves is judged.
                Upkeep::Checkpoint => drop(broker.log.checkpoint_all().await),
                Upkeep::Sweep => drop(broker.log.sweep().await),
                Upkeep::SweepOrphans => drop(broker.log.sweep_orphans().await),
                Upkeep::Retain => broker.retain(),
                Upkeep::EvictProducers => broker.evict_producers(),
                Upkeep::Flush => {}
            }
        };
        self.world().executor.spawn(process, "upkeep", work.boxed());
    }

    /// What must hold between any two operations.
    fn check(&self) {
        for broker in self.cluster.brokers() {
            audit::check_shared_bounds(self.world(), &broker);
            for (shard, reason) in broker.log.stopped_shards() {
                if !reason.contains("metadata_regression") || !self.cluster.has_failed_over() {
                    let what = format!("shard {shard} stopped: {reason}");
                    self.world().breach(Invariant::Serves, what);
                }
            }
        }
        self.cluster.look_after_loss();
    }

    /// The faults are over: everything must come to rest, and everything that was acknowledged must be there, before and
    /// after all brokers were replaced by new ones.
    fn end(&self) {
        self.cluster.heal();
        self.pass(Duration::from_secs(8));
        self.check();
        self.cluster.judge_loss();
        self.settle();
        self.audit();
        if self.world().first_breach().is_some() {
            return;
        }
        for seat in 0..BROKERS {
            self.cluster.kill(seat);
        }
        self.cluster.heal();
        self.settle();
        self.audit();
        let ground = &self.cluster.ground;
        let judged = audit::check_shelves(&ground.database, &ground.bucket);
        self.world().judge(judged);
        self.world().judge(audit::check_leaks(
            &ground.database,
            &ground.bucket,
            &self.cluster.brokers(),
        ));
    }

    /// Nothing fails any more: what stopped is repaired, and everybody serves.
    fn settle(&self) {
        for _ in 0..8 {
            self.pass(Duration::from_secs(4));
            self.check();
            if !self.cluster.has_stopped() && !self.cluster.is_repairing() {
                break;
            }
        }
        self.pass(Duration::from_secs(4));
    }

    /// A shard that nobody serves for long; one that is handed over is between two brokers for a moment.
    fn unserved(&self) -> Option<ShardId> {
        let mut unserved = None;
        for _ in 0..30 {
            let mut shards = (0..SHARDS).map(ShardId);
            unserved = shards.find(|shard| !self.cluster.serves(*shard));
            if unserved.is_none() {
                break;
            }
            self.pass(Duration::from_millis(100));
        }
        unserved
    }

    fn audit(&self) {
        if let Some(shard) = self.unserved() {
            let what = format!("nobody serves shard {shard}, though nothing fails");
            return self.world().breach(Invariant::Serves, what);
        }
        let done = Arc::new(Mutex::new(false));
        let (sky, mark) = (self.crowd.sky.clone(), Arc::clone(&done));
        self.crowd.spawn(
            async move {
                audit::read_everything(&sky).await;
                *mark.lock() = true;
            }
            .boxed(),
        );
        for _ in 0..40 {
            self.pass(Duration::from_millis(500));
            if *done.lock() {
                return self.check();
            }
        }
        let what = "an audit of all partitions does not end, though nothing fails";
        self.world().breach(Invariant::Serves, what);
    }
}
