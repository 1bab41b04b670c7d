//! Brokers with `shared` durability over one database and one object store, on a clock that turns by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use streamhouse_log::append::validate::Prepared;
use streamhouse_log::append::{Acks, AppendError, AppendLost, Appended, Staged};
use streamhouse_log::flush::shared::SharedSettings;
use streamhouse_log::leading::SharedParts;
use streamhouse_log::{Log, LogSettings};
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::*;
use streamhouse_runtime::{Chance, ManualClock, SeededChance, Tasks};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::{FaultStore, Faults, ObjectClass, Objects};

use crate::doubtful::DoubtfulStore;
use crate::world::{CLUSTER, SHARDS, address, ambient, rules, set_up};

/// What several brokers share.
pub(crate) struct Shared {
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<DoubtfulStore>,
    pub(crate) faults: Faults,
    pub(crate) settings: LogSettings,
    pub(crate) limits: SharedSettings,
    memory: Arc<dyn object_store::ObjectStore>,
    chance: Arc<SeededChance>,
}

/// One life of a broker. Dropping it is its death: nothing of it runs on.
pub(crate) struct Broker {
    pub(crate) log: Log,
    pub(crate) incarnation: Incarnation,
    tasks: Tasks,
}

impl Shared {
    pub(crate) async fn new() -> Self {
        let clock = ManualClock::new(1_000_000);
        let chance = Arc::new(SeededChance::new(11));
        let everywhere = ambient(&clock, &chance, Tasks::new());
        let memory = MemoryStore::new(everywhere.clone());
        let store = Arc::new(DoubtfulStore::new(memory, Arc::clone(&chance) as _));
        set_up(&*store, Durability::Shared).await;
        let memory: Arc<dyn object_store::ObjectStore> =
            Arc::new(object_store::memory::InMemory::new());
        let (faulty, faults) = FaultStore::new(Arc::clone(&memory), everywhere);
        Self {
            clock,
            store,
            faults,
            settings: LogSettings {
                flush_bytes: 100_000,
                flush_interval: Duration::from_millis(250),
                ..LogSettings::default()
            },
            limits: SharedSettings::default(),
            memory: Arc::new(faulty),
            chance,
        }
    }

    /// The object store, as somebody else sees it.
    pub(crate) fn objects(&self) -> Objects {
        let ambient = ambient(&self.clock, &self.chance, Tasks::new());
        Objects::new(Arc::clone(&self.memory), ambient)
    }

    /// Objects that no row names.
    pub(crate) async fn unnamed(&self) -> Vec<String> {
        let rows = self.store.objects(None, 1000).await.unwrap();
        let listed: Vec<_> = self
            .objects()
            .list(None, ObjectClass::Garbage)
            .try_collect()
            .await
            .unwrap();
        let keys = listed.iter().map(|object| object.key);
        let unnamed = keys.filter(|key| {
            let id = key.id();
            let is_it = |row: &ObjectRow| {
                (row.id.incarnation, row.id.seq, row.id.attempt)
                    == (id.incarnation, id.seq, id.attempt)
            };
            !rows.iter().any(is_it)
        });
        unnamed.map(|key| key.to_string()).collect()
    }

    /// A broker that leads nothing.
    pub(crate) async fn broker(&self) -> Broker {
        let tasks = Tasks::new();
        let ambient = ambient(&self.clock, &self.chance, tasks.clone());
        let incarnation = Incarnation(self.chance.next_u128());
        let objects = Objects::new(Arc::clone(&self.memory), ambient.clone());
        let parts = SharedParts {
            cache: BlockCache::new(
                objects.clone(),
                ambient.clone(),
                BlockCacheSettings::default(),
            ),
            objects,
            store: Arc::clone(&self.store) as Arc<dyn MetadataStore>,
            cluster: CLUSTER,
            incarnation,
            settings: self.settings.clone(),
            shared: self.limits,
            ambient,
        };
        Broker {
            log: Log::open_shared(parts).await.unwrap(),
            incarnation,
            tasks,
        }
    }

    /// A broker that leads all shards.
    pub(crate) async fn leader(&self) -> Broker {
        let broker = self.broker().await;
        self.take_all(&broker).await;
        broker
    }

    pub(crate) async fn take_all(&self, broker: &Broker) {
        for shard in (0..SHARDS).map(ShardId) {
            let row = self.grant(broker, shard).await;
            broker.log.lead(&row).await.unwrap();
        }
    }

    /// Grants a shard in the database; the broker does not know yet.
    pub(crate) async fn grant(&self, broker: &Broker, shard: ShardId) -> ShardRow {
        let request = GrantRequest::own(broker.incarnation, None, [shard]);
        let outcome = self.store.grant(request).await.unwrap()[0];
        let GrantOutcome::Granted(row) = outcome else {
            panic!("not granted: {outcome:?}");
        };
        row
    }

    /// Lets everything run that can, without time passing.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Runs `work` to its end while the clock turns.
    pub(crate) async fn turning<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = async {
            loop {
                for _ in 0..30 {
                    tokio::task::yield_now().await;
                }
                self.clock.advance(Duration::from_millis(2));
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = turn => unreachable!("the clock turns for ever"),
        }
    }

    /// Lets time pass, in steps in which everything runs that can.
    pub(crate) async fn pass(&self, time: Duration) {
        let steps = time.as_millis() / 10;
        for _ in 0..steps {
            self.settle().await;
            self.clock.advance(Duration::from_millis(10));
        }
        self.settle().await;
    }

    pub(crate) async fn append(&self, broker: &Broker, partition: i32, batch: &Bytes) -> Appended {
        self.try_append(broker, partition, batch).await.unwrap()
    }

    pub(crate) async fn try_append(
        &self,
        broker: &Broker,
        partition: i32,
        batch: &Bytes,
    ) -> Result<Appended, AppendLost> {
        let staged = broker.stage(partition, batch).unwrap();
        self.turning(staged.acknowledged()).await
    }
}

impl Broker {
    pub(crate) fn stage(&self, partition: i32, batch: &Bytes) -> Result<Staged, AppendError> {
        let prepared = Prepared::new(batch, 0, &rules(), 1_000_000).unwrap();
        self.log.stage(address(partition), prepared, Acks::All)
    }

    pub(crate) fn high_watermark(&self, partition: i32) -> i64 {
        self.log.offsets(address(partition)).unwrap().high_watermark
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.tasks.shut_down();
    }
}
